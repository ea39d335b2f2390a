import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.cli.fuse import METHODS as TOLD
from ranker.data.run import Ranking, Run
from ranker.data.trec import read_qrels, read_run
from ranker.errors import DataError
from ranker.evaluation.fusion import METHODS, Fusion, Source, fuse, normalised, unanswered
from ranker.evaluation.measures import evaluate, parse_measures
from ranker.reranking.rerank import with_tail

BOTH = pytest.mark.parametrize("method", METHODS)


def run_of(name: str, **scores: dict[str, float]) -> Run:
    return Run(name, {query_id: Ranking.ordered(list(one), list(one.values())) for query_id, one in scores.items()})


def fused(runs: list[Run], method: str = "rrf", weights: tuple[float, ...] = (), k: int = 60) -> Run:
    return fuse([Source(run) for run in runs], Fusion(method, weights, k))


def scores_of(ranking: Ranking) -> dict[str, float]:
    return dict(zip(ranking.doc_ids, ranking.scores.tolist(), strict=True))


FIRST = run_of("first", q={"a": 10, "b": 6, "c": 2})
SECOND = run_of("second", q={"c": 3, "a": 2, "d": 1})


# values by hand


def test_reciprocal_ranks_add_up_as_published():
    expected = {"a": 1 / 61 + 1 / 62, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 63}
    assert scores_of(fused([FIRST, SECOND])["q"]) == pytest.approx(expected, rel=1e-6)
    assert fused([FIRST, SECOND])["q"].doc_ids == ("a", "c", "b", "d")


def test_a_weight_multiplies_the_reciprocal_ranks_of_its_run():
    found = scores_of(fused([FIRST, SECOND], weights=(0.5, 1.5), k=1)["q"])
    assert found == pytest.approx(
        {"a": 0.5 / 2 + 1.5 / 3, "b": 0.5 / 3, "c": 0.5 / 4 + 1.5 / 2, "d": 1.5 / 4}, rel=1e-6
    )
    assert fused([FIRST, SECOND], weights=(0.5, 1.5), k=1)["q"].doc_ids == ("c", "a", "d", "b")


def test_interpolation_brings_each_run_to_0_to_1_and_weighs_it():
    found = scores_of(fused([FIRST, SECOND], "interpolation", (0.25, 0.75))["q"])
    expected = {"c": 0.25 * 0 + 0.75 * 1, "a": 0.25 * 1 + 0.75 * 0.5, "b": 0.25 * 0.5, "d": 0.0}
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_run_gives_a_passage_that_it_lacks_as_much_as_its_last():
    longer = run_of("longer", q={"a": 10, "b": 6, "c": 2, "e": 2})
    weights = (0.5, 0.5)
    lacking = scores_of(fused([FIRST, run_of("other", q={"e": 5, "a": 1})], "interpolation", weights)["q"])
    last = scores_of(fused([longer, run_of("other", q={"e": 5, "a": 1})], "interpolation", weights)["q"])
    assert lacking == last == pytest.approx({"a": 0.5, "e": 0.5, "b": 0.25, "c": 0.0})


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([8.0, 5.0, 4.0], [1, 0.25, 0]), ([3.0, 3.0], [1, 1]), ([-7.0], [1]), ([], []), ([3e38, 0.0, -3e38], [1, 0.5, 0])],
)
def test_the_best_is_1_and_the_last_0_unless_it_is_as_good(scores, expected):
    assert normalised(np.array(scores, dtype=np.float32)).tolist() == pytest.approx(expected)


@BOTH
def test_what_float32_cannot_tell_apart_goes_by_doc_id_falling(method):
    mirrored = [run_of("one", q={"a": 2, "b": 1}), run_of("two", q={"b": 2, "a": 1})]
    assert fused(mirrored, method)["q"].doc_ids == ("b", "a")
    assert len(set(fused(mirrored, method)["q"].scores.tolist())) == 1


@BOTH
@pytest.mark.parametrize("scale", [1e-300, 0.1, 7.0, 1e300])
def test_weights_count_by_their_ratio(method, scale):
    plain, scaled = (fused([FIRST, SECOND], method, weights) for weights in ((1.0, 3.0), (scale, 3 * scale)))
    assert scaled["q"].doc_ids == plain["q"].doc_ids
    assert scaled["q"].scores == pytest.approx(plain["q"].scores, rel=1e-6)


@BOTH
def test_no_weights_are_equal_ones(method):
    assert fused([FIRST, SECOND, FIRST], method)["q"] == fused([FIRST, SECOND, FIRST], method, (0.1, 0.1, 0.1))["q"]


# reranked runs


@pytest.fixture
def reranked() -> tuple[Run, Run, list[float]]:
    """A first stage of 30 passages, its reranking to depth 5 as ``ranker rerank`` writes it, and the 5 scores."""
    doc_ids = [f"d{number:02}" for number in range(30)]
    first = run_of("bm25", q={doc_id: 30.0 - number for number, doc_id in enumerate(doc_ids)})
    logits = [-1.0, 3.0, 2.5, -2.0, 0.0]
    return first, Run("cross", {"q": with_tail(first["q"], np.array(logits, dtype=np.float32))}), logits


def test_the_tail_of_a_reranked_run_does_not_press_its_scores_together(reranked):
    first, cross, logits = reranked
    found = fuse([Source(first), Source(cross, scored=5)], Fusion("interpolation", (0.4, 0.6)))
    expected = {
        f"d{number:02}": 0.4 * (29 - number) / 29 + 0.6 * (logit + 2) / 5 for number, logit in enumerate(logits)
    }
    assert {doc_id: scores_of(found["q"])[doc_id] for doc_id in expected} == pytest.approx(expected, rel=1e-6)
    assert found["q"].doc_ids[:5] == tuple(sorted(expected, key=expected.__getitem__, reverse=True))


def test_one_who_does_not_tell_the_depth_has_the_tail_read_as_scores(reranked):
    first, cross, _ = reranked
    found = fused([first, cross], "interpolation", (0.4, 0.6))
    assert scores_of(found["q"])["d03"] > 0.4 * 26 / 29 + 0.6 * 0.8


@pytest.mark.parametrize("weight", [0.05, 0.5, 0.95])
def test_what_was_not_reranked_stays_beneath_in_the_order_of_the_first_stage(reranked, weight):
    first, cross, _ = reranked
    found = fuse([Source(first), Source(cross, scored=5)], Fusion("interpolation", (1 - weight, weight)))
    assert found["q"].doc_ids[5:] == first["q"].doc_ids[5:]


def test_what_no_run_has_scored_lies_beneath_all_by_its_ranks(reranked):
    _, cross, _ = reranked
    dual = run_of("dual", q={"d29": 4, "x": 3, "d20": 2, "y": 1})
    found = fuse([Source(cross, scored=5), Source(dual, scored=3)], Fusion("interpolation"))
    unscored = [f"d{number:02}" for number in range(5, 29) if number != 20]
    # y is fourth of the run of dual, where the run of cross has passages that were reranked
    assert found["q"].doc_ids[8:] == ("y", *unscored)
    assert set(found["q"].doc_ids) == {*cross["q"].doc_ids, "x", "y"}
    assert found["q"].scores[7] >= 0 > found["q"].scores[8]


def test_ranks_below_the_depth_of_a_reranking_are_ranks(reranked):
    first, cross, _ = reranked
    assert fuse([Source(first), Source(cross, scored=5)], Fusion())["q"] == fused([first, cross])["q"]


# queries and runs


@BOTH
def test_a_query_that_a_run_lacks_is_fused_from_the_others(method):
    half = run_of("half", q={"a": 1}, only={"z": 2, "y": 1})
    found = fused([FIRST, half], method)
    assert list(found) == ["q", "only"]
    assert found["only"].doc_ids == half["only"].doc_ids
    assert unanswered([Source(FIRST), Source(half)]) == {"first": 1, "half": 0}


@BOTH
def test_a_run_of_weight_0_brings_no_passages_and_no_queries(method):
    other = run_of("other", q={"z": 9, "a": 1}, only={"z": 1})
    found = fused([FIRST, other, SECOND], method, (1, 0, 0))
    assert list(found) == ["q"]
    assert found["q"].doc_ids == FIRST["q"].doc_ids


@pytest.mark.parametrize(
    ("fusion", "sentence"),
    [
        ({"weights": (1.0, math.nan)}, "a run's weight is nan, expected a finite number of at least 0."),
        ({"weights": (-0.5, 1.5)}, "a run's weight is -0.5, expected a finite number of at least 0."),
        ({"weights": (math.inf, 1.0)}, "a run's weight is inf, expected a finite number of at least 0."),
        ({"weights": (0.0, 0.0)}, "all 2 weights are 0, expected one above 0."),
        ({"method": "z-score"}, "fusion method is 'z-score', expected rrf or interpolation."),
        ({"k": -1}, "k of the fusion is -1, expected 0 to 100000."),
        ({"k": 100_001}, "k of the fusion is 100001, expected 0 to 100000."),
    ],
)
def test_a_fusion_that_gives_no_order_is_refused(fusion, sentence):
    with pytest.raises(DataError) as refused:
        Fusion(**fusion)
    assert str(refused.value) == sentence


def test_another_number_of_weights_is_refused():
    with pytest.raises(DataError, match=r"^3 weights given for 2 runs, expected one for each\.$"):
        fused([FIRST, SECOND], weights=(1, 1, 1))


def test_one_run_is_no_fusion():
    with pytest.raises(DataError, match=r"^a fusion of 1 run, expected two or more\.$"):
        fused([FIRST])


def test_a_run_of_other_queries_is_refused():
    other = run_of("other", p={"a": 1})
    with pytest.raises(DataError, match=r"^run other: shares no query with any other run; its first is 'p', that of "):
        fused([FIRST, SECOND, other])


def test_the_command_names_the_methods_that_there_are():
    assert list(TOLD) == list(METHODS)


# for any runs

SOME = settings(max_examples=50, deadline=None)

QUARTERS = st.integers(-4000, 4000).map(lambda number: number / 4)
RANKINGS = st.dictionaries(st.sampled_from("abcdefghij"), QUARTERS, min_size=1, max_size=10).map(
    lambda one: Ranking.ordered(list(one), list(one.values()))
)
RUNS = st.lists(RANKINGS, min_size=2, max_size=5).map(
    lambda rankings: [Run(f"run{number}", {"q": ranking}) for number, ranking in enumerate(rankings)]
)
WEIGHT = st.floats(0.01, 10)


def weighted(draw):
    runs = draw(RUNS)
    return runs, tuple(draw(st.lists(WEIGHT, min_size=len(runs), max_size=len(runs))))


WEIGHTED = st.composite(weighted)()


@BOTH
@SOME
@given(ranking=RANKINGS, weights=st.tuples(WEIGHT, WEIGHT))
def test_a_run_fused_with_itself_keeps_its_order(method, ranking, weights):
    run = Run("run", {"q": ranking})
    assert fused([run, run], method, weights)["q"].doc_ids == ranking.doc_ids


@BOTH
@SOME
@given(runs=RUNS)
def test_a_run_that_alone_has_weight_keeps_its_order(method, runs):
    weights = (0.0,) * (len(runs) - 1) + (1.0,)
    assert fused(runs, method, weights)["q"].doc_ids == runs[-1]["q"].doc_ids


@BOTH
@SOME
@given(given_runs=WEIGHTED, data=st.data())
def test_the_order_in_which_runs_are_given_decides_no_bit(method, given_runs, data):
    runs, weights = given_runs
    order = data.draw(st.permutations(range(len(runs))))
    again = fused([runs[place] for place in order], method, tuple(weights[place] for place in order))
    assert again["q"] == fused(runs, method, weights)["q"]


def test_nor_where_a_sum_lies_in_the_middle_between_two_numbers_of_float32():
    # from the left the two last are lost one by one; the filler makes the sum 2, so that no weight is rounded
    weights = (1.0, 2.0**-24, 2.0**-53, 2.0**-53, 1 - 2.0**-24 - 2.0**-52, 0.0, 0.0, 0.0)
    runs = [run_of(f"run{number}", q={"filler" if number == 4 else "a": 1}) for number in range(8)]
    found = fused(runs, weights=weights, k=0)["q"]
    assert fused(runs[::-1], weights=weights[::-1], k=0)["q"] == found
    assert scores_of(found)["a"] > 4


@BOTH
@SOME
@given(given_runs=WEIGHTED)
def test_a_fused_run_has_the_passages_of_its_runs_and_no_other(method, given_runs):
    runs, weights = given_runs
    found = fused(runs, method, weights)["q"].doc_ids
    assert set(found) == set().union(*(run["q"].doc_ids for run in runs))


@BOTH
@SOME
@given(given_runs=WEIGHTED, depth=st.integers(1, 10))
def test_a_depth_writes_the_best_of_the_whole(method, given_runs, depth):
    runs, weights = given_runs
    sources, fusion = [Source(run) for run in runs], Fusion(method, weights)
    assert fuse(sources, fusion, depth)["q"] == fuse(sources, fusion)["q"].head(depth)


@BOTH
@SOME
@given(runs=RUNS)
def test_a_passage_that_every_run_prefers_is_preferred(method, runs):
    found = fused(runs, method)["q"].doc_ids
    rank = {doc_id: number for number, doc_id in enumerate(found)}
    scores = [scores_of(run["q"]) for run in runs]
    for upper in found:
        for lower in found:
            if all(upper in one and lower in one and one[upper] > one[lower] for one in scores):
                assert rank[upper] < rank[lower]


@SOME
@given(runs=RUNS)
def test_interpolation_does_not_see_the_scale_of_a_run(runs):
    other = [Run(run.name, {"q": Ranking(run["q"].doc_ids, run["q"].scores * 8 + 1024)}) for run in runs]
    assert fused(other, "interpolation")["q"] == fused(runs, "interpolation")["q"]


@SOME
@given(runs=RUNS)
def test_reciprocal_ranks_do_not_see_scores(runs):
    ranked = [
        Run(run.name, {"q": Ranking(run["q"].doc_ids, np.arange(len(run["q"]), 0, -1, dtype=np.float32))})
        for run in runs
    ]
    assert fused(ranked)["q"] == fused(runs)["q"]


# real runs


@pytest.fixture
def lists(shared_data) -> list[Run]:
    folder = shared_data / "trec-dl" / "runs"
    return [Run(name, read_run(folder / f"dl19.{name}.run").rankings) for name in ("bm25", "tas-b")]


@BOTH
def test_a_lexical_and_a_dense_run_are_together_better_than_bm25(method, lists, shared_data):
    qrels = read_qrels(shared_data / "trec-dl" / "qrels" / "dl19.tsv")
    bm25, hybrid = (
        evaluate(run, qrels, parse_measures(["nDCG@10", "R(rel=2)@100"])) for run in (lists[0], fused(lists, method))
    )
    assert bm25.mean("nDCG@10") == pytest.approx(0.5058, abs=1e-4)
    assert hybrid.mean("nDCG@10") > 0.69
    assert hybrid.mean("R(rel=2)@100") > bm25.mean("R(rel=2)@100") + 0.05


def test_real_runs_fuse_as_a_loop_over_their_lines_does(lists):
    hybrid = fused(lists, weights=(1.0, 2.0))
    for query_id, ranking in hybrid.items():
        expected: dict[str, float] = {}
        for weight, run in zip((1, 2), lists, strict=True):
            for rank, doc_id in enumerate(run[query_id].doc_ids, start=1):
                expected[doc_id] = expected.get(doc_id, 0.0) + weight / 1.5 / (60 + rank)
        assert scores_of(ranking) == pytest.approx(expected, rel=1e-6)
        assert all(expected[upper] > expected[lower] - 1e-9 for upper, lower in pairwise(ranking.doc_ids))
