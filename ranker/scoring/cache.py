"""Scores on disk: appended as they are computed, and found by what they were computed from; knows no model."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.errors import OutputError
from ranker.files.atomic import atomic_file
from ranker.files.digests import read_sealed, write_sealed
from ranker.scoring.batching import Matrix
from ranker.scoring.tokens import Rows, Texts

Keys = NDArray[np.uint64]

_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""The constants of splitmix64 (Steele et al. 2014)."""


@dataclass(frozen=True)
class KeyedCache:
    """The cache as one job sees it: the things to be computed have the indices of their keys.

    ``known_before`` counts the records that were there when the job first began, which an attempt that was stopped may
    have begun. Shape: keys (things, 2).
    """

    records: "RecordFile"
    keys: Keys
    known_before: int

    def get(self, things: Rows) -> tuple[Matrix, NDArray[np.bool_]]:
        """Looks up the values of things, and which of them there are; what there is not is undefined.

        Shape: values (things, width), known (things,).
        """
        records = self.records.find(self.keys[things])  # -1 where there is none
        values = np.empty((len(things), self.records.width), dtype=np.float32)
        known = records >= 0
        values[known] = self.records.values(records[known])
        return values, known

    def new_to_job(self, things: Rows) -> NDArray[np.bool_]:
        """Whether things were unknown when the job first began, though a stopped attempt may have left their values.

        Shape: (things,).
        """
        return self.records.find(self.keys[things], self.known_before) < 0

    def add(self, things: Rows, values: Matrix) -> None:
        """Keeps the values of things for those who open the cache later."""
        self.records.add(self.keys[things], values)


@dataclass(frozen=True)
class JobCache:
    """The cache of a job: of pairs that are read together, or of the queries and the passages that are read apart."""

    sides: tuple[KeyedCache, ...]

    @cached_property
    def share(self) -> float:
        """Share of the job that was known when this attempt at it began, 0 to 1."""
        known = sum(int((side.records.find(side.keys) >= 0).sum()) for side in self.sides)
        return known / max(1, sum(len(side.keys) for side in self.sides))


class ScoreCache:
    """Values of all that was computed with one fingerprint, in a folder of its own."""

    def __init__(self, folder: Path, fingerprint: str, width: int) -> None:
        """Opens the cache; values have ``width`` numbers each, and what is not there yet is made when it is needed."""
        self._folder = folder / fingerprint
        self._records = RecordFile(self._folder / "records", width)

    @contextmanager
    def job(self, name: str, keys: tuple[Keys, ...]) -> Iterator[JobCache]:
        """Opens the cache for a job; if the job is stopped inside, its next attempt goes on with the same batches."""
        journal = self._folder / "jobs" / f"{name}.json"
        known_before = _known_before(journal, self._records.count)
        yield JobCache(tuple(KeyedCache(self._records, side, known_before) for side in keys))
        with suppress(OSError):
            journal.unlink()


_CHECKED_AT_ONCE: Final = 2**20
"""Values whose checksums are computed at once, so that a large file takes little memory beside its own."""


class RecordFile:
    """A file of records: a key of 16 bytes, ``width`` float32 values and a checksum each, in the order they came.

    A record cut short or changed on disk is ignored. Several processes may append at once. Where nothing can be written
    nothing is kept, and all else goes on.
    Shape: keys (records, 2), values (records, width), numbers (records,): their indices in the file.
    """

    def __init__(self, path: Path, width: int) -> None:
        """Reads the records that ``path`` holds by now."""
        self._path, self.width = path, width
        self._record = np.dtype([("key", "<u8", (2,)), ("values", "<f4", (width,)), ("check", "<u8")])
        records = self._read()
        self.count = len(records)
        intact = np.flatnonzero(records["check"] == _checks(records))
        self._numbers = intact[np.argsort(records["key"][intact, 0], kind="stable")]
        self._keys, self._values = records["key"][self._numbers], records["values"][self._numbers]

    def find(self, keys: Keys, before: int | None = None) -> Rows:
        """Finds the index of each key's record; -1 where there is none, or none of the first ``before`` in the file.

        Shape: keys (N, 2), result (N,).
        """
        if not len(self._keys):
            return np.full(len(keys), -1)
        indices = np.searchsorted(self._keys[:, 0], keys[:, 0])
        indices[indices == len(self._keys)] = 0
        # two keys that share their first half are met about never, and then cost a computation
        is_known = (self._keys[indices] == keys).all(axis=1)
        if before is not None:
            is_known &= self._numbers[indices] < before
        return np.where(is_known, indices, -1)

    def values(self, indices: Rows) -> Matrix:
        """Gives the values of records by the indices that ``find`` gives.

        Shape: (N, width).
        """
        return self._values[indices]

    def add(self, keys: Keys, values: Matrix) -> None:
        """Appends records for those who open the file later; a record cut short at its end is overwritten."""
        records = np.zeros(len(keys), dtype=self._record)
        records["key"], records["values"] = keys, values.reshape(len(keys), self.width)
        records["check"] = _checks(records)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self._path) as file:
                end = os.fstat(file).st_size
                os.pwrite(file, records.tobytes(), end - end % self._record.itemsize)
        except OSError:
            return

    def _read(self) -> NDArray[np.void]:
        try:
            size = self._path.stat().st_size // self._record.itemsize
            return np.fromfile(self._path, dtype=self._record, count=size)
        except OSError:
            return np.empty(0, dtype=self._record)


def _known_before(journal: Path, count: int) -> int:
    """Reads how many records there were when a job first began; it begins now where no attempt was stopped."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return min(int(read_sealed(journal)["records"]), count)
    with suppress(OSError, OutputError):
        journal.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(journal, force=True) as temporary:
            write_sealed(temporary, {"records": count})
    return count


def distinct(keys: Keys) -> tuple[Rows, Rows]:
    """Finds the first of equal keys, in order, and for every key its index among these.

    Shape: keys (N, 2), result (DISTINCT,) and (N,).
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))  # stable, so that the first of equal keys comes first
    begins = np.ones(len(keys), dtype=bool)  # in that order, whether a group of equal keys begins
    begins[1:] = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    first = order[begins]  # (DISTINCT,), in the order of keys
    in_order = np.argsort(first)  # back to the order in which they came
    index = np.empty(len(keys), dtype=np.int64)
    index[order] = np.argsort(in_order)[np.cumsum(begins) - 1]
    return first[in_order], index


def text_keys(texts: Texts) -> Keys:
    """Makes a key for each text from its ids.

    Shape: (texts, 2).
    """
    digests = b"".join(hashlib.blake2b(texts[row].tobytes(), digest_size=16).digest() for row in range(len(texts)))
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


def pair_keys(queries: Keys, passages: Keys) -> Keys:
    """Makes a key for each pair of two keys; the other way round is another pair.

    Shape: (N, 2) each.
    """
    mixed = queries.copy()
    for passage_half in (0, 1):
        mixed = _mixed(mixed + passages[:, [passage_half]] * np.array([_FIRST, _SECOND]))
        mixed = np.stack((mixed[:, 0] ^ (mixed[:, 1] >> np.uint64(32)), mixed[:, 1] + mixed[:, 0]), axis=1)
    return mixed


def _mixed(words: Keys) -> Keys:
    """Mixes words by splitmix64's bijection, after which each bit depends on all."""
    words = words + _STEP
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def _checks(records: NDArray[np.void]) -> NDArray[np.uint64]:
    """Computes a word that depends on each bit of key and values, and on their places."""
    words = _mixed(records["key"][:, 0]) + _mixed(records["key"][:, 1] ^ _STEP)
    bits = np.ascontiguousarray(records["values"]).view(np.uint32)  # (records, width)
    # a value counts otherwise at each place
    places = np.arange(1, bits.shape[1] + 1, dtype=np.uint64) * _STEP
    rows = max(1, _CHECKED_AT_ONCE // max(1, bits.shape[1]))
    for start in range(0, len(bits), rows):
        words[start : start + rows] += _mixed(bits[start : start + rows] + places).sum(axis=1)
    return _mixed(words)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Opens the file to append to, while nobody else does."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)
