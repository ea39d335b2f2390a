"""The languages that BM25 reads, and the one that a dataset's folder says it is in."""

import json
from pathlib import Path
from typing import Final

from ranker.data.objects import read_object, shortened
from ranker.errors import DataError
from ranker.wording import did_you_mean

LANGUAGES: Final = {
    "en": "English: Anserini's own analyser (Porter stemmer, stop words)",
    "ar": "Arabic: normalised and stemmed",
    "bn": "Bengali: normalised and stemmed",
    "da": "Danish: Snowball stemmer",
    "de": "German: light stemmer",
    "es": "Spanish: light stemmer",
    "fa": "Persian: normalised",
    "fi": "Finnish: Snowball stemmer",
    "fr": "French: elisions removed, light stemmer",
    "hi": "Hindi: normalised and stemmed",
    "hu": "Hungarian: Snowball stemmer",
    "id": "Indonesian: stemmed",
    "it": "Italian: elisions removed, light stemmer",
    "ja": "Japanese: segmented into words by Kuromoji",
    "ko": "Korean: segmented into words by Nori",
    "nl": "Dutch: Snowball stemmer",
    "no": "Norwegian: Snowball stemmer",
    "pl": "Polish: lemmas by Morfologik",
    "pt": "Portuguese: light stemmer",
    "ru": "Russian: Snowball stemmer",
    "sv": "Swedish: Snowball stemmer",
    "te": "Telugu: normalised and stemmed",
    "th": "Thai: segmented into words",
    "tr": "Turkish: Snowball stemmer",
    "uk": "Ukrainian: lemmas by Morfologik",
    "zh": "Chinese: pairs of characters (CJK)",
}
"""The languages that Anserini has an analyser for, by ISO 639-1 code."""

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
