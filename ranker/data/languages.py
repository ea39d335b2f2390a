"""The language that a dataset's folder says it is in."""

import json
from pathlib import Path
from typing import Final

from ranker.errors import DataError
from ranker.files.json_files import read_object
from ranker.settings.index import LANGUAGES
from ranker.wording import did_you_mean, shortened

_SETTINGS: Final = "dataset.json"
"""What ranker adds to the layout of BEIR."""


def read_language(folder: Path) -> str:
    """The language that a dataset's folder says it is in, by its code; empty where it does not say.

    Raises: DataError for a ``dataset.json`` that is broken, or says something else, and for a code that is none.
    """
    path = folder / _SETTINGS
    if not path.is_file():
        return ""
    said = read_object(path, DataError)
    language = said.get("language")
    if set(said) != {"language"} or not isinstance(language, str):
        raise DataError(f"{path}: has {shortened(said)}, expected {{'language': CODE}}, as in {{'language': 'zh'}}.")
    if language not in LANGUAGES:
        meant = did_you_mean(language, LANGUAGES)
        raise DataError(f"{path}: language is {shortened(language)}, expected one of {', '.join(LANGUAGES)}.{meant}")
    return language


def write_language(language: str, folder: Path) -> None:
    """Writes down in a dataset's folder the language that it is in. Raises: OSError where it cannot be written."""
    (folder / _SETTINGS).write_text(json.dumps({"language": language}) + "\n", encoding="utf-8")
