"""A training from a dataset's judgments: candidates by BM25, groups, validation on dev, the best weights kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.records import Qrels, Query
from ranker.data.run import Run
from ranker.errors import TrainingError
from ranker.evaluation.measures import evaluate, parse_measures
from ranker.reranking.rerank import candidates, check_run, reordered
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.training import TrainingConfig
from ranker.training.checkpoint import Checkpoint
from ranker.training.fitting import training_set
from ranker.training.frozen import train_heads
from ranker.training.groups import find_candidates
from ranker.training.learner import Step, Trained
from ranker.training.loop import TrainingSet, train
from ranker.training.watchdog import Watchdog

DEV_MEASURE = "RR@10"
"""By which validations choose the weights that are kept."""

DEV_QUERIES = 100
"""Queries of dev that a validation scores: enough to choose among a few checkpoints, few enough to be quick."""

DEV_DEPTH = 20
"""Candidates for each of them."""


@dataclass(frozen=True)
class JudgedRun:
    """A split with the candidates that a first stage found for it."""

    queries: Mapping[str, Query]
    qrels: Qrels
    run: Run


def judged(dataset: Dataset, split: str, run: Run) -> JudgedRun:
    """A dataset's split, with the part of a run that answers it."""
    queries = dataset.queries(split)
    rankings = {query_id: ranking for query_id, ranking in run.items() if query_id in queries}
    return JudgedRun(queries, dataset.qrels(split), Run(run.name, rankings))


def training_split(dataset: Dataset, split: str, run: Run) -> JudgedRun:
    """A split to train on, its candidates without the passages that answer questions of other splits alone.

    Else what answers a question of test would be read in training, as a negative of other questions.
    """
    whole = judged(dataset, split, run)
    answers = {name: _positives(dataset.qrels(name)) for name in dataset.splits}
    held_out = set().union(*answers.values()) - answers[split]
    rankings = {query_id: ranking.without(held_out) for query_id, ranking in whole.run.items()}
    return replace(whole, run=Run(run.name, {query_id: one for query_id, one in rankings.items() if len(one)}))


def _positives(qrels: Qrels) -> set[str]:
    return {doc_id for passages in qrels.values() for doc_id, relevance in passages.items() if relevance > 0}


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, and the split that chooses the weights kept, where there is one.

    ``negative_depth`` is how far down the run negatives are drawn.
    """

    collection: Collection
    training: JudgedRun
    dev: JudgedRun | None
    negative_depth: int


def fit(
    scorer: Scorer,
    training_data: TrainingData,
    config: TrainingConfig,
    on_step: Callable[[Step], object],
    checkpoint: Checkpoint | None = None,
    watchdog: Watchdog | None = None,
) -> Trained:
    """Trains the scorer's model in place; a ``checkpoint`` serves a backbone that learns, since heads take minutes.

    A ``watchdog`` may end it, and is told what dev says of the first stage.

    Raises: TrainingError where the split gives no group, or training goes wrong.
    """
    data = _training_set(scorer, training_data)
    validate = validator(scorer, training_data.collection, training_data.dev) if training_data.dev is not None else None
    if watchdog is not None and validate is not None:
        watchdog.first_stage = validate.first_stage
    watched = _watched(on_step, watchdog)
    if scorer.model.config.frozen:
        trained = train_heads([scorer], data, config, [validate], watched)[0]
    else:
        trained = train(scorer, data, config, validate, watched, checkpoint)
    if watchdog is None:
        return trained
    if trained.best is not None:
        watchdog.compare(trained.best, 1.0)
    return replace(trained, warnings=tuple(watchdog.warnings))


def fit_heads(
    scorers: Sequence[Scorer],
    training_data: TrainingData,
    config: TrainingConfig,
    on_step: Callable[[Step], object],
    watchdog: Watchdog | None = None,
) -> list[Trained]:
    """Trains the heads of models that share one frozen backbone, which reads every pair once for all of them.

    Dev chooses nothing. Raises: as ``fit``.
    """
    data = _training_set(scorers[0], training_data)
    every = train_heads(scorers, data, config, [None] * len(scorers), _watched(on_step, watchdog))
    return [replace(trained, warnings=tuple(watchdog.warnings if watchdog else ())) for trained in every]


def _watched(on_step: Callable[[Step], object], watchdog: Watchdog | None) -> Callable[[Step], object]:
    def both(step: Step) -> None:
        on_step(step)
        if watchdog is not None:
            watchdog.look(step)

    return both


def _training_set(scorer: Scorer, training_data: TrainingData) -> TrainingSet:
    training, collection, depth = training_data.training, training_data.collection, training_data.negative_depth
    check_run(training.run, training.queries, collection, depth)
    found = find_candidates(training.run, training.queries, training.qrels, collection, depth)
    return training_set(scorer, found, training.queries, collection)


class Validator:
    """The value of a model as it is now on some queries of dev; ``first_stage`` is that of the run it reranks."""

    def __init__(self, scorer: Scorer, run: Run, qrels: Qrels, pairs: Pairs) -> None:
        self._scorer, self._run, self._qrels, self._pairs = scorer, run, qrels, pairs
        self.first_stage = self._value(run)

    def __call__(self) -> float:
        """By the measure that chooses the weights kept."""
        scores = self._scorer.scores(self._pairs, lambda _: None)
        return self._value(Run("dev", reordered(self._run, scores, DEV_DEPTH)))

    def _value(self, run: Run) -> float:
        return evaluate(run, self._qrels, parse_measures([DEV_MEASURE])).mean(DEV_MEASURE)


def validator(scorer: Scorer, collection: Collection, dev: JudgedRun) -> Validator:
    """What scores the model as it is now on queries drawn evenly from dev, their candidates tokenised once.

    Raises: TrainingError where the run answers no query of dev.
    """
    answered = list(dev.run)
    # evenly, because files are often in the order of what their questions are about
    drawn = (answered[number * len(answered) // DEV_QUERIES] for number in range(DEV_QUERIES)) if answered else ()
    head = {query_id: dev.run[query_id].head(DEV_DEPTH) for query_id in dict.fromkeys(drawn)}
    if not head:
        raise TrainingError(
            f"run {dev.run.name}: answers no query of dev, which is to choose the weights that are kept."
        )
    run = Run(dev.run.name, head)
    check_run(run, dev.queries, collection, DEV_DEPTH)
    qrels = {query_id: dev.qrels[query_id] for query_id in run}
    return Validator(scorer, run, qrels, candidates(scorer, run, dev.queries, collection, DEV_DEPTH).whole)
