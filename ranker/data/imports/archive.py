"""The files of a collection, one after another: a file, a folder of files, or a tar archive read as a stream."""

import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO

from ranker.data.imports.tar import entries, open_tar
from ranker.errors import DataError
from ranker.files.lines import open_binary, reason
from ranker.limits import MAX_DOCUMENT_BYTES

_TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BROKEN = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError, RecursionError)


@dataclass(frozen=True)
class Member:
    """A file to read while its turn lasts. ``place`` names it in messages, ``name`` is the last part of its path."""

    place: str
    name: str
    file: IO[bytes]

    def content(self) -> str:
        """All of it as text; bytes that are not UTF-8 become U+FFFD, as Anserini reads them.

        Raises: DataError where it cannot be read, or is larger than ``MAX_DOCUMENT_BYTES``.
        """
        data = self._read(self.file.read)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{self.place}: is larger than the {MAX_DOCUMENT_BYTES} bytes allowed for one document.")
        return data.decode("utf-8", errors="replace")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Each line's number, from 1, and its text with its end, decoded as ``content`` does.

        Raises: DataError where it cannot be read, or a line is larger than ``MAX_DOCUMENT_BYTES``.
        """
        for number in count(1):
            line = self._read(self.file.readline)
            if not line:
                return
            if len(line) > MAX_DOCUMENT_BYTES:
                raise DataError(f"{self.place}:{number}: is longer than the {MAX_DOCUMENT_BYTES} bytes allowed.")
            yield number, line.decode("utf-8", errors="replace")

    def _read(self, read: Callable[[int], bytes]) -> bytes:
        try:
            return read(MAX_DOCUMENT_BYTES + 1)
        except _BROKEN as error:
            raise DataError(f"{self.place}: cannot be read to its end: {reason(error)}.") from error


def members(path: Path, skipped: Counter[str]) -> Iterator[Member]:
    """The regular files at a path, hidden ones left out; nothing is unpacked to disk, no link is followed.

    A folder's files come in the order of their paths, an archive's in its own.
    Raises: DataError for what cannot be read, and for an archive with a member whose path leads out of it.
    """
    try:
        yield from _tar_members(path, skipped) if path.name.endswith(_TAR_ENDINGS) else _file_members(path, skipped)
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read to its end: {reason(error)}.") from error


def _file_members(path: Path, skipped: Counter[str]) -> Iterator[Member]:
    for file in _files(path, skipped) if path.is_dir() else [path]:
        with open_binary(file) as content:
            yield Member(str(file), file.name.removesuffix(".gz"), content)


def _files(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            skipped["links"] += 1
        elif entry.is_dir():
            yield from _files(entry, skipped)
        elif entry.is_file():
            yield entry
        else:  # a pipe without a writer never ends
            skipped["pipes and devices"] += 1


def _tar_members(path: Path, skipped: Counter[str]) -> Iterator[Member]:
    empty = True
    with open_tar(path) as file:
        for entry in entries(file):
            empty = False
            inside = PurePosixPath(entry.name)
            if inside.is_absolute() or ".." in inside.parts:
                raise DataError(f"{path}: the member {entry.name!r} leads out of the archive, expected a path within.")
            if entry.info.issym() or entry.info.islnk():
                skipped["links"] += 1
            if entry.info.isreg() and not inside.name.startswith("."):
                yield Member(f"{path}: {_shown(entry.name)}", inside.name, entry.file)
    if empty:
        raise DataError(f"{path}: is empty, expected a tar archive.")


def _shown(name: str) -> str:
    """A member's name in messages of one line."""
    return name if name.isprintable() else repr(name)
