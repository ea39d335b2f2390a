"""How an index is built and searched: BM25's analyser and weights, and the kind of a FAISS index."""

from dataclasses import dataclass
from typing import Final

from ranker.errors import SearchIndexError
from ranker.limits import MAX_BM25_K1, MAX_DEPTH, MAX_RM3_PASSAGES, MAX_RM3_TERMS, MAX_VISITS
from ranker.settings.fields import check, in_a_line, setting

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

FAISS_KINDS: Final = {
    "Flat": "exact",
    "HNSW": "a graph of neighbours (HNSW32)",
    "IVF": "lists around centroids, their number by the collection's size",
    "IVF-PQ": "the same lists, with vectors compressed to two bits a dimension, a sixteenth of their bytes",
}
"""Short names of FAISS indexes; any factory string is taken too."""


@dataclass(frozen=True)
class LexicalConfig:
    """Settings of a BM25 index, remembered in its manifest; the defaults are Anserini's.

    With ``rm3``, each query is searched twice: ``rm3_terms`` words of its best ``rm3_passages`` passages are added, and
    the query's own words keep the weight ``rm3_weight``. Only an index that was built with ``rm3`` can be searched with
    it.
    Raises: SearchIndexError for a value that is not allowed.
    """

    language: str = setting(
        "en",
        "For bm25: the analyser, by language code; of a dataset that says another, that is the default",
        choices=LANGUAGES,
    )
    k1: float = setting(0.9, "For bm25: how much a repeated word counts", least=0.0, most=MAX_BM25_K1)
    b: float = setting(0.4, "For bm25: how much long passages are marked down", least=0.0, most=1.0)
    rm3: bool = setting(False, "For bm25: expand each query by RM3 feedback")
    rm3_terms: int = setting(10, least=1, most=MAX_RM3_TERMS)
    rm3_passages: int = setting(10, least=1, most=MAX_RM3_PASSAGES)
    rm3_weight: float = setting(0.5, least=0.0, most=1.0)

    def __post_init__(self) -> None:
        """Refuses values that are not allowed."""
        check(self, SearchIndexError)


@dataclass(frozen=True)
class DenseConfig:
    """Settings of a FAISS index; higher values of ``nprobe`` and ``ef_search`` find more and take longer.

    With a ``recall_at`` above 0, the index is compared with exact search at that depth when it is built.
    Raises: SearchIndexError for a value that is not allowed.
    """

    faiss: str = setting("Flat", f"The kind of a dense index. {in_a_line(FAISS_KINDS)}; else any FAISS factory string")
    nprobe: int = setting(16, "For dense: lists of an IVF index that a query searches", least=1, most=MAX_VISITS)
    ef_search: int = setting(
        128, "For dense: candidates that an HNSW index keeps during a search", least=1, most=MAX_VISITS
    )
    recall_at: int = setting(
        0,
        "For dense: depth at which recall is measured against exact search, and the time of both; 0: not measured",
        least=0,
        most=MAX_DEPTH,
        expected=f"0 (not measured) to {MAX_DEPTH}",
    )

    def __post_init__(self) -> None:
        """Refuses values that are not allowed."""
        check(self, SearchIndexError)
