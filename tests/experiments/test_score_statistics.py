"""How extreme scores are, and how few words they hang on."""

import math

import numpy as np
import pytest

from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.experiments.score_statistics import CERTAIN, sure_pairs, words_for_half
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig


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


def test_words_are_left_out_of_queries_drawn_evenly_and_few_words_have_no_share(collection_of, tiny):
    long = "the old city of paris lies by the river seine and the stone of the large capital is red and green"
    collection = collection_of({"long": long, "short": "the nile"})
    queries = {f"q{number}": Query(f"q{number}", "where is the city of rome") for number in range(250)}
    found = {
        query_id: Ranking.ordered(["long" if place % 2 else "short"], [1.0]) for place, query_id in enumerate(queries)
    }
    model = create_model(RankerConfig("cross", query_length=12, length=40), str(tiny()), seed=1)
    scorer = Scorer(model, Compute("float32", "cpu"))
    shares = words_for_half(scorer, Run("cross", found), queries, collection)
    assert list(shares) == [f"q{number * 250 // 100}" for number in range(100)]
    for query_id, share in shares.items():
        assert math.isnan(share) == (found[query_id].doc_ids == ("short",))
    assert {0 < share < 1 for share in shares.values() if not math.isnan(share)} == {True}
    few = words_for_half(scorer, Run("cross", found), queries, collection, seconds=1e-9)
    assert list(few) == [f"q{number * 250 // 100}" for number in range(0, 100, 20)]
    enough = words_for_half(scorer, Run("cross", found), queries, collection, seconds=1e9)
    assert list(enough) == list(shares)
    for part in (few, enough):
        assert all(share == pytest.approx(shares[one], nan_ok=True) for one, share in part.items())
