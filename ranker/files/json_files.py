"""Reads JSON in which no key of an object stands twice, and files of settings within a bound of size."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ranker.errors import RankerError
from ranker.files.lines import reason
from ranker.limits import MAX_SETTINGS_BYTES
from ranker.wording import shortened


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shortened(repeated)} stands twice in one object")
    return record


DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique_keys)
"""Decodes JSON; refuses a key that stands twice in an object, since readers differ in which of the two they take.

Raises: ValueError for text that is not JSON, RecursionError for values that are nested too deep.
"""


def read_object(path: Path, error_class: type[RankerError]) -> dict[str, Any]:
    """Reads a file that holds one JSON object, such as settings or a manifest.

    Raises: ``error_class`` where it holds none, or is larger than ``MAX_SETTINGS_BYTES``.
    """
    value = read_json(path, error_class)
    if not isinstance(value, dict):
        raise error_class(f"{path}: is a JSON {type(value).__name__}, expected an object.")
    return value


def read_json(path: Path, error_class: type[RankerError]) -> object:
    """Reads a file that holds one JSON value.

    Raises: ``error_class`` where it holds none, or is larger than ``MAX_SETTINGS_BYTES``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SETTINGS_BYTES + 1)
        if len(data) > MAX_SETTINGS_BYTES:
            raise error_class(f"{path}: is larger than the {MAX_SETTINGS_BYTES} bytes allowed.")
        value: object = DECODER.decode(data.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise error_class(f"{path}: cannot be read as JSON: {reason(error)}.") from error
    return value


def first_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Returns the first key of ``new`` that ``old`` lacks or has another value for, with both values as messages show.

    A key of an object within is named as ``training.learning_rate``.
    """
    for key, value in new.items():
        before = old.get(key)
        if before == value:
            continue
        inner = first_difference(before, value) if isinstance(before, dict) and isinstance(value, dict) else None
        if inner is None:
            return key, shortened(before), shortened(value)
        return f"{key}.{inner[0]}", *inner[1:]
    return None
