"""``ranker.json`` of a model directory, and the operating system's errors from libraries written in Rust."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

from ranker.errors import ModelError
from ranker.files.json_files import read_object
from ranker.settings.model import AUTO, RankerConfig
from ranker.wording import shortened

CONFIG_NAME: Final = "ranker.json"
_FORMAT: Final = 1

_OS_ERROR: Final = re.compile(r"\(os error (\d+)\)")

_LATER: Final[dict[str, Any]] = {
    "markers": True,
    "stopwords": "keep",
    "query_prompt": "",
    "passage_prompt": "",
    "label": "",
}
"""The values of keys that models saved by earlier versions lack."""


@contextmanager
def system_errors() -> Iterator[None]:
    """Turns what safetensors and tokenizers raise where the system refuses to write into its OSError.

    Raises: OSError with the system's error number; any other error as it is.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        # libraries in Rust raise errors of their own, whose message holds the system's number
        match = _OS_ERROR.search(str(error))
        if match is None:
            raise
        code = int(match.group(1))
        raise OSError(code, os.strerror(code)) from error


def write_config(config: RankerConfig, folder: Path) -> None:
    """Writes ``ranker.json`` into a model directory."""
    (folder / CONFIG_NAME).write_text(json.dumps({"format": _FORMAT, **asdict(config)}, indent=2) + "\n")


def read_config(folder: Path) -> RankerConfig:
    """Reads the ``ranker.json`` of a model directory.

    Raises: ModelError for broken JSON, unknown or missing keys, and values that are not allowed.
    """
    path = folder / CONFIG_NAME
    record = read_object(path, ModelError)
    names = [field.name for field in fields(RankerConfig)]
    if record.get("format") != _FORMAT:
        raise ModelError(f"{path}: expected an object with 'format' {_FORMAT}, which this version reads.")
    unknown = [key for key in record if key not in (*names, "format")]
    if unknown:
        raise ModelError(
            f"{path}: has the unknown key {shortened(unknown[0])}; allowed are format, {', '.join(names)}."
        )
    missing = [name for name in names if name not in record and name not in _LATER]
    if missing:
        raise ModelError(f"{path}: lacks the key {missing[0]!r}.")
    del record["format"]
    undecided = next((name for name in ("pooling", "similarity") if record[name] == AUTO), None)
    if undecided is not None:
        raise ModelError(f"{path}: {undecided} is 'auto', expected what the model has.")
    try:
        return RankerConfig(**({name: _LATER[name] for name in names if name in _LATER} | record))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
