"""A collection of passages on disk, read by id through an offset index that lies beside it in the cache."""

import hashlib
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranker.data.beir import parse_passage, repeated
from ranker.data.oddities import Oddities, Oddity, in_words
from ranker.data.records import Passage
from ranker.errors import DataError
from ranker.files.atomic import atomic_folder, cache_folder
from ranker.files.digests import (
    FILES,
    ChangeGuard,
    content_digest,
    file_state,
    read_sealed_folder,
    seal_folder,
)
from ranker.files.lines import decode_line, read_lines, read_text_lines, reason
from ranker.files.locks import build_lock
from ranker.limits import MAX_LINE_BYTES

_BUCKETS = 64
"""Parts of the offset index sorted one at a time, so that sorting 8.8 M ids takes a few MB."""

_BATCH = 65_536
"""Passages whose places are held before they go to their buckets on disk."""

_READ_BYTES = 8_192
"""What is read of a passage at once; most are shorter."""

_FORMAT = 5

_COLUMNS = ("hashes", "offsets", "numbers")

_META = "meta.json"

_PLAIN = "corpus.jsonl"
"""What a ``.gz`` is unpacked to, beside its table."""


@dataclass(frozen=True)
class _Table:
    """Each passage's place in the file, by the hash of its doc_id: where its line starts, and which number it has.

    The arrays are memory-mapped, sorted by hash.
    """

    hashes: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    numbers: NDArray[np.uint64]
    digest: str
    oddities: Oddities


class Collection:
    """Passages in a ``corpus.jsonl`` of BEIR layout: by doc_id, in file order, and by number.

    ``digest`` is the SHA-256 of the (decompressed) file as it was when the offset index was built. Passages without
    words are none: they have no number, and are counted in ``oddities`` with what else is not as it should be.
    """

    def __init__(self, path: Path, folder: Path, table: _Table, guard: ChangeGuard) -> None:
        """Use ``Collection.open``."""
        self._guard = guard
        self.path = path
        self.digest = table.digest
        self.oddities = table.oddities
        self._folder = folder
        self._plain = folder / _PLAIN if path.suffix == ".gz" else path
        self._table = table

    @classmethod
    def open(cls, path: Path) -> "Collection":
        """Opens the file, after building its offset index on first use.

        Raises: DataError with file and line for what no collection may hold.
        """
        guard = ChangeGuard()
        folder = cache_folder() / "collections" / _index_name(guard.watch(path))
        table = _table(folder)
        if table is None:
            with build_lock(folder):  # who waited for another to build it finds it built
                table = _table(folder) or _built(path, folder)
        if table is None:
            raise DataError(f"{folder}: is changed by somebody else; give the command again.")
        return cls(path, folder, table, guard)

    def check_unchanged(self) -> None:
        """Holds that the file is what it was when it was opened.

        Raises: DataError where it is not, for whoever is about to say what a result was made of.
        """
        self._guard.check()

    def digest_now(self) -> str:
        """SHA-256 of the (decompressed) file, of its bytes as they are, for whoever writes it down.

        Raises: DataError where it is not what was opened, though nothing else tells of a change; what was remembered
        of the file is removed then.
        """
        self.check_unchanged()
        found = content_digest(self.path)
        if found != self.digest:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise DataError(
                f"{self.path}: has digest {found}, but what is remembered under its name, size and times is of "
                f"{self.digest}, which is removed now; give the command again."
            )
        return found

    def __len__(self) -> int:
        """How many passages there are."""
        return len(self._table.offsets)

    def __iter__(self) -> Iterator[Passage]:
        """Every passage, in file order."""
        for number, line in read_text_lines(self._plain):
            passage = parse_passage(line, self.path, number)
            if passage is not None:
                yield passage

    def __contains__(self, doc_id: object) -> bool:
        """Whether a passage has this doc_id."""
        return isinstance(doc_id, str) and self._place(doc_id) is not None

    def __getitem__(self, doc_id: str) -> Passage:
        """The passage of this doc_id.

        Raises: KeyError where there is none.
        """
        place = self._place(doc_id)
        if place is None:
            raise KeyError(doc_id)
        passage = self._passage_at(int(self._table.offsets[place]))
        if passage.doc_id != doc_id:
            raise DataError(_changed(self.path))
        return passage

    def lacking(self, doc_ids: Iterable[str]) -> list[str]:
        """Those of many doc_ids that no passage has."""
        wanted = list(doc_ids)
        hashes = np.fromiter(map(_hash, wanted), np.uint64, len(wanted))
        places = np.searchsorted(self._table.hashes, hashes)
        places[places == len(self)] = 0
        return [wanted[i] for i in np.flatnonzero(self._table.hashes[places] != hashes)]

    def number(self, doc_id: str) -> int:
        """The passage's place in file order, from 0.

        Raises: KeyError where there is none.
        """
        place = self._place(doc_id)
        if place is None:
            raise KeyError(doc_id)
        return int(self._table.numbers[place])

    def _place(self, doc_id: str) -> int | None:
        """The row of the table.

        A hash that one passage has is taken for its id: that another of 64 bits is the same by chance happens once in
        10^12 lookups even of 8.8 M passages. Where two passages share one, their lines are read.
        """
        wanted = _hash(doc_id)
        first, end = (int(np.searchsorted(self._table.hashes, wanted, side)) for side in ("left", "right"))
        if end - first == 1:
            return first
        places = range(first, end)
        return next((at for at in places if self._passage_at(int(self._table.offsets[at])).doc_id == doc_id), None)

    def _passage_at(self, offset: int) -> Passage:
        line = _line_at(self._plain, offset)
        try:
            passage = parse_passage(_text(line, self.path, 1 if offset == 0 else 0), self.path, 0)
        except DataError as error:
            raise DataError(_changed(self.path)) from error
        if passage is None:
            raise DataError(_changed(self.path))
        return passage


def _table(folder: Path) -> _Table | None:
    """What was written before; None where there is nothing, or it is not as it was written."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        meta = read_sealed_folder(folder, _META)
        columns = [np.asarray(np.memmap(folder / name, np.uint64, mode="r")) for name in _COLUMNS]
        # passages that were unpacked are the collection
        whole = meta[FILES].get(_PLAIN, meta["digest"]) == meta["digest"]
        if whole and all(len(column) == meta["passages"] for column in columns):
            oddities = Counter({kind: int(meta["oddities"].get(kind.name, 0)) for kind in Oddity})
            return _Table(columns[0], columns[1], columns[2], str(meta["digest"]), +oddities)
    return None


def _built(path: Path, folder: Path) -> _Table | None:
    with atomic_folder(folder, force=True) as beside:
        _build(path, beside)
    return _table(folder)


def _changed(path: Path) -> str:
    return f"{path}: has changed since it was opened; open it again."


def _line_at(path: Path, offset: int) -> bytes:
    """Opens and closes, and seeks nothing, so that threads and forked processes may look up at once."""
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


def _hash(doc_id: str) -> np.uint64:
    """Ids from a command line may hold what UTF-8 cannot; no passage has such an id."""
    encoded = doc_id.encode(errors="surrogatepass")
    return np.uint64(int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little"))


def _index_name(path: Path) -> str:
    """Names the offset index of a file as it is now: another size or time of change is another index."""
    key = f"{_FORMAT}|{path.resolve()}|{file_state(path)}"
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _build(path: Path, folder: Path) -> None:
    """Reads the collection once: checks every line, and writes the columns of the table, and the digest."""
    plain = path
    if path.suffix == ".gz":
        plain = folder / _PLAIN
        with plain.open("wb") as unpacked:
            unpacked.writelines(line for _, line in read_lines(path))
    buckets = [folder / f"bucket{number}" for number in range(_BUCKETS)]
    total, count, oddities = _scan(path, plain, buckets)
    _sort(path, plain, buckets, folder)
    told = {kind.name: number for kind, number in oddities.items()}
    seal_folder(folder, _META, {"digest": total, "passages": count, "source": str(path), "oddities": told})


def _scan(path: Path, plain: Path, buckets: list[Path]) -> tuple[str, int, Oddities]:
    """Every line checked; the hash and offset of each passage in the bucket of the hash.

    The digest, how many passages there are, and what was odd.
    """
    total, offset, count, oddities = hashlib.sha256(), 0, 0, Oddities()
    hashes, offsets = array("Q"), array("Q")
    for number, line in read_lines(plain):
        passage = parse_passage(_text(line, path, number), path, number, lambda kind, _: oddities.update([kind]))
        total.update(line)
        if passage is not None:
            hashes.append(int(_hash(passage.doc_id)))
            offsets.append(offset)
            count += 1
        offset += len(line)
        if len(hashes) == _BATCH:
            _distribute(hashes, offsets, count, buckets)
            del hashes[:], offsets[:]
    if not count:
        left_out = f" ({in_words(oddities)})" if oddities else ""
        raise DataError(f"{path}: has no passages{left_out}, expected one JSON object a line.")
    _distribute(hashes, offsets, count, buckets)
    return total.hexdigest(), count, oddities


def _text(line: bytes, path: Path, number: int) -> str:
    """A line as ``read_text_lines`` gives it."""
    text = decode_line(path, number, line.rstrip(b"\r\n"))
    return text.removeprefix("\ufeff") if number == 1 else text


def _distribute(hashes: "array[int]", offsets: "array[int]", end: int, buckets: list[Path]) -> None:
    """Passages up to the one numbered ``end - 1``, each to the bucket of its hash."""
    columns = [np.frombuffer(column, dtype=np.uint64) for column in (hashes, offsets)]
    rows = np.stack([*columns, np.arange(end - len(hashes), end, dtype=np.uint64)], axis=1)
    owner = rows[:, 0] >> np.uint64(64 - (_BUCKETS - 1).bit_length())
    for number, bucket in enumerate(buckets):
        with bucket.open("ab") as file:
            file.write(rows[owner == number].tobytes())  # unlike tofile, it notices a full disk


def _sort(path: Path, plain: Path, buckets: list[Path], folder: Path) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in _COLUMNS]
        for bucket in buckets:
            rows = np.fromfile(bucket, dtype=np.uint64).reshape(-1, len(_COLUMNS))
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            _refuse_repeats(path, plain, rows)
            for file, column in zip(files, rows.T, strict=True):
                file.write(column.tobytes())
            bucket.unlink()


def _refuse_repeats(path: Path, plain: Path, rows: NDArray[np.uint64]) -> None:
    """Equal hashes are looked up, since two ids may share one."""
    suspects = np.flatnonzero(rows[1:, 0] == rows[:-1, 0])
    if not len(suspects):
        return
    suspicious = {int(rows[i, 1]) for place in suspects for i in (place, place + 1)}
    lines: dict[str, int] = {}
    offset = 0
    for number, line in read_lines(plain):
        if offset in suspicious:
            passage = parse_passage(_text(line, path, number), path, number)
            first = number if passage is None else lines.setdefault(passage.doc_id, number)
            if passage is not None and first != number:
                raise DataError(f"{path}:{number}: {repeated(passage.doc_id, first)}")
        offset += len(line)
