"""What an index finds of what exact search finds, and how long each takes."""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.data.dataset import Dataset
from ranker.scoring.batching import Matrix
from ranker.settings.dense import RecallCheck

Rows = NDArray[np.int64]
Found = tuple[Matrix, Rows]
"""Scores and rows of each query's passages, best first; a row of -1 is none. Shape: (QUERIES, DEPTH) both."""

_QUERIES: Final = 1_000
"""Queries that are searched: the mean over so many is known to 0.01 even where each finds all or half."""

_FIRST_SPLITS: Final = ("dev", "train")
"""Splits whose queries are taken before those of others: settings are chosen by this, so rather not by a test."""

_EQUAL: Final = 1e-5
"""Scores no farther apart are one: products that are summed in another order differ by as much."""


class Sample(NamedTuple):
    """Queries to search, and what they are, by one word of a split's name or none."""

    name: str
    texts: list[str]


def sampled_queries(dataset: Dataset) -> Sample:
    """Queries drawn evenly from a split, from dev or train where there are such; none where there is no split."""
    splits = dataset.splits
    split = next((name for name in (*_FIRST_SPLITS, *splits) if name in splits), None)
    if split is None:
        return Sample("", [])
    texts = [query.text for query in dataset.queries(split).values()]
    return Sample(f"queries of {split}", [texts[place] for place in evenly(len(texts), _QUERIES)])


def sampled_passages(vectors: Matrix) -> Matrix:
    """Passages drawn evenly, to be searched for in place of queries: real ones lie farther from what they seek.

    Shape: (PASSAGES, H) to (N, H).
    """
    return np.ascontiguousarray(vectors[evenly(len(vectors), _QUERIES)])


def evenly(count: int, most: int) -> Rows:
    """At most so many numbers below ``count``, at equal distances."""
    wanted = min(count, most)
    return np.arange(wanted, dtype=np.int64) * count // max(1, wanted)


def measure_recall(
    queries: Matrix,
    vectors: Matrix,
    search: Callable[[Matrix, int], Found],
    exact: Callable[[Matrix, int], Found],
    depth: int,
) -> RecallCheck:
    """How much ``search`` finds of the ``depth`` passages that ``exact`` finds best, and the milliseconds of each.

    A passage found counts where its own product with the query is no less than that of the last of these, so that
    copies of a passage stand for each other.
    Shape: queries (N, H), vectors (PASSAGES, H).
    """
    depth = min(depth, len(vectors))
    search(queries[:1], depth)  # threads and pages come first, once
    (_, rows), taken = _timed(search, queries, depth)
    (scores, _), exactly = _timed(exact, queries, depth)
    shares = [
        _reached(query, vectors, row[row >= 0], worst) / depth
        for query, row, worst in zip(queries, rows, scores[:, -1], strict=True)
    ]
    return RecallCheck(
        recall=round(float(np.mean(shares)), 4),
        recall_queries=len(queries),
        ms_per_query=round(taken / len(queries), 4),
        exact_ms_per_query=round(exactly / len(queries), 4),
    )


def _reached(query: Matrix, vectors: Matrix, rows: Rows, worst: float) -> int:
    """How many of these passages score no less than ``worst``."""
    return int((vectors[rows] @ query >= worst - _EQUAL * max(1.0, abs(worst))).sum())


def _timed(search: Callable[[Matrix, int], Found], queries: Matrix, depth: int) -> tuple[Found, float]:
    """What was found, and the milliseconds."""
    started = time.perf_counter()
    found = search(queries, depth)
    return found, 1_000 * (time.perf_counter() - started)
