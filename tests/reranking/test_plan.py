"""A plan tells what a reranking takes; one that is stopped leaves a whole run of what it reached."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import ModelError
from ranker.model.loading import create_model
from ranker.reranking.plan import histogram, plan
from ranker.reranking.rerank import candidates, rerank, rerank_candidates, tiers
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

DEPTH = 45
IDS = [f"d{number}" for number in range(60)]
TEXTS = [
    " ".join(["paris", "nile", "rome", "stone"][: number % 5] + ["water"] * (number % 23)) or "x"
    for number in range(60)
]
QUERIES = {
    "q1": Query("q1", "what is the capital of france"),
    "q2": Query("q2", "which river"),
    "q3": Query("q3", "old"),
}


def falling(doc_ids):
    return Ranking(tuple(doc_ids), np.arange(len(doc_ids), 0, -1, dtype=np.float32))


RUN = Run("bm25", {"q1": falling(IDS), "q2": falling(IDS[::-1]), "q3": falling(IDS[:7])})


@pytest.fixture
def collection(collection_of):
    return collection_of(dict(zip(IDS, TEXTS, strict=True)))


@pytest.fixture(params=["cross", "dual"])
def scorer(tiny, request):
    config = RankerConfig(request.param, query_length=12, length=20)
    return Scorer(create_model(config, str(tiny()), seed=3), Compute("float32", "cpu", tokens_per_batch=128))


@pytest.fixture
def pairs(scorer, collection):
    return candidates(scorer, RUN, QUERIES, collection, DEPTH)


def stopped_after(looks):
    """A clock that lets so many looks at it pass."""
    left = iter(range(looks))
    return lambda: next(left, None) is not None


def test_with_time_enough_it_is_the_reranking_that_it_would_be_without_a_budget(scorer, pairs, collection):
    whole = rerank(scorer, RUN, QUERIES, collection, DEPTH)
    partial = rerank_candidates(scorer, RUN, pairs, DEPTH, go_on=lambda: True)
    assert (partial.stopped, partial.pairs, partial.truncation) == ("", whole.pairs, whole.truncation)
    assert partial.depths.tolist() == [DEPTH, DEPTH, 7]
    assert partial.reached == (7, DEPTH, DEPTH)
    for query_id, ranking in whole.run.items():
        scores = dict(zip(ranking.doc_ids, ranking.scores, strict=True))
        found = partial.run[query_id]
        assert found.scores == pytest.approx([scores[doc_id] for doc_id in found.doc_ids], abs=1e-5)


def test_without_any_time_the_run_is_as_it_was(scorer, pairs):
    partial = rerank_candidates(scorer, RUN, pairs, DEPTH, go_on=lambda: False)
    assert (partial.stopped, partial.pairs, partial.depths.tolist()) == ("time", 0, [0, 0, 0])
    assert {query_id: ranking.doc_ids for query_id, ranking in partial.run.items()} == {
        query_id: ranking.doc_ids for query_id, ranking in RUN.items()
    }


@pytest.mark.parametrize("looks", [1, 2, 3])
def test_a_stop_keeps_every_passage_and_the_order_of_what_was_not_reached(scorer, pairs, looks, monkeypatch):
    monkeypatch.setattr("ranker.reranking.rerank._FIRST_SLICE_TOKENS", 200)
    monkeypatch.setattr("ranker.reranking.rerank._SLICE_SECONDS", 0.0)
    partial = rerank_candidates(scorer, RUN, pairs, DEPTH, go_on=stopped_after(looks))
    assert partial.stopped == "time"
    assert 0 < partial.pairs < len(pairs.whole.rows)
    for (query_id, ranking), depth in zip(partial.run.items(), partial.depths, strict=True):
        before = RUN[query_id].doc_ids
        assert sorted(ranking.doc_ids) == sorted(before)
        assert set(ranking.doc_ids[:depth]) == set(before[:depth])
        assert ranking.doc_ids[depth:] == before[depth:]


def test_ctrl_c_leaves_what_was_scored(scorer, pairs, monkeypatch):
    monkeypatch.setattr("ranker.reranking.rerank._FIRST_SLICE_TOKENS", 400)
    monkeypatch.setattr("ranker.reranking.rerank._SLICE_SECONDS", 0.0)
    looks = stopped_after(3)

    def interrupted():
        if not looks():
            raise KeyboardInterrupt
        return True

    partial = rerank_candidates(scorer, RUN, pairs, DEPTH, go_on=interrupted)
    assert partial.stopped == "Ctrl-C"
    assert 0 < partial.pairs < len(pairs.whole.rows)
    assert len(partial.run["q1"]) == len(IDS)


def test_shallow_ranks_of_all_queries_come_first(scorer, pairs):
    seen = []
    partial = rerank_candidates(scorer, RUN, pairs, DEPTH, seen.append, go_on=stopped_after(1))
    assert seen == [10 + 10 + 7]
    assert partial.depths.tolist() == [10, 10, 7]


@given(st.lists(st.integers(0, 300), max_size=60))
def test_tiers_hold_every_pair_once_and_deepen(ranks):
    ranks = np.array(ranks, dtype=np.int64)
    found = list(tiers(ranks))
    assert sorted(np.concatenate([*found, np.empty(0, np.int64)]).tolist()) == list(range(len(ranks)))
    depths = [ranks[tier] for tier in found if len(tier)]
    assert all(a.max() < b.min() for a, b in pairwise(depths))


def test_a_plan_counts_what_there_is_to_compute(scorer, pairs):
    found = plan(scorer, pairs)
    assert (found.queries, found.pairs) == (3, len(pairs.whole.rows)) == (3, 97)
    apart = scorer.model.config.apart
    assert found.inputs == (len({*IDS[:DEPTH], *IDS[-DEPTH:]}) if apart else 97)
    assert sum(found.histogram.values()) == found.inputs
    assert found.truncation == scorer.encoding.truncation(pairs.whole)
    assert 0 <= found.padding < 0.5
    assert found.memory > 2**20


def test_a_plan_says_about_how_long_it_takes(scorer, pairs):
    found = plan(scorer, pairs, seconds=60.0)
    assert found.seconds == pytest.approx(found.probed, rel=0.8)
    assert found.seconds > 0


def test_a_plan_of_no_pairs_is_nothing(scorer, collection):
    empty = candidates(scorer, Run("none", {}), {}, collection, DEPTH)
    found = plan(scorer, empty)
    assert (found.queries, found.pairs, found.inputs, found.tokens, found.padding, found.seconds) == (0, 0, 0, 0, 0, 0)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=80))
def test_a_histogram_counts_each_input_under_the_least_bound_it_stays_within(lengths):
    found = histogram(np.array(lengths))
    assert sum(found.values()) == len(lengths)
    assert max(found) == max(lengths)
    bounds = sorted(found)
    for low, high in zip([0, *bounds], bounds, strict=False):
        assert found[high] == sum(low < length <= high for length in lengths)


def test_texts_read_apart_cost_what_is_not_encoded_yet_in_the_order_asked_for(scorer, pairs):
    job = scorer.job(pairs)
    last_first = np.arange(len(pairs.whole.rows))[::-1].copy()
    costs = job.costs(last_first)
    if not scorer.model.config.apart:
        assert costs.tolist() == job.lengths[last_first].tolist()
        return
    last = zip((pairs.whole.queries, pairs.whole.passages), pairs.whole.rows[-1], strict=True)
    assert costs[0] == sum(max(texts.lengths[row], 1) for texts, row in last)
    job.scores(last_first[:1])
    assert job.costs(last_first)[0] == 0
    job.scores(last_first)
    assert not job.costs(last_first).any()


def test_a_model_that_gives_nan_is_refused_under_a_budget_too(tiny, collection):
    model = create_model(RankerConfig("cross", query_length=12, length=20), str(tiny()), seed=3)
    with torch.no_grad():
        next(model.head_parameters()).fill_(float("nan"))
    scorer = Scorer(model, Compute("float32", "cpu"))
    with pytest.raises(ModelError, match="gives the score nan, expected finite numbers"):
        rerank_candidates(scorer, RUN, candidates(scorer, RUN, QUERIES, collection, DEPTH), DEPTH, go_on=lambda: True)
