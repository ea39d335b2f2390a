"""How a model's scores behave: how far apart they are, and how many words they hang on."""

import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Run
from ranker.explanation.occlusion import Occlusion, PairText, occlude, share_for_half
from ranker.scoring.scorer import Scorer

CERTAIN: Final = 0.9
"""The probability, by the logistic of the difference of two scores, from which one passage is surely the better."""

_EXPLAINED: Final = 100
"""Queries whose best passage is explained: each takes as many pairs as it has words."""

_PARTS: Final = 20
"""Portions in which they are explained where time is short."""

_FEWEST_WORDS: Final = 20
"""Of a pair from which a share is told: of fewer, two words are more than a tenth."""


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


def words_for_half(
    scorer: Scorer, run: Run, queries: Mapping[str, Query], collection: Collection, seconds: float = 0.0
) -> dict[str, float]:
    """For some queries, the share of words that have half of the importance in their best passage; NaN of few words.

    After so many ``seconds``, if any, no more queries are begun; those that were lie evenly over the run.
    """
    # evenly, because files are often in the order of what their questions are about
    drawn = list(dict.fromkeys(list(run)[number * len(run) // _EXPLAINED] for number in range(_EXPLAINED)))
    started = time.monotonic()
    found: dict[str, float] = {}
    for part in [drawn[start::_PARTS] for start in range(_PARTS)] if seconds else [drawn]:
        if found and time.monotonic() - started > seconds:
            break
        pairs = [PairText(queries[one].text, collection[run[one].doc_ids[0]].contents) for one in part]
        found |= {query_id: _share(one) for query_id, one in zip(part, occlude(scorer, pairs), strict=True)}
    return {query_id: found[query_id] for query_id in drawn if query_id in found}


def _share(found: Occlusion) -> float:
    return share_for_half(found) if len(found.words) >= _FEWEST_WORDS else float("nan")
