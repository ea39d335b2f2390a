"""Reads the files of a collection one after another, from a file, a folder, or a tar archive."""

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
    """A file that can be read until the next is asked for; ``location`` names it in messages, ``name`` is its own."""

    location: str
    name: str
    file: IO[bytes]

    def content(self) -> str:
        """Returns its text; bytes that are not UTF-8 become U+FFFD, as in Anserini.

        Raises: DataError where it cannot be read, or is larger than ``MAX_DOCUMENT_BYTES``.
        """
        data = self._read(self.file.read)
        if len(data) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{self.location}: is larger than the {MAX_DOCUMENT_BYTES} bytes allowed for one document.")
        return data.decode("utf-8", errors="replace")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yields the number of each line, from 1, and its text with the line end, decoded as in ``content``.

        Raises: DataError where it cannot be read, or a line is larger than ``MAX_DOCUMENT_BYTES``.
        """
        for number in count(1):
            line = self._read(self.file.readline)
            if not line:
                return
            if len(line) > MAX_DOCUMENT_BYTES:
                raise DataError(f"{self.location}:{number}: is longer than the {MAX_DOCUMENT_BYTES} bytes allowed.")
            yield number, line.decode("utf-8", errors="replace")

    def _read(self, read: Callable[[int], bytes]) -> bytes:
        try:
            return read(MAX_DOCUMENT_BYTES + 1)
        except _BROKEN as error:
            raise DataError(f"{self.location}: cannot be read to its end: {reason(error)}.") from error


def members(path: Path, skipped: Counter[str]) -> Iterator[Member]:
    """Yields the regular files at a path that are not hidden; nothing is unpacked to disk, and no link is followed.

    Files of a folder come in the order of their paths, those of an archive in its own.
    Raises: DataError for a file that cannot be read, and an archive with a member whose path leads out of it.
    """
    try:
        yield from _tar_members(path, skipped) if path.name.endswith(_TAR_ENDINGS) else _file_members(path, skipped)
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read to its end: {reason(error)}.") from error


def _file_members(path: Path, skipped: Counter[str]) -> Iterator[Member]:
    for file in _walk(path, skipped) if path.is_dir() else [path]:
        with open_binary(file) as content:
            yield Member(str(file), file.name.removesuffix(".gz"), content)


def _walk(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            skipped["links"] += 1
        elif entry.is_dir():
            yield from _walk(entry, skipped)
        elif entry.is_file():
            yield entry
        else:  # a pipe without a writer never ends
            skipped["pipes and devices"] += 1


def _tar_members(path: Path, skipped: Counter[str]) -> Iterator[Member]:
    empty = True
    with open_tar(path) as file:
        for entry in entries(file):
            empty = False
            member_path = PurePosixPath(entry.name)
            if member_path.is_absolute() or ".." in member_path.parts:
                raise DataError(f"{path}: the member {entry.name!r} leads out of the archive, expected a path within.")
            if entry.info.issym() or entry.info.islnk():
                skipped["links"] += 1
            if entry.info.isreg() and not member_path.name.startswith("."):
                shown = entry.name if entry.name.isprintable() else repr(entry.name)  # messages have one line
                yield Member(f"{path}: {shown}", member_path.name, entry.file)
    if empty:
        raise DataError(f"{path}: is empty, expected a tar archive.")
