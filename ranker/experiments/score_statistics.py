"""Statistics of a model's scores: how far apart they are, and how many words they depend on."""

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Run
from ranker.explanation.occlusion import PairText, occlude, share_for_half
from ranker.scoring.scorer import Scorer

CERTAIN: Final = 0.9
"""The probability, the logistic of the difference of two scores, from which one passage is surely the better."""

_EXPLAINED: Final = 100
"""Queries whose best passage is explained: each takes as many pairs as it has words."""

_BATCHES: Final = 20
"""Batches of queries, after each of which the time is looked at."""

_FEWEST_WORDS: Final = 20
"""Words that a pair must have to count: of fewer, two words are more than a tenth."""


class ScoreStatistics(NamedTuple):
    """Two shares for each query: pairs of candidates surely told apart, and words with half of all importance."""

    extreme: Sequence[float]
    words_for_half: Sequence[float]


def sure_pairs(run: Run, depth: int) -> list[float]:
    """The share of all pairs of a query's first passages whose scores differ by more than ``CERTAIN`` allows.

    A difference means the same under a listwise and a pointwise loss, where a score alone does not. Queries with one
    passage are left out.
    """
    width = float(np.log(CERTAIN / (1 - CERTAIN)))
    shares = []
    for ranking in run.values():
        scores = ranking.scores[:depth].astype(np.float64)
        if len(scores) > 1:
            # every pair counts twice here, and in the number of pairs it is divided by
            apart = np.abs(scores[:, None] - scores[None, :]) > width
            shares.append(float(apart.sum() / (len(scores) * (len(scores) - 1))))
    return shares


def words_for_half(
    scorer: Scorer, run: Run, queries: Mapping[str, Query], collection: Collection, seconds: float = 0.0
) -> dict[str, float]:
    """The share of words that have half of the importance in the best passage of some queries; NaN of few words.

    After so many ``seconds``, if any, no more queries are begun; those that were lie evenly over the run.
    """
    # evenly, because files are often in the order of what their questions are about
    drawn = list(dict.fromkeys(list(run)[draw * len(run) // _EXPLAINED] for draw in range(_EXPLAINED)))
    started = time.monotonic()
    shares: dict[str, float] = {}
    for batch in [drawn[start::_BATCHES] for start in range(_BATCHES)] if seconds else [drawn]:
        if shares and time.monotonic() - started > seconds:
            break
        pairs = [PairText(queries[query_id].text, collection[run[query_id].doc_ids[0]].contents) for query_id in batch]
        for query_id, occlusion in zip(batch, occlude(scorer, pairs), strict=True):
            enough = len(occlusion.words) >= _FEWEST_WORDS
            shares[query_id] = share_for_half(occlusion) if enough else float("nan")
    return {query_id: shares[query_id] for query_id in drawn if query_id in shares}
