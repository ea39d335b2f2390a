"""What was computed before, on disk: appended as it is computed, found by what it was computed from."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranker.scoring.text import Texts

Keys = NDArray[np.uint64]
Rows = NDArray[np.int64]
Values = NDArray[np.float32]

_STEP, _FIRST, _SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
"""The constants of splitmix64 (Steele et al. 2014)."""


class Store:
    """Records of a key of 16 bytes, ``width`` float32 values and a checksum, in the order in which they came.

    A record cut short or changed on disk is none. Several processes may append at once. Where nothing can be written
    nothing is kept, and all else goes on.
    Shape: keys (records, 2), values (records, width), numbers (records,): their order in the file.
    """

    def __init__(self, path: Path, width: int) -> None:
        """The records that ``path`` holds by now."""
        self._path, self._width = path, width
        self._record = np.dtype([("key", "<u8", (2,)), ("values", "<f4", (width,)), ("check", "<u8")])
        found = self._read()
        self.count = len(found)
        intact = np.flatnonzero(found["check"] == _checks(found))
        self._numbers = intact[np.argsort(found["key"][intact, 0], kind="stable")]
        self._keys, self._values = found["key"][self._numbers], found["values"][self._numbers]

    def find(self, keys: Keys, before: int | None = None) -> Rows:
        """Where the records of these keys are among all; -1 where there is none, or none of the first ``before``.

        Shape: keys (N, 2), result (N,).
        """
        if not len(self._keys):
            return np.full(len(keys), -1)
        places = np.searchsorted(self._keys[:, 0], keys[:, 0])
        places[places == len(self._keys)] = 0
        # two keys that share their first half are met about never, and then cost a computation
        found = (self._keys[places] == keys).all(axis=1)
        if before is not None:
            found &= self._numbers[places] < before
        return np.where(found, places, -1)

    def values(self, places: Rows) -> Values:
        """The values of records that ``find`` found.

        Shape: (N, width).
        """
        return self._values[places]

    def add(self, keys: Keys, values: Values) -> None:
        """Appends records for those who open the file after; what was cut short at its end is overwritten."""
        records = np.zeros(len(keys), dtype=self._record)
        records["key"], records["values"] = keys, values.reshape(len(keys), self._width)
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


def text_keys(texts: Texts) -> Keys:
    """A key for each text, by its ids.

    Shape: (texts, 2).
    """
    digests = b"".join(hashlib.blake2b(texts[row].tobytes(), digest_size=16).digest() for row in range(len(texts)))
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


def pair_keys(queries: Keys, passages: Keys) -> Keys:
    """A key for each pair of two keys; the other way round is another pair.

    Shape: (N, 2) each.
    """
    mixed = queries.copy()
    for passage_half in (0, 1):
        mixed = _mixed(mixed + passages[:, [passage_half]] * np.array([_FIRST, _SECOND]))
        mixed = np.stack((mixed[:, 0] ^ (mixed[:, 1] >> np.uint64(32)), mixed[:, 1] + mixed[:, 0]), axis=1)
    return mixed


def _mixed(words: Keys) -> Keys:
    """splitmix64's bijection of 64 bits that lets each bit depend on all."""
    words = words + _STEP
    words = (words ^ (words >> np.uint64(30))) * _FIRST
    words = (words ^ (words >> np.uint64(27))) * _SECOND
    return words ^ (words >> np.uint64(31))


def _checks(records: NDArray[np.void]) -> NDArray[np.uint64]:
    """A word that depends on each bit of key and values, and on their places."""
    total = _mixed(records["key"][:, 0]) + _mixed(records["key"][:, 1] ^ _STEP)
    bits = np.ascontiguousarray(records["values"]).view(np.uint32)
    for place in range(bits.shape[1]):
        total = _mixed(total + bits[:, place])
    return total


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, to append to while nobody else does."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)
