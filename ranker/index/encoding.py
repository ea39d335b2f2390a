"""The vectors of a collection on their way to disk, part by part, so that what was stopped goes on after the last."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import IO, Any, Final, TextIO

import numpy as np

from ranker.data.collection import Collection
from ranker.data.records import Passage
from ranker.errors import OutputError
from ranker.files.atomic import atomic_file
from ranker.files.digests import file_digest, read_sealed, write_sealed
from ranker.scoring.cache import fingerprint
from ranker.scoring.pairs import Truncation
from ranker.scoring.scorer import Advance, Scorer
from ranker.scoring.survival import named
from ranker.scoring.text import Texts
from ranker.scoring.token_file import build_token_file

VECTORS: Final = "vectors.f32"
DOC_IDS: Final = "doc_ids.txt"
_PROGRESS: Final = "progress.json"
_EARLY: Final = ".part"

PASSAGES_AT_ONCE: Final = 16_384
"""Passages encoded before their vectors go to disk."""

_READ_BYTES: Final = 2**22


class Parts:
    """A file of vectors that grows by parts; ``done`` are whole and on disk."""

    def __init__(self, folder: Path, asked: str) -> None:
        """Goes on after the parts of an earlier attempt that asked for the same, if they are as they were written."""
        self._folder, self._path, self._progress, self._asked = folder, folder / VECTORS, folder / _PROGRESS, asked
        self._total: Any = hashlib.sha256()
        self.done, size = self._found()
        self._early = self._found_early()
        if not self.done:
            self._total = hashlib.sha256()
            self._path.unlink(missing_ok=True)  # a finished index may share the file
        self._file: IO[bytes] = self._path.open("r+b" if self.done else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self._join()

    def __contains__(self, number: int) -> bool:
        """Whether a part need not be made any more."""
        return number < self.done or number in self._early

    def put(self, number: int, vectors: bytes) -> None:
        """Writes a part; one that comes before those that it follows waits for them in a file of its own."""
        if number != self.done:
            path = self._folder / f"{self._asked}.{number}.{hashlib.sha256(vectors).hexdigest()}{_EARLY}"
            with atomic_file(path, force=True) as beside:
                beside.write_bytes(vectors)
            self._early[number] = path
            return
        self._add(vectors)
        self._join()

    def _join(self) -> None:
        """Adds the parts that waited for the last one, which may be that of an attempt that was stopped before this.

        Raises: OutputError for one that is no longer as it was written.
        """
        while (next_one := self._early.pop(self.done, None)) is not None:
            vectors = next_one.read_bytes()
            if hashlib.sha256(vectors).hexdigest() not in next_one.name:
                next_one.unlink()
                raise OutputError(f"{next_one}: is damaged, and removed; give the command again to encode it anew.")
            self._add(vectors)
            next_one.unlink()

    def _add(self, vectors: bytes) -> None:
        """Writes the next part, and that it is written: after this a power cut costs no part of it."""
        self._file.write(vectors)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._total.update(vectors)
        self.done += 1
        note = {"asked": self._asked, "parts": self.done, "bytes": self._file.tell(), "sha256": self._total.hexdigest()}
        beside = self._progress.with_suffix(".tmp")
        write_sealed(beside, note)
        os.replace(beside, self._progress)

    def close(self) -> None:
        """No more parts come."""
        self._file.close()

    def _found(self) -> tuple[int, int]:
        """The parts that are whole, and their bytes; none of another attempt, and none that are damaged."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            note = read_sealed(self._progress)
            if note["asked"] == self._asked and 0 <= note["bytes"] <= self._path.stat().st_size:
                self._read(int(note["bytes"]))
                if self._total.hexdigest() == note["sha256"]:
                    return int(note["parts"]), int(note["bytes"])
        return 0, 0

    def _found_early(self) -> dict[int, Path]:
        """The parts that wait for others; what is damaged, or of another attempt, is removed."""
        found: dict[int, Path] = {}
        for path in self._folder.glob(f"*{_EARLY}"):
            asked, *rest = path.name.removesuffix(_EARLY).split(".")
            number = int(rest[0]) if len(rest) == 2 and rest[0].isdecimal() else -1
            if asked == self._asked and number >= self.done and file_digest(path) == rest[1]:
                found[number] = path
            else:
                path.unlink()
        return found

    def _read(self, size: int) -> None:
        with self._path.open("rb") as file:
            while size and (block := file.read(min(size, _READ_BYTES))):
                self._total.update(block)
                size -= len(block)


@contextmanager
def unfinished(scorer: Scorer, collection: Collection, part: int, folder: Path, target: Path) -> Iterator[Parts]:
    """The vectors of a collection in parts of so many passages, in a folder of their own, and at last at ``target``.

    What an earlier attempt with the same model, collection and batches has left in the folder is kept, and it stays
    there until whoever needs the vectors has done all with them that may fail.
    """
    asked = hashlib.sha256(f"{fingerprint(scorer)}|{collection.digest}|{scorer.tokens_per_batch}|{part}".encode())
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(folder, asked.hexdigest())
    try:
        yield parts
    finally:
        parts.close()
    try:
        os.link(folder / VECTORS, target)
    except OSError:  # a file system without links
        os.replace(folder / VECTORS, target)


def encode_collection(scorer: Scorer, collection: Collection, folder: Path, advance: Advance, left: Path) -> Truncation:
    """Writes every passage's vector, in file order, and the doc_ids; memory does not grow with the collection.

    The vectors grow in the folder ``left``, and where an earlier attempt left some there it goes on after them.
    The result counts the passages that were cut, as its pairs, and the tokens that they lost.
    """
    with (
        unfinished(scorer, collection, PASSAGES_AT_ONCE, left, folder / VECTORS) as parts,
        (folder / DOC_IDS).open("w", encoding="utf-8") as doc_ids,
    ):
        chunks = _Chunks(scorer, collection, doc_ids, parts, advance)
        with named(partial(_passage, collection, chunks.missing)):
            for place, vectors in scorer.vectors_of(chunks, advance):
                parts.put(chunks.missing[place], vectors.tobytes())
    return Truncation(0, chunks.cut, chunks.lost)


class _Chunks:
    """The texts of a collection, part by part, of the parts that are missing; their numbers are known as they are read.

    All doc_ids are written on the way, and what was ``cut`` and ``lost`` is counted.
    """

    def __init__(self, scorer: Scorer, collection: Collection, doc_ids: TextIO, parts: Parts, advance: Advance) -> None:
        self._scorer, self._collection, self._doc_ids = scorer, collection, doc_ids
        self._parts, self._advance = parts, advance
        self.missing: list[int] = []
        self.cut = self.lost = 0

    def __iter__(self) -> Iterator[Texts]:
        tokens = None
        with suppress(OutputError):  # a cache that cannot be written costs time alone
            tokens = build_token_file(self._scorer.reading, self._collection, lambda _: None)
        passages, scorer = iter(self._collection), self._scorer
        for number in count():
            chunk = list(islice(passages, PASSAGES_AT_ONCE))
            if not chunk:
                return
            self._doc_ids.writelines(f"{passage.doc_id}\n" for passage in chunk)
            numbers = np.arange(number * PASSAGES_AT_ONCE, number * PASSAGES_AT_ONCE + len(chunk))
            if tokens:
                texts = tokens.texts(numbers, scorer.room, scorer.template.keeps_end)
                scorer.unknown["passages"].count(texts, partial(self._read, chunk))
            else:
                texts = scorer.passages(passage.contents for passage in chunk)
            self.cut, self.lost = self.cut + int((texts.lost > 0).sum()), self.lost + int(texts.lost.sum())
            if number in self._parts:
                self._advance(len(chunk))
            else:
                self.missing.append(number)
                yield texts

    def _read(self, passages: Sequence[Passage], number: int) -> str:
        """A passage as it is tokenised."""
        return self._scorer.read_passage(passages[number].contents)


def _passage(collection: Collection, missing: Sequence[int], number: int) -> str:
    """The name of a passage by its number among those of the missing parts."""
    place, within = divmod(number, PASSAGES_AT_ONCE)
    passage = next(islice(collection, missing[place] * PASSAGES_AT_ONCE + within, None))
    return f"passage {passage.doc_id}"
