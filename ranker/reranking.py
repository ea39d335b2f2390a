"""Reranking: a model's scores for the head of every ranking, the tail kept beneath."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Ranking, Run, Scores, to_float32
from ranker.errors import DataError
from ranker.limits import MAX_DEPTH
from ranker.scoring.memory import Recall, computed
from ranker.scoring.scorer import Advance, Cut, Pairs, Scorer


@dataclass(frozen=True)
class Reranked:
    """A reranked run, how many pairs were scored for it, and what of them could not be read."""

    run: Run
    pairs: int
    cut: Cut


def check_depth(depth: int) -> None:
    """Refuses a depth that no run has.

    Raises: DataError.
    """
    if not 1 <= depth <= MAX_DEPTH:
        raise DataError(f"depth is {depth}, expected 1 to {MAX_DEPTH} passages.")


def check_run(run: Run, queries: Mapping[str, Query], collection: Collection, depth: int) -> None:
    """Refuses a run that was made for other queries or another collection.

    Raises: DataError that names the first query or passage that is unknown.
    """
    known: set[str] = set()
    for query_id, ranking in run.items():
        if query_id not in queries:
            raise DataError(
                f"run {run.name}: query {query_id} is not in the dataset's split; is it a run for another one?"
            )
        for doc_id in ranking.doc_ids[:depth]:
            if doc_id not in known and doc_id not in collection:
                raise DataError(
                    f"run {run.name}: passage {doc_id} of query {query_id} is not in the collection; "
                    "is it a run for another dataset?"
                )
            known.add(doc_id)


def candidates(scorer: Scorer, run: Run, queries: Mapping[str, Query], collection: Collection, depth: int) -> Pairs:
    """The pairs to score: each query with the best ``depth`` passages of its ranking, every text tokenised once."""
    doc_ids = list(dict.fromkeys(doc_id for ranking in run.values() for doc_id in ranking.doc_ids[:depth]))
    row_of = {doc_id: row for row, doc_id in enumerate(doc_ids)}
    rows = [
        (number, row_of[doc_id]) for number, ranking in enumerate(run.values()) for doc_id in ranking.doc_ids[:depth]
    ]
    return Pairs(
        scorer.queries(queries[query_id].text for query_id in run),
        scorer.passages_of(collection, doc_ids),
        np.array(rows, dtype=np.int64).reshape(-1, 2),
    )


def rerank(
    scorer: Scorer, run: Run, queries: Mapping[str, Query], collection: Collection, depth: int, advance: Advance
) -> Reranked:
    """The run with the first ``depth`` passages of each ranking in the model's order, the others as they were beneath.

    Raises: DataError for a depth outside its bounds, and a run of other queries or passages.
    """
    check_depth(depth)
    check_run(run, queries, collection, depth)
    return rescored(scorer, run, candidates(scorer, run, queries, collection, depth), depth, advance)


def rescored(
    scorer: Scorer, run: Run, pairs: Pairs, depth: int, advance: Advance, recall: Recall = computed
) -> Reranked:
    """The same for ``candidates`` that are at hand; ``recall`` may know of some scores from before."""
    scores = scorer.work(pairs, recall).scores(np.arange(len(pairs.rows)), advance)
    return Reranked(Run(run.name, reordered(run, scores, depth)), len(pairs.rows), scorer.cut(pairs))


def reordered(run: Run, scores: Scores, depth: int) -> dict[str, Ranking]:
    """The run's rankings by new scores for their first ``depth`` passages, query by query."""
    rankings, start = {}, 0
    for query_id, ranking in run.items():
        end = start + min(depth, len(ranking))
        rankings[query_id] = with_tail(ranking, scores[start:end])
        start = end
    return rankings


def with_tail(ranking: Ranking, scores: Scores) -> Ranking:
    """The ranking with new scores for its head; the tail keeps its order, scored one by one below the least of them."""
    depth = len(scores)
    head = Ranking.ordered(ranking.doc_ids[:depth], scores)
    tail = ranking.doc_ids[depth:]
    if not tail:
        return head
    return Ranking((*head.doc_ids, *tail), np.concatenate((head.scores, _below(head.scores[-1], len(tail)))))


def _below(score: np.float32, count: int) -> Scores:
    """Falling float32 scores beneath one, in steps wide enough to be told apart at its magnitude."""
    step = max(np.float32(1.0), np.spacing(np.abs(score)) * 2)
    return to_float32(score - step * np.arange(1, count + 1, dtype=np.float64))
