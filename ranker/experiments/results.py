"""A study's result: every arm's values, comparisons, claims, and what it cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.evaluation.depths import at_depth, depths_to
from ranker.evaluation.measures import Measure, evaluate
from ranker.evaluation.significance import Comparison, compare
from ranker.experiments.arms import FIRST_STAGE, STANDARD
from ranker.experiments.claims import Verdict, share_verdicts, verdicts
from ranker.experiments.rows import ORACLE, RANDOM, Row, captured, oracle_row, random_row, row
from ranker.experiments.score_statistics import Behaviour, sure_pairs


class Cost(NamedTuple):
    """What one run of an arm cost: its training, the loss of every step, and the time that it takes to rerank a query.

    ``indexed_milliseconds`` is that time with the passages' vectors at hand; NaN where there are none.
    Heads on a frozen backbone are trained in one pass, whose time each of them has.
    """

    steps: int
    groups: int
    training_seconds: float
    milliseconds_per_query: float
    losses: tuple[float, ...]
    indexed_milliseconds: float = math.nan


def _cost(cost: Cost) -> dict[str, Any]:
    """A cost as JSON has it, which knows no NaN."""
    told = cost._asdict()
    if math.isnan(cost.indexed_milliseconds):
        del told["indexed_milliseconds"]
    return told


def usual_pace(costs: Mapping[int | None, Cost]) -> float:
    """Milliseconds per query, the median of the seeds: of three, one that other work slowed down does not count."""
    return median(cost.milliseconds_per_query for cost in costs.values())


class ArmRuns(NamedTuple):
    """The runs of an arm by seed (None where there is nothing to learn), and the cost of each.

    ``words_for_half`` has, for the queries explained, the share of words that have half of the importance.
    """

    runs: Mapping[int | None, Run]
    costs: Mapping[int | None, Cost]
    words_for_half: Mapping[str, float]


class ReportHeader(NamedTuple):
    """What a result stands in: the study's settings, the measures, the one that decides, and how deep was reranked.

    ``leaks`` is a sentence on what of the test the training holds; empty where there is nothing.
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
        arms = [one for name, one in self.rows.items() if name in self.costs]
        return sorted(arms, key=lambda one: -one.mean.mean(self.frame.headline))

    def captured(self, name: str) -> float:
        """The share of the reachable gain that an arm captured; NaN where nothing could be gained."""
        return captured(self.rows[name], self.rows[FIRST_STAGE], self.rows[ORACLE], self.frame.headline)


def study_result(first: Run, arms: Mapping[str, ArmRuns], qrels: Qrels, frame: ReportHeader) -> StudyResult:
    """Evaluates everything a study made.

    Raises: DataError where there is no arm, or a run answers none of the judged queries.
    """
    rows = {
        FIRST_STAGE: row(FIRST_STAGE, {None: first}, qrels, frame.measures),
        RANDOM: random_row(first, frame.depth, qrels, frame.measures),
        ORACLE: oracle_row(first, frame.depth, qrels, frame.measures),
        **{name: row(name, arm.runs, qrels, frame.measures) for name, arm in arms.items()},
    }
    compared = [rows[FIRST_STAGE].mean, *(rows[name].mean for name in arms)]
    return StudyResult(
        frame,
        rows=rows,
        costs={name: arm.costs for name, arm in arms.items()},
        comparison=compare(compared, FIRST_STAGE, missing="zero"),
        against_standard=compare(compared, STANDARD, missing="zero") if STANDARD in arms and len(arms) > 1 else None,
        verdicts=(*verdicts(rows, frame.headline), *share_verdicts(_behaviour(arms.get(STANDARD), frame.depth))),
        depths={name: _by_depth(first, arm.runs, qrels, frame) for name, arm in arms.items()},
    )


def _behaviour(arm: ArmRuns | None, depth: int) -> Behaviour | None:
    """Of an arm, the mean over its seeds for each query."""
    if arm is None:
        return None
    extreme = np.mean([sure_pairs(run, depth) for run in arm.runs.values()], axis=0)
    return Behaviour(extreme.tolist(), list(arm.words_for_half.values()))


def _by_depth(first: Run, runs: Mapping[int | None, Run], qrels: Qrels, frame: ReportHeader) -> dict[int, float]:
    measure = [one for one in frame.measures if one.name == frame.headline]
    return {
        depth: _mean(
            [evaluate(at_depth(first, run, depth), qrels, measure).mean(frame.headline) for run in runs.values()]
        )
        for depth in depths_to(frame.depth)
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def record(result: StudyResult) -> dict[str, Any]:
    """Everything, as ``study.json`` has it: with each query's value under each arm and seed."""
    return {
        "title": result.frame.title,
        "settings": dict(result.frame.settings),
        "measures": [measure.name for measure in result.frame.measures],
        "headline": result.frame.headline,
        "depth": result.frame.depth,
        "query_ids": list(result.rows[FIRST_STAGE].mean.query_ids),
        "rows": {name: _row_record(one, result) for name, one in result.rows.items()},
        "comparison": asdict(result.comparison),
        "against_standard": asdict(result.against_standard) if result.against_standard else None,
        "claims": [
            {
                key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in one._asdict().items()
            }
            for one in result.verdicts
        ],
    }


def _row_record(row: Row, result: StudyResult) -> dict[str, Any]:
    known = row.name in result.costs
    return {
        "mean": {measure.name: row.mean.mean(measure.name) for measure in result.frame.measures},
        "captured": None if math.isnan(captured := result.captured(row.name)) else captured,
        "values": {measure.name: row.mean.values[measure.name].tolist() for measure in result.frame.measures},
        "seeds": {
            str(seed): {measure.name: one.values[measure.name].tolist() for measure in result.frame.measures}
            for seed, one in row.seeds.items()
        },
        "missing": list(row.mean.missing),
        "depths": {str(depth): value for depth, value in result.depths[row.name].items()} if known else {},
        "costs": {str(seed): _cost(cost) for seed, cost in result.costs[row.name].items()} if known else {},
    }
