"""What a run would be worth if its equal scores stood in another order: the least, the expected, the greatest value."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Final, NamedTuple

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run
from ranker.evaluation.measures import Evaluation, evaluate
from ranker.limits import MAX_DEPTH

_MOST_ORDERS: Final = 64
"""Orders of a query that are evaluated: all, where there are no more, else this many at random and the two extremes.

The error of a mean of 64 is an eighth of what a single order is off by.
"""

_MOST_PASSAGES: Final = 20_000_000
"""Passages in all these orders: a run of MS MARCO's size takes seconds more, not hours."""

_LEAST_ORDERS: Final = 8

Grades = Mapping[str, int]
Order = Sequence[int]


@dataclass(frozen=True)
class Ties:
    """A run's evaluation under other orders of its equal scores.

    ``queries`` are those with a tie of passages that are not judged alike: no other tie can matter. ``exact`` tells
    whether every order was evaluated. Else ``expected`` is a mean over some at random, and the extremes are those by
    relevance, which hold for measures that never fall when a more relevant passage moves up (McSherry & Najork 2008).
    """

    queries: tuple[str, ...]
    exact: bool
    least: Evaluation
    expected: Evaluation
    greatest: Evaluation

    @property
    def extent(self) -> tuple[Evaluation, Evaluation, Evaluation]:
        """The three, from the least to the greatest."""
        return self.least, self.expected, self.greatest


class _Tries(NamedTuple):
    """Orders of a query's passages, by their places; the first ``extremes`` are not at random."""

    orders: list[Order]
    extremes: int


def evaluate_ties(run: Run, qrels: Qrels, evaluation: Evaluation, seed: int = 1) -> Ties:
    """The evaluation of ``run`` by ``qrels``, held against other orders of its equal scores."""
    depth = max((measure.cutoff or MAX_DEPTH for measure in evaluation.measures), default=0)
    tied = {query_id: spans for query_id in qrels if query_id in run if (spans := _spans(run, qrels, query_id, depth))}
    if not tied:
        return Ties((), True, evaluation, evaluation, evaluation)
    most = _most_orders(sum(len(run[query_id]) for query_id in tied))
    rng = np.random.default_rng(seed)
    tries = {query_id: _tries(run[query_id], qrels[query_id], spans, most, rng) for query_id, spans in tied.items()}
    exact = not any(one.extremes for one in tries.values())
    return Ties(tuple(tied), exact, *_under(tries, run, qrels, evaluation))


def _most_orders(passages: int) -> int:
    """How many orders of each query may be evaluated."""
    return max(_LEAST_ORDERS, min(_MOST_ORDERS, _MOST_PASSAGES // passages))


def _spans(run: Run, qrels: Qrels, query_id: str, depth: int) -> list[tuple[int, int]]:
    """Where equal scores begin and end, if the passages there are not judged alike and a measure reads them."""
    scores, doc_ids, judged = run[query_id].scores, run[query_id].doc_ids, qrels[query_id]
    edges = np.flatnonzero(scores[1:] != scores[:-1]) + 1
    spans = pairwise((0, *edges.tolist(), len(scores)))
    return [(a, b) for a, b in spans if b - a > 1 and a < depth and len({judged.get(d) for d in doc_ids[a:b]}) > 1]


def _patterns(kinds: Sequence[float]) -> int:
    """How many sequences these kinds make."""
    return math.factorial(len(kinds)) // math.prod(map(math.factorial, Counter(kinds).values()))


def _kinds(ranking: Ranking, judged: Grades, span: tuple[int, int]) -> list[float]:
    """The judgment of each passage; those without one count as the least."""
    return [judged.get(doc_id, -math.inf) for doc_id in ranking.doc_ids[slice(*span)]]


def _tries(
    ranking: Ranking, judged: Grades, spans: Sequence[tuple[int, int]], most: int, rng: np.random.Generator
) -> _Tries:
    """All orders of a query that differ in where which judgment stands, or as many as may be at random."""
    kinds = [_kinds(ranking, judged, span) for span in spans]
    if math.prod(map(_patterns, kinds)) <= most:
        every = product(*(list(_arrangements(kind)) for kind in kinds))
        return _Tries([_whole(ranking, spans, parts) for parts in every], 0)
    rising = [np.argsort(kind, kind="stable").tolist() for kind in kinds]
    falling = [part[::-1] for part in rising]
    drawn = [[rng.permutation(len(kind)).tolist() for kind in kinds] for _ in range(most)]
    return _Tries([_whole(ranking, spans, parts) for parts in (rising, falling, *drawn)], 2)


def _whole(ranking: Ranking, spans: Sequence[tuple[int, int]], parts: Sequence[Order]) -> Order:
    places = list(range(len(ranking)))
    for (start, end), part in zip(spans, parts, strict=True):
        places[start:end] = [start + place for place in part]
    return places


def _arrangements(kinds: Sequence[float]) -> Iterator[Order]:
    """Places such that every sequence of kinds comes once."""
    if not kinds:
        yield []
        return
    for kind in dict.fromkeys(kinds):
        place = kinds.index(kind)
        others = [other for other in range(len(kinds)) if other != place]
        for rest in _arrangements([kinds[other] for other in others]):
            yield [place, *(others[number] for number in rest)]


def _under(
    tries: Mapping[str, _Tries], run: Run, qrels: Qrels, evaluation: Evaluation
) -> tuple[Evaluation, Evaluation, Evaluation]:
    """The evaluation with the least, the mean and the greatest value of each tied query."""
    found = [{name: values.copy() for name, values in evaluation.values.items()} for _ in range(3)]
    row = {query_id: number for number, query_id in enumerate(evaluation.query_ids)}
    for query_id, one in tries.items():
        names = [str(number) for number in range(len(one.orders))]
        rankings = [_reordered(run[query_id], order) for order in one.orders]
        judged = dict.fromkeys(names, qrels[query_id])
        own = evaluate(Run(run.name, dict(zip(names, rankings, strict=True))), judged, evaluation.measures).values
        for name, values in own.items():
            kept = (values.min(), values[one.extremes :].mean(), values.max())
            for side, value in zip(found, kept, strict=True):
                side[name][row[query_id]] = value
    least, expected, greatest = (replace(evaluation, values=values) for values in found)
    return least, expected, greatest


def _reordered(ranking: Ranking, order: Order) -> Ranking:
    doc_ids = tuple(ranking.doc_ids[place] for place in order)
    return Ranking(doc_ids, np.arange(len(doc_ids), 0, -1, dtype=np.float32))
