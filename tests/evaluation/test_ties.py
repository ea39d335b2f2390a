"""What equal scores leave open is told: the least, the expected and the greatest value over the orders of ties."""

from itertools import permutations
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.data.run import Ranking, Run
from ranker.evaluation import ties
from ranker.evaluation.measures import evaluate, parse_measures
from ranker.evaluation.ties import evaluate_ties

MEASURES = parse_measures(["nDCG@3", "RR", "AP", "P@2", "R@2", "ERR@3", "Judged@2"])


def run_of(*scores):
    ids = [f"d{number}" for number in range(len(scores))]
    return Run("x", {"q": Ranking.ordered(ids, np.array(scores, dtype=np.float32))})


def tied(run, qrels, measures=MEASURES):
    return evaluate_ties(run, qrels, evaluate(run, qrels, measures))


def every_value(scores, judged, measure):
    """The slow and obvious way: all permutations of the passages that keep the scores falling."""
    ids = [f"d{number}" for number in range(len(scores))]
    value_of = dict(zip(ids, scores, strict=True))
    for order in permutations(ids):
        if [value_of[doc_id] for doc_id in order] == sorted(scores, reverse=True):
            untied = Run("x", {"q": Ranking(order, np.arange(len(ids), 0, -1, dtype=np.float32))})
            yield evaluate(untied, {"q": judged}, [measure]).mean(measure.name)


@settings(max_examples=40, deadline=None)
@given(
    scores=st.lists(st.sampled_from([1.0, 2.0, 3.0]), min_size=2, max_size=5),
    grades=st.lists(st.sampled_from([None, 0, 1, 2]), min_size=5, max_size=5),
)
def test_the_three_values_are_those_of_going_through_all_orders(scores, grades):
    judged = {f"d{number}": grade for number, grade in enumerate(grades[: len(scores)]) if grade is not None}
    judged |= {"elsewhere": 1}
    found = tied(run_of(*scores), {"q": judged})
    assert found.exact
    for measure in MEASURES:
        values = list(every_value(scores, judged, measure))
        assert found.least.mean(measure.name) == pytest.approx(min(values))
        assert found.expected.mean(measure.name) == pytest.approx(mean(values))
        assert found.greatest.mean(measure.name) == pytest.approx(max(values))


def test_one_relevant_passage_of_three_equal_ones_is_first_a_third_of_the_time():
    found = tied(run_of(1, 1, 1), {"q": {"d0": 1}}, parse_measures(["P@1", "RR"]))
    assert [e.mean("P@1") for e in found.extent] == pytest.approx([0, 1 / 3, 1])
    assert found.expected.mean("RR") == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)


def test_ties_of_passages_judged_alike_leave_nothing_open():
    run, qrels = run_of(3, 2, 2, 1), {"q": {"d0": 1, "d1": 0, "d2": 0, "d3": 1}}
    found = tied(run, qrels)
    assert found.queries == ()
    assert found.least is found.greatest is found.expected


def test_ties_below_what_the_measures_read_leave_nothing_open():
    run, qrels = run_of(3, 2, 1, 1), {"q": {"d2": 1, "d0": 1}}
    assert tied(run, qrels, parse_measures(["P@2"])).queries == ()
    assert tied(run, qrels, parse_measures(["P@3"])).queries == ("q",)


def test_queries_without_ties_keep_their_values():
    ranking = run_of(1, 1)["q"]
    plain = Ranking(("a", "b"), np.array([2, 1], np.float32))
    run = Run("x", {"plain": plain, "q": ranking})
    qrels = {"plain": {"a": 1}, "q": {"d0": 1}, "unanswered": {"z": 1}}
    found = tied(run, qrels, parse_measures(["RR"]))
    assert found.queries == ("q",)
    assert [e.per_query("RR") for e in found.extent] == [
        {"plain": 1.0, "q": value, "unanswered": 0.0} for value in (0.5, 0.75, 1.0)
    ]


def test_more_orders_than_are_gone_through_are_drawn_at_random_between_exact_extremes():
    judged = {f"d{number}": number % 3 for number in range(20)}
    found = tied(run_of(*[1.0] * 20), {"q": judged}, parse_measures(["P(rel=2)@5", "nDCG@5"]))
    assert not found.exact
    assert [e.mean("P(rel=2)@5") for e in (found.least, found.greatest)] == [0.0, 1.0]
    # six of twenty passages have grade 2; the standard error over 64 orders is 0.023
    assert found.expected.mean("P(rel=2)@5") == pytest.approx(0.3, abs=0.1)
    assert found.greatest.mean("nDCG@5") == pytest.approx(1.0)


def test_drawn_orders_are_the_same_each_time():
    qrels = {"q": {f"d{number}": number % 3 for number in range(20)}}
    one, other = (tied(run_of(*[1.0] * 20), qrels) for _ in range(2))
    assert one.expected.per_query("nDCG@3") == other.expected.per_query("nDCG@3")


def test_a_large_run_of_ties_has_fewer_orders_each(monkeypatch):
    qrels = {"q": {f"d{number}": number % 2 for number in range(6)}}
    assert tied(run_of(*[1.0] * 6), qrels).exact
    monkeypatch.setattr(ties, "_MOST_PASSAGES", 10)
    assert not tied(run_of(*[1.0] * 6), qrels).exact
