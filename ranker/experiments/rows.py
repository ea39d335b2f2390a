"""What the judgments say of each arm, over all its seeds, beside the orders that bound it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.evaluation.measures import Evaluation, Measure, evaluate
from ranker.reranking.rerank import reordered

RANDOM: Final = "random order"
ORACLE: Final = "oracle order"

_SHUFFLES: Final = 20
"""Random orders whose values are averaged: one alone is as good as its luck."""


@dataclass(frozen=True)
class Row:
    """An arm: ``mean`` has each query's value over the seeds, ``seeds`` each seed's own values."""

    name: str
    mean: Evaluation
    seeds: Mapping[int, Evaluation]

    def spread(self, measure: str) -> tuple[float, float]:
        """The lowest and the highest mean of a seed."""
        means = [one.mean(measure) for one in self.seeds.values()] or [self.mean.mean(measure)]
        return min(means), max(means)


def row(name: str, runs: Mapping[int | None, Run], qrels: Qrels, measures: Sequence[Measure]) -> Row:
    """The row of an arm from its runs by seed; one under None has no seed."""
    found = {seed: evaluate(run, qrels, measures) for seed, run in runs.items()}
    seeds = {seed: one for seed, one in found.items() if seed is not None}
    return Row(name, averaged(name, list(found.values())), seeds)


def averaged(name: str, evaluations: Sequence[Evaluation]) -> Evaluation:
    """Each query's mean value; a query is missing where every one of them misses it."""
    first = evaluations[0]
    values = {key: np.mean([one.values[key] for one in evaluations], axis=0) for key in first.values}
    missing = tuple(query for query in first.missing if all(query in one.missing for one in evaluations[1:]))
    return replace(first, name=name, values=values, missing=missing)


def random_row(run: Run, depth: int, qrels: Qrels, measures: Sequence[Measure], seed: int = 0) -> Row:
    """What a run is worth with its first ``depth`` passages in random order."""
    rng = np.random.default_rng(seed)
    shuffled = [_ordered(run, depth, lambda _, doc_ids: rng.random(len(doc_ids)).tolist()) for _ in range(_SHUFFLES)]
    return Row(RANDOM, averaged(RANDOM, [evaluate(one, qrels, measures) for one in shuffled]), {})


def oracle_row(run: Run, depth: int, qrels: Qrels, measures: Sequence[Measure]) -> Row:
    """What it is worth with these in the order of their relevance: no reranker to that depth can do better."""

    def relevances(query_id: str, doc_ids: Sequence[str]) -> Sequence[float]:
        judged = qrels.get(query_id, {})
        return [max(0, judged.get(doc_id, 0)) for doc_id in doc_ids]

    found = evaluate(_ordered(run, depth, relevances), qrels, measures)
    return Row(ORACLE, replace(found, name=ORACLE), {})


def _ordered(run: Run, depth: int, value: Callable[[str, Sequence[str]], Sequence[float]]) -> Run:
    """The passages below ``depth`` stay beneath, as rerankers leave them."""
    scores = [np.asarray(value(query_id, one.doc_ids[:depth]), dtype=np.float32) for query_id, one in run.items()]
    return Run(run.name, reordered(run, np.concatenate(scores), depth))


def captured(row: Row, first: Row, oracle: Row, measure: str) -> float:
    """The share of what reordering could gain over the first stage that the arm gained; NaN where there is none."""
    reachable = oracle.mean.mean(measure) - first.mean.mean(measure)
    return (row.mean.mean(measure) - first.mean.mean(measure)) / reachable if reachable > 0 else float("nan")
