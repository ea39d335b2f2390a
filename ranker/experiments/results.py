"""The result of a study: every arm's values over its seeds, comparisons, claims, and costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.evaluation.measures import Evaluation, Measure, evaluate
from ranker.evaluation.significance import Comparison, compare
from ranker.evaluation.ties import at_depth, depths_to
from ranker.experiments.arms import FIRST_STAGE, STANDARD
from ranker.experiments.claims import Verdict, share_verdicts, verdicts
from ranker.experiments.score_statistics import ScoreStatistics, sure_pairs
from ranker.reranking.rerank import reordered

RANDOM: Final = "random order"
ORACLE: Final = "oracle order"

_SHUFFLES: Final = 20
"""Random orders whose values are averaged: a single one depends on its luck."""


@dataclass(frozen=True)
class Row:
    """An arm: ``mean`` has each query's value over the seeds, ``seeds`` each seed's own values."""

    name: str
    mean: Evaluation
    seeds: Mapping[int, Evaluation]

    def spread(self, measure: str) -> tuple[float, float]:
        """The lowest and the highest mean of a seed."""
        means = [evaluation.mean(measure) for evaluation in self.seeds.values()] or [self.mean.mean(measure)]
        return min(means), max(means)


class Cost(NamedTuple):
    """The cost of one run of an arm: its training, with the loss of every step, and the time that a query takes.

    ``indexed_milliseconds`` is that time with the passages' vectors at hand; NaN where there are none.
    Heads on a frozen backbone are trained in one pass, whose time each of them has.
    """

    steps: int
    groups: int
    training_seconds: float
    milliseconds_per_query: float
    losses: tuple[float, ...]
    indexed_milliseconds: float = math.nan


def usual_pace(costs: Mapping[int | None, Cost]) -> float:
    """Milliseconds per query, the median of the seeds, so that one slowed down by other work does not count."""
    return median(cost.milliseconds_per_query for cost in costs.values())


class ArmRuns(NamedTuple):
    """The runs of an arm by seed (None where there is nothing to learn), and the cost of each.

    ``words_for_half`` has, for the queries explained, the share of words that have half of the importance.
    """

    runs: Mapping[int | None, Run]
    costs: Mapping[int | None, Cost]
    words_for_half: Mapping[str, float]


class ReportHeader(NamedTuple):
    """The study's settings, its measures, the ``headline`` that decides among them, and the depth of reranking.

    ``leaks`` is a sentence on what the training holds of the test; empty where it holds nothing.
    """

    title: str
    settings: Mapping[str, Any]
    measures: tuple[Measure, ...]
    headline: str
    depth: int
    leaks: str = ""


@dataclass(frozen=True)
class StudyResult:
    """``rows`` by name: the first stage, random and oracle order of what it found, and the arms.

    ``comparison`` is of every arm with the first stage; ``against_standard`` of the first stage and the other arms with
    STANDARD, None where that is not one of several arms. ``depths`` are the headline's means by arm and depth, from the
    one scoring pass.
    """

    frame: ReportHeader
    rows: Mapping[str, Row]
    costs: Mapping[str, Mapping[int | None, Cost]]
    comparison: Comparison
    against_standard: Comparison | None
    verdicts: tuple[Verdict, ...]
    depths: Mapping[str, Mapping[int, float]]

    @property
    def arms(self) -> list[Row]:
        """The rows of the arms, the best by the headline first."""
        arms = [row for name, row in self.rows.items() if name in self.costs]
        return sorted(arms, key=lambda row: -row.mean.mean(self.frame.headline))

    def captured(self, name: str) -> float:
        """The share of the reachable gain that an arm captured; NaN where nothing could be gained."""
        return captured(self.rows[name], self.rows[FIRST_STAGE], self.rows[ORACLE], self.frame.headline)


def study_result(first: Run, arms: Mapping[str, ArmRuns], qrels: Qrels, frame: ReportHeader) -> StudyResult:
    """Evaluates and compares all runs of a study.

    Raises: DataError where there is no arm, or a run answers none of the judged queries.
    """
    rows = {
        FIRST_STAGE: row_of(FIRST_STAGE, {None: first}, qrels, frame.measures),
        RANDOM: random_row(first, frame.depth, qrels, frame.measures),
        ORACLE: oracle_row(first, frame.depth, qrels, frame.measures),
        **{name: row_of(name, arm.runs, qrels, frame.measures) for name, arm in arms.items()},
    }
    compared = [rows[FIRST_STAGE].mean, *(rows[name].mean for name in arms)]
    means = {name: row.mean for name, row in rows.items()}
    statistics = None
    if STANDARD in arms:
        # of each query the mean over the seeds
        extreme = np.mean([sure_pairs(run, frame.depth) for run in arms[STANDARD].runs.values()], axis=0)
        statistics = ScoreStatistics(extreme.tolist(), list(arms[STANDARD].words_for_half.values()))
    return StudyResult(
        frame,
        rows=rows,
        costs={name: arm.costs for name, arm in arms.items()},
        comparison=compare(compared, FIRST_STAGE, missing="zero"),
        against_standard=compare(compared, STANDARD, missing="zero") if STANDARD in arms and len(arms) > 1 else None,
        verdicts=(*verdicts(means, frame.headline), *share_verdicts(statistics)),
        depths={name: _means_by_depth(first, arm.runs, qrels, frame) for name, arm in arms.items()},
    )


def row_of(name: str, runs: Mapping[int | None, Run], qrels: Qrels, measures: Sequence[Measure]) -> Row:
    """The row of an arm from its runs by seed; one under None has no seed."""
    evaluations = {seed: evaluate(run, qrels, measures) for seed, run in runs.items()}
    seeds = {seed: evaluation for seed, evaluation in evaluations.items() if seed is not None}
    return Row(name, averaged(name, list(evaluations.values())), seeds)


def averaged(name: str, evaluations: Sequence[Evaluation]) -> Evaluation:
    """Each query's mean value; a query is missing where every evaluation misses it."""
    first = evaluations[0]
    values = {key: np.mean([evaluation.values[key] for evaluation in evaluations], axis=0) for key in first.values}
    missing = tuple(query for query in first.missing if all(query in other.missing for other in evaluations[1:]))
    return replace(first, name=name, values=values, missing=missing)


def random_row(run: Run, depth: int, qrels: Qrels, measures: Sequence[Measure], seed: int = 0) -> Row:
    """Evaluates a run with its first ``depth`` passages in random order."""
    rng = np.random.default_rng(seed)
    evaluations = []
    for _ in range(_SHUFFLES):
        scores = [rng.random(min(depth, len(ranking))) for ranking in run.values()]
        evaluations.append(evaluate(_reordered(run, scores, depth), qrels, measures))
    return Row(RANDOM, averaged(RANDOM, evaluations), {})


def oracle_row(run: Run, depth: int, qrels: Qrels, measures: Sequence[Measure]) -> Row:
    """Evaluates a run with its first ``depth`` passages by relevance: the most that reranking them can reach."""
    scores = []
    for query_id, ranking in run.items():
        judged = qrels.get(query_id, {})
        scores.append(np.array([max(0, judged.get(doc_id, 0)) for doc_id in ranking.doc_ids[:depth]]))
    return Row(ORACLE, replace(evaluate(_reordered(run, scores, depth), qrels, measures), name=ORACLE), {})


def _reordered(run: Run, scores: Sequence[Any], depth: int) -> Run:
    """A run in the order of other scores, an array for each query; passages below ``depth`` stay beneath."""
    return Run(run.name, reordered(run, np.concatenate(scores).astype(np.float32), depth))


def captured(row: Row, first: Row, oracle: Row, measure: str) -> float:
    """The share of what reordering could gain over the first stage that the arm gained; NaN where there is none."""
    reachable = oracle.mean.mean(measure) - first.mean.mean(measure)
    return (row.mean.mean(measure) - first.mean.mean(measure)) / reachable if reachable > 0 else float("nan")


def _means_by_depth(first: Run, runs: Mapping[int | None, Run], qrels: Qrels, frame: ReportHeader) -> dict[int, float]:
    """The headline's mean over the seeds at each depth of reranking."""
    measures = [measure for measure in frame.measures if measure.name == frame.headline]
    by_depth = {}
    for depth in depths_to(frame.depth):
        shallow = [at_depth(first, run, depth) for run in runs.values()]
        by_depth[depth] = sum(evaluate(run, qrels, measures).mean(frame.headline) for run in shallow) / len(shallow)
    return by_depth


def record(result: StudyResult) -> dict[str, Any]:
    """The result as ``study.json`` has it, with each query's value under each arm and seed."""
    return {
        "title": result.frame.title,
        "settings": dict(result.frame.settings),
        "measures": [measure.name for measure in result.frame.measures],
        "headline": result.frame.headline,
        "depth": result.frame.depth,
        "query_ids": list(result.rows[FIRST_STAGE].mean.query_ids),
        "rows": {name: _row_record(row, result) for name, row in result.rows.items()},
        "comparison": asdict(result.comparison),
        "against_standard": asdict(result.against_standard) if result.against_standard else None,
        "claims": [
            {key: None if _is_nan(value) else value for key, value in verdict._asdict().items()}
            for verdict in result.verdicts
        ],
    }


def _is_nan(value: object) -> bool:
    """Whether a value is NaN, which JSON lacks."""
    return isinstance(value, float) and math.isnan(value)


def _row_record(row: Row, result: StudyResult) -> dict[str, Any]:
    names = [measure.name for measure in result.frame.measures]
    share = result.captured(row.name)
    costs = {}
    for seed, cost in result.costs.get(row.name, {}).items():
        costs[str(seed)] = {key: value for key, value in cost._asdict().items() if not _is_nan(value)}
    return {
        "mean": {name: row.mean.mean(name) for name in names},
        "captured": None if math.isnan(share) else share,
        "values": {name: row.mean.values[name].tolist() for name in names},
        "seeds": {
            str(seed): {name: evaluation.values[name].tolist() for name in names}
            for seed, evaluation in row.seeds.items()
        },
        "missing": list(row.mean.missing),
        "depths": {str(depth): value for depth, value in result.depths.get(row.name, {}).items()},
        "costs": costs,
    }
