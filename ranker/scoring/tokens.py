"""Token ids of many texts, the pairs that are scored, and what truncation takes from them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ranker.model.inputs import Ids

S = TypeVar("S", list[int], Ids)
Rows = NDArray[np.int64]

TEXTS_AT_ONCE = 2_048
"""Texts handed to the tokenizer in one call, which spreads them over all cores."""

OnTexts = Callable[["Texts", Callable[[int], str]], object]
"""Is called with every chunk of texts that was tokenized, and a function that gives the string of one by its index."""


@dataclass(frozen=True)
class Texts:
    """Token ids of many texts, without markers, end to end.

    Shape: ids (tokens,) int32, offsets (texts + 1,) int64, lost (texts,) int64: tokens truncated from each.
    """

    ids: Ids
    offsets: Rows
    lost: Rows

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Ids:
        """Token ids of one text."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Rows:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def only(self, indices: Rows) -> "Texts":
        """Selects texts by their indices."""
        offsets = np.concatenate(([0], np.cumsum(self.lengths[indices])))
        ids = [self[index] for index in indices]
        return Texts(np.concatenate([self.ids[:0], *ids]), offsets, self.lost[indices])


@dataclass(frozen=True)
class Pairs:
    """Queries and passages to score together, as rows of their texts.

    Shape: rows (P, 2): query, passage.
    """

    queries: Texts
    passages: Texts
    rows: Rows

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.rows)

    def only(self, indices: Rows) -> "Pairs":
        """Selects pairs by their indices."""
        return Pairs(self.queries, self.passages, self.rows[indices])


@dataclass(frozen=True)
class Truncation:
    """Counts queries and pairs that lost tokens to truncation, and the passage tokens lost."""

    queries: int
    pairs: int
    tokens: int

    def record(self) -> dict[str, int]:
        """Gives the counts by their names in a manifest."""
        return {"queries_cut": self.queries, "pairs_cut": self.pairs, "tokens_cut": self.tokens}


def truncates_left(tokenizer: Any) -> bool:
    """Whether truncation takes tokens from the beginning of a text, not from its end."""
    return bool(tokenizer.truncation_side == "left")


def truncated(ids: S, length: int, keeps_end: bool) -> S:
    """Keeps the first ``length`` ids of a text, or the last."""
    return ids[max(0, len(ids) - length) :] if keeps_end else ids[:length]


def rust_tokenizer(tokenizer: Any) -> Any:
    """Gives the Rust tokenizer, with truncation and padding off: a ``tokenizer.json`` may turn them on."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend


def tokenize(tokenizer: Any, texts: Iterable[str], length: int, on_texts: OnTexts = lambda *_: None) -> Texts:
    """Tokenizes texts and truncates each to ``length`` tokens, on the side that the tokenizer truncates."""
    backend, keeps_end = rust_tokenizer(tokenizer), truncates_left(tokenizer)
    remaining = iter(texts)
    chunks: list[Texts] = []
    while strings := list(islice(remaining, TEXTS_AT_ONCE)):
        encoded = [encoding.ids for encoding in backend.encode_batch_fast(strings, add_special_tokens=False)]
        whole = np.array([len(ids) for ids in encoded], dtype=np.int64)
        kept = np.minimum(whole, length)
        ids = np.fromiter((i for ids in encoded for i in truncated(ids, length, keeps_end)), dtype=np.int32)
        chunks.append(Texts(ids, np.concatenate(([0], np.cumsum(kept))), whole - kept))
        on_texts(chunks[-1], strings.__getitem__)
    return _concatenated(chunks)


def _concatenated(chunks: Sequence[Texts]) -> Texts:
    none = np.empty(0, dtype=np.int64)
    lengths = np.concatenate([none, *(chunk.lengths for chunk in chunks)])
    ids = np.concatenate([np.empty(0, dtype=np.int32), *(chunk.ids for chunk in chunks)])
    lost = np.concatenate([none, *(chunk.lost for chunk in chunks)])
    return Texts(ids, np.concatenate(([0], np.cumsum(lengths))), lost)
