"""SHA-256 digests of files and records, so that what was damaged on disk, or changed meanwhile, is not used."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ranker.errors import DataError, OutputError
from ranker.files.atomic import atomic_file, cache_folder
from ranker.files.lines import read_chunks, reason

SEAL: Final = "record_sha256"
"""The key of a sealed record that holds the digest of all other keys."""

FILES: Final = "sha256"
"""The key of a sealed folder's record that holds the digest of each file, by name."""

_SMALL: Final = 64 * 2**20
"""Bytes of a file that every process hashes again: SHA-256 takes less than a tenth of a second for them."""

_SETTLED: Final = 2 * 10**9
"""Nanoseconds since its last change after which any further change gives a file another time, on any file system."""

_verified: set[str] = set()
"""States of files that this process has verified, so that opening a file for each batch hashes it once."""


# files


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, compressed or not, in hexadecimal.

    Raises: OSError where it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, decompressed where its name ends in ``.gz``, in hexadecimal.

    Raises: DataError where it cannot be read.
    """
    total = hashlib.sha256()
    for chunk in read_chunks(path):
        total.update(chunk)
    return total.hexdigest()


def checked_digest(path: Path, expected: str) -> str:
    """Returns the digest of a file, without reading it again if it had the ``expected`` digest and has not changed.

    A change shows in ``file_state``. For files above ``_SMALL`` bytes, the cache remembers what was verified.
    Raises: OSError where it cannot be read.
    """
    state = path.stat()
    key = hashlib.sha256(f"{path.resolve()}|{file_state(path)}|{expected}".encode(errors="surrogateescape")).hexdigest()
    note = cache_folder() / "intact" / key[:24]
    if key in _verified or (state.st_size > _SMALL and note.exists()):
        return expected
    settled = time.time_ns() - max(state.st_mtime_ns, state.st_ctime_ns) > _SETTLED
    digest = file_digest(path)
    if digest == expected and settled:
        _verified.add(key)
        if state.st_size > _SMALL:
            with suppress(OSError):  # without a cache the file is hashed again next time
                note.parent.mkdir(parents=True, exist_ok=True)
                note.touch()
    return digest


def file_state(path: Path) -> str:
    """Returns size, times of change and inode of a file as one string, which differs after any change.

    Copying tools can set all of these (``cp -p``) but the time of the last change of status, which the system sets.
    Raises: DataError where there is no such file.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}.") from error
    return f"{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"


class ChangeGuard:
    """Remembers the state of files when they are first read, and refuses to go on once one of them has changed."""

    def __init__(self) -> None:
        self._states: dict[Path, str] = {}

    def watch(self, path: Path) -> Path:
        """Remembers the state of a file that is about to be read, and returns its path."""
        self._states.setdefault(path, file_state(path))
        return path

    def check(self) -> None:
        """Checks that no watched file has changed.

        Raises: DataError that names the first file that has.
        """
        for path, state in self._states.items():
            if file_state(path) != state:
                raise DataError(
                    f"{path}: has changed while it was used, so nothing was written; give the command again."
                )


# records and folders


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a record of JSON values with its digest added."""
    return {**record, SEAL: _record_digest(record)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Returns whether a record matches its digest, or has none, as records of earlier versions."""
    unsealed = {key: value for key, value in record.items() if key != SEAL}
    return SEAL not in record or record[SEAL] == _record_digest(unsealed)


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a sealed record as JSON.

    Raises: OSError where it cannot be written.
    """
    path.write_text(json.dumps(sealed(record)) + "\n", encoding="utf-8")


def read_sealed(path: Path) -> dict[str, Any]:
    """Reads a record that ``write_sealed`` wrote.

    Raises: OSError, ValueError or RecursionError where there is none, or it does not match its digest.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or SEAL not in record or not is_intact(record):
        raise ValueError(f"{path} is not as it was written")
    return record


def seal_folder(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Writes a sealed record into a folder that is otherwise complete, with the digest of every file in it.

    Raises: OSError where it cannot be written.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}
    write_sealed(folder / name, {**record, FILES: digests})


def read_sealed_folder(folder: Path, name: str, rehash: bool = False) -> dict[str, Any]:
    """Reads the record of a sealed folder, after checking the digest of every file in it.

    ``rehash`` reads all files again, also those that ``checked_digest`` remembers.
    Raises: OSError, ValueError or RecursionError where a file is missing or damaged.
    """
    record = read_sealed(folder / name)
    digests = record.get(FILES)
    if not isinstance(digests, dict):
        raise ValueError(f"{folder / name} is of no folder")
    for file, expected in digests.items():
        digest = file_digest(folder / file) if rehash else checked_digest(folder / file, expected)
        if digest != expected:
            raise ValueError(f"{folder / file} is damaged")
    return record


def measure_once(kind: str, facts: Iterable[object], measure: Callable[[], int], allowed: Iterable[int]) -> int:
    """Returns what ``measure`` returned when it was first called for these facts, which the cache remembers.

    A measurement of speed would vary from run to run, and with it what is chosen by it. It is repeated where the cache
    cannot be written, or holds a value that is not ``allowed``.
    """
    key = hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:24]
    path = cache_folder() / "measured" / f"{kind}-{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        known = read_sealed(path)["answer"]
        if type(known) is int and known in allowed:
            return known
    answer = measure()
    with suppress(OutputError), atomic_file(path, force=True) as temporary:
        write_sealed(temporary, {"kind": kind, "answer": answer})
    return answer


def _record_digest(record: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a record after a round trip through JSON, whatever the order of its keys."""
    plain = json.loads(json.dumps(record))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
