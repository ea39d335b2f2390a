"""Which queries and passages are scored together, and what of them a model could not read."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranker.scoring.text import Texts


@dataclass(frozen=True)
class Pairs:
    """Which queries and passages to score together, as rows of their texts.

    Shape: rows (P, 2): query, passage.
    """

    queries: Texts
    passages: Texts
    rows: NDArray[np.int64]

    def only(self, numbers: NDArray[np.int64]) -> "Pairs":
        """The pairs of these numbers."""
        return Pairs(self.queries, self.passages, self.rows[numbers])


@dataclass(frozen=True)
class Truncation:
    """What a model could not read: queries and pairs that lost tokens, and the passage tokens lost."""

    queries: int
    pairs: int
    tokens: int

    def record(self) -> dict[str, int]:
        """What a manifest says of it."""
        return {"queries_cut": self.queries, "pairs_cut": self.pairs, "tokens_cut": self.tokens}
