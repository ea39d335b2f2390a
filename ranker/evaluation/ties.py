"""Evaluations of a run in other orders: of its equal scores, and as if fewer of its passages had been reranked."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import Final, NamedTuple

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run
from ranker.errors import DataError
from ranker.evaluation.measures import Evaluation, Measure, evaluate
from ranker.limits import MAX_DEPTH

DEPTHS: Final = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1_000)
"""Depths at which quality is evaluated, about as far from each other by ratio."""

_MOST_ORDERS: Final = 64
"""Orders of a query that are evaluated: all, where there are no more, else this many at random and the two extremes.

The error of a mean of 64 is an eighth of that of a single order.
"""

_MOST_PASSAGES: Final = 20_000_000
"""Passages in all these orders: a run of MS MARCO's size takes seconds more, not hours."""

_LEAST_ORDERS: Final = 8

Order = Sequence[int]
"""The positions of a ranking's passages, in the order in which they are to stand."""


@dataclass(frozen=True)
class Ties:
    """A run's evaluation under other orders of its equal scores.

    ``queries`` are those with a tie of passages that are not judged alike: no other tie can matter. ``exact`` tells
    whether every order was evaluated. Otherwise ``expected`` is a mean over some random orders, and the extremes are
    those by relevance, which hold for measures that never fall when a more relevant passage moves up (McSherry & Najork
    2008).
    """

    queries: tuple[str, ...]
    exact: bool
    least: Evaluation
    expected: Evaluation
    greatest: Evaluation

    @property
    def extent(self) -> tuple[Evaluation, Evaluation, Evaluation]:
        """The three evaluations, from the least to the greatest."""
        return self.least, self.expected, self.greatest


class _Orders(NamedTuple):
    """Orders of a query's passages to evaluate; the first ``extremes`` of them are not random."""

    orders: list[Order]
    extremes: int


def evaluate_ties(run: Run, qrels: Qrels, evaluation: Evaluation, seed: int = 1) -> Ties:
    """Evaluates other orders of a run's equal scores; ``evaluation`` is that of the run as it stands."""
    depth = max((measure.cutoff or MAX_DEPTH for measure in evaluation.measures), default=0)
    spans_of = {query_id: _tied_spans(run, qrels, query_id, depth) for query_id in qrels if query_id in run}
    spans_of = {query_id: spans for query_id, spans in spans_of.items() if spans}
    if not spans_of:
        return Ties((), True, evaluation, evaluation, evaluation)
    passages = sum(len(run[query_id]) for query_id in spans_of)
    most = max(_LEAST_ORDERS, min(_MOST_ORDERS, _MOST_PASSAGES // passages))
    rng = np.random.default_rng(seed)
    tried = {
        query_id: _orders(run[query_id], qrels[query_id], spans, most, rng) for query_id, spans in spans_of.items()
    }
    exact = not any(orders.extremes for orders in tried.values())
    return Ties(tuple(tried), exact, *_least_expected_greatest(tried, run, qrels, evaluation))


def _tied_spans(run: Run, qrels: Qrels, query_id: str, depth: int) -> list[tuple[int, int]]:
    """Where equal scores begin and end, if the passages there are not judged alike and a measure reads them."""
    scores, doc_ids, judged = run[query_id].scores, run[query_id].doc_ids, qrels[query_id]
    edges = np.flatnonzero(scores[1:] != scores[:-1]) + 1
    spans = pairwise((0, *edges.tolist(), len(scores)))
    return [(a, b) for a, b in spans if b - a > 1 and a < depth and len({judged.get(d) for d in doc_ids[a:b]}) > 1]


def _orders(
    ranking: Ranking, judged: Mapping[str, int], spans: Sequence[tuple[int, int]], most: int, rng: np.random.Generator
) -> _Orders:
    """All orders of a query that differ in their judgments by position, or at most so many at random."""
    # the judgments of each span; passages without one count as the least
    grades = [[judged.get(doc_id, -math.inf) for doc_id in ranking.doc_ids[slice(*span)]] for span in spans]
    if math.prod(map(_distinct_orders, grades)) <= most:
        every = product(*(list(_arrangements(span_grades)) for span_grades in grades))
        return _Orders([_with_spans(ranking, spans, parts) for parts in every], 0)
    rising = [np.argsort(span_grades, kind="stable").tolist() for span_grades in grades]
    falling = [part[::-1] for part in rising]
    drawn = [[rng.permutation(len(span_grades)).tolist() for span_grades in grades] for _ in range(most)]
    return _Orders([_with_spans(ranking, spans, parts) for parts in (rising, falling, *drawn)], 2)


def _distinct_orders(grades: Sequence[float]) -> int:
    """The number of distinct sequences of some grades: a multinomial coefficient."""
    return math.factorial(len(grades)) // math.prod(map(math.factorial, Counter(grades).values()))


def _with_spans(ranking: Ranking, spans: Sequence[tuple[int, int]], parts: Sequence[Order]) -> Order:
    """The order of a whole ranking with each span in an order of its own."""
    positions = list(range(len(ranking)))
    for (start, end), part in zip(spans, parts, strict=True):
        positions[start:end] = [start + position for position in part]
    return positions


def _arrangements(grades: Sequence[float]) -> Iterator[Order]:
    """Yields orders such that every distinct sequence of the grades comes once."""
    if not grades:
        yield []
        return
    for grade in dict.fromkeys(grades):
        first = grades.index(grade)
        others = [position for position in range(len(grades)) if position != first]
        for rest in _arrangements([grades[position] for position in others]):
            yield [first, *(others[position] for position in rest)]


def _least_expected_greatest(
    tried: Mapping[str, _Orders], run: Run, qrels: Qrels, evaluation: Evaluation
) -> tuple[Evaluation, Evaluation, Evaluation]:
    """The evaluation with the least, the mean and the greatest value of each tied query."""
    sides = [{name: values.copy() for name, values in evaluation.values.items()} for _ in range(3)]
    row_of = {query_id: row for row, query_id in enumerate(evaluation.query_ids)}
    for query_id, (orders, extremes) in tried.items():
        # each order stands as a query of its own, under the judgments of the one query
        names = [str(position) for position in range(len(orders))]
        rankings = {name: _reordered(run[query_id], order) for name, order in zip(names, orders, strict=True)}
        judged = dict.fromkeys(names, qrels[query_id])
        for name, values in evaluate(Run(run.name, rankings), judged, evaluation.measures).values.items():
            extent = (values.min(), values[extremes:].mean(), values.max())
            for side, value in zip(sides, extent, strict=True):
                side[name][row_of[query_id]] = value
    least, expected, greatest = (replace(evaluation, values=values) for values in sides)
    return least, expected, greatest


def _reordered(ranking: Ranking, order: Order) -> Ranking:
    """A ranking in another order, with scores that fall by one from passage to passage."""
    doc_ids = tuple(ranking.doc_ids[position] for position in order)
    return Ranking(doc_ids, np.arange(len(doc_ids), 0, -1, dtype=np.float32))


def depths_to(deepest: int) -> list[int]:
    """The depths of ``DEPTHS`` that lie above the deepest, and the deepest."""
    return [*(depth for depth in DEPTHS if depth < deepest), deepest]


def evaluations_by_depth(
    first: Run, reranked: Run, deepest: int, qrels: Qrels, measures: Sequence[Measure]
) -> dict[int, Evaluation]:
    """Evaluates a run before reranking (depth 0), and as if reranked to each depth down to the deepest.

    The scores of one deep reranking are enough for it.
    Raises: DataError where the reranked run was not made from the first.
    """
    check_same(first, reranked)
    by_depth = {0: evaluate(first, qrels, measures)}
    for depth in depths_to(deepest):
        by_depth[depth] = evaluate(at_depth(first, reranked, depth), qrels, measures)
    return by_depth


def check_same(first: Run, reranked: Run) -> None:
    """Refuses runs that do not have the same passages for the same queries.

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
    """The run that reranking only the first ``depth`` passages would give, from the scores of a deeper reranking."""
    rankings = {}
    for query_id, ranking in first.items():
        scores = dict(zip(reranked[query_id].doc_ids, reranked[query_id].scores.tolist(), strict=True))
        head = ranking.doc_ids[:depth]
        best = Ranking.ordered(head, [scores[doc_id] for doc_id in head]).doc_ids
        doc_ids = (*best, *ranking.doc_ids[depth:])
        rankings[query_id] = Ranking(doc_ids, np.arange(len(doc_ids), 0, -1, dtype=np.float32))
    return Run(reranked.name, rankings)
