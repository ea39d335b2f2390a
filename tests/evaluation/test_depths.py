import numpy as np
import pytest

from ranker.data.run import Ranking, Run
from ranker.errors import DataError
from ranker.evaluation.measures import evaluate, parse_measures
from ranker.evaluation.ties import at_depth, check_same, depths_to, evaluations_by_depth
from ranker.reranking.rerank import with_tail

MEASURES = parse_measures(["RR@10", "nDCG@10"])


@pytest.fixture
def runs() -> tuple[Run, np.ndarray]:
    """Twenty queries of eight passages each, and a model's score for every pair."""
    rng = np.random.default_rng(4)
    doc_ids = [f"d{n}" for n in range(8)]
    first = Run("bm25", {str(q): Ranking.ordered(doc_ids, rng.normal(size=8)) for q in range(20)})
    return first, rng.normal(size=(20, 8)).astype(np.float32)


def reranked(first: Run, scores: np.ndarray, depth: int) -> Run:
    """As ``ranker rerank --depth`` writes it."""
    heads = zip(first.items(), scores, strict=True)
    return Run("cross", {query_id: with_tail(ranking, row[:depth]) for (query_id, ranking), row in heads})


@pytest.mark.parametrize("depth", range(1, 9))
@pytest.mark.parametrize("deepest", [5, 8])
def test_a_depth_from_the_one_pass_is_what_reranking_that_deep_gives(runs, depth, deepest):
    first, scores = runs
    shallow = at_depth(first, reranked(first, scores, deepest), min(depth, deepest))
    really = reranked(first, scores, min(depth, deepest))
    assert [ranking.doc_ids for ranking in shallow.values()] == [ranking.doc_ids for ranking in really.values()]


def test_every_depth_is_evaluated_and_the_run_before_too(runs):
    first, scores = runs
    qrels = {query_id: {"d3": 1} for query_id in first}
    found = evaluations_by_depth(first, reranked(first, scores, 6), 6, qrels, MEASURES)
    assert list(found) == [0, 1, 2, 3, 5, 6]
    assert found[0].mean("RR@10") == found[1].mean("RR@10") == evaluate(first, qrels, MEASURES).mean("RR@10")
    assert found[6].mean("nDCG@10") == evaluate(reranked(first, scores, 6), qrels, MEASURES).mean("nDCG@10")


@pytest.mark.parametrize(("deepest", "depths"), [(1, [1]), (4, [1, 2, 3, 4]), (10, [1, 2, 3, 5, 10])])
def test_depths_end_with_the_deepest(deepest, depths):
    assert depths_to(deepest) == depths


@pytest.mark.parametrize("other", [{"1": ("a",)}, {"1": ("a", "b"), "2": ("a",)}, {}])
def test_a_run_of_other_passages_or_queries_was_not_made_from_this_one(other):
    def run(name, ids):
        return Run(name, {query_id: Ranking.ordered(one, range(len(one), 0, -1)) for query_id, one in ids.items()})

    with pytest.raises(DataError, match="run cross: has other passages than run bm25 for query"):
        check_same(run("bm25", {"1": ("a", "b")}), run("cross", other))
