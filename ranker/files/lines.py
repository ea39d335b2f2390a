"""Reading lines with their numbers, and writing beside and renaming, for every format."""

import errno
import gzip
import hashlib
import io
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ranker.errors import DataError, OutputError
from ranker.limits import MAX_LINE_BYTES, MAX_UNPACKED_SHARE, SMALL_UNPACKED_BYTES

_CHUNK_BYTES = 2**18
_BROKEN_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


def open_binary(path: Path) -> IO[bytes]:
    """The file's bytes, decompressed where its name ends in ``.gz``.

    Raises: DataError where there is no such readable file.
    """
    try:
        if path.is_dir():
            raise DataError(f"{path}: is a folder, expected a file.")
        return unpacked(path, gzip.GzipFile(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}.") from error


def unpacked(path: Path, file: io.BufferedIOBase) -> io.BufferedReader:
    """What ``file`` unpacks from ``path``, as long as that is not so much that it must be a bomb.

    Reading raises: DataError above ``MAX_UNPACKED_SHARE`` of the packed size and ``SMALL_UNPACKED_BYTES``.
    """
    return io.BufferedReader(_Unpacked(path, file), _CHUNK_BYTES)


class _Unpacked(io.RawIOBase):
    """Counts what is unpacked. Of a pipe the packed size is not known, so its bound is that of small files."""

    def __init__(self, path: Path, file: io.BufferedIOBase) -> None:
        self._path, self._file = path, file
        self._left = max(SMALL_UNPACKED_BYTES, MAX_UNPACKED_SHARE * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # as io has it
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
    """Each line's number, from 1, and its bytes, line end and all.

    Raises: DataError for a line above ``MAX_LINE_BYTES``, and a ``.gz`` that is cut short or none.
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


def open_text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line's number, from 1, and its text without the line end; a byte order mark is dropped.

    Raises: DataError as ``read_lines``, and for bytes that are not UTF-8.
    """
    for number, line in read_lines(path):
        text = decode_line(path, number, line.rstrip(b"\r\n"))
        yield number, text.removeprefix("\ufeff") if number == 1 else text


def decode_line(path: Path, number: int, line: bytes) -> str:
    """The text of one line.

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
    """The file's bytes in large pieces, each ending where a line ends.

    Raises: DataError as ``read_lines``.
    """
    rest: list[bytes] = []
    with open_binary(path) as file:
        while block := _next_block(path, file):
            head, newline, tail = block.rpartition(b"\n")
            if newline:
                yield b"".join([*rest, head, newline])
                rest = []
            rest.append(tail)
            if sum(map(len, rest)) > MAX_LINE_BYTES:
                raise DataError(f"{path}: has a line longer than the {MAX_LINE_BYTES} bytes allowed.")
    if any(rest):
        yield b"".join(rest)


def _next_block(path: Path, file: IO[bytes]) -> bytes:
    try:
        return file.read(_CHUNK_BYTES)
    except (*_BROKEN_GZIP, OSError) as error:
        raise DataError(f"{path}: cannot be read to its end: {reason(error)}.") from error


def digest(path: Path) -> str:
    """SHA-256 of the file's bytes, decompressed where its name ends in ``.gz``, in hexadecimal."""
    total = hashlib.sha256()
    for chunk in read_chunks(path):
        total.update(chunk)
    return total.hexdigest()


def reason(error: BaseException) -> str:
    """What went wrong in words, without the path that the message around it already names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def check_output(path: Path, force: bool) -> None:
    """Refuses a path that is taken, before any work is done for it.

    Raises: OutputError where it exists and ``force`` is false.
    """
    if not path.name:
        raise OutputError(f"{path}: is no place to write to; give another --output.")
    if str(path) == "-":
        raise OutputError("-: a result is a file, not standard output; give its name as --output.")
    if not force and os.path.lexists(path):
        raise OutputError(f"{path}: exists already; give --force to replace it, or another --output.")


@contextmanager
def written(path: Path, force: bool = False) -> Iterator[Path]:
    """A path beside ``path`` to write a file at, which takes its place only when all went well.

    Raises: OutputError for a path that is taken, a folder that cannot be written, and a full disk.
    """
    check_output(path, force)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with said_as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is not a file, so a file cannot replace it; give another --output.")
        try:
            yield beside
            _flush(beside)
            check_output(path, force)  # the work took its time, and somebody else may have written there
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def written_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """A new folder beside ``path`` to fill, which takes its place only when all went well.

    Raises: OutputError as ``written``.
    """
    check_output(path, force)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with said_as_output_error(path):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            give_usual_modes(beside)
            for file in beside.rglob("*"):
                if file.is_file():
                    _flush(file)
            check_output(path, force)
            _replace_folder(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def give_usual_modes(folder: Path) -> None:
    """Gives the files of a folder the permissions of any new file there; safetensors writes its own for the owner."""
    probe = folder / f".mode.{os.getpid()}"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_mode != mode:
            file.chmod(mode)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _replace_folder(new: Path, old: Path) -> None:
    if not os.path.lexists(old):
        new.rename(old)
        return
    if not old.is_dir() or old.is_symlink():
        raise OutputError(
            f"{old}: is not a folder, so a folder cannot replace it; remove it, or give another --output."
        )
    aside = old.with_name(f".{old.name}.{os.getpid()}.old")
    old.rename(aside)
    try:
        new.rename(old)
    except BaseException:
        aside.rename(old)
        raise
    shutil.rmtree(aside)


@contextmanager
def said_as_output_error(path: Path) -> Iterator[None]:
    """Turns the operating system's refusal to write into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"{path}: the disk is full; nothing was written.") from error
        raise OutputError(f"{path}: cannot be written: {reason(error)}; nothing was written.") from error
