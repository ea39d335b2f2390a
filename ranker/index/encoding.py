"""The vectors of a collection on their way to disk, part by part, so that what was stopped goes on after the last."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from ranker.data.collection import Collection
from ranker.data.files import written
from ranker.scoring.memory import fingerprint
from ranker.scoring.scorer import Scorer

_VECTORS: Final = "vectors.f32"
_PROGRESS: Final = "progress.json"


class Parts:
    """A file of vectors that grows by parts; ``done`` are whole and on disk."""

    def __init__(self, file: IO[bytes], progress: Path, asked: str, done: int) -> None:
        """Use ``unfinished``."""
        self._file, self._progress, self._asked = file, progress, asked
        self.done = done

    def add(self, vectors: bytes) -> None:
        """Writes a part, and that it is written: after this a power cut costs no part of it."""
        self._file.write(vectors)
        self._file.flush()
        os.fsync(self._file.fileno())
        self.done += 1
        with written(self._progress, force=True) as beside:
            beside.write_text(json.dumps({"asked": self._asked, "parts": self.done, "bytes": self._file.tell()}) + "\n")


@contextmanager
def unfinished(scorer: Scorer, collection: Collection, part: int, folder: Path, target: Path) -> Iterator[Parts]:
    """The vectors of a collection in parts of so many passages, in a folder of their own, and at last at ``target``.

    What an earlier attempt with the same model, collection and batches has left in the folder is kept.
    """
    asked = hashlib.sha256(f"{fingerprint(scorer)}|{collection.digest}|{scorer.tokens_per_batch}|{part}".encode())
    folder.mkdir(parents=True, exist_ok=True)
    path, progress = folder / _VECTORS, folder / _PROGRESS
    path.touch()
    done, size = _done(progress, asked.hexdigest(), path.stat().st_size)
    with path.open("r+b") as file:
        file.truncate(size)
        file.seek(size)
        yield Parts(file, progress, asked.hexdigest(), done)
    os.replace(path, target)
    shutil.rmtree(folder, ignore_errors=True)


def _done(progress: Path, asked: str, size: int) -> tuple[int, int]:
    """The parts that are whole, and their bytes; none of another attempt."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        written_of = json.loads(progress.read_text(encoding="utf-8"))
        if written_of["asked"] == asked and 0 <= written_of["bytes"] <= size:
            return int(written_of["parts"]), int(written_of["bytes"])
    return 0, 0
