"""Reranking orders the head by the model and keeps the tail beneath; a run for something else is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import DataError
from ranker.limits import MAX_DEPTH
from ranker.model.loading import create_model
from ranker.reranking.rerank import rerank, tied, with_tail
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

TEXTS = ["paris is the capital of france", "the nile lies in egypt", "rome is old", "a large red stone", "water " * 60]
IDS = [f"d{number}" for number in range(len(TEXTS))]
QUERIES = {"q1": Query("q1", "what is the capital of france"), "q2": Query("q2", "which river")}
RUN = Run("bm25", {"q1": Ranking(tuple(IDS), np.array([5, 4, 3, 2, 1], np.float32)),
                   "q2": Ranking(tuple(IDS[:2]), np.array([2, 1], np.float32))})  # fmt: skip


@pytest.fixture
def collection(collection_of):
    return collection_of(dict(zip(IDS, TEXTS, strict=True)))


@pytest.fixture(params=["cross", "dual"])
def scorer(tiny, request):
    config = RankerConfig(request.param, query_length=12, length=40)
    return Scorer(create_model(config, str(tiny()), seed=3), Compute("float32", "cpu"))


def reranked(scorer, collection, run=RUN, depth=100, queries=QUERIES):
    return rerank(scorer, run, queries, collection, depth)


def test_the_head_is_in_the_order_of_the_models_scores(scorer, collection):
    rows = np.array([(0, number) for number in range(len(TEXTS))])
    pairs = Pairs(scorer.queries([QUERIES["q1"].text]), scorer.passages(TEXTS), rows)
    scores = scorer.scores(pairs, lambda _: None)
    ranking = reranked(scorer, collection).run["q1"]
    assert ranking.doc_ids == tuple(IDS[i] for i in np.argsort(-scores))
    assert ranking.scores == pytest.approx(np.sort(scores)[::-1], abs=1e-5)


def test_what_lies_below_the_depth_keeps_its_order_beneath(scorer, collection):
    ranking = reranked(scorer, collection, depth=3).run["q1"]
    assert set(ranking.doc_ids[:3]) == set(IDS[:3])
    assert ranking.doc_ids[3:] == ("d3", "d4")
    assert (np.diff(ranking.scores) < 0).all()


def test_only_the_head_is_scored(scorer, collection):
    assert reranked(scorer, collection, depth=3).pairs == 3 + 2
    assert reranked(scorer, collection, depth=1).pairs == 2


def test_what_was_cut_is_counted(scorer, collection):
    assert reranked(scorer, collection).truncation.pairs == 1
    assert reranked(scorer, collection, depth=2).truncation.pairs == 0


def test_the_order_of_the_input_run_does_not_matter(scorer, collection):
    turned = Run("bm25", {q: Ranking.ordered(r.doc_ids, -r.scores) for q, r in reversed(list(RUN.items()))})
    one, other = reranked(scorer, collection).run, reranked(scorer, collection, turned).run
    assert {q: r.doc_ids for q, r in one.items()} == {q: r.doc_ids for q, r in other.items()}


def test_a_run_of_another_collection_is_refused(scorer, collection):
    run = Run("bm25", {"q1": Ranking(("d1", "p99"), np.array([2, 1], np.float32))})
    with pytest.raises(DataError) as error:
        reranked(scorer, collection, run)
    assert str(error.value) == (
        "run bm25: passage p99 of query q1 is not in the collection; is it a run for another dataset?"
    )


def test_a_run_of_other_queries_is_refused(scorer, collection):
    run = Run("bm25", {"q9": RUN["q1"]})
    with pytest.raises(DataError) as error:
        reranked(scorer, collection, run)
    assert str(error.value) == "run bm25: query q9 is not in the dataset's split; is it a run for another one?"


@pytest.mark.parametrize("depth", [0, -1, MAX_DEPTH + 1])
def test_a_depth_that_no_run_has_is_refused(scorer, collection, depth):
    with pytest.raises(DataError) as error:
        reranked(scorer, collection, depth=depth)
    assert str(error.value) == f"depth is {depth}, expected 1 to {MAX_DEPTH} passages."


@given(
    head=hnp.arrays(np.float32, st.integers(1, 20), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    tail=st.integers(0, 200),
)
def test_a_tail_stays_beneath_and_apart_at_any_magnitude(head, tail):
    ids = tuple(f"d{number:03}" for number in range(len(head) + tail))
    before = Ranking(ids, np.arange(len(ids), 0, -1).astype(np.float32))
    after = with_tail(before, head)
    assert after.doc_ids[len(head) :] == ids[len(head) :]
    assert (np.diff(after.scores[len(head) - 1 :]) < 0).all()


def test_equal_scores_keep_the_order_in_which_they_came_and_become_distinct():
    before = Ranking(("b", "c", "a"), np.array([3, 2, 1], np.float32))
    after = with_tail(before, np.array([0.5, 0.5, 0.5], np.float32))
    assert after.doc_ids == ("b", "c", "a")
    assert after.scores.tolist() == [0.5, 0.5 - 2**-25, 0.5 - 2**-24]


def test_equal_scores_at_the_end_of_the_head_stay_above_the_tail():
    before = Ranking(("b", "c", "a"), np.array([3, 2, 1], np.float32))
    after = with_tail(before, np.array([0.5, 0.5], np.float32))
    assert after.doc_ids == ("b", "c", "a")
    assert (np.diff(after.scores) < 0).all()


@pytest.mark.parametrize("score", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_is_refused_and_not_smoothed_over(score):
    with pytest.raises(DataError, match="passage 'c' has the score"):
        with_tail(Ranking(("b", "c"), np.array([3, 2], np.float32)), np.array([1, score], np.float32))


def test_passages_that_read_otherwise_and_score_the_same_are_counted(scorer):
    texts = scorer.passages(["one text", "one text", "another", "a third"])
    rows = np.array([(0, 0), (0, 1), (0, 2), (0, 3), (1, 2), (1, 3)])
    pairs = Pairs(scorer.queries(["x", "y"]), texts, rows)
    assert tied(pairs, np.array([1, 1, 2, 3, 2, 4], np.float32)) == 0
    assert tied(pairs, np.array([1, 1, 1, 3, 5, 5], np.float32)) == 3 + 2
