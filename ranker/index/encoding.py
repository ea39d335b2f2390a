"""Encodes a collection to a file of vectors, part by part, so that an encoding that was stopped goes on."""

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
from ranker.progress import Advance
from ranker.scoring.batching import input_names
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import build_token_file
from ranker.scoring.tokens import Texts, Truncation

VECTORS: Final = "vectors.f32"
DOC_IDS: Final = "doc_ids.txt"
_PROGRESS: Final = "progress.json"
_EARLY: Final = ".part"

PASSAGES_AT_ONCE: Final = 16_384
"""Passages encoded before their vectors go to disk."""

_READ_BYTES: Final = 2**22


class Parts:
    """A file of vectors that grows by parts; the first ``done`` parts are whole and on disk."""

    def __init__(self, folder: Path, job: str) -> None:
        """Goes on after the parts of an earlier attempt of the same job, if they are as they were written.

        ``job`` names all that the vectors depend on.
        """
        self._folder, self._path, self._progress, self._job = folder, folder / VECTORS, folder / _PROGRESS, job
        self._total: Any = hashlib.sha256()
        self.done, size = self._whole_parts()
        self._early = self._early_parts()
        if not self.done:
            self._total = hashlib.sha256()
            self._path.unlink(missing_ok=True)  # a finished index may share the file
        self._file: IO[bytes] = self._path.open("r+b" if self.done else "w+b")
        self._file.truncate(size)
        self._file.seek(size)
        self._join()

    def __contains__(self, number: int) -> bool:
        """Whether a part is on disk."""
        return number < self.done or number in self._early

    def put(self, number: int, vectors: bytes) -> None:
        """Writes a part; one that comes early waits in a file of its own for those before it."""
        if number != self.done:
            path = self._folder / f"{self._job}.{number}.{hashlib.sha256(vectors).hexdigest()}{_EARLY}"
            with atomic_file(path, force=True) as temporary:
                temporary.write_bytes(vectors)
            self._early[number] = path
            return
        self._add(vectors)
        self._join()

    def _join(self) -> None:
        """Adds the parts that waited for the last one, as a stopped attempt may have left some.

        Raises: OutputError for one that is no longer as it was written.
        """
        while (path := self._early.pop(self.done, None)) is not None:
            vectors = path.read_bytes()
            if hashlib.sha256(vectors).hexdigest() not in path.name:
                path.unlink()
                raise OutputError(f"{path}: is damaged, and removed; give the command again to encode it anew.")
            self._add(vectors)
            path.unlink()

    def _add(self, vectors: bytes) -> None:
        """Writes the next part and notes it as written, so that a power cut after this loses nothing of it."""
        self._file.write(vectors)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._total.update(vectors)
        self.done += 1
        note = {"asked": self._job, "parts": self.done, "bytes": self._file.tell(), "sha256": self._total.hexdigest()}
        temporary = self._progress.with_suffix(".tmp")
        write_sealed(temporary, note)
        os.replace(temporary, self._progress)

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _whole_parts(self) -> tuple[int, int]:
        """Counts the parts that are whole, and their bytes; none of another job, and none where one is damaged."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            note = read_sealed(self._progress)
            if note["asked"] == self._job and 0 <= note["bytes"] <= self._path.stat().st_size:
                self._read(int(note["bytes"]))
                if self._total.hexdigest() == note["sha256"]:
                    return int(note["parts"]), int(note["bytes"])
        return 0, 0

    def _early_parts(self) -> dict[int, Path]:
        """Finds the parts that wait for others; those that are damaged, or of another job, are removed."""
        early: dict[int, Path] = {}
        for path in self._folder.glob(f"*{_EARLY}"):
            job, *rest = path.name.removesuffix(_EARLY).split(".")
            number = int(rest[0]) if len(rest) == 2 and rest[0].isdecimal() else -1
            if job == self._job and number >= self.done and file_digest(path) == rest[1]:
                early[number] = path
            else:
                path.unlink()
        return early

    def _read(self, size: int) -> None:
        with self._path.open("rb") as file:
            while size and (block := file.read(min(size, _READ_BYTES))):
                self._total.update(block)
                size -= len(block)


@contextmanager
def unfinished(scorer: Scorer, collection: Collection, part: int, folder: Path, target: Path) -> Iterator[Parts]:
    """Opens a collection's vectors in parts of ``part`` passages, and links them to ``target`` when all are there.

    An earlier attempt with the same model, collection and batches is continued. The folder is left in place, until
    whoever needs the vectors has done all with them that may fail.
    """
    facts = f"{scorer.fingerprint}|{collection.digest}|{scorer.backend.tokens_per_batch}|{part}"
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(folder, hashlib.sha256(facts.encode()).hexdigest())
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
    The result counts truncated passages as pairs.
    """
    with (
        unfinished(scorer, collection, PASSAGES_AT_ONCE, left, folder / VECTORS) as parts,
        (folder / DOC_IDS).open("w", encoding="utf-8") as doc_ids,
    ):
        chunks = _Chunks(scorer, collection, doc_ids, parts, advance)
        with input_names(partial(_passage, collection, chunks.missing)):
            for index, vectors in scorer.vectors_by_part(chunks, advance):
                parts.put(chunks.missing[index], vectors.tobytes())
    return Truncation(0, chunks.truncated, chunks.lost)


class _Chunks:
    """Yields the texts of the parts that are missing, and notes the number of each in ``missing``.

    All doc_ids are written on the way, and passages ``truncated`` and tokens ``lost`` are counted.
    """

    def __init__(self, scorer: Scorer, collection: Collection, doc_ids: TextIO, parts: Parts, advance: Advance) -> None:
        self._scorer, self._collection, self._doc_ids = scorer, collection, doc_ids
        self._parts, self._advance = parts, advance
        self.missing: list[int] = []
        self.truncated = self.lost = 0

    def __iter__(self) -> Iterator[Texts]:
        tokens = None
        with suppress(OutputError):  # a cache that cannot be written costs time alone
            tokens = build_token_file(self._scorer.encoding, self._collection)
        passages, encoding = iter(self._collection), self._scorer.encoding
        for number in count():
            chunk = list(islice(passages, PASSAGES_AT_ONCE))
            if not chunk:
                return
            self._doc_ids.writelines(f"{passage.doc_id}\n" for passage in chunk)
            numbers = np.arange(number * PASSAGES_AT_ONCE, number * PASSAGES_AT_ONCE + len(chunk))
            if tokens:
                texts = tokens.texts(numbers, encoding.room, encoding.template.keeps_end)
                encoding.unknown["passages"].count(texts, partial(self._prepared, chunk))
            else:
                texts = encoding.passages(passage.contents for passage in chunk)
            self.truncated += int((texts.lost > 0).sum())
            self.lost += int(texts.lost.sum())
            if number in self._parts:
                self._advance(len(chunk))
            else:
                self.missing.append(number)
                yield texts

    def _prepared(self, passages: Sequence[Passage], index: int) -> str:
        """Gives a passage as it is tokenized."""
        return self._scorer.encoding.prepare_passage(passages[index].contents)


def _passage(collection: Collection, missing: Sequence[int], index: int) -> str:
    """Names a passage by its index among those of the missing parts."""
    part, within = divmod(index, PASSAGES_AT_ONCE)
    passage = next(islice(collection, missing[part] * PASSAGES_AT_ONCE + within, None))
    return f"passage {passage.doc_id}"
