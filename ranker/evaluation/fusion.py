"""Fusion: makes one run of several, by ranks or by scores, under weights that are given or tuned on judged queries."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, pairwise
from math import comb
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run, Scores, to_float32
from ranker.errors import DataError
from ranker.evaluation.measures import Measure, evaluate
from ranker.limits import DEFAULT_RRF_K, MAX_DEPTH, MAX_RRF_K, MAX_WEIGHTS_TRIED
from ranker.wording import counted

_EMPTY: Final = Ranking((), np.zeros(0, dtype=np.float32))


class Source(NamedTuple):
    """A run to fuse; ``scored`` is the depth to which its scores are those of one system.

    Below the depth of a reranking, scores only keep the order of the run before.
    """

    run: Run
    scored: int = MAX_DEPTH


@dataclass(frozen=True)
class Fusion:
    """A method of ``METHODS``, a weight for each run (none where all count alike), and the ``k`` of ``rrf``.

    Weights count by their ratio.
    Raises: DataError for an unknown method, weights that are negative or all 0, and a ``k`` out of bounds.
    """

    method: str = "rrf"
    weights: tuple[float, ...] = ()
    k: int = DEFAULT_RRF_K

    def __post_init__(self) -> None:
        """Refuses settings that give no order."""
        if self.method not in METHODS:
            raise DataError(f"fusion method is {self.method!r}, expected {' or '.join(METHODS)}.")
        wrong = next((weight for weight in self.weights if not 0 <= weight < math.inf), None)
        if wrong is not None:
            raise DataError(f"a run's weight is {wrong}, expected a finite number of at least 0.")
        if self.weights and not any(self.weights):
            raise DataError(f"all {len(self.weights)} weights are 0, expected one above 0.")
        if not 0 <= self.k <= MAX_RRF_K:
            raise DataError(f"k of the fusion is {self.k}, expected 0 to {MAX_RRF_K}.")

    def shares(self, runs: int) -> NDArray[np.float64]:
        """The weights scaled to a mean of 1, so that equal ones leave a sum as it was published.

        Shape: (runs,). Raises: DataError where there is another number of weights.
        """
        if len(self.weights) not in (0, runs):
            raise DataError(
                f"{counted(len(self.weights), 'weight')} given for {counted(runs, 'run')}, expected one for each."
            )
        weights = np.array(self.weights or [1.0] * runs, dtype=np.float64)
        weights /= weights.max()
        # an exact sum: the order in which runs are given must not decide a last bit
        return np.asarray(weights / (math.fsum(weights) / runs))


class CandidateTable(NamedTuple):
    """The passages that any run has for one query, with their ranks and scores by run.

    Shape: ranks (RUNS, PASSAGES), from 1, and 0 where a run lacks the passage; scores (RUNS, PASSAGES), from 0 to 1,
    and NaN where a run has not scored it.
    """

    doc_ids: tuple[str, ...]
    ranks: NDArray[np.int32]
    scores: NDArray[np.float64]


def fuse(sources: Sequence[Source], fusion: Fusion | None = None, depth: int = MAX_DEPTH) -> Run:
    """Makes one run of several: the best ``depth`` passages of each query that any of them answers.

    Without a ``fusion`` it is reciprocal rank fusion, all runs counting alike. Queries are in the order of the runs; a
    run of weight 0 brings no passage.
    Raises: DataError as ``check_sources``, and for another number of weights.

    >>> from ranker import Fusion, Ranking, Run, Source, fuse
    >>> lexical = Run("bm25", {"q": Ranking.ordered(["a", "b"], [9.1, 7.3])})
    >>> dense = Run("dual", {"q": Ranking.ordered(["b", "c"], [0.8, 0.6])})
    >>> fuse([Source(lexical), Source(dense)])["q"].doc_ids
    ('b', 'a', 'c')
    >>> fuse([Source(lexical), Source(dense)], Fusion("interpolation", weights=(3, 1)), depth=2)["q"].doc_ids
    ('a', 'b')
    """
    fusion = fusion or Fusion()
    shares = fusion.shares(len(sources))
    check_sources(sources)
    rankings = {}
    for query_id, table in candidate_tables(sources):
        ranking = fused(table, fusion, shares, depth)
        if len(ranking):
            rankings[query_id] = ranking
    return Run("fused", rankings)


def check_sources(sources: Sequence[Source]) -> None:
    """Refuses less than two runs, and one that shares no query with any other.

    Raises: DataError.
    """
    if len(sources) < 2:
        raise DataError(f"a fusion of {counted(len(sources), 'run')}, expected two or more.")
    for position, (run, _) in enumerate(sources):
        others = [other for other, _ in (*sources[:position], *sources[position + 1 :])]
        if not any(query_id in other for query_id in run for other in others):
            raise DataError(
                f"run {run.name}: shares no query with any other run; its first is {next(iter(run), None)!r}, that of "
                f"run {others[0].name} is {next(iter(others[0]), None)!r}."
            )


def unanswered(sources: Sequence[Source]) -> dict[str, int]:
    """The number of queries that each run lacks and others answer, by the run's name."""
    query_ids = set(chain.from_iterable(run for run, _ in sources))
    return {run.name: len(query_ids) - len(run) for run, _ in sources}


def candidate_tables(sources: Sequence[Source]) -> Iterator[tuple[str, CandidateTable]]:
    """Yields each query with the passages to fuse."""
    for query_id in dict.fromkeys(chain.from_iterable(run for run, _ in sources)):
        rankings = [run.get(query_id, _EMPTY) for run, _ in sources]
        doc_ids = tuple(dict.fromkeys(chain.from_iterable(ranking.doc_ids for ranking in rankings)))
        column_of = {doc_id: column for column, doc_id in enumerate(doc_ids)}
        ranks = np.zeros((len(sources), len(doc_ids)), dtype=np.int32)
        scores = np.full(ranks.shape, np.nan)
        for row, (ranking, (_, scored)) in enumerate(zip(rankings, sources, strict=True)):
            columns = [column_of[doc_id] for doc_id in ranking.doc_ids]
            ranks[row, columns] = np.arange(1, len(columns) + 1)
            scores[row, columns[:scored]] = normalised(ranking.scores[:scored])
        yield query_id, CandidateTable(doc_ids, ranks, scores)


def normalised(scores: Scores) -> NDArray[np.float64]:
    """Falling scores scaled from 0, the least, to 1, the greatest; all 1 where they are equal.

    Shape: (N,) to (N,).
    """
    if not len(scores):
        return np.zeros(0)
    values = scores.astype(np.float64)
    extent = values[0] - values[-1]
    return (values - values[-1]) / extent if extent > 0 else np.ones(len(values))


def fused(table: CandidateTable, fusion: Fusion, shares: NDArray[np.float64], depth: int) -> Ranking:
    """The best ``depth`` passages of one query; none where only runs of weight 0 have any.

    Shape: shares (RUNS,), as ``fusion.shares`` gives them.
    """
    voting = shares > 0
    columns = np.flatnonzero((table.ranks[voting] > 0).any(axis=0))
    doc_ids = tuple(table.doc_ids[column] for column in columns)
    voted = CandidateTable(doc_ids, table.ranks[voting][:, columns], table.scores[voting][:, columns])
    scores = to_float32(METHODS[fusion.method](voted, shares[voting], fusion.k))
    if len(scores) <= depth:
        return Ranking.ordered(doc_ids, scores)
    # only those that reach the depth-th score, ties included, need be sorted
    kept = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    return Ranking.ordered([doc_ids[column] for column in kept], scores[kept]).head(depth)


def reciprocal(table: CandidateTable, shares: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Sums share / (k + rank) over the runs that have a passage (Cormack, Clarke and Büttcher 2009, RRFscore)."""
    present = table.ranks > 0
    return _sum_over_runs(shares[:, None] * present / (k + np.maximum(table.ranks, 1)))


def interpolated(table: CandidateTable, shares: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """The weighted mean of the normalised scores; a run that has not scored a passage gives it 0, as to its last.

    Passages that no run has scored lie beneath, below 0, in the order of ``reciprocal`` where all runs count alike.
    """
    scores = _sum_over_runs(shares[:, None] * np.nan_to_num(table.scores)) / math.fsum(shares)
    unscored = np.isnan(table.scores).all(axis=0)
    return np.where(unscored, -1 / reciprocal(table, np.ones_like(shares), k), scores)


def _sum_over_runs(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums the rows in sorted order, so that the order in which runs are given decides no last bit."""
    return np.asarray(np.sort(parts, axis=0).sum(axis=0))


METHODS: Final = {"rrf": reciprocal, "interpolation": interpolated}
"""Functions from the shares of the runs that count, all above 0, to a score for each passage.

Shape: (PASSAGES,), float64.
"""


_PARTS: Final = (20, 10, 5, 4, 2)
"""Equal parts that the whole weight may be divided into: the first that gives at most ``MAX_WEIGHTS_TRIED``."""

_TIE: Final = 1e-9
"""Means closer than this are equal, and the more even weights are chosen."""

Weights = tuple[float, ...]


@dataclass(frozen=True)
class Tuning:
    """The measure that weights are chosen by, and the folds that queries are divided into at random by ``seed``."""

    measure: Measure
    folds: int = 5
    seed: int = 1


@dataclass(frozen=True)
class Tuned:
    """Weights chosen on all judged queries, and their values by cross-validation.

    ``fold_weights`` are those that the other folds chose for each fold, and ``out_of_fold`` has each judged query's
    value under them. ``in_sample`` is the mean of all queries under ``weights``; ``alone`` is that of each run by name.
    """

    weights: Weights
    fold_weights: tuple[Weights, ...]
    out_of_fold: Mapping[str, float]
    in_sample: float
    alone: Mapping[str, float]
    tried: int

    @property
    def value(self) -> float:
        """The cross-validated mean: no query is evaluated by weights that it helped to choose."""
        return float(np.mean(list(self.out_of_fold.values())))


def tune(
    sources: Sequence[Source], qrels: Qrels, fusion: Fusion, tuning: Tuning, advance: Callable[[int], object]
) -> Tuned:
    """Chooses the weights of ``weights_grid`` whose fusion has the highest mean, and cross-validates the choice.

    A judged query that no run answers counts 0. The weights of ``fusion`` are not read; ``advance`` is called with 1
    for each of the grid.
    Raises: DataError as ``check_sources``, for a run that answers no judged query, and for more folds than queries.
    """
    check_sources(sources)
    judged = [_judged(source, qrels) for source in sources]
    query_ids = list(qrels)
    folds = fold_numbers(query_ids, tuning)
    grid = weights_grid(len(sources))
    tables = list(candidate_tables(judged))
    rows = []
    for weights in grid:
        rows.append(_values(tables, qrels, replace(fusion, weights=weights), tuning.measure))
        advance(1)
    values = np.stack(rows)  # (WEIGHTS, QUERIES)
    best = _best_row(values)
    best_by_fold = [_best_row(values[:, folds != fold]) for fold in range(tuning.folds)]
    held_out = values[np.array(best_by_fold)[folds], np.arange(len(query_ids))]
    means = values.mean(axis=1)
    # a run alone is the row of the grid that gives it all the weight
    alone = [grid.index(tuple(row)) for row in np.eye(len(sources))]
    return Tuned(
        weights=grid[best],
        fold_weights=tuple(grid[row] for row in best_by_fold),
        out_of_fold=dict(zip(query_ids, held_out.tolist(), strict=True)),
        in_sample=float(means[best]),
        alone={run.name: float(means[row]) for (run, _), row in zip(sources, alone, strict=True)},
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
    """The fold of each query, from 0; it depends on the set of queries, not on their order.

    Shape: (queries,). Raises: DataError for less than two folds, or more than there are queries.
    """
    if not 2 <= tuning.folds <= len(query_ids):
        raise DataError(
            f"{tuning.folds} folds of {counted(len(query_ids), 'judged query')}, expected 2 to as many as queries."
        )
    in_order = np.argsort(np.array(query_ids))
    folds = np.empty(len(query_ids), dtype=np.int64)
    folds[np.random.default_rng(tuning.seed).permutation(in_order)] = np.arange(len(query_ids)) % tuning.folds
    return folds


def weights_grid(runs: int) -> list[Weights]:
    """Every division of 1 into equal parts among the runs, the most even first; each run alone is among them.

    Raises: DataError for so many runs that even halves would be too many to try.
    """
    parts = next((p for p in _PARTS if comb(p + runs - 1, runs - 1) <= MAX_WEIGHTS_TRIED), 0)
    if not parts:
        raise DataError(f"{runs} runs have more than {MAX_WEIGHTS_TRIED} sets of weights to try, expected fewer runs.")
    # stars and bars: the gaps between runs - 1 bars among the stars are how many parts each run has
    grid = []
    for bars in combinations(range(parts + runs - 1), runs - 1):
        edges = (-1, *bars, parts + runs - 1)
        grid.append(tuple(right - left - 1 for left, right in pairwise(edges)))
    grid.sort(key=lambda counts: sum(n * n for n in counts))
    return [tuple(n / parts for n in counts) for counts in grid]


def _values(
    tables: Sequence[tuple[str, CandidateTable]], qrels: Qrels, fusion: Fusion, measure: Measure
) -> NDArray[np.float64]:
    """Each judged query's value under a fusion.

    Shape: (queries,).
    """
    shares = fusion.shares(len(fusion.weights))
    rankings = {query_id: fused(table, fusion, shares, measure.depth) for query_id, table in tables}
    return evaluate(Run("fused", rankings), qrels, [measure]).values[measure.name]


def _best_row(values: NDArray[np.float64]) -> int:
    """The first of the rows with the greatest mean.

    Shape: values (weights, queries).
    """
    means = values.mean(axis=1)
    return int(np.flatnonzero(means >= means.max() - _TIE)[0])
