"""Datasets by name: a folder in BEIR layout, ``irds:<id>``, or an embedded one."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Any

from ranker.data.almanac.dataset import AlmanacConfig, almanac
from ranker.data.beir import fill_folder
from ranker.data.dataset import Dataset
from ranker.data.irds import irds
from ranker.data.pydoc.dataset import PydocConfig, pydoc
from ranker.data.records import DatasetStreams
from ranker.errors import DataError
from ranker.files.atomic import atomic_folder, cache_folder
from ranker.files.digests import read_sealed_folder, seal_folder
from ranker.files.locks import build_lock

EMBEDDED: dict[str, tuple[type[Any], Callable[[Any], DatasetStreams]]] = {
    "almanac": (AlmanacConfig, almanac),
    "pydoc": (PydocConfig, pydoc),
}
"""Datasets that need no file and no network: their settings, and the function that makes them."""

_FORMAT = 2

_SEALED = "sealed.json"
"""What says of a dataset in the cache how it was written."""


def open_dataset(name: str, language: str = "") -> Dataset:
    """The dataset of that name, in a language, by its code, where it does not say that itself or says another.

    A folder; ``irds:<id>``; or ``almanac`` and ``pydoc``, which take settings: ``almanac:size=10000,locale=zh``.
    Raises: DataError for a name that is none of these, and a folder that is not in BEIR layout.
    """
    if os.path.isdir(name):  # noqa: PTH112  # Path.is_dir raises where a folder above may not be read
        return Dataset(Path(name).resolve().name, Path(name), language)
    kind, _, rest = name.partition(":")
    if kind == "irds":
        return Dataset(name, _materialised(kind, {"id": rest}, lambda: irds(rest)), language, source=name)
    if kind in EMBEDDED:
        config_class, make = EMBEDDED[kind]
        config = _settings(name, config_class, rest)
        folder = _materialised(kind, asdict(config), lambda: make(config))
        return Dataset(name, folder, language or getattr(config, "locale", "en"), source=name)
    raise DataError(
        f"{name}: is no dataset; expected a folder in BEIR layout, irds:<id>, or one of {', '.join(EMBEDDED)}."
    )


def _materialised(kind: str, settings: dict[str, Any], make: Callable[[], DatasetStreams]) -> Path:
    """The folder in the cache that holds these settings' dataset, written on first use, and again where it is damaged.

    What is installed decides what pydoc reads and which CLDR babel carries, so it is part of the key.
    """
    installed = sorted(f"{dist.name}=={dist.version}" for dist in metadata.distributions())
    key = json.dumps([_FORMAT, kind, settings, sys.version, installed], sort_keys=True)
    folder = cache_folder() / "datasets" / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if not _is_whole(folder):
        with build_lock(folder):  # who waited for another to make it finds it made
            if not _is_whole(folder):
                streams = make()
                with atomic_folder(folder, force=True) as beside:
                    fill_folder(streams, beside)
                    seal_folder(beside, _SEALED, {"kind": kind, "settings": settings})
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether every file of a dataset in the cache is as it was written."""
    with suppress(OSError, ValueError, RecursionError):
        read_sealed_folder(folder, _SEALED)
        return True
    return False


def _settings(name: str, config_class: type[Any], rest: str) -> Any:  # noqa: ANN401  # one class for each dataset
    """``size=10000,locale=zh`` as the settings of an embedded dataset."""
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
