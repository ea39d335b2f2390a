"""The folder of an index: built beside its place under a lock, with a manifest that says what it was built from."""

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
"""What an index can be."""

Setting = str | int | float | bool
Config = TypeVar("Config")


@dataclass(frozen=True)
class File:
    """A file as it was written."""

    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """What an index is and was built from, and each of its ``files``, by its path in the folder."""

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
    """A new folder to fill, which becomes ``folder`` only when all went well; what a killed builder left is removed.

    Raises: OutputError where the folder is taken or cannot be written, or another process builds it right now.
    """
    check_output(folder, force)
    with _locked(folder):
        for leftover in _leftovers(folder):
            shutil.rmtree(leftover, ignore_errors=True)
        with atomic_folder(folder, force) as beside:
            yield beside


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes the manifest of a folder that is complete otherwise, with size and digest of every file in it."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(folder)): File(path.stat().st_size, file_digest(path)) for path in paths}
    record = sealed(asdict(replace(manifest, files=files)))
    (folder / MANIFEST).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def index_kind(folder: Path) -> str:
    """What an index is.

    Raises: SearchIndexError where there is none, or its kind is unknown.
    """
    kind = _parse(folder / MANIFEST, _read_record(folder)).kind
    if kind not in KINDS:
        raise SearchIndexError(f"{folder}: is an index of kind {shortened(kind)}, expected {' or '.join(KINDS)}.")
    return kind


def read_manifest(folder: Path, kind: str) -> Manifest:
    """The manifest of an index that is whole and of the kind asked for.

    Raises: SearchIndexError where there is no index, its building did not end, or files are missing, cut short or
    damaged.
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
    """A sentence for each file of an index that is not as it was written; all are read through, whatever is remembered.

    Raises: SearchIndexError where there is no index.
    """
    yield from _damages(folder, _parse(folder / MANIFEST, _read_record(folder)), lambda path, _: file_digest(path))


def _damages(folder: Path, manifest: Manifest, digest: Callable[[Path, str], str]) -> Iterator[str]:
    """Wrong sizes come first, since nothing need be read for them."""
    whole = {}
    for name, file in manifest.files.items():
        path = folder / name
        found = _size(path)
        if found == file.bytes:
            whole[path] = file.sha256
        else:
            size = f"has {found} bytes, expected {shortened(file.bytes)}"
            yield f"{path}: {size}: the index is incomplete; build it again."
    for path, expected in whole.items():
        try:
            actual = digest(path, expected)
        except (OSError, ValueError) as error:  # the second for a name that is none
            yield f"{path}: cannot be read: {reason(error)}."
            continue
        if actual != expected:
            yield (
                f"{path}: has digest {shortened(actual)}, expected {shortened(expected)}: the file is damaged; "
                "build the index again."
            )


def _size(path: Path) -> int:
    """The bytes of a file, 0 of what is none or could not even be called so."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0


def check_collection(folder: Path, manifest: Manifest, collection: Collection) -> None:
    """Holds that an index was built from a collection as it is now.

    Raises: SearchIndexError with both digests.
    """
    if manifest.digest != collection.digest:
        raise SearchIndexError(
            f"{folder}: was built from {manifest.collection} with digest {manifest.digest}, but {collection.path} "
            f"has digest {collection.digest}; build the index again, or give the dataset it was built from."
        )


def read_settings(folder: Path, manifest: Manifest, kind: type[Config]) -> Config:
    """The settings of a manifest as the frozen dataclass ``kind``; each of its fields, of its default's type.

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
    told = {name: value for name, value in record.items() if name != SEAL}
    _check_keys(path, told, _TYPES)
    for name, value in told.items():
        _check_type(path, name, value, _TYPES[name])
    files = {name: _file(path, name, entry) for name, entry in told["files"].items()}
    if not is_intact(record):
        raise SearchIndexError(f"{path}: is not as it was written: the file is damaged; build the index again.")
    return Manifest(**{**told, "files": files})


def _file(path: Path, name: str, entry: Any) -> File:  # noqa: ANN401  # whatever JSON holds
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


def _check_type(path: Path, name: str, value: Any, kind: type) -> None:  # noqa: ANN401
    """JSON's true is a Python int too; ``type`` tells them apart where ``isinstance`` does not."""
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
    """Folders that builders of this one fill or have left, named as ``atomic_folder`` names them."""
    if not folder.parent.is_dir():
        return []
    named = re.compile(rf"\.{re.escape(folder.name)}\.\d+\.tmp")
    return [path for path in folder.parent.iterdir() if named.fullmatch(path.name)]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The lock of a folder's builder; the system releases it when the process ends, however it ends."""
    path = folder.with_name(f".{folder.name}.lock")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire(path, wait=False)
    except TimeoutError as error:
        raise OutputError(
            f"{folder}: another process is building this index; wait for it, or give another --output."
        ) from error
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {reason(error)}; nothing was written.") from error
    try:
        yield
    finally:
        release(lock)
