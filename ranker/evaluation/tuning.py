"""Weights of a fusion, chosen by what they are worth on judged queries; what is told of them is worth out of fold."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from math import comb
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.errors import DataError
from ranker.evaluation.fusion import Floats, Fusion, Source, check_sources, fused, tables
from ranker.evaluation.measures import Measure, evaluate
from ranker.limits import MAX_WEIGHTS_TRIED
from ranker.wording import counted

_PARTS: Final = (20, 10, 5, 4, 2)
"""Into how many equal parts the whole weight is divided: the first that gives no more than ``MAX_WEIGHTS_TRIED``."""

_TIE: Final = 1e-9
"""Means closer than this are equal, and leave the choice to the more even weights."""

Weights = tuple[float, ...]


@dataclass(frozen=True)
class Tuning:
    """By what weights are chosen, and into how many parts the queries are divided, at random by ``seed``."""

    measure: Measure
    folds: int = 5
    seed: int = 1


@dataclass(frozen=True)
class Tuned:
    """Weights chosen on all queries, and what was seen on the way.

    ``out_of_fold`` has each judged query's value under the weights that the other folds chose, ``fold_weights``, in the
    order of the folds. ``in_sample`` is the mean under ``weights``, which were chosen by it; ``alone`` is that of each
    run by itself, by name.
    """

    weights: Weights
    fold_weights: tuple[Weights, ...]
    out_of_fold: Mapping[str, float]
    in_sample: float
    alone: Mapping[str, float]
    tried: int

    @property
    def value(self) -> float:
        """The mean of ``out_of_fold``: no query is valued by weights that it helped to choose."""
        return float(np.mean(list(self.out_of_fold.values())))


def tune(
    sources: Sequence[Source], qrels: Qrels, fusion: Fusion, tuning: Tuning, advance: Callable[[int], object]
) -> Tuned:
    """The weights of ``weights_grid`` whose fusion is worth most on the judged queries, and its value out of fold.

    A judged query that no run answers counts 0. The weights of ``fusion`` are not read; ``advance`` is told of each
    that was tried.
    Raises: DataError as ``check_sources``, for a run that answers no judged query, and for more folds than queries.
    """
    check_sources(sources)
    judged = [_judged(source, qrels) for source in sources]
    query_ids = list(qrels)
    folds = fold_numbers(query_ids, tuning)
    grid = weights_grid(len(sources))
    every = []
    for value in _values(judged, qrels, [replace(fusion, weights=weights) for weights in grid], tuning.measure):
        every.append(value)
        advance(1)
    values = np.stack(every)
    by_fold = [_best(values[:, folds != fold]) for fold in range(tuning.folds)]
    held_out = values[np.array(by_fold)[folds], np.arange(len(query_ids))]
    chosen = _best(values)
    means = values.mean(axis=1)
    corners = [grid.index(tuple(np.eye(len(sources))[place])) for place in range(len(sources))]
    return Tuned(
        weights=grid[chosen],
        fold_weights=tuple(grid[place] for place in by_fold),
        out_of_fold=dict(zip(query_ids, held_out.tolist(), strict=True)),
        in_sample=float(means[chosen]),
        alone={run.name: float(means[corner]) for (run, _), corner in zip(sources, corners, strict=True)},
        tried=len(grid),
    )


def _judged(source: Source, qrels: Qrels) -> Source:
    """The part of a run that answers judged queries."""
    run, scored = source
    rankings = {query_id: run[query_id] for query_id in qrels if query_id in run}
    if not rankings:
        raise DataError(
            f"run {run.name}: answers none of the {counted(len(qrels), 'query')} that weights are tuned on; its first "
            f"is {next(iter(run), None)!r}, that of the qrels {next(iter(qrels), None)!r}."
        )
    return Source(Run(run.name, rankings), scored)


def fold_numbers(query_ids: Sequence[str], tuning: Tuning) -> NDArray[np.int64]:
    """The fold of each query, from 0; the same for a query whatever the order of the file that it stands in.

    Shape: (queries,). Raises: DataError for less than two folds, or more than there are queries.
    """
    if not 2 <= tuning.folds <= len(query_ids):
        raise DataError(
            f"{tuning.folds} folds of {counted(len(query_ids), 'judged query')}, expected 2 to as many as queries."
        )
    in_order = np.argsort(np.array(query_ids))
    numbers = np.empty(len(query_ids), dtype=np.int64)
    numbers[np.random.default_rng(tuning.seed).permutation(in_order)] = np.arange(len(query_ids)) % tuning.folds
    return numbers


def weights_grid(runs: int) -> list[Weights]:
    """Every division of 1 into equal steps among the runs, the most even first; each run alone is among them.

    Raises: DataError for so many runs that even halves would be too many to try.
    """
    parts = next((p for p in _PARTS if comb(p + runs - 1, runs - 1) <= MAX_WEIGHTS_TRIED), 0)
    if not parts:
        raise DataError(f"{runs} runs have more than {MAX_WEIGHTS_TRIED} sets of weights to try, expected fewer runs.")
    # bars among stars: the gaps between the bars are the parts of each run
    bars = combinations(range(parts + runs - 1), runs - 1)
    counts = [tuple(b - a - 1 for a, b in pairwise((-1, *some, parts + runs - 1))) for some in bars]
    return [tuple(n / parts for n in one) for one in sorted(counts, key=lambda one: sum(n * n for n in one))]


def _values(sources: Sequence[Source], qrels: Qrels, fusions: Sequence[Fusion], measure: Measure) -> Iterator[Floats]:
    """Each judged query's value under each of the fusions.

    Shape: (queries,) each.
    """
    every = list(tables(sources))
    for fusion in fusions:
        shares = fusion.shares(len(sources))
        rankings = {query_id: fused(table, fusion, shares, measure.depth) for query_id, table in every}
        yield evaluate(Run("fused", rankings), qrels, [measure]).values[measure.name]


def _best(values: Floats) -> int:
    """The first of the rows with the greatest mean.

    Shape: values (weights, queries).
    """
    means = values.mean(axis=1)
    return int(np.flatnonzero(means >= means.max() - _TIE)[0])
