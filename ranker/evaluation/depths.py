"""Quality against the depth of reranking, from the scores of one deep reranking."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run
from ranker.errors import DataError
from ranker.evaluation.measures import Evaluation, Measure, evaluate

DEPTHS: Final = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1_000)
"""Where quality is looked at, about as far from each other by ratio."""


def depths_to(deepest: int) -> list[int]:
    """``DEPTHS`` above the deepest, and that."""
    return [*(depth for depth in DEPTHS if depth < deepest), deepest]


def evaluations_by_depth(
    first: Run, reranked: Run, deepest: int, qrels: Qrels, measures: Sequence[Measure]
) -> dict[int, Evaluation]:
    """What a run was worth before reranking (depth 0), and would be at each depth to the deepest.

    Raises: DataError where the reranked run is none of the first.
    """
    check_same(first, reranked)
    found = {0: evaluate(first, qrels, measures)}
    return found | {d: evaluate(at_depth(first, reranked, d), qrels, measures) for d in depths_to(deepest)}


def check_same(first: Run, reranked: Run) -> None:
    """Refuses runs that have not the same passages for the same queries.

    Raises: DataError.
    """
    for query_id in (*first, *reranked):
        both = query_id in first and query_id in reranked
        if not both or set(first[query_id].doc_ids) != set(reranked[query_id].doc_ids):
            raise DataError(
                f"run {reranked.name}: has other passages than run {first.name} for query {query_id}; expected the "
                "run that it was made from."
            )


def at_depth(first: Run, reranked: Run, depth: int) -> Run:
    """What reranking only the first ``depth`` passages would have given, from the scores of a deeper reranking."""
    rankings = {}
    for query_id, ranking in first.items():
        scores = dict(zip(reranked[query_id].doc_ids, reranked[query_id].scores.tolist(), strict=True))
        head = ranking.doc_ids[:depth]
        best = Ranking.ordered(head, [scores[doc_id] for doc_id in head]).doc_ids
        doc_ids = (*best, *ranking.doc_ids[depth:])
        rankings[query_id] = Ranking(doc_ids, np.arange(len(doc_ids), 0, -1, dtype=np.float32))
    return Run(reranked.name, rankings)
