"""Rows of a study: means over seeds, and the orders that bound every arm."""

import numpy as np
import pytest

from ranker.data.run import Ranking, Run
from ranker.evaluation.measures import evaluate, parse_measures
from ranker.experiments.results import averaged, captured, oracle_row, random_row, row_of

MEASURES = parse_measures(["RR@10", "nDCG@10"])
QRELS = {"1": {"a": 1, "b": 0}, "2": {"d": 2, "c": 1}, "3": {"z": 1}}
FIRST = Run(
    "bm25",
    {
        "1": Ranking.ordered(["b", "x", "a"], [3.0, 2.0, 1.0]),
        "2": Ranking.ordered(["c", "y", "d"], [3.0, 2.0, 1.0]),
        "3": Ranking.ordered(["a", "b", "c"], [3.0, 2.0, 1.0]),
    },
)


def rescored(run: Run, seed: int, depth: int) -> Run:
    """What a reranker of a deeper ranking wrote: its scores for the head, the tail beneath."""
    rng = np.random.default_rng(seed)
    rankings = {}
    for query_id, ranking in run.items():
        head = Ranking.ordered(ranking.doc_ids[:depth], rng.normal(size=len(ranking.doc_ids[:depth])))
        tail = ranking.doc_ids[depth:]
        below = head.scores[-1] - np.arange(1, len(tail) + 1, dtype=np.float32)
        rankings[query_id] = Ranking((*head.doc_ids, *tail), np.concatenate((head.scores, below)))
    return Run("cross", rankings)


def test_a_row_has_the_mean_over_its_seeds_query_by_query():
    runs = {seed: rescored(FIRST, seed, 3) for seed in (1, 2, 3)}
    found = row_of("cross", runs, QRELS, MEASURES)
    alone = [evaluate(run, QRELS, MEASURES) for run in runs.values()]
    for measure in ("RR@10", "nDCG@10"):
        expected = np.mean([one.values[measure] for one in alone], axis=0)
        assert found.mean.values[measure].tolist() == expected.tolist()
    assert set(found.seeds) == {1, 2, 3}
    assert found.spread("RR@10") == (min(e.mean("RR@10") for e in alone), max(e.mean("RR@10") for e in alone))


def test_an_arm_without_seeds_has_a_mean_and_no_spread_but_its_own():
    found = row_of("dual-frozen-cls", {None: FIRST}, QRELS, MEASURES)
    assert found.seeds == {}
    assert found.spread("RR@10") == (found.mean.mean("RR@10"),) * 2


def test_a_query_is_missing_only_where_every_seed_misses_it():
    part = Run("cross", {query_id: FIRST[query_id] for query_id in ("1", "2")})
    whole, lacking = (evaluate(run, QRELS, MEASURES) for run in (FIRST, part))
    assert averaged("cross", [whole, lacking]).missing == ()
    assert averaged("cross", [lacking, lacking]).missing == ("3",)


def test_the_oracle_puts_the_most_relevant_first_and_finds_no_more_than_was_retrieved():
    found = oracle_row(FIRST, 3, QRELS, MEASURES).mean
    assert found.values["RR@10"].tolist() == [1.0, 1.0, 0.0]
    assert found.values["nDCG@10"].tolist() == [1.0, 1.0, 0.0]


def test_no_order_of_the_candidates_is_above_the_oracle():
    best = oracle_row(FIRST, 3, QRELS, MEASURES).mean
    for seed in range(30):
        one = evaluate(rescored(FIRST, seed, 3), QRELS, MEASURES)
        assert (one.values["nDCG@10"] <= best.values["nDCG@10"] + 1e-12).all()


def test_random_order_is_near_its_expectation():
    many = {str(n): Ranking.ordered(["a", "b", "c", "d"], [4.0, 3.0, 2.0, 1.0]) for n in range(400)}
    found = random_row(Run("bm25", many), 4, {str(n): {"a": 1} for n in range(400)}, MEASURES)
    assert found.mean.mean("RR@10") == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=0.01)


def test_random_order_is_the_same_every_time():
    once, again = (random_row(FIRST, 3, QRELS, MEASURES).mean.values["RR@10"].tolist() for _ in range(2))
    assert once == again


def test_captured_is_the_share_of_the_way_from_the_first_stage_to_the_oracle():
    first, oracle = row_of("bm25", {None: FIRST}, QRELS, MEASURES), oracle_row(FIRST, 3, QRELS, MEASURES)
    assert captured(first, first, oracle, "RR@10") == 0.0
    assert captured(oracle, first, oracle, "RR@10") == 1.0
    swapped = {**FIRST.rankings, "1": Ranking.ordered(["b", "a", "x"], [3.0, 2.0, 1.0])}
    better = row_of("cross", {1: Run("cross", swapped)}, QRELS, MEASURES)
    # query 1 rises from 1/3 to 1/2 of the 1 that it could reach; query 2 is at its best, query 3 has nothing to find
    assert captured(better, first, oracle, "RR@10") == pytest.approx((1 / 2 - 1 / 3) / (1 - 1 / 3))


def test_nothing_is_captured_where_nothing_can_be_gained():
    best = Run("bm25", {"1": Ranking.ordered(["a", "b"], [2.0, 1.0])})
    qrels = {"1": {"a": 1}}
    first = row_of("bm25", {None: best}, qrels, MEASURES)
    assert np.isnan(captured(first, first, oracle_row(best, 2, qrels, MEASURES), "RR@10"))


DEEP = Run("bm25", {str(n): Ranking.ordered("abcdef", [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) for n in range(3)})
DEEP_QRELS = {"0": {"b": 1, "f": 2}, "1": {"e": 1}, "2": {"c": 1, "a": 0}}
DEEP_MEASURES = parse_measures(["RR@10", "nDCG@10", "AP", "R@5"])


def test_no_reranking_of_a_head_is_above_the_oracle_with_what_lies_beneath():
    best = oracle_row(DEEP, 3, DEEP_QRELS, DEEP_MEASURES).mean
    for seed in range(60):
        one = evaluate(rescored(DEEP, seed, 3), DEEP_QRELS, DEEP_MEASURES)
        for measure in DEEP_MEASURES:
            assert (one.values[measure.name] <= best.values[measure.name] + 1e-12).all()


def test_what_lies_below_the_depth_counts_in_random_and_oracle_order_as_in_every_other():
    first = row_of("bm25", {None: DEEP}, DEEP_QRELS, DEEP_MEASURES).mean
    for made in (oracle_row, random_row):
        found = made(DEEP, 3, DEEP_QRELS, DEEP_MEASURES).mean
        assert found.values["R@5"].tolist() == first.values["R@5"].tolist()
        assert found.values["RR@10"][1] == pytest.approx(1 / 5)
