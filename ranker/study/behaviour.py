"""How a model's scores behave: how far apart they are, and how many words they hang on."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Run
from ranker.explanation.occlusion import PairText, occlude, share_for_half
from ranker.scoring.scorer import Scorer

CERTAIN: Final = 0.9
"""The probability, by the logistic of the difference of two scores, from which one passage is surely the better."""

_EXPLAINED: Final = 100
"""Queries whose best passage is explained: each takes as many pairs as it has words."""


class Behaviour(NamedTuple):
    """Shares, one a query: of its candidates' pairs told apart surely, and of the words that have half the change."""

    extreme: Sequence[float]
    words_for_half: Sequence[float]


def sure_pairs(run: Run, depth: int) -> list[float]:
    """The share of all pairs of a query's first passages that the scores tell apart surely; queries with one have none.

    A difference means the same under a listwise and a pointwise loss, where the scores on their own do not.
    """
    width = float(np.log(CERTAIN / (1 - CERTAIN)))
    found = []
    for ranking in run.values():
        scores = ranking.scores[:depth].astype(np.float64)
        if len(scores) > 1:
            apart = np.abs(scores[:, None] - scores[None, :]) > width
            found.append(float(apart.sum() / (len(scores) * (len(scores) - 1))))
    return found


def words_for_half(scorer: Scorer, run: Run, queries: Mapping[str, Query], collection: Collection) -> dict[str, float]:
    """For the first queries, the share of words that have half of the importance in their best passage."""
    pairs = {
        query_id: PairText(queries[query_id].text, collection[ranking.doc_ids[0]].contents)
        for query_id, ranking in list(run.items())[:_EXPLAINED]
    }
    found = occlude(scorer, list(pairs.values()))
    return {query_id: share_for_half(one) for query_id, one in zip(pairs, found, strict=True)}
