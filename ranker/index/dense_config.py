"""How vectors are indexed by FAISS."""

from dataclasses import dataclass
from typing import Final

from ranker.errors import SearchIndexError
from ranker.limits import MAX_VISITS

FAISS_KINDS: Final = {
    "Flat": "exact",
    "HNSW": "a graph of neighbours (HNSW32)",
    "IVF": "lists around centroids, their number by the collection's size",
}
"""Short names of FAISS indexes; any factory string is taken too."""


@dataclass(frozen=True)
class DenseConfig:
    """How vectors are indexed. ``nprobe`` and ``ef_search`` are how far IVF and HNSW look; more finds more, slower.

    Raises: SearchIndexError for a value outside its bounds.
    """

    faiss: str = "Flat"
    nprobe: int = 16
    ef_search: int = 128

    def __post_init__(self) -> None:
        """Refuses what looks nowhere."""
        for name in ("nprobe", "ef_search"):
            if not 1 <= getattr(self, name) <= MAX_VISITS:
                raise SearchIndexError(f"{name} is {getattr(self, name)}, expected 1 to {MAX_VISITS}.")
