"""The recall of an index against exact search, and the time that each takes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.data.dataset import Dataset
from ranker.scoring.batching import Matrix

Rows = NDArray[np.int64]
Hits = tuple[Matrix, Rows]
"""Scores and rows of each query's passages, best first; a row of -1 is no hit. Shape: (QUERIES, DEPTH) both."""

_QUERIES: Final = 1_000
"""Queries to search: the mean over so many is known to 0.01 even where each finds all or half."""

_FIRST_SPLITS: Final = ("dev", "train")
"""Splits whose queries are preferred: settings are chosen by recall, which should not be done on a test split."""

_EQUAL: Final = 1e-5
"""Scores that differ by less count as equal: products summed in another order differ by as much."""


class Sample(NamedTuple):
    """Texts of queries to search, and a name for them; both are empty where the dataset has no split."""

    name: str
    texts: list[str]


@dataclass(frozen=True)
class RecallCheck:
    """The result of comparing an index with exact search of the same vectors, both in one batch on so many threads.

    ``recall`` is the mean share of each query's best passages that the index finds, and ``recall_of`` names the
    queries.
    """

    recall: float = 0.0
    recall_of: str = ""
    recall_queries: int = 0
    recall_threads: int = 0
    ms_per_query: float = 0.0
    exact_ms_per_query: float = 0.0


def sampled_queries(dataset: Dataset) -> Sample:
    """Samples the queries of a split at equal distances, of dev or train where there is one."""
    splits = dataset.splits
    split = next((name for name in (*_FIRST_SPLITS, *splits) if name in splits), None)
    if split is None:
        return Sample("", [])
    texts = [query.text for query in dataset.queries(split).values()]
    return Sample(f"queries of {split}", [texts[row] for row in evenly(len(texts), _QUERIES)])


def sampled_passages(vectors: Matrix) -> Matrix:
    """Samples passages as queries, which are easier than real ones: those lie farther from what they seek.

    Shape: (PASSAGES, H) to (N, H).
    """
    return np.ascontiguousarray(vectors[evenly(len(vectors), _QUERIES)])


def evenly(count: int, most: int) -> Rows:
    """Returns at most so many numbers below ``count``, at equal distances."""
    wanted = min(count, most)
    return np.arange(wanted, dtype=np.int64) * count // max(1, wanted)


def measure_recall(
    queries: Matrix,
    vectors: Matrix,
    search: Callable[[Matrix, int], Hits],
    exact: Callable[[Matrix, int], Hits],
    depth: int,
) -> RecallCheck:
    """Measures the share of the best ``depth`` passages that ``search`` finds, and the milliseconds of both searches.

    A hit counts where its product with the query is no less than that of the last passage of exact search, so that a
    copy of a passage counts like the passage.
    Shape: queries (N, H), vectors (PASSAGES, H).
    """
    depth = min(depth, len(vectors))
    search(queries[:1], depth)  # starts threads and loads pages before the clock does
    (_, rows), milliseconds = _timed(search, queries, depth)
    (scores, _), exact_milliseconds = _timed(exact, queries, depth)
    shares = []
    for query, row, worst in zip(queries, rows, scores[:, -1], strict=True):
        products = vectors[row[row >= 0]] @ query
        good = products >= worst - _EQUAL * max(1.0, abs(worst))
        shares.append(int(good.sum()) / depth)
    return RecallCheck(
        recall=round(float(np.mean(shares)), 4),
        recall_queries=len(queries),
        ms_per_query=round(milliseconds / len(queries), 4),
        exact_ms_per_query=round(exact_milliseconds / len(queries), 4),
    )


def _timed(search: Callable[[Matrix, int], Hits], queries: Matrix, depth: int) -> tuple[Hits, float]:
    """Returns the hits of a search, and its milliseconds."""
    started = time.perf_counter()
    hits = search(queries, depth)
    return hits, 1_000 * (time.perf_counter() - started)
