"""Claims: held, not held or undecided by the data alone, each answer from runs made to give it."""

import math

import numpy as np
import pytest

from ranker.evaluation.measures import Evaluation, parse_measures
from ranker.evaluation.significance import holm
from ranker.experiments.claims import CLAIMS, Claim, share_verdicts, verdicts
from ranker.experiments.score_statistics import ScoreStatistics

QUERIES = 300


def row(name, values):
    values = np.asarray(values, dtype=np.float64)
    query_ids = tuple(f"q{number}" for number in range(len(values)))
    return Evaluation(name, parse_measures(["RR@10"]), query_ids, {"RR@10": values}, (), (), {})


def answer(says, run, rival):
    claim = Claim("x", "a claim", "run", "rival", says)
    (verdict,) = verdicts({"run": row("run", run), "rival": row("rival", rival)}, "RR@10", [claim])
    return verdict.answer


def noise(width, seed=0):
    values = np.random.default_rng(seed).normal(0.0, width, QUERIES)
    return values - values.mean()


@pytest.mark.parametrize(
    ("says", "shift", "width", "expected"),
    [
        ("better", 0.1, 0.1, "held"),
        ("better", -0.1, 0.1, "not held"),
        ("better", 0.0, 0.5, "undecided"),
        ("better", 0.0, 0.01, "not held"),
        ("better", 0.005, 0.001, "not held"),
        ("not worse", 0.1, 0.1, "held"),
        ("not worse", -0.1, 0.1, "not held"),
        ("not worse", 0.0, 0.01, "held"),
        ("not worse", 0.0, 0.5, "undecided"),
        ("not worse", -0.005, 0.001, "held"),
        ("no different", 0.0, 0.01, "held"),
        ("no different", 0.002, 0.001, "held"),
        ("no different", 0.1, 0.1, "not held"),
        ("no different", -0.1, 0.1, "not held"),
        ("no different", 0.0, 0.5, "undecided"),
    ],
)
def test_an_answer_follows_the_direction_and_the_interval(says, shift, width, expected):
    assert answer(says, 0.5 + shift + noise(width), np.full(QUERIES, 0.5)) == expected


def test_a_claim_whose_arm_is_not_there_is_not_tested():
    found = verdicts({"cross": row("cross", [1.0, 0.0, 1.0]), "dual": row("dual", [0.0, 0.0, 0.0])}, "RR@10")
    assert {one.key for one in found if one.answer != "not tested"} == {"a'"}
    assert all(math.isnan(one.p) for one in found if one.key != "a'")


def test_p_is_corrected_for_the_claims_that_were_tested():
    rows = {name: row(name, 0.5 + noise(0.2, seed)) for seed, name in enumerate(("cross", "dual", "mult-int"))}
    found = [one for one in verdicts(rows, "RR@10") if one.answer != "not tested"]
    keys = [one.key for one in found]
    alone = [verdicts(rows, "RR@10", [claim])[0].p for claim in CLAIMS if claim.key in keys]
    assert keys == ["a'", "2"]
    assert [one.p for one in found] == holm(alone)


def test_every_claim_of_the_papers_is_there_once():
    keys = [claim.key for claim in CLAIMS] + [one.key for one in share_verdicts(None)]
    assert len(keys) == len(set(keys))
    assert {key[0] for key in keys} == {"a", "b", "c", "d", "e", "1", "2"}


@pytest.mark.parametrize(
    ("extreme", "words", "expected"),
    [
        (0.9, 0.05, ("held", "held")),
        (0.2, 0.3, ("not held", "not held")),
        (0.5, 0.1, ("undecided", "undecided")),
    ],
)
def test_a_share_is_decided_by_the_side_on_which_its_interval_lies(extreme, words, expected):
    found = share_verdicts(ScoreStatistics((extreme + noise(0.05)).tolist(), (words + noise(0.02)).tolist()))
    assert tuple(one.answer for one in found) == expected
    assert all(one.low < one.value < one.high for one in found)
    assert all(math.isnan(one.p) for one in found)


def test_a_query_without_a_share_does_not_count():
    few = share_verdicts(ScoreStatistics([0.9, 0.8, 0.9], [0.05, float("nan"), 0.05]))[1]
    assert few.value == pytest.approx(0.05)


def test_behaviour_that_was_not_measured_is_not_tested():
    assert [one.answer for one in share_verdicts(None)] == ["not tested", "not tested"]
    assert share_verdicts(ScoreStatistics([0.9, 0.9], []))[1].answer == "not tested"


def test_what_was_tested_is_said_in_the_names_of_arms():
    said = {claim.key: claim.tested for claim in CLAIMS}
    assert said["a'"] == "cross better than dual"
    assert said["d"] == "cross-no-stopwords no different from cross"
