"""How passages and queries become words, and how BM25 weighs them."""

from dataclasses import dataclass
from typing import Final

from ranker.errors import SearchIndexError
from ranker.limits import MAX_BM25_K1, MAX_RM3_PASSAGES, MAX_RM3_TERMS

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


@dataclass(frozen=True)
class LexicalConfig:
    """Settings of a BM25 index, remembered in its manifest; the defaults are Anserini's.

    ``k1`` is how much a repeated word counts, ``b`` how much long passages are marked down. With ``rm3``, each query
    is searched twice: ``rm3_terms`` words of its best ``rm3_passages`` passages are added, and the query's own words
    keep the weight ``rm3_weight``. Only an index that was built with ``rm3`` can be searched with it.
    """

    language: str = "en"
    k1: float = 0.9
    b: float = 0.4
    rm3: bool = False
    rm3_terms: int = 10
    rm3_passages: int = 10
    rm3_weight: float = 0.5

    def __post_init__(self) -> None:
        """Raises: SearchIndexError for a setting out of its bounds."""
        if self.language not in LANGUAGES:
            raise SearchIndexError(f"language is {self.language!r}, expected one of {', '.join(LANGUAGES)}.")
        _check("k1", self.k1, 0.0, MAX_BM25_K1)
        _check("b", self.b, 0.0, 1.0)
        _check("rm3_terms", self.rm3_terms, 1, MAX_RM3_TERMS)
        _check("rm3_passages", self.rm3_passages, 1, MAX_RM3_PASSAGES)
        _check("rm3_weight", self.rm3_weight, 0.0, 1.0)


def _check(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise SearchIndexError(f"{name} is {value!r:.60}, expected {least} to {most}.")
