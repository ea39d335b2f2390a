"""Reads text files in lines and chunks, compressed or not, within bounds of memory."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ranker.errors import DataError
from ranker.limits import MAX_LINE_BYTES, MAX_UNPACKED_SHARE, SMALL_UNPACKED_BYTES

_CHUNK_BYTES = 2**18
_BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


def open_binary(path: Path) -> IO[bytes]:
    """Opens a file for reading bytes, decompressed where its name ends in ``.gz``.

    Raises: DataError where there is no such readable file.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder, expected a file.")
        return unpacked(path, gzip.GzipFile(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}.") from error


def unpacked(path: Path, file: io.BufferedIOBase) -> io.BufferedReader:
    """Wraps a decompressing ``file``, so that reading stops at what must be a decompression bomb.

    Reading raises: DataError above ``MAX_UNPACKED_SHARE`` times the size of ``path`` and ``SMALL_UNPACKED_BYTES``.
    """
    return io.BufferedReader(_Unpacked(path, file), _CHUNK_BYTES)


class _Unpacked(io.RawIOBase):
    """Counts the bytes that are decompressed; a pipe has no size, so its bound is that of small files."""

    def __init__(self, path: Path, file: io.BufferedIOBase) -> None:
        self._path, self._file = path, file
        self._left = max(SMALL_UNPACKED_BYTES, MAX_UNPACKED_SHARE * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read1(len(buffer))
        buffer[: len(data)] = data
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"{self._path}: unpacks to more than {MAX_UNPACKED_SHARE} times its size and {SMALL_UNPACKED_BYTES} "
                "bytes, as no text does; unpack it yourself if you trust it."
            )
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields the number of each line, from 1, and its bytes with the line end.

    Raises: DataError for a line above ``MAX_LINE_BYTES``, and a ``.gz`` that is truncated or not gzip.
    """
    with open_binary(path) as file:
        number = 0
        while True:
            try:
                line = file.readline(MAX_LINE_BYTES + 1)
            except _BROKEN_GZIP as error:
                raise DataError(f"{path}: is not a whole gzip file: {reason(error)}.") from error
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {reason(error)}.") from error
            if not line:
                return
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{path}:{number}: the line is longer than the {MAX_LINE_BYTES} bytes allowed.")
            yield number, line


def read_text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields the number of each line, from 1, and its text without the line end; a byte order mark is dropped.

    Raises: DataError as ``read_lines``, and for bytes that are not UTF-8.
    """
    for number, line in read_lines(path):
        yield number, line_text(path, number, line)


def line_text(path: Path, number: int, line: bytes) -> str:
    """Returns the text of a line without its end, and without a byte order mark where it is the first.

    Raises: DataError as ``decode_line``.
    """
    text = decode_line(path, number, line.rstrip(b"\r\n"))
    return text.removeprefix("\ufeff") if number == 1 else text


def decode_line(path: Path, number: int, line: bytes) -> str:
    """Decodes one line.

    Raises: DataError with file and line for bytes that are not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        value = line[error.start : error.start + 4]
        raise DataError(
            f"{path}:{number}: byte {error.start + 1} is not UTF-8: found {value!r}, expected UTF-8 text."
        ) from error


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yields the bytes of a file in chunks of whole lines.

    Raises: DataError as ``read_lines``.
    """
    rest: list[bytes] = []
    with open_binary(path) as file:
        while block := _next_block(path, file):
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                yield b"".join([*rest, head, newline])
                rest = []
            rest.append(tail)  # the start of a line that goes on in the next block
            if sum(map(len, rest)) > MAX_LINE_BYTES:
                raise DataError(f"{path}: has a line longer than the {MAX_LINE_BYTES} bytes allowed.")
    if any(rest):
        yield b"".join(rest)


def _next_block(path: Path, file: IO[bytes]) -> bytes:
    try:
        return file.read(_CHUNK_BYTES)
    except (*_BROKEN_GZIP, OSError) as error:
        raise DataError(f"{path}: cannot be read to its end: {reason(error)}.") from error


def reason(error: BaseException) -> str:
    """Returns the message of an error without the path, which the sentence around it already names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
