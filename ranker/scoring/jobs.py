"""Jobs: the scoring of some pairs, whole or in portions; here text, windows, batches, backend and cache are joined."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.model.inputs import positions_in_groups
from ranker.model.reranker import Reranker
from ranker.progress import Advance, no_progress
from ranker.scoring.backend import Backend
from ranker.scoring.batching import Matrix, batches, indices_of_batches, input_indices
from ranker.scoring.cache import JobCache, KeyedCache, ScoreCache, distinct, pair_keys, text_keys
from ranker.scoring.text import TextEncoding
from ranker.scoring.tokens import Pairs, Rows, Texts
from ranker.scoring.windows import WindowedPairs
from ranker.settings.model import LAST

ComputeBatches = Callable[[Sequence[Rows]], Iterator[tuple[int, Matrix]]]
"""Computes batches of things by their indices, and yields the values of each batch with its index."""

_COMPARED_AT_ONCE = 65_536


class ScoringJob(Protocol):
    """The scoring of some pairs, whole or in portions.

    ``tokens_per_batch`` bounds a batch, and ``pads`` says whether some of it is padding.
    Shape: lengths (P,): tokens that each pair adds to what is computed, if all are scored in order; best (P,): the
    window of each pair that gave its score, once it is scored; 0 where a pair has only one.
    """

    @property
    def lengths(self) -> Rows: ...  # noqa: D102

    @property
    def best(self) -> Rows: ...  # noqa: D102

    @property
    def tokens_per_batch(self) -> int: ...  # noqa: D102

    @property
    def pads(self) -> bool: ...  # noqa: D102

    def costs(self, indices: Rows) -> Rows:
        """Counts the tokens that each of these pairs adds to what is computed by now, if they are scored in this order.

        Shape: (indices,).
        """
        ...

    def scores(self, indices: Rows, advance: Advance = no_progress) -> Matrix:
        """Computes one logit for each of these pairs.

        Shape: (indices,). Raises: InputError by the index of a pair, or of a window where pairs have several.
        """
        ...


def scoring_job(
    model: Reranker, encoding: TextEncoding, backend: Backend, pairs: WindowedPairs, cache: JobCache | None = None
) -> ScoringJob:
    """Prepares the scoring of pairs; values in the cache are not computed again."""
    job: ScoringJob
    if model.config.apart:
        job = DualJob(model, encoding, backend, pairs.windows, cache)
    else:
        job = CrossJob(encoding, backend, pairs.windows, cache)
    return MaxWindowJob(job, pairs.offsets) if len(pairs.windows) > len(pairs) else job


def open_job_cache(
    cache: ScoreCache, pairs: Pairs, apart: bool, tokens_per_batch: int
) -> AbstractContextManager[JobCache]:
    """Opens a cache for the scoring of these pairs; what is left of it if it is stopped serves its next attempt."""
    queries, passages = text_keys(pairs.queries), text_keys(pairs.passages)
    keys = (queries, passages) if apart else (pair_keys(queries[pairs.rows[:, 0]], passages[pairs.rows[:, 1]]),)
    digest = hashlib.sha256(f"{tokens_per_batch}|{pairs.rows.tolist() if apart else ''}|".encode())
    digest.update(b"".join(side.tobytes() for side in keys))
    return cache.job(digest.hexdigest()[:24], keys)


class CrossJob:
    """Scores pairs that are read together: each is an input of its own."""

    def __init__(self, encoding: TextEncoding, backend: Backend, pairs: Pairs, cache: JobCache | None = None) -> None:
        self._encoding, self._pairs, self._cache = encoding, pairs, cache
        self._model = backend.prepare(encoding.config.needs)
        self.lengths: Rows = encoding.pair_lengths(pairs)
        self.best: Rows = np.zeros(len(pairs), dtype=np.int64)
        self.tokens_per_batch = self._model.batch_tokens(int(self.lengths.sum()))
        self.pads = self._model.pads

    def costs(self, indices: Rows) -> Rows:
        """Counts the tokens of each of these pairs."""
        return self.lengths[indices]

    def scores(self, indices: Rows, advance: Advance = no_progress) -> Matrix:
        """Computes one logit for each of these pairs."""
        cache = self._cache.sides[0] if self._cache else None
        return _values(indices, self.lengths, self.tokens_per_batch, 1, self._logits, cache, advance)[:, 0]

    def _logits(self, pair_batches: Sequence[Rows]) -> Iterator[tuple[int, Matrix]]:
        with input_indices(indices_of_batches(pair_batches)):
            yield from self._model.logits(self._encoding.pair_inputs(self._pairs, pair_batches))


class DualJob:
    """Scores pairs of texts that are read apart: a text is encoded for the first of its pairs, and never again."""

    def __init__(
        self, model: Reranker, encoding: TextEncoding, backend: Backend, pairs: Pairs, cache: JobCache | None = None
    ) -> None:
        self._reranker, self._encoding, self._rows, self._cache = model, encoding, pairs.rows, cache
        self._model = backend.prepare(LAST)
        self._texts = (pairs.queries, pairs.passages)
        self._vectors = [np.empty((len(texts), model.width), dtype=np.float32) for texts in self._texts]
        self._encoded = [np.zeros(len(texts), dtype=bool) for texts in self._texts]
        # queries are few and short beside their passages
        self.lengths: Rows = _new_tokens(pairs.passages, self._encoded[1], pairs.rows[:, 1])
        self.best: Rows = np.zeros(len(pairs), dtype=np.int64)
        self.tokens_per_batch = self._model.batch_tokens(len(pairs.passages.ids))
        self.pads = self._model.pads

    def costs(self, indices: Rows) -> Rows:
        """Counts the tokens of the texts of these pairs that are not encoded yet."""
        rows = self._rows[indices]
        queries = _new_tokens(self._texts[0], self._encoded[0], rows[:, 0])
        return queries + _new_tokens(self._texts[1], self._encoded[1], rows[:, 1])

    def scores(self, indices: Rows, advance: Advance = no_progress) -> Matrix:
        """Computes one logit for each of these pairs."""
        rows = self._rows[indices]
        for side in (0, 1):
            self._encode(side, np.unique(rows[:, side]))
        return similarities(self._reranker, rows, self._vectors[0], self._vectors[1], advance)

    def _encode(self, side: int, wanted: Rows) -> None:
        missing = wanted[~self._encoded[side][wanted]]
        texts, cache = self._texts[side], self._cache.sides[side] if self._cache else None

        def vectors(text_batches: Sequence[Rows]) -> Iterator[tuple[int, Matrix]]:
            with input_indices(lambda index: self._first_pair(side, indices_of_batches(text_batches)(index))):
                yield from self._model.vectors(self._encoding.text_inputs(texts, text_batches))

        lengths, tokens = texts.lengths + self._encoding.markers, self._model.batch_tokens(len(texts.ids))
        width = self._vectors[side].shape[1]
        self._vectors[side][missing] = _values(missing, lengths, tokens, width, vectors, cache, no_progress)
        self._encoded[side][missing] = True

    def _first_pair(self, side: int, text: int) -> int:
        """Finds the first pair that a text is in, by which an error names it."""
        return int(np.flatnonzero(self._rows[:, side] == text)[0])


class MaxWindowJob:
    """Scores pairs of several windows: each has the score of its best, the first of equal ones.

    Shape: offsets (P + 1,), as ``WindowedPairs`` has them; best (P,): which of its windows gave a pair its score.
    """

    def __init__(self, window_job: ScoringJob, offsets: Rows) -> None:
        self._job, self._offsets = window_job, offsets
        self.lengths: Rows = np.add.reduceat(window_job.lengths, offsets[:-1])
        self.best: Rows = np.zeros(len(offsets) - 1, dtype=np.int64)
        self.tokens_per_batch, self.pads = window_job.tokens_per_batch, window_job.pads

    def costs(self, indices: Rows) -> Rows:
        """Adds up the costs of the windows of each of these pairs."""
        windows, first, _ = self._windows(indices)
        costs: Rows = np.add.reduceat(self._job.costs(windows), first) if len(indices) else indices
        return costs

    def scores(self, indices: Rows, advance: Advance = no_progress) -> Matrix:
        """Computes one logit for each of these pairs."""
        windows, first, within = self._windows(indices)
        scores = self._job.scores(windows, advance)
        if not len(indices):
            return scores
        highest: Matrix = np.maximum.reduceat(scores, first)  # (pairs,)
        is_best = scores == np.repeat(highest, np.diff(np.append(first, len(windows))))  # (windows,)
        # of the best windows of a pair the least position; the others stand beyond any
        self.best[indices] = np.minimum.reduceat(np.where(is_best, within, len(windows)), first)
        return highest

    def _windows(self, indices: Rows) -> tuple[Rows, Rows, Rows]:
        """Gives the windows of these pairs, the index among them at which each pair's begin, and positions in the pair.

        Shape: (windows,), (pairs,), (windows,).
        """
        counts = np.diff(self._offsets)[indices]
        within = positions_in_groups(counts)
        return np.repeat(self._offsets[indices], counts) + within, np.cumsum(counts) - counts, within


def similarities(
    model: Reranker, rows: Rows, queries: Matrix, passages: Matrix, advance: Advance = no_progress
) -> Matrix:
    """Compares the vectors of pairs, for a model that reads apart.

    Shape: rows (P, 2): query, passage; queries (Q, H), passages (D, H), result (P,).
    """
    scores = np.empty(len(rows), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), _COMPARED_AT_ONCE):
            part = rows[start : start + _COMPARED_AT_ONCE]
            left, right = torch.from_numpy(queries[part[:, 0]]), torch.from_numpy(passages[part[:, 1]])
            scores[start : start + len(part)] = model.similarities(left, right).numpy()
            advance(len(part))
    return scores


def _values(
    things: Rows,
    lengths: Rows,
    tokens_per_batch: int,
    width: int,
    compute: ComputeBatches,
    cache: KeyedCache | None,
    advance: Advance,
) -> Matrix:
    """Gives the values of things: from the cache where it has them, else computed in batches and kept there.

    Things of one key are computed once. Batches are made of all that was unknown when the job first began, and those
    whose values a stopped attempt has left are passed over, so that a job that goes on ends with the same bits.
    Shape: things (N,), indices of lengths; result (N, width).
    """
    if cache is None:
        values = np.empty((len(things), width), dtype=np.float32)
        todo = list(batches(lengths[things], tokens_per_batch))
        index = np.arange(len(things))
    else:
        first, index = distinct(cache.keys[things])
        advance(len(things) - len(first))
        things = things[first]
        values, known = cache.get(things)
        new = np.flatnonzero(cache.new_to_job(things))
        of_job = [new[batch] for batch in batches(lengths[things[new]], tokens_per_batch)]
        todo = [batch for batch in of_job if not known[batch].all()]
        advance(len(things) - sum(map(len, todo)))
    for batch, computed in compute([things[batch] for batch in todo]):
        values[todo[batch]] = computed
        if cache is not None:
            cache.add(things[todo[batch]], computed)
        advance(len(computed))
    return values[index]


def _new_tokens(texts: Texts, encoded: NDArray[np.bool_], rows: Rows) -> Rows:
    """Counts the tokens of each row's text where it comes first and is not encoded, at least 1 for markers; else none.

    Shape: encoded (texts,), rows (N,), result (N,).
    """
    first = np.unique(rows, return_index=True)[1]
    tokens = np.zeros(len(rows), dtype=np.int64)
    tokens[first] = np.where(encoded[rows[first]], 0, np.maximum(texts.lengths[rows[first]], 1))
    return tokens
