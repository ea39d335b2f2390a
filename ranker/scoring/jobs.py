"""The scoring of some pairs, whole or in portions: what it takes, and the scores of any of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.scoring.backend import PaddedReader
from ranker.scoring.batching import batches
from ranker.scoring.cache import ScoreSource, Task
from ranker.scoring.survival import InputError
from ranker.settings.model import LAST

if TYPE_CHECKING:
    from ranker.scoring.pairs import Pairs
    from ranker.scoring.scorer import Advance, Matrix, Scorer
    from ranker.scoring.text import Texts

Rows = NDArray[np.int64]

_COMPARED_AT_ONCE = 65_536


class ScoringJob(Protocol):
    """Pairs to score.

    ``tokens_per_batch`` is what batches hold, ``pads`` whether some of that is padding.
    Shape: lengths (P,): tokens that each pair adds to what is computed, if all are, in order; best (P,): which of the
    inputs of a pair that was scored counted, 0 where it has but one.
    """

    @property
    def lengths(self) -> Rows: ...  # noqa: D102

    @property
    def best(self) -> Rows: ...  # noqa: D102

    @property
    def tokens_per_batch(self) -> int: ...  # noqa: D102

    @property
    def pads(self) -> bool: ...  # noqa: D102

    def costs(self, numbers: Rows) -> Rows:
        """Tokens that each of these pairs adds to what has been computed by now, if they are scored in this order.

        Shape: (numbers,).
        """
        ...

    def scores(self, numbers: Rows, advance: "Advance") -> "Matrix":
        """One logit for each pair of these numbers.

        Shape: (numbers,).
        """
        ...


class CrossJob:
    """Pairs read together: each is an input of its own."""

    def __init__(self, scorer: "Scorer", pairs: "Pairs", recall: ScoreSource) -> None:
        self._scorer, self._pairs, self._recall = scorer, pairs, recall
        needs = scorer.model.config.needs
        self._reader = scorer.reader(needs)
        self.lengths: Rows = scorer.pair_lengths(pairs)
        self.best: Rows = np.zeros(len(pairs.rows), dtype=np.int64)
        self.tokens_per_batch = scorer.budget(self._reader, needs, int(self.lengths.sum()))
        self.pads = isinstance(self._reader, PaddedReader)

    def costs(self, numbers: Rows) -> Rows:
        """As ``ScoringJob`` says."""
        return self.lengths[numbers]

    def scores(self, numbers: Rows, advance: "Advance") -> "Matrix":
        """As ``ScoringJob`` says."""
        with torch.inference_mode():
            return self._recall(0, numbers, Task(1, self._batches, self._computed), advance)[:, 0]

    def _batches(self, numbers: Rows) -> Iterator[Rows]:
        return batches(self.lengths[numbers], self.tokens_per_batch)

    def _computed(self, cuts: list[Rows]) -> "Iterator[tuple[int, Matrix]]":
        return self._scorer.logits(self._reader, self._pairs, cuts)


class DualJob:
    """Pairs of texts read apart: a text is encoded when the first of its pairs is scored, and never again."""

    def __init__(self, scorer: "Scorer", pairs: "Pairs", recall: ScoreSource) -> None:
        self._scorer, self._rows, self._recall = scorer, pairs.rows, recall
        self._reader = scorer.reader(LAST)
        self._texts = (pairs.queries, pairs.passages)
        self._vectors = [np.empty((len(texts), scorer.model.width), dtype=np.float32) for texts in self._texts]
        self._encoded = [np.zeros(len(texts), dtype=bool) for texts in self._texts]
        # queries are few and short beside their passages
        self.lengths: Rows = _new_tokens(pairs.passages, self._encoded[1], pairs.rows[:, 1])
        self.best: Rows = np.zeros(len(pairs.rows), dtype=np.int64)
        self.tokens_per_batch = scorer.budget(self._reader, LAST, len(pairs.passages.ids))
        self.pads = isinstance(self._reader, PaddedReader)

    def costs(self, numbers: Rows) -> Rows:
        """As ``ScoringJob`` says; a text that was encoded costs nothing more."""
        sides = zip(self._texts, self._encoded, self._rows[numbers].T, strict=True)
        return sum((_new_tokens(*side) for side in sides), start=np.zeros(len(numbers), dtype=np.int64))

    def scores(self, numbers: Rows, advance: "Advance") -> "Matrix":
        """As ``ScoringJob`` says."""
        rows = self._rows[numbers]
        for side in (0, 1):
            self._encode(side, np.unique(rows[:, side]))
        scores = np.empty(len(rows), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), _COMPARED_AT_ONCE):
                part = rows[start : start + _COMPARED_AT_ONCE]
                left, right = (torch.from_numpy(self._vectors[side][part[:, side]]) for side in (0, 1))
                scores[start : start + len(part)] = self._scorer.model.similarities(left, right).numpy()
                advance(len(part))
        return scores

    def _encode(self, side: int, wanted: Rows) -> None:
        missing = wanted[~self._encoded[side][wanted]]
        texts, scorer = self._texts[side], self._scorer
        task = Task(
            scorer.model.width,
            lambda rows: scorer.text_batches(self._reader, texts, rows),
            lambda cuts: scorer.encoded(self._reader, texts, cuts),
        )
        with torch.inference_mode(), self._by_pair(side):
            self._vectors[side][missing] = self._recall(side, missing, task, lambda _: None)
        self._encoded[side][missing] = True

    @contextmanager
    def _by_pair(self, side: int) -> Iterator[None]:
        """A text that does not fit is told of by the number of the first pair that it is in."""
        try:
            yield
        except InputError as error:
            first = int(np.flatnonzero(self._rows[:, side] == error.number)[0])
            raise error.of(first) from error


def _new_tokens(texts: "Texts", encoded: NDArray[np.bool_], rows: Rows) -> Rows:
    """The tokens of each row's text where it comes first, else none; a text has at least its markers to read."""
    first = np.unique(rows, return_index=True)[1]
    tokens = np.zeros(len(rows), dtype=np.int64)
    tokens[first] = np.where(encoded[rows[first]], 0, np.maximum(texts.lengths[rows[first]], 1))
    return tokens
