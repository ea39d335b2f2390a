"""How extreme scores are, and how few words they hang on."""

import math

import numpy as np
import pytest

from ranker.data.run import Ranking, Run
from ranker.study.behaviour import CERTAIN, sure_pairs


def run(*scores):
    return Run("cross", {"q": Ranking.ordered([f"d{number}" for number in range(len(scores))], scores)})


def test_pairs_are_sure_where_the_logistic_of_their_difference_is_certain():
    width = math.log(CERTAIN / (1 - CERTAIN))
    assert sure_pairs(run(0.0, width + 0.01), 10) == [1.0]
    assert sure_pairs(run(0.0, width - 0.01), 10) == [0.0]
    assert sure_pairs(run(0.0, 0.1, 10.0), 10) == [pytest.approx(2 / 3)]


def test_a_shift_of_all_scores_changes_nothing():
    scores = np.random.default_rng(0).integers(-9, 9, 20)
    assert sure_pairs(run(*scores), 20) == sure_pairs(run(*(scores + 64)), 20)


def test_the_tail_below_the_depth_does_not_count():
    assert sure_pairs(run(10.0, 9.9, -50.0), 2) == [0.0]


def test_a_query_with_one_passage_has_no_pairs():
    assert sure_pairs(run(1.0), 10) == []
