"""A collection of passages on disk, read by doc_id through an offset index that lies in the cache."""

import hashlib
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.data.beir import parse_passage, repeated_id
from ranker.data.records import Oddities, Oddity, Passage, describe_oddities
from ranker.errors import DataError
from ranker.files.atomic import atomic_folder, cache_folder
from ranker.files.digests import FILES, ChangeGuard, content_digest, file_state, read_sealed_folder, seal_folder
from ranker.files.lines import line_text, read_lines, read_text_lines, reason
from ranker.files.locks import build_lock
from ranker.limits import MAX_LINE_BYTES

_BUCKETS: Final = 64
"""Parts of the offset index that are sorted one at a time, so that sorting 8.8 M ids takes a few MB."""

_BATCH: Final = 65_536
"""Rows of the offset index that are held before they are written to their buckets."""

_READ_BYTES: Final = 8_192
"""Bytes read of a passage at once; most passages are shorter."""

_FORMAT: Final = 5
_COLUMNS: Final = ("hashes", "offsets", "numbers")
_META: Final = "meta.json"

_UNPACKED: Final = "corpus.jsonl"
"""The file in the cache that a ``.gz`` is decompressed to."""


@dataclass(frozen=True)
class _OffsetIndex:
    """Where each passage is in the file, sorted by the hash of its doc_id; the arrays are memory-mapped.

    Shape: hashes, offsets (bytes from the start of the file) and numbers (passages before it) (PASSAGES,).
    """

    hashes: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    numbers: NDArray[np.uint64]
    digest: str
    oddities: Oddities


class Collection:
    """The passages of a ``corpus.jsonl`` in BEIR layout, by doc_id, by number and in file order.

    ``digest`` is the SHA-256 of the (decompressed) file when its offset index was built. Passages without words are
    left out: they have no number, and ``oddities`` counts them with everything else that is irregular.
    """

    def __init__(self, path: Path, folder: Path, index: _OffsetIndex, guard: ChangeGuard) -> None:
        """Use ``Collection.open``."""
        self.path = path
        self.digest = index.digest
        self.oddities = index.oddities
        self._guard = guard
        self._folder = folder
        self._unpacked = folder / _UNPACKED if path.suffix == ".gz" else path
        self._index = index

    @classmethod
    def open(cls, path: Path) -> "Collection":
        """Opens the file, after building its offset index on first use.

        Raises: DataError with file and line for a malformed passage and a doc_id that stands twice.
        """
        guard = ChangeGuard()
        folder = cache_folder() / "collections" / _index_name(guard.watch(path))
        index = _read_index(folder)
        if index is None:
            with build_lock(folder):
                index = _read_index(folder)  # another process may have built it meanwhile
                if index is None:
                    with atomic_folder(folder, force=True) as temporary:
                        _build_index(path, temporary)
                    index = _read_index(folder)
        if index is None:
            raise DataError(f"{folder}: is changed by somebody else; give the command again.")
        return cls(path, folder, index, guard)

    def check_unchanged(self) -> None:
        """Checks that the file has not changed since it was opened.

        Raises: DataError where it has.
        """
        self._guard.check()

    def digest_now(self) -> str:
        """Computes the SHA-256 of the (decompressed) file anew, for a manifest.

        Raises: DataError where it is not ``digest``, though size and times are the same; the offset index is removed.
        """
        self.check_unchanged()
        digest = content_digest(self.path)
        if digest != self.digest:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise DataError(
                f"{self.path}: has digest {digest}, but what is remembered under its name, size and times is of "
                f"{self.digest}, which is removed now; give the command again."
            )
        return digest

    def __len__(self) -> int:
        """Returns the number of passages."""
        return len(self._index.offsets)

    def __iter__(self) -> Iterator[Passage]:
        """Yields every passage, in file order."""
        for number, line in read_text_lines(self._unpacked):
            passage = parse_passage(line, self.path, number)
            if passage is not None:
                yield passage

    def __contains__(self, doc_id: object) -> bool:
        """Returns whether a passage has this doc_id."""
        return isinstance(doc_id, str) and self._find_row(doc_id) is not None

    def __getitem__(self, doc_id: str) -> Passage:
        """Returns the passage of a doc_id.

        Raises: KeyError where there is none.
        """
        passage = self._passage_at(self._row(doc_id))
        if passage.doc_id != doc_id:
            raise DataError(_changed(self.path))
        return passage

    def number(self, doc_id: str) -> int:
        """Returns the position of a passage in file order, from 0.

        Raises: KeyError where there is none.
        """
        return int(self._index.numbers[self._row(doc_id)])

    def missing(self, doc_ids: Iterable[str]) -> list[str]:
        """Returns those of the doc_ids that no passage has, all looked up at once."""
        wanted = list(doc_ids)
        hashes = np.fromiter(map(_hash, wanted), np.uint64, len(wanted))
        rows = np.searchsorted(self._index.hashes, hashes)
        rows[rows == len(self)] = 0  # beyond the last hash; any row differs from it
        return [wanted[i] for i in np.flatnonzero(self._index.hashes[rows] != hashes)]

    def _row(self, doc_id: str) -> int:
        row = self._find_row(doc_id)
        if row is None:
            raise KeyError(doc_id)
        return row

    def _find_row(self, doc_id: str) -> int | None:
        """Returns the row of a doc_id in the offset index.

        A hash that stands there once is taken for the doc_id: of 8.8 M passages, another doc_id has one of the same 64
        bits by chance once in 10^12 look-ups. Where two passages share a hash, their lines are read.
        """
        wanted = _hash(doc_id)
        start, end = (int(np.searchsorted(self._index.hashes, wanted, side)) for side in ("left", "right"))
        if end - start == 1:
            return start
        return next((row for row in range(start, end) if self._passage_at(row).doc_id == doc_id), None)

    def _passage_at(self, row: int) -> Passage:
        offset = int(self._index.offsets[row])
        line = _read_line_at(self._unpacked, offset)
        try:
            passage = parse_passage(line_text(self.path, 1 if offset == 0 else 0, line), self.path, 0)
        except DataError as error:
            raise DataError(_changed(self.path)) from error
        if passage is None:
            raise DataError(_changed(self.path))
        return passage


def _changed(path: Path) -> str:
    return f"{path}: has changed since it was opened; open it again."


def _hash(doc_id: str) -> np.uint64:
    # an id from a command line may hold surrogates, which UTF-8 cannot encode and no passage has
    encoded = doc_id.encode(errors="surrogatepass")
    return np.uint64(int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little"))


def _index_name(path: Path) -> str:
    """Returns the name of the offset index of a file in its present state."""
    key = f"{_FORMAT}|{path.resolve()}|{file_state(path)}"
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _read_index(folder: Path) -> _OffsetIndex | None:
    """Reads an offset index; returns None where there is none, or it is damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        meta = read_sealed_folder(folder, _META)
        columns = [np.asarray(np.memmap(folder / name, np.uint64, mode="r")) for name in _COLUMNS]
        unpacked = meta[FILES].get(_UNPACKED, meta["digest"])  # only of a .gz, and then the digest of its content
        if unpacked == meta["digest"] and all(len(column) == meta["passages"] for column in columns):
            oddities = Counter({kind: int(meta["oddities"].get(kind.name, 0)) for kind in Oddity})
            return _OffsetIndex(columns[0], columns[1], columns[2], str(meta["digest"]), +oddities)
    return None


def _read_line_at(path: Path, offset: int) -> bytes:
    """Reads the line that starts at an offset, without its end.

    The file is opened for each line and never seeked, so that threads and forked processes may read at once.
    """
    parts: list[bytes] = []
    size = 0
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            while size <= MAX_LINE_BYTES and (block := os.pread(descriptor, _READ_BYTES, offset + size)):
                head, newline, _ = block.partition(b"\n")
                parts.append(head)
                size += len(head)
                if newline:
                    break
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}.") from error
    return b"".join(parts)


# building the offset index


def _build_index(path: Path, folder: Path) -> None:
    """Checks every line of a collection, and writes its offset index into a folder, sealed with the digests."""
    unpacked = path
    if path.suffix == ".gz":
        unpacked = folder / _UNPACKED
        with unpacked.open("wb") as file:
            file.writelines(line for _, line in read_lines(path))
    buckets = [folder / f"bucket{number}" for number in range(_BUCKETS)]
    digest, count, oddities = _scan(path, unpacked, buckets)
    _sort_buckets(path, unpacked, buckets, folder)
    counts = {kind.name: times for kind, times in oddities.items()}
    seal_folder(folder, _META, {"digest": digest, "passages": count, "source": str(path), "oddities": counts})


def _scan(path: Path, unpacked: Path, buckets: list[Path]) -> tuple[str, int, Oddities]:
    """Checks every line, and writes the row of each passage to the bucket of its hash.

    Returns the digest of the file, the number of passages, and the oddities.
    """
    total, offset, count, oddities = hashlib.sha256(), 0, 0, Oddities()
    hashes, offsets = array("Q"), array("Q")
    for number, line in read_lines(unpacked):
        passage = parse_passage(line_text(path, number, line), path, number, lambda kind, _: oddities.update([kind]))
        total.update(line)
        if passage is not None:
            hashes.append(int(_hash(passage.doc_id)))
            offsets.append(offset)
            count += 1
        offset += len(line)
        if len(hashes) == _BATCH:
            _write_rows(hashes, offsets, count, buckets)
            del hashes[:], offsets[:]
    if not count:
        left_out = f" ({describe_oddities(oddities)})" if oddities else ""
        raise DataError(f"{path}: has no passages{left_out}, expected one JSON object a line.")
    _write_rows(hashes, offsets, count, buckets)
    return total.hexdigest(), count, oddities


def _write_rows(hashes: "array[int]", offsets: "array[int]", end: int, buckets: list[Path]) -> None:
    """Appends the rows of the passages before number ``end`` to the buckets of their hashes."""
    columns = [np.frombuffer(column, dtype=np.uint64) for column in (hashes, offsets)]
    rows = np.stack([*columns, np.arange(end - len(hashes), end, dtype=np.uint64)], axis=1)
    # the top bits of a hash choose its bucket, so that sorted buckets, one behind another, are sorted as a whole
    owners = rows[:, 0] >> np.uint64(64 - (_BUCKETS - 1).bit_length())
    for number, bucket in enumerate(buckets):
        with bucket.open("ab") as file:
            file.write(rows[owners == number].tobytes())  # unlike tofile, it notices a full disk


def _sort_buckets(path: Path, unpacked: Path, buckets: list[Path], folder: Path) -> None:
    """Sorts the rows of each bucket by hash, appends them to the files of the columns, and removes the buckets."""
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in _COLUMNS]
        for bucket in buckets:
            rows = np.fromfile(bucket, dtype=np.uint64).reshape(-1, len(_COLUMNS))
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            _refuse_repeated_ids(path, unpacked, rows)
            for file, column in zip(files, rows.T, strict=True):
                file.write(column.tobytes())
            bucket.unlink()


def _refuse_repeated_ids(path: Path, unpacked: Path, rows: NDArray[np.uint64]) -> None:
    """Refuses a doc_id that stands twice; lines of equal hashes are read, since two doc_ids may share a hash.

    Shape: rows (PASSAGES, 3), sorted by hash.
    Raises: DataError that names the line.
    """
    repeats = np.flatnonzero(rows[1:, 0] == rows[:-1, 0])
    if not len(repeats):
        return
    offsets = {int(rows[row, 1]) for repeat in repeats for row in (repeat, repeat + 1)}
    lines: dict[str, int] = {}
    offset = 0
    for number, line in read_lines(unpacked):
        if offset in offsets:
            passage = parse_passage(line_text(path, number, line), path, number)
            first = number if passage is None else lines.setdefault(passage.doc_id, number)
            if passage is not None and first != number:
                raise DataError(f"{path}:{number}: {repeated_id(passage.doc_id, first)}")
        offset += len(line)
