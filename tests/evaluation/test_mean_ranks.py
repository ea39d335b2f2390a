"""Mean ranks and the critical difference, against scipy and the worked example of Demšar 2006."""

import numpy as np
import pytest
from scipy.stats import rankdata

from ranker.evaluation.measures import Evaluation, parse_measures
from ranker.evaluation.significance import critical_difference, mean_ranks


def evaluations(values):
    query_ids = tuple(f"q{number}" for number in range(values.shape[1]))
    measures = parse_measures(["RR@10"])
    return [
        Evaluation(f"run{number}", measures, query_ids, {"RR@10": row}, (), (), {}) for number, row in enumerate(values)
    ]


def test_mean_ranks_are_those_of_scipy_ties_and_all():
    values = np.random.default_rng(0).integers(0, 4, size=(6, 50)) / 4
    expected = rankdata(-values, axis=0).mean(axis=1)
    assert list(mean_ranks(evaluations(values), "RR@10").values()) == pytest.approx(expected.tolist())


def test_values_that_differ_by_rounding_alone_tie():
    values = np.array([[0.1 + 0.2, 1.0], [0.3, 0.5]])
    assert mean_ranks(evaluations(values), "RR@10") == {"run0": 1.25, "run1": 1.75}


@pytest.mark.parametrize(("runs", "queries", "expected"), [(4, 14, 1.25), (2, 100, 0.196), (10, 30, 2.473)])
def test_the_critical_difference_is_that_of_the_published_quantiles(runs, queries, expected):
    """Demšar 2006: section 3.2.2's example, and table 5's q for 2 and 10 classifiers (1.960 and 3.164)."""
    assert critical_difference(runs, queries) == pytest.approx(expected, abs=0.005)
