"""Many arms by their ranks on each query: which of them a test does not tell apart (Demšar 2006)."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import studentized_range

from ranker.evaluation.measures import Evaluation
from ranker.evaluation.significance import ALPHA, TIE


def mean_ranks(evaluations: Sequence[Evaluation], measure: str) -> dict[str, float]:
    """The mean rank of each run over the queries, 1 the best, ties sharing theirs (Demšar 2006, section 3.2.2)."""
    values = np.stack([one.values[measure] for one in evaluations])
    above = (values[:, None, :] < values[None, :, :] - TIE).sum(axis=1)
    level = (np.abs(values[:, None, :] - values[None, :, :]) <= TIE).sum(axis=1)
    ranks = (above + (level + 1) / 2).mean(axis=1)
    return {one.name: float(rank) for one, rank in zip(evaluations, ranks, strict=True)}


def critical_difference(runs: int, queries: int) -> float:
    """How far apart two mean ranks must be to differ by the Nemenyi test at ALPHA (Demšar 2006, section 3.2.2)."""
    quantile = float(studentized_range.ppf(1 - ALPHA, runs, np.inf)) / np.sqrt(2)
    return float(quantile * np.sqrt(runs * (runs + 1) / (6 * queries)))
