"""Opens datasets by name: a folder in BEIR layout, ``irds:<id>``, or an embedded one."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypeVar

from ranker.data.almanac.dataset import AlmanacConfig, almanac
from ranker.data.beir import fill_folder
from ranker.data.dataset import Dataset
from ranker.data.pydoc.dataset import PydocConfig, pydoc
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError, SetupError
from ranker.files.atomic import atomic_folder, cache_folder
from ranker.files.digests import read_sealed_folder, seal_folder
from ranker.files.lines import reason
from ranker.files.locks import build_lock

EMBEDDED: dict[str, tuple[type[Any], Callable[[Any], DatasetStreams]]] = {
    "almanac": (AlmanacConfig, almanac),
    "pydoc": (PydocConfig, pydoc),
}
"""Datasets that need no file and no network: the class of their settings, and the function that makes them."""

Record = TypeVar("Record", Passage, Query, Judgment)

_FORMAT: Final = 2
_SEAL: Final = "sealed.json"
_IRDS_SPLIT: Final = "test"
"""The split of the one set of judgments that an ir_datasets id names; it is the default of ``--split``."""


def open_dataset(name: str, language: str = "") -> Dataset:
    """Opens a dataset by name, with the code of its language where it does not say that itself.

    The name is a folder, ``irds:<id>``, or ``almanac`` or ``pydoc``, with settings: ``almanac:size=10000,locale=zh``.
    Raises: DataError for a name that is none of these, and a folder that is not in BEIR layout.
    """
    if os.path.isdir(name):  # noqa: PTH112  # Path.is_dir raises where a folder above may not be read
        return Dataset(Path(name).resolve().name, Path(name), language)
    kind, _, rest = name.partition(":")
    if kind == "irds":
        return Dataset(name, _cached_folder(kind, {"id": rest}, lambda: irds(rest)), language, source=name)
    if kind in EMBEDDED:
        config_class, make = EMBEDDED[kind]
        config = _parse_config(name, config_class, rest)
        folder = _cached_folder(kind, asdict(config), lambda: make(config))
        return Dataset(name, folder, language or getattr(config, "locale", "en"), source=name)
    raise DataError(
        f"{name}: is no dataset; expected a folder in BEIR layout, irds:<id>, or one of {', '.join(EMBEDDED)}."
    )


def _parse_config(name: str, config_class: type[Any], rest: str) -> Any:
    """Parses the settings of an embedded dataset, such as ``size=10000,locale=zh``."""
    types: dict[str, type[Any]] = {field.name: type(field.default) for field in fields(config_class)}
    values: dict[str, Any] = {}
    for item in filter(None, rest.split(",")):
        key, _, value = item.partition("=")
        if key not in types:
            raise DataError(f"{name}: has no setting {key!r}, only {', '.join(types)}.")
        try:
            values[key] = types[key](value)
        except ValueError as error:
            raise DataError(f"{name}: {key} is {value!r}, expected {types[key].__name__}.") from error
    return config_class(**values)


def _cached_folder(kind: str, settings: dict[str, Any], make: Callable[[], DatasetStreams]) -> Path:
    """Returns the folder of a dataset in the cache, which is written on first use, and again where it is damaged.

    Its name depends on the installed packages too, since they decide what pydoc reads, and which CLDR babel carries.
    """
    installed = sorted(f"{package.name}=={package.version}" for package in metadata.distributions())
    key = json.dumps([_FORMAT, kind, settings, sys.version, installed], sort_keys=True)
    folder = cache_folder() / "datasets" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not _is_intact(folder):
        with build_lock(folder):
            if not _is_intact(folder):  # another process may have written it meanwhile
                streams = make()
                with atomic_folder(folder, force=True) as temporary:
                    fill_folder(streams, temporary)
                    seal_folder(temporary, _SEAL, {"kind": kind, "settings": settings})
    return folder


def _is_intact(folder: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        read_sealed_folder(folder, _SEAL)
        return True
    return False


# ir_datasets


def irds(dataset_id: str) -> DatasetStreams:
    """Returns the passages, queries and judgments of an ir_datasets id, which ir_datasets may download.

    Raises: SetupError where ir-datasets is not installed; DataError for an unknown id, one without passages or queries,
    and a download that fails.
    """
    try:
        import ir_datasets  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SetupError("irds: datasets need ir-datasets; install it with: pip install 'ranker[irds]'.") from error
    try:
        dataset = ir_datasets.load(dataset_id)
    except KeyError as error:
        raise DataError(f"irds:{dataset_id}: is unknown to ir_datasets; its catalogue lists the ids.") from error
    for part in ("docs", "queries"):
        if not getattr(dataset, f"has_{part}")():
            raise DataError(f"irds:{dataset_id}: has no {part}, expected an id with docs and queries.")
    return DatasetStreams(
        _fetch(dataset_id, _irds_passages(dataset)),
        _fetch(dataset_id, _irds_queries(dataset)),
        _fetch(dataset_id, _irds_judgments(dataset)),
    )


def _fetch(dataset_id: str, records: Iterator[Record]) -> Iterator[Record]:
    """Yields the records, and turns the errors of a download, which starts with the first record, into DataErrors."""
    try:
        yield from records
    except (OSError, RuntimeError) as error:
        cause = error.args[0] if error.args and isinstance(error.args[0], str) else reason(error)
        raise DataError(f"irds:{dataset_id}: cannot be fetched: {cause}.") from error


def _irds_passages(dataset: Any) -> Iterator[Passage]:
    has_title = "title" in dataset.docs_cls()._fields
    for doc in dataset.docs_iter():
        title = (doc.title or "") if has_title else ""
        # ir_datasets' default text of a titled passage begins with its title
        yield Passage(doc.doc_id, title, doc.default_text().removeprefix(title).strip())


def _irds_queries(dataset: Any) -> Iterator[Query]:
    for query in dataset.queries_iter():
        yield Query(query.query_id, query.default_text())


def _irds_judgments(dataset: Any) -> Iterator[Judgment]:
    for qrel in dataset.qrels_iter() if dataset.has_qrels() else ():
        yield Judgment(_IRDS_SPLIT, qrel.query_id, qrel.doc_id, qrel.relevance)
