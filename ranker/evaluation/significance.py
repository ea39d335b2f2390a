"""Paired statistics over the queries: how much one run differs from another, and whether that could be chance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from ranker.errors import DataError
from ranker.evaluation.measures import Evaluation, Measure
from ranker.limits import BOOTSTRAP_SAMPLES, MIN_COMPARED_QUERIES, RANDOMISATION_SAMPLES
from ranker.wording import counted

ALPHA: Final = 0.05
"""A difference with a smaller corrected p counts as won or lost; intervals cover 1 - ALPHA."""

TIE: Final = 1e-9
"""Values of one query closer than this are equal: evaluators sum in floating point."""

_CELLS: Final = 4_000_000
"""Numbers of a matrix of random draws held at a time: 32 MB."""

Floats = NDArray[np.float64]
Outcome = Literal["won", "lost", "undecided"]


@dataclass(frozen=True)
class Difference:
    """A run against the baseline by one measure, over all judged queries.

    ``low`` and ``high`` bound the mean difference by a percentile bootstrap over queries. ``p_randomisation`` and
    ``p_t`` are two-sided; the ``_holm`` ones are corrected for all runs compared with the baseline by this measure.
    """

    measure: str
    run: str
    mean: float
    baseline_mean: float
    difference: float
    low: float
    high: float
    p_randomisation: float
    p_randomisation_holm: float
    p_t: float
    p_t_holm: float
    wins: int
    ties: int
    losses: int

    @property
    def outcome(self) -> Outcome:
        """Who is better by the corrected randomisation test; "undecided" where it could be chance."""
        if self.p_randomisation_holm >= ALPHA:
            return "undecided"
        return "won" if self.difference > 0 else "lost"


@dataclass(frozen=True)
class Comparison:
    """Runs against one baseline: differences by measure, and within a measure in the order of the runs.

    ``missing`` names, for each run that lacks judged queries, those that were counted 0.
    """

    baseline: str
    queries: int
    differences: tuple[Difference, ...]
    missing: Mapping[str, tuple[str, ...]]
    samples: int
    seed: int

    def by(self, measure: Measure | str) -> list[Difference]:
        """The differences of all runs by one measure."""
        return [difference for difference in self.differences if difference.measure == str(measure)]

    def of(self, run: str, measure: Measure | str) -> Difference:
        """The difference of one run by one measure.

        Raises: KeyError where they were not compared.
        """
        for difference in self.by(measure):
            if difference.run == run:
                return difference
        raise KeyError((run, str(measure)))


def compare(
    evaluations: Sequence[Evaluation],
    baseline: str | None = None,
    *,
    missing: Literal["refuse", "zero"] = "refuse",
    samples: int = RANDOMISATION_SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compares each run with the baseline, the first where none is named, over every judged query.

    Raises: DataError for too few runs, queries or measures, two runs of one name, a baseline that is none of them, runs
    evaluated by other qrels or measures, and a run that lacks judged queries unless ``missing`` is "zero".

    >>> from ir_measures import RR
    >>> from ranker import Ranking, Run, compare, evaluate
    >>> qrels = {str(query): {"a": 1} for query in range(20)}
    >>> first = Run("bm25", {query: Ranking.ordered(["b", "a"], [2, 1]) for query in qrels})
    >>> second = Run("cross", {query: Ranking.ordered(["a", "b"], [2, 1]) for query in qrels})
    >>> comparison = compare([evaluate(run, qrels, [RR @ 10]) for run in (first, second)])
    >>> difference = comparison.of("cross", RR @ 10)
    >>> difference.outcome, difference.difference
    ('won', 0.5)
    """
    _check_alike(evaluations)
    lacking = {e.name: e.missing for e in evaluations if e.missing}
    if missing == "refuse":
        _check_complete(lacking, len(evaluations[0].query_ids))
    base = _named(evaluations, evaluations[0].name if baseline is None else baseline)
    others = [e for e in evaluations if e is not base]
    pairs = [(measure.name, other) for measure in base.measures for other in others]
    columns = np.stack([_difference(other, base, measure) for measure, other in pairs], axis=1)
    statistics = _statistics(columns, len(others), samples, seed)
    return Comparison(
        baseline=base.name,
        queries=len(base.query_ids),
        differences=tuple(
            _row(measure, other, base, values) for (measure, other), values in zip(pairs, statistics, strict=True)
        ),
        missing=lacking,
        samples=samples,
        seed=seed,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Corrects p-values for being many, in the order given; Holm 1979, *A simple sequentially rejective procedure*."""
    count = len(p_values)
    corrected, floor = [0.0] * count, 0.0
    for rank, position in enumerate(sorted(range(count), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (count - rank) * p_values[position]))
        corrected[position] = floor
    return corrected


def randomisation_test(columns: Floats, samples: int, seed: int) -> Floats:
    """Two-sided p of each column's mean, under random signs of its differences.

    A column with so few differences that there are no more than ``samples`` combinations of signs is computed exactly;
    otherwise the observed signs count as one sample, so p is never 0. Columns share their signs, so no p depends on
    other columns.
    Source: Smucker, Allan and Carterette 2007, *A comparison of statistical significance tests for IR evaluation*.
    Shape: columns (queries, comparisons); result (comparisons,).
    """
    exceeding = np.zeros(columns.shape[1])
    limits = np.abs(columns.sum(axis=0)) - TIE * np.abs(columns).sum(axis=0)
    generator = np.random.default_rng([seed, 0])
    for rows in _chunks(samples, len(columns)):
        # a random bit for each sign, eight to a byte
        packed = generator.integers(0, 256, size=(rows, -(-len(columns) // 8)), dtype=np.uint8)
        positive = np.unpackbits(packed, axis=1)[:, : len(columns)].astype(np.float64)
        # the sum under the signs is that of the positive terms less that of the others: twice the former less all
        exceeding += (np.abs(2 * (positive @ columns) - columns.sum(axis=0)) >= limits).sum(axis=0)
    result: Floats = (1 + exceeding) / (1 + samples)
    for position, column in enumerate(columns.T):
        differing = column[column != 0]
        if 2 ** len(differing) <= samples:
            result[position] = _exact(differing)
    return result


def t_test(columns: Floats) -> Floats:
    """Two-sided p of a paired t-test for each column of differences; 1 where no query differs.

    Shape: columns (queries, comparisons); result (comparisons,).
    """
    queries = len(columns)
    error = columns.std(axis=0, ddof=1) / np.sqrt(queries)
    mean = np.abs(columns.mean(axis=0))
    certain = error <= TIE * mean
    statistic = np.divide(mean, error, out=np.zeros_like(mean), where=~certain)
    p_values: Floats = np.where(certain, np.where(mean > 0, 0.0, 1.0), 2 * stdtr(queries - 1, -statistic))
    return p_values


def bootstrap_interval(columns: Floats, samples: int, seed: int) -> Floats:
    """Percentile interval of each column's mean, resampling the queries.

    Shape: columns (queries, comparisons); result (2, comparisons), the lower ends first.
    """
    queries = len(columns)
    generator = np.random.default_rng([seed, 1])
    means = []
    for rows in _chunks(samples, queries):
        # queries drawn by each resample (row), numbered so that every row has bins of its own
        drawn = generator.integers(0, queries, size=(rows, queries)) + queries * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * queries).reshape(rows, queries)
        means.append(times.astype(np.float64) @ columns / queries)
    ends: Floats = np.quantile(np.concatenate(means), [ALPHA / 2, 1 - ALPHA / 2], axis=0)
    return ends


def _exact(differing: Floats) -> float:
    """The share of all combinations of signs whose sum is at least as far from 0 as the observed one."""
    sums = np.zeros(1)  # of every combination of signs so far: each difference doubles them
    for value in differing:
        sums = np.concatenate([sums + value, sums - value])
    limit = abs(differing.sum()) - TIE * np.abs(differing).sum()
    return float((np.abs(sums) >= limit).mean())


def _chunks(samples: int, width: int) -> list[int]:
    rows = max(1, _CELLS // width)
    return [min(rows, samples - start) for start in range(0, samples, rows)]


def _statistics(columns: Floats, runs: int, samples: int, seed: int) -> list[dict[str, float]]:
    """Statistics of each comparison by name; ``runs`` consecutive columns share a measure, a family in Holm's sense.

    Shape: columns (queries, comparisons).
    """
    low, high = bootstrap_interval(columns, BOOTSTRAP_SAMPLES, seed).tolist()
    named = {"difference": columns.mean(axis=0).tolist(), "low": low, "high": high}
    tests = {"p_randomisation": randomisation_test(columns, samples, seed), "p_t": t_test(columns)}
    for name, p_values in tests.items():
        families = p_values.reshape(-1, runs).tolist()
        named[name] = p_values.tolist()
        named[f"{name}_holm"] = [p for family in families for p in holm(family)]
    return [dict(zip(named, values, strict=True)) for values in zip(*named.values(), strict=True)]


def _row(measure: str, run: Evaluation, base: Evaluation, statistics: dict[str, float]) -> Difference:
    signs = np.sign(_difference(run, base, measure))
    return Difference(
        measure=measure,
        run=run.name,
        mean=run.mean(measure),
        baseline_mean=base.mean(measure),
        wins=int((signs > 0).sum()),
        ties=int((signs == 0).sum()),
        losses=int((signs < 0).sum()),
        **statistics,
    )


def _difference(run: Evaluation, base: Evaluation, measure: str) -> Floats:
    values = run.values[measure] - base.values[measure]
    return np.where(np.abs(values) < TIE, 0.0, values)


def _named(evaluations: Sequence[Evaluation], name: str) -> Evaluation:
    for evaluation in evaluations:
        if evaluation.name == name:
            return evaluation
    names = ", ".join(e.name for e in evaluations)
    raise DataError(f"the baseline {name!r} is none of the runs compared, expected one of {names}.")


def _check_alike(evaluations: Sequence[Evaluation]) -> None:
    """Refuses evaluations that cannot be compared, or have one name."""
    names = [e.name for e in evaluations]
    if len(names) < 2:
        raise DataError(f"a comparison needs at least 2 runs, found {len(names)}.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"two runs are named {twice!r}; give each its own name, in the last column of its file.")
    first = evaluations[0]
    for other in evaluations:
        if other.query_ids != first.query_ids or other.measures != first.measures:
            raise DataError(f"runs {first.name} and {other.name} were evaluated with other qrels or measures.")
    if not first.measures:
        raise DataError("a comparison needs at least 1 measure, found 0.")
    if len(first.query_ids) < MIN_COMPARED_QUERIES:
        raise DataError(f"a comparison needs at least {MIN_COMPARED_QUERIES} queries, found {len(first.query_ids)}.")


def _check_complete(lacking: Mapping[str, tuple[str, ...]], queries: int) -> None:
    for name, query_ids in lacking.items():
        some = ", ".join(query_ids[:3]) + (", ..." if len(query_ids) > 3 else "")
        raise DataError(
            f"run {name} lacks {len(query_ids)} of {counted(queries, 'judged query')} ({some}); complete it, "
            "or give --missing zero to count each as 0."
        )


def interval(values: Sequence[float] | Floats, seed: int = 0) -> tuple[float, float]:
    """The ends of a percentile bootstrap interval of the mean of values, one a query."""
    low, high = bootstrap_interval(np.asarray(values, dtype=np.float64)[:, None], BOOTSTRAP_SAMPLES, seed)
    return float(low[0]), float(high[0])


def mean_ranks(evaluations: Sequence[Evaluation], measure: Measure | str) -> dict[str, float]:
    """The mean rank of each run over the queries, 1 the best; ties share the mean of their ranks.

    Source: Demšar 2006, section 3.2.2.
    """
    values = np.stack([evaluation.values[str(measure)] for evaluation in evaluations])
    # (RUNS, 1, QUERIES) against (1, RUNS, QUERIES): for each run, how many others are better, and how many equal
    above = (values[:, None, :] < values[None, :, :] - TIE).sum(axis=1)
    level = (np.abs(values[:, None, :] - values[None, :, :]) <= TIE).sum(axis=1)
    ranks = (above + (level + 1) / 2).mean(axis=1)
    return {evaluation.name: float(rank) for evaluation, rank in zip(evaluations, ranks, strict=True)}


def critical_difference(runs: int, queries: int) -> float:
    """The distance from which two mean ranks differ by the Nemenyi test at ALPHA (Demšar 2006, section 3.2.2)."""
    from scipy.stats import studentized_range  # noqa: PLC0415  # takes a second to load, and only plots ask for it

    quantile = float(studentized_range.ppf(1 - ALPHA, runs, np.inf)) / np.sqrt(2)
    return float(quantile * np.sqrt(runs * (runs + 1) / (6 * queries)))
