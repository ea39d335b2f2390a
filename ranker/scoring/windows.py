"""Passages that are longer than a model reads, in windows of which the best counts (MaxP, Dai and Callan 2019)."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ranker.scoring.text import Texts

if TYPE_CHECKING:
    from ranker.scoring.cache import ScoreSource
    from ranker.scoring.jobs import ScoringJob
    from ranker.scoring.pairs import Pairs
    from ranker.scoring.scorer import Advance, Matrix, Scorer

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Inputs:
    """What a model reads for the pairs of ``whole``: one of ``read`` for each, or several, of which the best counts.

    Shape: begins (P + 1,): where those of each pair begin; starts (texts,): the token of its passage that each text of
    ``read.passages`` begins with.
    """

    whole: "Pairs"
    read: "Pairs"
    begins: Rows
    starts: Rows

    def __len__(self) -> int:
        """How many pairs there are."""
        return len(self.whole.rows)

    @property
    def counts(self) -> Rows:
        """How many inputs each pair has.

        Shape: (P,).
        """
        return np.diff(self.begins)

    def work(self, scorer: "Scorer", recall: "ScoreSource") -> "ScoringJob":
        """The scoring of these pairs."""
        inner = scorer.work(self.read, recall)
        return MaxWindowJob(inner, self.begins) if len(self.read.rows) > len(self) else inner


class MaxWindowJob:
    """Pairs of several inputs: each has the score of its best, the first of equal ones.

    Shape: best (P,): which input of a pair that was.
    """

    def __init__(self, inner: "ScoringJob", begins: Rows) -> None:
        self._inner, self._begins = inner, begins
        self.lengths: Rows = np.add.reduceat(inner.lengths, begins[:-1])
        self.best: Rows = np.zeros(len(begins) - 1, dtype=np.int64)
        self.tokens_per_batch, self.pads = inner.tokens_per_batch, inner.pads

    def costs(self, numbers: Rows) -> Rows:
        """As ``ScoringJob`` says."""
        inputs, firsts = self._inputs(numbers)
        found: Rows = np.add.reduceat(self._inner.costs(inputs), firsts) if len(numbers) else numbers
        return found

    def scores(self, numbers: Rows, advance: "Advance") -> "Matrix":
        """As ``ScoringJob`` says."""
        inputs, firsts = self._inputs(numbers)
        scores = self._inner.scores(inputs, advance)
        if not len(numbers):
            return scores
        highest: Matrix = np.maximum.reduceat(scores, firsts)
        counts = np.diff(np.append(firsts, len(inputs)))
        within = np.arange(len(inputs)) - np.repeat(firsts, counts)
        is_best = scores == np.repeat(highest, counts)
        self.best[numbers] = np.minimum.reduceat(np.where(is_best, within, len(inputs)), firsts)
        return highest

    def _inputs(self, numbers: Rows) -> tuple[Rows, Rows]:
        """The inputs of these pairs, and where those of each begin among them."""
        counts = np.diff(self._begins)[numbers]
        firsts = np.cumsum(counts) - counts
        within = np.arange(int(counts.sum())) - np.repeat(firsts, counts)
        return np.repeat(self._begins[numbers], counts) + within, firsts


def one_each(pairs: "Pairs") -> Inputs:
    """Each pair as the one input that it is."""
    return Inputs(pairs, pairs, np.arange(len(pairs.rows) + 1), np.zeros(len(pairs.passages), dtype=np.int64))


def in_windows(pairs: "Pairs", room: Rows, width: int, stride: int) -> Inputs:
    """Pairs whose passages are whole; those longer than the ``room`` beside their query are read in windows.

    All windows are ``width`` tokens long, the last one too: it ends where the passage does.
    Shape: room (P,).
    """
    passages, whole = pairs.passages, pairs.passages.lengths
    long = whole[pairs.rows[:, 1]] > room
    split = np.unique(pairs.rows[long, 1])
    counts = np.zeros(len(passages), dtype=np.int64)
    counts[split] = 1 + -(-(whole[split] - width) // stride)
    firsts = len(passages) + np.cumsum(counts) - counts
    owners = np.repeat(np.arange(len(passages)), counts)
    steps = np.arange(len(owners)) - np.repeat(firsts - len(passages), counts)
    starts = np.minimum(steps * stride, whole[owners] - width)
    texts = _with_stretches(passages, passages.offsets[owners] + starts, width)
    inputs = np.where(long, counts[pairs.rows[:, 1]], 1)
    begins = np.concatenate(([0], np.cumsum(inputs)))
    within = np.arange(int(begins[-1])) - np.repeat(begins[:-1], inputs)
    rows = np.repeat(np.where(long, firsts[pairs.rows[:, 1]], pairs.rows[:, 1]), inputs) + within
    read = replace(pairs, passages=texts, rows=np.stack((np.repeat(pairs.rows[:, 0], inputs), rows), axis=1))
    return Inputs(pairs, read, begins, np.concatenate((np.zeros(len(passages), dtype=np.int64), starts)))


def _with_stretches(texts: Texts, starts: Rows, width: int) -> Texts:
    """The same texts, and behind them stretches of their ids as texts of their own."""
    ids = texts.ids[(starts[:, None] + np.arange(width)).ravel()]
    offsets = texts.offsets[-1] + width * np.arange(1, len(starts) + 1)
    lost = np.zeros(len(starts), dtype=np.int64)
    return Texts(np.append(texts.ids, ids), np.append(texts.offsets, offsets), np.append(texts.lost, lost))
