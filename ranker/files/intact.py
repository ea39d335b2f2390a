"""Whether a file is as it was written, by its SHA-256; of a large one it is computed once for each state it is in."""

import hashlib
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from ranker.files.cache import cache_folder
from ranker.files.unchanged import stamp

_SMALL: Final = 64 * 2**20
"""Bytes of a file that every command reads through again: less than a tenth of a second for SHA-256."""

_SETTLED: Final = 2 * 10**9
"""Nanoseconds after which a change leaves another time behind, on any file system."""

_seen: set[str] = set()
"""States that this process has found whole, so that what opens a file for each batch reads it through once."""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes as they lie, in hexadecimal.

    Raises: OSError where it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_digest(path: Path, expected: str) -> str:
    """The digest of a file that should have the ``expected`` one.

    It is taken for that where the file was found so before, and has had no change since: neither its size nor its
    times, of which that of its last change of any kind is set by the system alone.
    Raises: OSError where it cannot be read.
    """
    state = path.stat()
    key = _key(path, expected)
    note = cache_folder() / "intact" / key
    if key in _seen or (state.st_size > _SMALL and note.exists()):
        return expected
    settled = time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED
    found = file_digest(path)
    if found == expected and settled:
        _seen.add(key)
        if state.st_size > _SMALL:
            _remember(note)
    return found


def _key(path: Path, expected: str) -> str:
    text = f"{path.resolve()}|{stamp(path)}|{expected}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:24]


def _remember(note: Path) -> None:
    """A cache that cannot be written costs time alone."""
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
