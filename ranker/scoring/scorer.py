"""A model at work: vectors of texts and scores of pairs, the same whatever the batch."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.errors import ModelError
from ranker.model.batch import Ids, Input, TokenBatch, pad
from ranker.model.reranker import Reranker
from ranker.scoring.device import choose_device, choose_precision, running_in
from ranker.scoring.schedule import TOKENS_PER_BATCH, Order, batches
from ranker.scoring.speed import Speed
from ranker.scoring.stopwords import without_all, without_some
from ranker.scoring.tokens import Template, Texts, tokenize

Matrix = NDArray[np.float32]
Advance = Callable[[int], object]

_AT_RANDOM = 3
"""Stopwords left out of a text where they are left out at random: as many as a pair of BERT's has markers."""


@dataclass(frozen=True)
class Pairs:
    """Which queries and passages to score together, as rows of their texts.

    Shape: rows (P, 2): query, passage.
    """

    queries: Texts
    passages: Texts
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Cut:
    """What a model could not read: queries and pairs that lost tokens, and the passage tokens lost."""

    queries: int
    pairs: int
    tokens: int


class Scorer:
    """A model on its device, in its precision, with its tokenizer's template."""

    def __init__(self, model: Reranker, speed: Speed) -> None:
        self.device = choose_device(speed.device)
        self.precision = choose_precision(speed.precision, self.device)
        self.model = model.to(self.device)
        self.template = Template(model.tokenizer, model.config.markers)
        self._check_lengths()
        self._tokens_per_batch = speed.tokens_per_batch or TOKENS_PER_BATCH[self.device.type]

    def queries(self, texts: Iterable[str]) -> Texts:
        """Queries as ids, cut to the model's ``query_length``."""
        config = self.model.config
        most = config.query_length - self._markers if config.apart else config.query_length
        return tokenize(self.model.tokenizer, map(self.read, texts), most)

    def passages(self, texts: Iterable[str]) -> Texts:
        """Passages as ids, cut to the most that fits beside the shortest query."""
        return tokenize(self.model.tokenizer, map(self.read, texts), self.model.config.length - self._markers)

    def vectors(self, texts: Texts, advance: Advance) -> Matrix:
        """One vector per text, for modes that read apart.

        Shape: (texts, H).
        """
        vectors = np.empty((len(texts), self.model.width), dtype=np.float32)
        with torch.inference_mode(), self.at_work():
            for rows in batches(texts.lengths + self._markers, self._tokens_per_batch):
                batch = self._batch(self.template.single(texts[row]) for row in rows)
                vectors[rows] = self.model.vectors(batch).float().cpu().numpy()
                advance(len(rows))
        return vectors

    def scores(self, pairs: Pairs, advance: Advance) -> Matrix:
        """One logit per pair.

        Shape: (P,).
        """
        return self._scores_apart(pairs, advance) if self.model.config.apart else self._scores_together(pairs, advance)

    def cut(self, pairs: Pairs) -> Cut:
        """What of these pairs the model cannot read."""
        whole = (pairs.passages.lengths + pairs.passages.lost)[pairs.rows[:, 1]]
        lost = whole - self._kept(pairs)
        return Cut(int((pairs.queries.lost > 0).sum()), int((lost > 0).sum()), int(lost.sum()))

    def batches(self, pairs: Pairs) -> Iterator[tuple[Order, TokenBatch]]:
        """The pairs in batches on the device, each with the numbers of its pairs."""
        lengths = pairs.queries.lengths[pairs.rows[:, 0]] + self._kept(pairs) + self._markers
        for numbers in batches(lengths, self._tokens_per_batch):
            rows = pairs.rows[numbers]
            yield (
                numbers,
                self._batch(self.pair(pairs.queries[query], pairs.passages[passage]) for query, passage in rows),
            )

    def at_work(self) -> AbstractContextManager[None]:
        """Without dropout, in the precision of the scorer."""
        self.model.eval()
        return running_in(self.precision, self.device)

    def pair(self, query: Ids, passage: Ids) -> Input:
        """A pair read together, the passage cut to the room that the query leaves."""
        return self.template.pair(query, passage[: self.model.config.length - self._markers - len(query)])

    def single(self, text: Ids) -> Input:
        """A text read alone."""
        return self.template.single(text)

    def read(self, text: str) -> str:
        """The text without the stopwords that the model is not to read."""
        if self.model.config.stopwords == "keep":
            return text
        return without_all(text) if self.model.config.stopwords == "drop" else without_some(text, _AT_RANDOM)

    def _check_lengths(self) -> None:
        """Refuses bounds under which a whole query would leave no room for a passage, or markers none for a query."""
        config = self.model.config
        most = config.length if config.apart else config.length - self._markers - 1
        if config.query_length > most or config.query_length <= self._markers:
            raise ModelError(
                f"{self.model.source}: query_length is {config.query_length} and length {config.length}, expected a "
                f"query_length of {self._markers + 1} to {most}: {self._markers} tokens are markers."
            )

    @property
    def _markers(self) -> int:
        return self.template.single_markers if self.model.config.apart else self.template.pair_markers

    def _kept(self, pairs: Pairs) -> NDArray[np.int64]:
        passages = pairs.passages.lengths[pairs.rows[:, 1]]
        if self.model.config.apart:
            return passages
        return np.minimum(passages, self.model.config.length - self._markers - pairs.queries.lengths[pairs.rows[:, 0]])

    def _scores_together(self, pairs: Pairs, advance: Advance) -> Matrix:
        scores = np.empty(len(pairs.rows), dtype=np.float32)
        with torch.inference_mode(), self.at_work():
            for numbers, batch in self.batches(pairs):
                scores[numbers] = self.model.score(batch).float().cpu().numpy()
                advance(len(numbers))
        return scores

    def _scores_apart(self, pairs: Pairs, advance: Advance) -> Matrix:
        """Each text is encoded once, however many pairs it is in."""
        queries = self.vectors(pairs.queries, lambda _: None)
        passages = self.vectors(pairs.passages, lambda _: None)
        scores = np.empty(len(pairs.rows), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(scores), 65_536):
                rows = pairs.rows[start : start + 65_536]
                left, right = torch.from_numpy(queries[rows[:, 0]]), torch.from_numpy(passages[rows[:, 1]])
                scores[start : start + len(rows)] = self.model.similarities(left, right).numpy()
                advance(len(rows))
        return scores

    def _batch(self, inputs: Iterable[Input]) -> TokenBatch:
        return pad(list(inputs), self.template.pad_id).to(self.device)
