"""Training from a dataset's judgments: candidates from a run, groups, validation on dev, the best weights kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

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
from ranker.training.groups import TrainingSet, find_candidates, training_set
from ranker.training.loop import Step, Trained, train
from ranker.training.watchdog import Watchdog

OnStep = Callable[[Step], object]

DEV_MEASURE: Final = "RR@10"
"""The measure by which validations choose the weights that are kept."""

DEV_QUERIES: Final = 100
"""Queries of dev that a validation scores: enough to choose among a few checkpoints, few enough to be quick."""

DEV_DEPTH: Final = 20
"""Candidates that a validation scores for each query."""


@dataclass(frozen=True)
class JudgedRun:
    """The queries and judgments of a split, with the candidates that a first stage found for it."""

    queries: Mapping[str, Query]
    qrels: Qrels
    run: Run


@dataclass(frozen=True)
class TrainingData:
    """A split to train on, and one to choose weights by, where there is one.

    ``negative_depth`` is how far down the run negatives are drawn.
    """

    collection: Collection
    training: JudgedRun
    dev: JudgedRun | None
    negative_depth: int


def judged_run(dataset: Dataset, split: str, run: Run) -> JudgedRun:
    """A dataset's split, with the rankings of a run that are of its queries."""
    queries = dataset.queries(split)
    rankings = {query_id: ranking for query_id, ranking in run.items() if query_id in queries}
    return JudgedRun(queries, dataset.qrels(split), Run(run.name, rankings))


def training_split(dataset: Dataset, split: str, run: Run) -> JudgedRun:
    """A split to train on, its candidates without the passages that are relevant only to queries of other splits.

    Otherwise the answers to test questions would be read in training, as negatives of other questions.
    """
    judged = judged_run(dataset, split, run)
    positives = {name: _positives(dataset.qrels(name)) for name in dataset.splits}
    held_out = set().union(*positives.values()) - positives[split]
    rankings = {query_id: ranking.without(held_out) for query_id, ranking in judged.run.items()}
    return replace(judged, run=Run(run.name, {key: ranking for key, ranking in rankings.items() if len(ranking)}))


def _positives(qrels: Qrels) -> set[str]:
    return {doc_id for judged in qrels.values() for doc_id, relevance in judged.items() if relevance > 0}


def fit(
    scorer: Scorer,
    training_data: TrainingData,
    config: TrainingConfig,
    on_step: OnStep = lambda _: None,
    checkpoint: Checkpoint | None = None,
    watchdog: Watchdog | None = None,
) -> Trained:
    """Trains the scorer's model in place, and keeps its best weights on dev.

    A ``checkpoint`` is used for a backbone that is fine-tuned, since heads alone take minutes. A ``watchdog`` may end
    the training.

    Raises: TrainingError where the split gives no group, or training fails.
    """
    data = _training_set(scorer, training_data)
    validator = (
        Validator.of(scorer, training_data.collection, training_data.dev) if training_data.dev is not None else None
    )
    if watchdog is not None and validator is not None:
        watchdog.first_stage = validator.first_stage
    if scorer.model.config.frozen:
        checkpoint = None
    [trained] = train([scorer], data, config, [validator], _watched(on_step, watchdog), checkpoint)
    if watchdog is None:
        return trained
    if trained.best is not None:
        watchdog.check_validation(trained.best, 1.0)
    return replace(trained, warnings=tuple(watchdog.warnings))


def fit_heads(
    scorers: Sequence[Scorer],
    training_data: TrainingData,
    config: TrainingConfig,
    on_step: OnStep = lambda _: None,
    watchdog: Watchdog | None = None,
) -> list[Trained]:
    """Trains the heads of models that share one frozen backbone, which computes every pair once for all of them.

    There is no validation: the last weights are kept. Raises: as ``fit``.
    """
    data = _training_set(scorers[0], training_data)
    heads = train(scorers, data, config, [None] * len(scorers), _watched(on_step, watchdog))
    return [replace(trained, warnings=tuple(watchdog.warnings if watchdog else ())) for trained in heads]


def _watched(on_step: OnStep, watchdog: Watchdog | None) -> OnStep:
    def on_step_and_check(step: Step) -> None:
        on_step(step)
        if watchdog is not None:
            watchdog.check(step)

    return on_step_and_check


def _training_set(scorer: Scorer, training_data: TrainingData) -> TrainingSet:
    training, collection, depth = training_data.training, training_data.collection, training_data.negative_depth
    check_run(training.run, training.queries, collection, depth)
    drawn_from = find_candidates(training.run, training.queries, training.qrels, collection, depth)
    return training_set(scorer, drawn_from, training.queries, collection)


class Validator:
    """Reranks some queries of dev with a model as it is now; ``first_stage`` is the value of the run it reranks."""

    def __init__(self, scorer: Scorer, run: Run, qrels: Qrels, pairs: Pairs) -> None:
        self._scorer, self._run, self._qrels, self._pairs = scorer, run, qrels, pairs
        self.first_stage = self._value(run)

    @classmethod
    def of(cls, scorer: Scorer, collection: Collection, dev: JudgedRun) -> "Validator":
        """Draws queries evenly from dev, and tokenises their candidates once.

        Raises: TrainingError where the run answers no query of dev.
        """
        query_ids = list(dev.run)
        if not query_ids:
            raise TrainingError(
                f"run {dev.run.name}: answers no query of dev, which is to choose the weights that are kept."
            )
        # evenly, because files are often in the order of what their questions are about
        drawn = dict.fromkeys(query_ids[i * len(query_ids) // DEV_QUERIES] for i in range(DEV_QUERIES))
        run = Run(dev.run.name, {query_id: dev.run[query_id].head(DEV_DEPTH) for query_id in drawn})
        check_run(run, dev.queries, collection, DEV_DEPTH)
        qrels = {query_id: dev.qrels[query_id] for query_id in run}
        return cls(scorer, run, qrels, candidates(scorer, run, dev.queries, collection, DEV_DEPTH).whole)

    def __call__(self) -> float:
        """The value of the model, by the measure that chooses the weights."""
        scores = self._scorer.scores(self._pairs, lambda _: None)
        return self._value(Run("dev", reordered(self._run, scores, DEV_DEPTH)))

    def _value(self, run: Run) -> float:
        return evaluate(run, self._qrels, parse_measures([DEV_MEASURE])).mean(DEV_MEASURE)
