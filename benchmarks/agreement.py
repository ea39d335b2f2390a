"""How far two runs of the same passages agree."""

import statistics
from collections.abc import Iterator

import numpy as np
from scipy.stats import kendalltau

from ranker.data.run import Run, Scores


def tau(run: Run, other: Run) -> float:
    """Kendall's tau-b of the scores, the mean over queries with scores that differ."""
    found = [float(kendalltau(*one).statistic) for one in _scores(run, other)]
    return statistics.mean(value for value in found if not np.isnan(value))


def largest_change(run: Run, other: Run) -> float:
    """The largest difference of a score."""
    return max(float(np.abs(mine - theirs).max()) for mine, theirs in _scores(run, other))


def _scores(run: Run, other: Run) -> Iterator[tuple[Scores, Scores]]:
    for query_id, ranking in run.items():
        theirs = dict(zip(other[query_id].doc_ids, other[query_id].scores, strict=True))
        yield ranking.scores, np.array([theirs[doc_id] for doc_id in ranking.doc_ids])
