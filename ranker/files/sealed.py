"""Records and folders that carry the digest of what they hold, so that what was damaged on disk is not read back."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ranker.files.intact import file_digest

SEAL: Final = "record_sha256"
"""The key of a record under which the digest of all its others stands."""

FILES: Final = "sha256"
"""The key of a folder's record under which the digests of its files stand, by name."""


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of JSON values with the digest of it."""
    return {**record, SEAL: _digest(record)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a record is as it was sealed, or was written before records were."""
    return SEAL not in record or record[SEAL] == _digest({key: value for key, value in record.items() if key != SEAL})


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Writes a sealed record.

    Raises: OSError where it cannot be written.
    """
    path.write_text(json.dumps(sealed(record)) + "\n", encoding="utf-8")


def read_sealed(path: Path) -> dict[str, Any]:
    """The record that ``write_sealed`` wrote.

    Raises: OSError, ValueError or RecursionError where there is none that is as it was written.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or SEAL not in record or not is_intact(record):
        raise ValueError(f"{path} is not as it was written")
    return record


def seal_folder(folder: Path, name: str, record: Mapping[str, Any]) -> None:
    """Writes a sealed record into a folder that is complete otherwise, with the digest of every file in it.

    Raises: OSError where it cannot be written.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}
    write_sealed(folder / name, {**record, FILES: digests})


def read_sealed_folder(folder: Path, name: str, digest: Callable[[Path, str], str]) -> dict[str, Any]:
    """The record of a folder of which each file is as it was when it was sealed.

    ``digest`` is ``checked_digest``, or computes one whatever was found before.
    Raises: OSError, ValueError or RecursionError where that is not so.
    """
    record = read_sealed(folder / name)
    digests = record.get(FILES)
    if not isinstance(digests, dict):
        raise ValueError(f"{folder / name} is of no folder")
    for file, expected in digests.items():
        if digest(folder / file, expected) != expected:
            raise ValueError(f"{folder / file} is damaged")
    return record


def computed_digest(path: Path, _: str) -> str:
    """The digest of a file's bytes as they lie, whatever it should be.

    Raises: OSError where it cannot be read.
    """
    return file_digest(path)


def _digest(record: Mapping[str, Any]) -> str:
    """SHA-256 of a record as JSON gives it back, whatever the order of its keys."""
    plain = json.loads(json.dumps(record))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
