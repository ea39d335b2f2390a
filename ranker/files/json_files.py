"""JSON as everything here reads it: each key of an object once, and files of settings within a bound."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ranker.errors import RankerError
from ranker.files.lines import reason
from ranker.limits import MAX_SETTINGS_BYTES
from ranker.wording import shortened


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shortened(twice)} stands twice in one object")
    return found


DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique)
"""Raises ValueError for what is not JSON, and RecursionError for what is nested too deep.

JSON leaves open which of two equal keys counts, so readers differ in what they see.
"""


def read_object(path: Path, refusal: type[RankerError]) -> dict[str, Any]:
    """The one object of a file of settings or a manifest.

    Raises: ``refusal`` where there is none, or it is larger than ``MAX_SETTINGS_BYTES``.
    """
    found = read_json(path, refusal)
    if not isinstance(found, dict):
        raise refusal(f"{path}: is a JSON {type(found).__name__}, expected an object.")
    return found


def read_json(path: Path, refusal: type[RankerError]) -> object:
    """The one value of a file of settings.

    Raises: ``refusal`` where there is none, or the file is larger than ``MAX_SETTINGS_BYTES``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SETTINGS_BYTES + 1)
        if len(data) > MAX_SETTINGS_BYTES:
            raise refusal(f"{path}: is larger than the {MAX_SETTINGS_BYTES} bytes allowed.")
        found: object = DECODER.decode(data.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise refusal(f"{path}: cannot be read as JSON: {reason(error)}.") from error
    return found


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Of two records, the first key of the second that the first has otherwise: its name, and both values as shown.

    Keys of an object within are named as ``training.learning_rate``.
    """
    for name, value in now.items():
        old = before.get(name)
        if old == value:
            continue
        inner = first_difference(old, value) if isinstance(old, dict) and isinstance(value, dict) else None
        if inner is None:
            return name, shortened(old), shortened(value)
        return f"{name}.{inner[0]}", *inner[1:]
    return None
