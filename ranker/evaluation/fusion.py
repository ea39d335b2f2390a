"""Fusion: what several runs say of the same queries as one run, by their ranks or by their scores."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.data.run import Ranking, Run, Scores, to_float32
from ranker.errors import DataError
from ranker.limits import DEFAULT_RRF_K, MAX_DEPTH, MAX_RRF_K
from ranker.wording import counted

Floats = NDArray[np.float64]

_NOTHING: Final = Ranking((), np.zeros(0, dtype=np.float32))


class Source(NamedTuple):
    """A run to fuse; ``scored`` is how far down each ranking its scores are those of one system.

    Below the depth of a reranking, scores only keep the order of the run before.
    """

    run: Run
    scored: int = MAX_DEPTH


@dataclass(frozen=True)
class Fusion:
    """How runs become one; there is one weight for each of them, and none at all where all count alike.

    Weights count by their ratio. ``k`` is what reciprocal rank fusion adds to each rank.
    """

    method: str = "rrf"
    weights: tuple[float, ...] = ()
    k: int = DEFAULT_RRF_K

    def __post_init__(self) -> None:
        """Refuses what gives no order."""
        if self.method not in METHODS:
            raise DataError(f"fusion method is {self.method!r}, expected {' or '.join(METHODS)}.")
        wrong = next((weight for weight in self.weights if not 0 <= weight < math.inf), None)
        if wrong is not None:
            raise DataError(f"a run's weight is {wrong}, expected a finite number of at least 0.")
        if self.weights and not any(self.weights):
            raise DataError(f"all {len(self.weights)} weights are 0, expected one above 0.")
        if not 0 <= self.k <= MAX_RRF_K:
            raise DataError(f"k of the fusion is {self.k}, expected 0 to {MAX_RRF_K}.")

    def shares(self, runs: int) -> Floats:
        """The weights with their mean brought to 1, so that equal ones leave a sum as it was published.

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


class Table(NamedTuple):
    """What the runs say of one query.

    Shape: ranks (RUNS, PASSAGES), from 1, and 0 where a run lacks the passage; scores (RUNS, PASSAGES), from 0 to 1,
    and NaN where a run has not scored it.
    """

    doc_ids: tuple[str, ...]
    ranks: NDArray[np.int32]
    scores: Floats


def fuse(sources: Sequence[Source], fusion: Fusion, depth: int = MAX_DEPTH) -> Run:
    """The best ``depth`` passages of each query that any run answers, in the order of the queries in the runs.

    A run of weight 0 brings no passage. Raises: DataError as ``check_sources``, and for another number of weights.
    """
    shares = fusion.shares(len(sources))
    check_sources(sources)
    rankings = ((query_id, fused(table, fusion, shares, depth)) for query_id, table in tables(sources))
    return Run("fused", {query_id: ranking for query_id, ranking in rankings if len(ranking)})


def check_sources(sources: Sequence[Source]) -> None:
    """Refuses less than two runs, and one that shares no query with any other.

    Raises: DataError.
    """
    if len(sources) < 2:
        raise DataError(f"a fusion of {counted(len(sources), 'run')}, expected two or more.")
    for place, (run, _) in enumerate(sources):
        others = [other for other, _ in (*sources[:place], *sources[place + 1 :])]
        if not any(query_id in other for query_id in run for other in others):
            raise DataError(
                f"run {run.name}: shares no query with any other run; its first is {next(iter(run), None)!r}, that of "
                f"run {others[0].name} is {next(iter(others[0]), None)!r}."
            )


def unanswered(sources: Sequence[Source]) -> dict[str, int]:
    """How many queries that others answer each run lacks, by its name."""
    query_ids = set(chain.from_iterable(run for run, _ in sources))
    return {run.name: len(query_ids) - len(run) for run, _ in sources}


def tables(sources: Sequence[Source]) -> Iterator[tuple[str, Table]]:
    """What there is to fuse, query by query."""
    for query_id in dict.fromkeys(chain.from_iterable(run for run, _ in sources)):
        yield query_id, _table([(run.get(query_id, _NOTHING), scored) for run, scored in sources])


def _table(rankings: Sequence[tuple[Ranking, int]]) -> Table:
    doc_ids = tuple(dict.fromkeys(chain.from_iterable(ranking.doc_ids for ranking, _ in rankings)))
    column = {doc_id: number for number, doc_id in enumerate(doc_ids)}
    ranks = np.zeros((len(rankings), len(doc_ids)), dtype=np.int32)
    scores = np.full(ranks.shape, np.nan)
    for row, (ranking, scored) in enumerate(rankings):
        places = [column[doc_id] for doc_id in ranking.doc_ids]
        ranks[row, places] = np.arange(1, len(places) + 1)
        scores[row, places[:scored]] = normalised(ranking.scores[:scored])
    return Table(doc_ids, ranks, scores)


def normalised(scores: Scores) -> Floats:
    """Falling scores by their place between the least, 0, and the greatest, 1; all 1 where they are equal.

    Shape: (N,) to (N,).
    """
    if not len(scores):
        return np.zeros(0)
    values = scores.astype(np.float64)
    extent = values[0] - values[-1]
    return (values - values[-1]) / extent if extent > 0 else np.ones(len(values))


def fused(table: Table, fusion: Fusion, shares: Floats, depth: int) -> Ranking:
    """The best ``depth`` passages of one query; none where only runs of weight 0 have any.

    Shape: shares (RUNS,), the fusion's own for so many runs.
    """
    voting = shares > 0
    found = np.flatnonzero((table.ranks[voting] > 0).any(axis=0))
    voted = Table(
        tuple(table.doc_ids[place] for place in found), table.ranks[voting][:, found], table.scores[voting][:, found]
    )
    return _best(voted.doc_ids, to_float32(METHODS[fusion.method](voted, shares[voting], fusion.k)), depth)


def _best(doc_ids: tuple[str, ...], scores: Scores, depth: int) -> Ranking:
    """As ``Ranking.ordered``, which is spared what cannot be among the best."""
    if len(scores) <= depth:
        return Ranking.ordered(doc_ids, scores)
    kept = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    return Ranking.ordered([doc_ids[place] for place in kept], scores[kept]).head(depth)


def reciprocal(table: Table, shares: Floats, k: int) -> Floats:
    """The sum of share / (k + rank) over the runs that have a passage (Cormack, Clarke and Büttcher 2009, RRFscore)."""
    present = table.ranks > 0
    return _summed(shares[:, None] * present / (k + np.maximum(table.ranks, 1)))


def interpolated(table: Table, shares: Floats, k: int) -> Floats:
    """The weighted mean of the normalised scores; a run that has not scored a passage gives it 0, as to its last.

    Passages that no run has scored lie beneath, below 0, in the order of ``reciprocal`` where all runs count alike.
    """
    scores = _summed(shares[:, None] * np.nan_to_num(table.scores)) / math.fsum(shares)
    unscored = np.isnan(table.scores).all(axis=0)
    return np.where(unscored, -1 / reciprocal(table, np.ones_like(shares), k), scores)


def _summed(parts: Floats) -> Floats:
    """Over the runs; sorted first, so that the order in which they are given decides no last bit."""
    return np.asarray(np.sort(parts, axis=0).sum(axis=0))


METHODS: Final = {"rrf": reciprocal, "interpolation": interpolated}
"""From the shares of the runs that count, all above 0, to a score for each passage. Shape: (PASSAGES,), float64."""
