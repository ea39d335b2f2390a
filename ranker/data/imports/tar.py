"""Tar archives as streams, in memory that has a bound: tarfile holds headers of any size, and every entry it passed."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from ranker.files.lines import open_binary, unpacked
from ranker.limits import MAX_ARCHIVE_NAME_BYTES

_PACKED: Final = {b"\x1f\x8b": gzip.GzipFile, b"BZ": bz2.BZ2File, b"\xfd7": lzma.LZMAFile}
"""Compressed files by how they begin."""

_EXTENDED: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *_EXTENDED, tarfile.XGLTYPE)
"""Headers that say more of the entry behind them, or of all of them."""


class Entry(NamedTuple):
    """A member of an archive; ``file`` can be read while its turn lasts."""

    name: str
    info: tarfile.TarInfo
    file: IO[bytes]


def open_tar(path: Path) -> IO[bytes]:
    """The archive's bytes, decompressed whatever it is called.

    Raises: DataError as ``open_binary``.
    """
    with open_binary(path) if path.suffix != ".gz" or path.is_dir() else path.open("rb") as file:
        packed = _PACKED.get(file.read(2))
    return unpacked(path, packed(path)) if packed else path.open("rb")


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """What the archive holds, in its order.

    Raises: tarfile.TarError and ValueError for what is no archive, EOFError for one that is cut short.
    """
    shared: dict[str, str] = {}
    own: dict[str, str] = {}
    while (block := _whole(file, tarfile.BLOCKSIZE)).strip(b"\0"):
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in _LONG:
            data = _header(file, info)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                own["path"] = _text(data.partition(b"\0")[0])
            elif info.type != tarfile.GNUTYPE_LONGLINK:
                (own if info.type in _EXTENDED else shared).update(_records(data))
            continue
        entry = _entry(file, info, shared | own)
        yield entry
        _skip(entry.file, info.size)
        own = {}


def _entry(file: IO[bytes], info: tarfile.TarInfo, said: dict[str, str]) -> Entry:
    if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in said):
        raise tarfile.ReadError(f"the member {info.name!r} has holes, expected all its bytes")
    holds = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
    info.size = int(said.get("size", info.size)) if holds else 0
    if info.size < 0:
        raise tarfile.ReadError(f"the member {info.name!r} has {info.size} bytes, expected 0 or more")
    return Entry(said.get("path", info.name), info, io.BufferedReader(_Content(file, info.size)))


def _header(file: IO[bytes], info: tarfile.TarInfo) -> bytes:
    if not 0 <= info.size <= MAX_ARCHIVE_NAME_BYTES:
        raise tarfile.ReadError(f"a header has {info.size} bytes, at most {MAX_ARCHIVE_NAME_BYTES} are allowed")
    return _whole(file, info.size + -info.size % tarfile.BLOCKSIZE)[: info.size]


def _records(data: bytes) -> Iterator[tuple[str, str]]:
    """Keys and values of an extended header: ``LENGTH KEY=VALUE`` and a line end, again and again."""
    place = 0
    while place < len(data) and data[place : place + 1] != b"\0":
        length, blank, _ = data[place : place + 20].partition(b" ")
        end = place + int(length)
        key, equals, value = data[place + len(length) + 1 : end - 1].partition(b"=")
        if not (blank and equals and place < end <= len(data)):
            raise tarfile.ReadError("a header is not of records LENGTH KEY=VALUE")
        yield _text(key), _text(value)
        place = end


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _whole(file: IO[bytes], size: int) -> bytes:
    """So many bytes, or none where the archive ends before them.

    Raises: EOFError where it ends within them.
    """
    data = file.read(size)
    if data and len(data) < size:
        raise EOFError("the archive ends within a header")
    return data


def _skip(content: IO[bytes], size: int) -> None:
    """Passes what was not read of a member, and what fills its last block."""
    while content.read(tarfile.RECORDSIZE):
        pass
    content.detach().pad(-size % tarfile.BLOCKSIZE)  # type: ignore[attr-defined]  # IO lacks what its readers have


class _Content(io.RawIOBase):
    """The next so many bytes of an archive."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # as io has it
        data = self._file.read(min(len(buffer), self._left))
        if not data and self._left:
            raise EOFError("the archive ends before it")
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def pad(self, size: int) -> None:
        """Passes bytes that belong to no member."""
        self._file.read(size)
