"""How vectors are indexed by FAISS, and what is known of an index that was held against exact search."""

import re
from dataclasses import dataclass
from typing import Final

from ranker.errors import SearchIndexError
from ranker.limits import MAX_DEPTH, MAX_VISITS

FAISS_KINDS: Final = {
    "Flat": "exact",
    "HNSW": "a graph of neighbours (HNSW32)",
    "IVF": "lists around centroids, their number by the collection's size",
    "IVF-PQ": "the same lists of vectors in two bits a dimension, a sixteenth of their bytes",
}
"""Short names of FAISS indexes; any factory string is taken too."""

_TRAINING_VECTORS: Final = 200_000
"""Vectors, drawn evenly from the collection, that an index with centroids is trained on; more where lists are many."""

_VECTORS_PER_CENTROID: Final = 39
"""What k-means needs for each centroid, below which FAISS warns of it."""


@dataclass(frozen=True)
class DenseConfig:
    """How vectors are indexed. ``nprobe`` and ``ef_search`` are how far IVF and HNSW look; more finds more, slower.

    With a ``recall_at`` above 0, the index is held against exact search at that depth when it is built.
    Raises: SearchIndexError for a value outside its bounds.
    """

    faiss: str = "Flat"
    nprobe: int = 16
    ef_search: int = 128
    recall_at: int = 0

    def __post_init__(self) -> None:
        """Refuses what looks nowhere."""
        for name in ("nprobe", "ef_search"):
            if not 1 <= getattr(self, name) <= MAX_VISITS:
                raise SearchIndexError(f"{name} is {getattr(self, name)}, expected 1 to {MAX_VISITS}.")
        if not 0 <= self.recall_at <= MAX_DEPTH:
            raise SearchIndexError(f"recall_at is {self.recall_at}, expected 0 (not measured) to {MAX_DEPTH}.")


@dataclass(frozen=True)
class RecallCheck:
    """An index against exact search of the same vectors, both in one batch on so many threads.

    ``recall`` is the mean share of each query's best passages that was found, and ``recall_of`` says what queries.
    """

    recall: float = 0.0
    recall_of: str = ""
    recall_queries: int = 0
    recall_threads: int = 0
    ms_per_query: float = 0.0
    exact_ms_per_query: float = 0.0


def factory_string(kind: str, passages: int, width: int) -> str:
    """The FAISS factory string of a kind; IVF takes some four lists for each root of the collection's size."""
    lists = max(1, min(4 * int(passages**0.5), passages // _VECTORS_PER_CENTROID))
    kinds = {"HNSW": "HNSW32", "IVF": f"IVF{lists},Flat", "IVF-PQ": f"IVF{lists},{_quantizer(passages, width)}"}
    return kinds.get(kind, kind)


def _quantizer(passages: int, width: int) -> str:
    """Product quantisation in two bits a dimension: four dimensions by 256 centroids, or two by 16.

    The first errs less for the same bytes, but 256 centroids cannot be learned from fewer than 39 vectors each.
    Of a width that four or two do not divide, parts are as much shorter as it takes.
    """
    bits, most = (8, 4) if passages >= _VECTORS_PER_CENTROID * 2**8 else (4, 2)
    dimensions = next(size for size in range(most, 0, -1) if width % size == 0)
    return f"PQ{width // dimensions}x{bits}"


def training_vectors(factory: str, passages: int) -> int:
    """How many vectors an index is trained on that must be: all of a small collection, and enough for each list."""
    lists = max(map(int, re.findall(r"IVF(\d{1,9})", factory)), default=1)
    return min(passages, max(_TRAINING_VECTORS, _VECTORS_PER_CENTROID * lists))
