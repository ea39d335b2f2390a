"""The folder of an index: built under a lock and moved into place, with a manifest of its settings and files."""

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from ranker.data.collection import Collection
from ranker.errors import OutputError, SearchIndexError
from ranker.files.atomic import atomic_folder, check_output
from ranker.files.digests import SEAL, checked_digest, file_digest, is_intact, sealed
from ranker.files.json_files import read_object
from ranker.files.lines import reason
from ranker.files.locks import acquire, release
from ranker.wording import shortened

MANIFEST: Final = "manifest.json"

_FORMAT: Final = 2

KINDS: Final = {
    "bm25": "Lucene, through Anserini",
    "dense": "vectors of a dual encoder in FAISS",
}
"""The kinds of indexes."""

Setting = str | int | float | bool
Config = TypeVar("Config")


@dataclass(frozen=True)
class File:
    """The size and the digest of a file."""

    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """The kind of an index, the collection and settings that it was built from, and its files by their paths."""

    kind: str
    collection: str
    digest: str
    passages: int
    settings: Mapping[str, Setting]
    versions: Mapping[str, str]
    files: Mapping[str, File] = field(default_factory=dict)
    format: int = _FORMAT


_TYPES: Final = {
    "kind": str,
    "collection": str,
    "digest": str,
    "passages": int,
    "settings": dict,
    "versions": dict,
    "files": dict,
    "format": int,
}
_FILE_TYPES: Final = {"bytes": int, "sha256": str}


@contextmanager
def building(folder: Path, force: bool = False) -> Iterator[Path]:
    """Yields a new folder to fill, which becomes ``folder`` on success; leftovers of killed builds are removed.

    Raises: OutputError where the folder exists or cannot be written, or another process is building it.
    """
    check_output(folder, force)
    with _locked(folder):
        for leftover in _leftovers(folder):
            shutil.rmtree(leftover, ignore_errors=True)
        with atomic_folder(folder, force) as temporary:
            yield temporary


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Writes the manifest of a folder that is otherwise complete, and returns it with the digest of every file."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(folder)): File(path.stat().st_size, file_digest(path)) for path in paths}
    manifest = replace(manifest, files=files)
    record = sealed(asdict(manifest))
    (folder / MANIFEST).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return manifest


def index_kind(folder: Path) -> str:
    """Returns the kind of an index.

    Raises: SearchIndexError where there is no index, or its kind is unknown.
    """
    kind = _parse(folder / MANIFEST, _read_record(folder)).kind
    if kind not in KINDS:
        raise SearchIndexError(f"{folder}: is an index of kind {shortened(kind)}, expected {' or '.join(KINDS)}.")
    return kind


def read_manifest(folder: Path, kind: str) -> Manifest:
    """Reads the manifest of an index, and checks its kind and its files.

    Raises: SearchIndexError where there is no index, it was not finished, or files are missing, truncated or damaged.
    """
    record = _read_record(folder)
    manifest = _parse(folder / MANIFEST, record)
    if manifest.kind != kind:
        raise SearchIndexError(f"{folder}: is an index of kind {manifest.kind:.60}, expected {kind}.")
    damage = next(_damages(folder, manifest, checked_digest), None)
    if damage is not None:
        raise SearchIndexError(damage)
    return manifest


def damages(folder: Path) -> Iterator[str]:
    """Yields a sentence for each damaged file of an index; every file is read, even one whose digest is cached.

    Raises: SearchIndexError where there is no index.
    """
    yield from _damages(folder, _parse(folder / MANIFEST, _read_record(folder)), lambda path, _: file_digest(path))


def _damages(folder: Path, manifest: Manifest, digest: Callable[[Path, str], str]) -> Iterator[str]:
    """Checks sizes before digests, since no file needs to be read for them."""
    expected_digests = {}
    for name, file in manifest.files.items():
        path = folder / name
        size = _size(path)
        if size == file.bytes:
            expected_digests[path] = file.sha256
        else:
            sizes = f"has {size} bytes, expected {shortened(file.bytes)}"
            yield f"{path}: {sizes}: the index is incomplete; build it again."
    for path, expected in expected_digests.items():
        try:
            actual = digest(path, expected)
        except (OSError, ValueError) as error:  # ValueError for a name with a null byte
            yield f"{path}: cannot be read: {reason(error)}."
            continue
        if actual != expected:
            yield (
                f"{path}: has digest {shortened(actual)}, expected {shortened(expected)}: the file is damaged; "
                "build the index again."
            )


def _size(path: Path) -> int:
    """Returns the bytes of a file, 0 where there is none or its name is impossible."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def check_collection(folder: Path, manifest: Manifest, collection: Collection) -> None:
    """Checks that an index was built from a collection as it is now.

    Raises: SearchIndexError with both digests.
    """
    if manifest.digest != collection.digest:
        raise SearchIndexError(
            f"{folder}: was built from {manifest.collection} with digest {manifest.digest}, but {collection.path} "
            f"has digest {collection.digest}; build the index again, or give the dataset it was built from."
        )


def read_settings(folder: Path, manifest: Manifest, kind: type[Config]) -> Config:
    """Reads the settings of a manifest as the frozen dataclass ``kind``, whose defaults give the types.

    Raises: SearchIndexError for a setting that is unknown, missing, of another type or out of its bounds.
    """
    path = folder / MANIFEST
    known = {item.name: type(item.default) for item in fields(kind)}  # type: ignore[arg-type]
    _check_keys(path, manifest.settings, known)
    for name, value in manifest.settings.items():
        _check_type(path, name, value, known[name])
    try:
        return kind(**manifest.settings)
    except SearchIndexError as error:
        raise SearchIndexError(f"{path}: {error}") from error


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise SearchIndexError(_why_missing(folder))
    return read_object(path, SearchIndexError)


def _parse(path: Path, record: dict[str, Any]) -> Manifest:
    if record.get("format") != _FORMAT:
        raise SearchIndexError(
            f"{path}: has format {shortened(record.get('format'))}, expected {_FORMAT}; build it again."
        )
    content = {name: value for name, value in record.items() if name != SEAL}
    _check_keys(path, content, _TYPES)
    for name, value in content.items():
        _check_type(path, name, value, _TYPES[name])
    files = {name: _file(path, name, entry) for name, entry in content["files"].items()}
    # after the checks above, whose messages name the key that is wrong
    if not is_intact(record):
        raise SearchIndexError(f"{path}: is not as it was written: the file is damaged; build the index again.")
    return Manifest(**{**content, "files": files})


def _file(path: Path, name: str, entry: Any) -> File:
    _check_type(path, f"the file {shortened(name)}", entry, dict)
    _check_keys(path, entry, _FILE_TYPES)
    for key, value in entry.items():
        _check_type(path, f"{key} of {shortened(name)}", value, _FILE_TYPES[key])
    return File(**entry)


def _check_keys(path: Path, record: Mapping[str, Any], known: Mapping[str, type]) -> None:
    for name in record:
        if name not in known:
            raise SearchIndexError(f"{path}: has the unknown key {shortened(name)}, expected {', '.join(known)}.")
    for name in known:
        if name not in record:
            raise SearchIndexError(f"{path}: lacks the key {name!r}; build the index again.")


def _check_type(path: Path, name: str, value: Any, kind: type) -> None:
    """Compares types by ``type``, since for ``isinstance`` JSON's true is an int too."""
    allowed = (int, float) if kind is float else (kind,)
    if type(value) not in allowed:
        raise SearchIndexError(f"{path}: {name} is {shortened(value)}, expected {kind.__name__}.")


def _why_missing(folder: Path) -> str:
    if _leftovers(folder):
        return f"{folder}: there is no whole index: its building goes on or was stopped; run ranker index (again)."
    if folder.is_dir():
        return f"{folder}: has no {MANIFEST}, so it is no index, or its building was stopped; run ranker index again."
    return f"{folder}: there is no index; build one with ranker index."


def _leftovers(folder: Path) -> list[Path]:
    """Lists folders that builders of this one are filling or have left, by the names of ``atomic_folder``."""
    if not folder.parent.is_dir():
        return []
    named = re.compile(rf"\.{re.escape(folder.name)}\.\d+\.tmp")
    return [path for path in folder.parent.iterdir() if named.fullmatch(path.name)]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder's builder, which the system releases however the process ends."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire(path, wait=False)
    except TimeoutError:
        # of no cause: an error of the system would be taken for a disk that is full
        raise OutputError(
            f"{folder}: another process is building this index; wait for it, or give another --output."
        ) from None
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {reason(error)}; nothing was written.") from error
    try:
        yield
    finally:
        release(lock)
