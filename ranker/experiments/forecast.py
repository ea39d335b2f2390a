"""How long the main job takes on this machine: one step of each training and some scoring, timed beforehand."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.run import Ranking, Run
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.scoring.windows import unwindowed
from ranker.settings.training import TrainingConfig
from ranker.training.groups import TrainingSet, find_candidates, training_set
from ranker.training.loop import train

_PASSAGES: Final = 64
"""Passages of the probe: a step's worth of the main job's."""

_SETTLED: Final = 0.1
"""Share of a stage after which what is left of it is told by its own pace, not by the probe's."""


class Moment(NamedTuple):
    """How far a job is: what is being done, and seconds that were spent and that are left."""

    doing: str
    spent: float
    left: float


OnMoment = Callable[[Moment], object]


def step_seconds(scorer: Scorer, dataset: Dataset, config: TrainingConfig) -> float:
    """Seconds of a step of training. The scorer's model learns from passages that stand first in the collection.

    Raises: TrainingError where the split ``train`` gives no group.
    """
    data, ends = _probe_set(scorer, dataset, 2 * config.groups_per_step), list[float]()
    # the first step pays for what is set up once
    twice = replace(config, max_steps=2, max_minutes=0.0, validations=0, epochs=2)
    train([scorer], data, twice, [None], lambda _: ends.append(time.monotonic()))
    return ends[-1] - ends[0] if len(ends) > 1 else 0.0


def scoring_seconds(scorer: Scorer, dataset: Dataset) -> float:
    """Seconds of a pair that is scored, or of a passage that is encoded, by a model that reads apart.

    Raises: as ``step_seconds``.
    """
    data = _probe_set(scorer, dataset, 1)
    rows = np.array([(0, passage) for passage in range(len(data.passages))])
    pairs = Pairs(data.queries, data.passages, rows)
    scorer.scores(pairs, lambda _: None)
    job = scorer.job(unwindowed(pairs))  # which lays the weights out, once for all that is scored
    started = time.monotonic()
    job.scores(np.arange(len(rows)))
    return (time.monotonic() - started) / len(rows)


def _probe_set(scorer: Scorer, dataset: Dataset, queries: int) -> TrainingSet:
    """Some queries of ``train``, all with the same candidates: no first stage is needed to know what a step takes."""
    every = dataset.queries("train")
    qrels, collection = dataset.qrels("train"), dataset.collection
    doc_ids = _first(collection)
    ranking = Ranking(doc_ids, np.arange(len(doc_ids), 0, -1, dtype=np.float32))
    judged = [query_id for query_id in every if query_id in qrels]
    run = Run("probe", dict.fromkeys(judged[:queries], ranking))
    return training_set(scorer, find_candidates(run, every, qrels, collection, _PASSAGES), every, collection)


def _first(collection: Collection) -> tuple[str, ...]:
    return tuple(passage.doc_id for passage in islice(collection, _PASSAGES))


class Countdown:
    """Tells how far a job is, from the seconds that each of its stages is expected to take.

    What is left of a stage is told by how long it has taken so far, and of the stages after it as expected.
    """

    def __init__(self, expected: Mapping[str, float], on_moment: OnMoment) -> None:
        self._ahead, self._on_moment = dict(expected), on_moment
        self._started = time.monotonic()
        on_moment(Moment("all", 0.0, sum(expected.values())))

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float], None]]:
        """One of the stages, in their order; what it yields is to be called with the share of it that is done."""
        began, expected = time.monotonic(), self._ahead.pop(name)

        def advance(share: float) -> None:
            now = time.monotonic()
            whole = (now - began) / share if share > _SETTLED else expected
            left = max(0.0, whole * (1.0 - share)) + sum(self._ahead.values())
            self._on_moment(Moment(name, now - self._started, left))

        advance(0.0)
        yield advance


def share_of(advance: Callable[[float], None], total: int) -> Callable[[int], None]:
    """Takes numbers of things that are done, and hands on the share of all of them."""
    done = 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        advance(done / max(1, total))

    return more
