"""The work of a study: what is there is kept, what is missing is trained, and every test pair is scored."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.run import Run
from ranker.errors import DataError
from ranker.experiments.arms import STANDARD, Arm, Job, StudyConfig
from ranker.experiments.folder import ModelFolder
from ranker.experiments.score_statistics import words_for_half
from ranker.model.loading import create_model
from ranker.model.reranker import Reranker
from ranker.progress import Advance
from ranker.reranking.rerank import candidates, check_depth, check_run, reordered
from ranker.scoring.batching import Matrix
from ranker.scoring.scorer import Scorer, scores_of_heads
from ranker.scoring.tokens import Pairs, Truncation
from ranker.settings.compute import Compute
from ranker.training.fit import JudgedRun, TrainingData, fit, fit_heads
from ranker.training.loop import Step, Trained
from ranker.wording import counted

_TIMED: Final = 20
"""Queries that a model's time for a query is the mean of, at most."""

_TIMED_SECONDS: Final = 3.0
"""That measuring it may take about: fewer queries of a slow model are as many seconds."""

_EXPLAINING: Final = 15.0
"""Seconds for each of the minutes of a training in which the standard arm's words are left out one by one."""

OnStep = Callable[[Step], object]


class Display(NamedTuple):
    """How work is shown: a training by its steps, counted work by how much of its total is done; and sentences."""

    training: Callable[[str], AbstractContextManager[OnStep]]
    counting: Callable[[str, int, str], AbstractContextManager[Advance]]
    say: Callable[[str], object]


@dataclass(frozen=True)
class StudyData:
    """What a study learns from and is tested on; the collections may be of two datasets."""

    train: JudgedRun
    train_collection: Collection
    test: JudgedRun
    test_collection: Collection


class ArmResult(NamedTuple):
    """One arm under one seed: its run, the model behind it, its training, and the seconds that all test pairs took.

    Arms of one job share these. ``milliseconds`` are what the model takes for a query, texts tokenised, on its own, and
    ``indexed_milliseconds`` with the passages' vectors at hand, where it reads apart; NaN where it does not.
    ``words_for_half`` is of the arm that is explained, and of others empty.
    """

    run: Run
    scorer: Scorer
    trained: Trained | None
    pairs: int
    seconds: float
    milliseconds: float
    indexed_milliseconds: float
    cut: Truncation
    words_for_half: Mapping[str, float]


def check_study(data: StudyData, config: StudyConfig) -> None:
    """Refuses, before hours of work, a run that does not fit the data, or a depth that no run has.

    Raises: DataError.
    """
    check_depth(config.depth)
    for part in (data.test, data.train):
        if not part.run:
            count = len(part.queries)
            raise DataError(
                f"run {part.run.name}: answers none of the split's {counted(count, 'query')}; is it for another one?"
            )
    check_run(data.test.run, data.test.queries, data.test_collection, config.depth)
    check_run(data.train.run, data.train.queries, data.train_collection, config.negative_depth)


def do(
    job: Job, data: StudyData, config: StudyConfig, compute: Compute, display: Display, model_folder: ModelFolder
) -> list[ArmResult]:
    """Trains the arms of a job, unless they were, or have nothing to learn, and reranks the test candidates with each.

    Raises: what training and scoring raise.
    """
    scorers, trained = _ready(job, data, config, compute, display, model_folder)
    started = time.monotonic()
    test = data.test
    pairs = candidates(scorers[0], test.run, test.queries, data.test_collection, config.depth).whole
    display.say(
        f"{', '.join(job.names)}: {_learned(trained[0])}scoring {counted(len(pairs.rows), 'pair')} of the test."
    )
    with display.counting(f"score {job.names[0]}", len(pairs.rows), "pair") as advance:
        scores = _scores(job, scorers, pairs, advance)
    seconds = time.monotonic() - started
    cut = scorers[0].encoding.truncation(pairs)
    for collection in (data.train_collection, data.test_collection):
        collection.check_unchanged()
    runs = [Run(name, reordered(test.run, row, config.depth)) for name, row in zip(job.names, scores, strict=True)]
    done = [
        ArmResult(
            run, scorer, one, len(pairs.rows), seconds, _pace(scorer, pairs), _indexed_pace(scorer, pairs), cut, {}
        )
        for run, scorer, one in zip(runs, scorers, trained, strict=True)
    ]
    limit = _EXPLAINING * config.training.max_minutes
    return [
        one._replace(words_for_half=_explained(arm, one, data, limit)) for arm, one in zip(job.arms, done, strict=True)
    ]


def _learned(trained: Trained | None) -> str:
    if trained is None:
        return ""
    return f"{counted(trained.steps, 'step')} of training in {counted(trained.seconds, 'second', '.0f')}; "


def _pace(scorer: Scorer, pairs: Pairs) -> float:
    """Milliseconds for a query, the mean over some; a model that reads apart encodes the passages anew."""
    asked = np.unique(pairs.rows[:, 0])
    first, *drawn = (asked[number * len(asked) // (_TIMED + 1)] for number in range(_TIMED + 1))
    scorer.scores(_of_queries(pairs, [first]), lambda _: None)  # which pays for what is set up once
    started = time.monotonic()
    scorer.scores(_of_queries(pairs, drawn[:1]), lambda _: None)
    once = time.monotonic() - started
    most = min(_TIMED, max(1, int(_TIMED_SECONDS / max(once, 1e-9))))
    timed = [drawn[number * _TIMED // most] for number in range(most)]
    started = time.monotonic()
    scorer.scores(_of_queries(pairs, timed), lambda _: None)
    return (time.monotonic() - started) * 1_000 / len(set(timed))


def _indexed_pace(scorer: Scorer, pairs: Pairs) -> float:
    """Milliseconds for a query whose passages were encoded beforehand, as for an index; NaN for other models."""
    if not scorer.model.config.apart:
        return math.nan
    asked = np.unique(pairs.rows[:, 0])[:_TIMED]
    some = _of_queries(pairs, asked.tolist())
    known, place = np.unique(some.rows[:, 1], return_inverse=True)
    passages = scorer.vectors(pairs.passages.only(known), lambda _: None)
    started = time.monotonic()
    queries = scorer.vectors(pairs.queries.only(asked), lambda _: None)
    np.einsum("pw,pw->p", queries[np.searchsorted(asked, some.rows[:, 0])], passages[place])
    return (time.monotonic() - started) * 1_000 / len(asked)


def _of_queries(pairs: Pairs, rows: Sequence[int]) -> Pairs:
    return Pairs(pairs.queries, pairs.passages, pairs.rows[np.isin(pairs.rows[:, 0], rows)])


def _explained(arm: Arm, done: ArmResult, data: StudyData, seconds: float) -> Mapping[str, float]:
    if arm.name != STANDARD:
        return {}
    return words_for_half(done.scorer, done.run, data.test.queries, data.test_collection, seconds)


def _ready(
    job: Job, data: StudyData, config: StudyConfig, compute: Compute, display: Display, model_folder: ModelFolder
) -> tuple[list[Scorer], Sequence[Trained | None]]:
    """The models of a job, ready to score, and how each was trained."""
    trusted, seed = config.trust_remote_code, job.seed
    if seed is None:
        models = _created(job, config, 0)
        return [Scorer(model, compute) for model in models], [None] * len(models)
    kept = [one for arm in job.arms if (one := model_folder.take(arm, seed, trusted)) is not None]
    if len(kept) == len(job.arms):
        return [Scorer(model, compute) for model, _ in kept], [trained for _, trained in kept]
    models = _created(job, config, seed)
    scorers = [Scorer(model, compute) for model in models]
    training = config.training_of(job.arms[0], seed)
    training_data = TrainingData(data.train_collection, data.train, None, config.negative_depth)
    watchdog = model_folder.watchdog(job.names)
    for arm, model in zip(job.arms, models, strict=True):
        for note in model.notes:
            display.say(f"{arm.name}: {note}")
    with display.training(" ".join(job.names)) as on_step:
        if job.arms[0].shares_backbone:
            done = fit_heads(scorers, training_data, training, on_step, watchdog)
        else:
            done = [
                fit(scorers[0], training_data, training, on_step, model_folder.checkpoint(job.arms[0], seed), watchdog)
            ]
    for arm, model, trained in zip(job.arms, models, done, strict=True):
        model_folder.keep(arm, seed, model, trained)
    return scorers, done


def _created(job: Job, config: StudyConfig, seed: int) -> list[Reranker]:
    """A model for each arm of a job; what stays frozen in all of them is held in memory once."""
    models: list[Reranker] = []
    for arm in job.arms:
        model = create_model(config.reading(arm), config.backbone, seed, config.trust_remote_code)
        models.append(model)
        shared = dict(models[0].encoder.backbone.named_parameters())
        for name, weight in model.encoder.backbone.named_parameters():
            if not (weight.requires_grad or shared[name].requires_grad):
                weight.data = shared[name].data
    return models


def _scores(job: Job, scorers: list[Scorer], pairs: Pairs, advance: Advance) -> Matrix:
    """Shape: (arms, P)."""
    if job.arms[0].shares_backbone:
        return scores_of_heads(scorers, pairs, advance)
    return np.stack([scorers[0].scores(pairs, advance)])
