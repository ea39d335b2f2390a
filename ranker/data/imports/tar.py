"""Reads tar archives as streams, in bounded memory and time, which tarfile does not.

tarfile reads long names and maps of holes whole, whatever their size; it needs 20 seconds for an extended header of
64 KiB of digits; a chain of long names ends in a RecursionError, and a damaged header in the middle is taken for the
end. It takes the blocks of a header apart here, and no more.
"""

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
"""Readers of compressed files, by the first two bytes."""

_PAX: Final = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_HEADERS: Final = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, *_PAX, tarfile.XGLTYPE)
"""Types of blocks that describe the member after them, or all members."""


class Entry(NamedTuple):
    """A member of an archive; ``file`` can be read until the next member is asked for."""

    name: str
    info: tarfile.TarInfo
    file: IO[bytes]


def open_tar(path: Path) -> IO[bytes]:
    """Opens an archive for reading bytes, decompressed by its content, whatever its name.

    Raises: DataError as ``open_binary``.
    """
    with open_binary(path) if path.suffix != ".gz" or path.is_dir() else path.open("rb") as file:
        packed = _PACKED.get(file.read(2))
    return unpacked(path, packed(path)) if packed else path.open("rb")


def entries(file: IO[bytes]) -> Iterator[Entry]:
    """Yields the members of an archive, in its order.

    Raises: tarfile.TarError and ValueError for a malformed archive, EOFError for one that is truncated.
    """
    global_fields: dict[str, str] = {}
    fields: dict[str, str] = {}  # of the next member
    while (block := _read_exactly(file, tarfile.BLOCKSIZE)).strip(b"\0"):
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type in _HEADERS:
            data = _read_header(file, info)
            if info.type == tarfile.GNUTYPE_LONGNAME:
                fields["path"] = _text(data.partition(b"\0")[0])
            elif info.type != tarfile.GNUTYPE_LONGLINK:
                (fields if info.type in _PAX else global_fields).update(_pax_records(data))
            continue
        entry = _entry(file, info, global_fields | fields)
        yield entry
        _skip_rest(entry.file, info.size)
        fields = {}


def _entry(file: IO[bytes], info: tarfile.TarInfo, fields: dict[str, str]) -> Entry:
    if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in fields):
        raise tarfile.ReadError(f"the member {info.name!r} has holes, expected all its bytes")
    # only regular files have content; types that tarfile does not know count as regular
    has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
    info.size = int(fields.get("size", info.size)) if has_content else 0
    if info.size < 0:
        raise tarfile.ReadError(f"the member {info.name!r} has {info.size} bytes, expected 0 or more")
    return Entry(fields.get("path", info.name), info, io.BufferedReader(_Content(file, info.size)))


def _read_header(file: IO[bytes], info: tarfile.TarInfo) -> bytes:
    if not 0 <= info.size <= MAX_ARCHIVE_NAME_BYTES:
        raise tarfile.ReadError(f"a header has {info.size} bytes, at most {MAX_ARCHIVE_NAME_BYTES} are allowed")
    return _read_exactly(file, info.size + -info.size % tarfile.BLOCKSIZE)[: info.size]


def _pax_records(data: bytes) -> Iterator[tuple[str, str]]:
    """Yields keys and values of an extended header: records ``LENGTH KEY=VALUE`` with a line end, all in LENGTH."""
    start = 0
    while start < len(data) and data[start : start + 1] != b"\0":
        length, blank, _ = data[start : start + 20].partition(b" ")
        end = start + int(length)
        key, equals, value = data[start + len(length) + 1 : end - 1].partition(b"=")
        if not (blank and equals and start < end <= len(data)):
            raise tarfile.ReadError("a header is not of records LENGTH KEY=VALUE")
        yield _text(key), _text(value)
        start = end


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _read_exactly(file: IO[bytes], size: int) -> bytes:
    """Reads so many bytes, or none where the archive ends before them.

    Raises: EOFError where it ends within them.
    """
    data = file.read(size)
    if data and len(data) < size:
        raise EOFError("the archive ends within a header")
    return data


def _skip_rest(content: IO[bytes], size: int) -> None:
    """Skips the bytes of a member that were not read, and the padding of its last block."""
    while content.read(tarfile.RECORDSIZE):
        pass
    content.detach().pad(-size % tarfile.BLOCKSIZE)  # type: ignore[attr-defined]  # IO lacks what its readers have


class _Content(io.RawIOBase):
    """Reads the content of a member, which is the next ``size`` bytes of the archive."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(min(len(buffer), self._left))
        if not data and self._left:
            raise EOFError("the archive ends before it")
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def pad(self, size: int) -> None:
        """Skips bytes that belong to no member."""
        self._file.read(size)
