"""The jobs of a study: trained models are reused, missing ones are trained, and every test pair is scored."""

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.manifest import RunManifest
from ranker.data.run import Run
from ranker.errors import DataError
from ranker.experiments.arms import STANDARD, Arm, Job, StudyConfig, dense_name, searches
from ranker.experiments.models import ModelFolder
from ranker.experiments.score_statistics import words_for_half
from ranker.index.dense import build_faiss, open_faiss, read_vectors
from ranker.index.encoding import encode_collection
from ranker.model.loading import create_model
from ranker.model.reranker import Reranker
from ranker.progress import Progress, silent
from ranker.reranking.rerank import candidates, check_run, reordered
from ranker.scoring.scorer import Scorer, scores_of_heads
from ranker.scoring.tokens import Pairs, Truncation
from ranker.settings.compute import Compute
from ranker.settings.index import DenseConfig
from ranker.training.fit import JudgedRun, TrainingData, fit, fit_heads
from ranker.training.loop import Step, Trained
from ranker.wording import counted

_TIMED: Final = 20
"""The most queries whose mean time is measured as a model's time per query."""

_TIMED_SECONDS: Final = 3.0
"""About how long that may take: of a slow model fewer queries are timed."""

_EXPLAINING: Final = 15.0
"""Seconds, for each minute of training, in which words are left out one by one for the standard arm."""

OnStep = Callable[[Step], object]


class Display(NamedTuple):
    """How work is shown: a training by its steps, counted work (label, total, unit) by what is done; and sentences."""

    training: Callable[[str], AbstractContextManager[OnStep]] = lambda _: nullcontext(lambda _: None)
    counting: Progress = silent
    say: Callable[[str], object] = lambda _: None


SILENT: Final = Display()


@dataclass(frozen=True)
class StudyData:
    """The data that a study trains on and is tested on; the collections may be of two datasets."""

    train: JudgedRun
    train_collection: Collection
    test: JudgedRun
    test_collection: Collection


class ArmResult(NamedTuple):
    """An arm under one seed: its run, the model behind it, its training, and the seconds that its test ``pairs`` took.

    Arms of one job share these; a search has no pairs. ``milliseconds`` are the model's time per query with its texts
    tokenised, on its own; ``indexed_milliseconds`` with the passages' vectors at hand where it reads apart; NaN where
    they were not measured. ``words_for_half`` is of the arm that is explained, and empty for others.
    """

    run: Run
    scorer: Scorer
    trained: Trained | None
    pairs: Pairs
    seconds: float
    cut: Truncation
    milliseconds: float = math.nan
    indexed_milliseconds: float = math.nan
    words_for_half: Mapping[str, float] = {}

    def manifest(self, depth: int, command: str) -> RunManifest:
        """How the run was made to a depth, without what only one kind of experiment says."""
        facts: dict[str, Any] = {}
        if len(self.pairs):
            facts["pairs_per_second"] = round(len(self.pairs) / self.seconds, 1)
        if self.trained is not None:
            facts["training"] = self.trained.record()
        counts = {"pairs": len(self.pairs), **self.cut.record()}
        return RunManifest(depth=depth, scoring=self.scorer.record(), counts=counts, facts=facts, command=command)


def check_study(data: StudyData, config: StudyConfig) -> None:
    """Refuses, before hours of work, a run that does not fit the data.

    Raises: DataError.
    """
    for part in (data.test, data.train):
        if not part.run:
            count = len(part.queries)
            raise DataError(
                f"run {part.run.name}: answers none of the split's {counted(count, 'query')}; is it for another one?"
            )
    check_run(data.test.run, data.test.queries, data.test_collection, config.depth)
    check_run(data.train.run, data.train.queries, data.train_collection, config.negative_depth)


def run_job(
    job: Job, data: StudyData, config: StudyConfig, compute: Compute, display: Display, models: ModelFolder
) -> list[ArmResult]:
    """Trains the arms of a job, unless they are trained or have nothing to learn, and reranks the test with each.

    With ``config.dense`` the search of a fine-tuned arm that reads apart comes behind it.
    Raises: what training and scoring raise.
    """
    scorers, trained = _ready(job, data, config, compute, display, models)
    first, test = scorers[0], data.test
    pairs = candidates(first, test.run, test.queries, data.test_collection, config.depth).whole
    done = ""
    if trained[0] is not None:
        length = counted(trained[0].seconds, "second", ".0f")
        done = f"{counted(trained[0].steps, 'step')} of training in {length}; "
    display.say(f"{', '.join(job.names)}: {done}scoring {counted(len(pairs.rows), 'pair')} of the test.")
    if searches(job, config):
        return _search_and_rerank(job, first, trained[0], data, config, display, pairs)
    started = time.monotonic()
    with display.counting(f"score {job.names[0]}", len(pairs.rows), "pair") as advance:
        if job.arms[0].shares_backbone:
            scores = scores_of_heads(scorers, pairs, advance)  # (arms, P)
        else:
            scores = first.scores(pairs, advance)[None]
    seconds = time.monotonic() - started
    for collection in (data.train_collection, data.test_collection):
        collection.check_unchanged()
    cut = first.encoding.truncation(pairs)
    results = []
    for name, scorer, one, row in zip(job.names, scorers, trained, scores, strict=True):
        run = Run(name, reordered(test.run, row, config.depth))
        results.append(ArmResult(run, scorer, one, pairs, seconds, cut))
    return results


def _search_and_rerank(
    job: Job,
    scorer: Scorer,
    trained: Trained | None,
    data: StudyData,
    config: StudyConfig,
    display: Display,
    pairs: Pairs,
) -> list[ArmResult]:
    """The results of a dual encoder: the reranking, and its search of the whole collection by FAISS.

    Each passage is encoded once, for both.
    """
    test, collection = data.test, data.test_collection
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with display.counting(f"search {dense_name(job)}", len(collection), "passage") as advance:
            cut = encode_collection(scorer, collection, folder, advance, folder / "left")
        encoding = time.monotonic() - started
        build_faiss(folder, scorer.model.width, DenseConfig())
        index = open_faiss(folder, DenseConfig())
        queries = scorer.queries(query.text for query in test.queries.values())
        found = index.search(test.queries, scorer.vectors(queries), config.depth)
        searching = time.monotonic() - started
        started = time.monotonic()
        vectors = read_vectors(folder, scorer.model.width)
        doc_ids = dict.fromkeys(doc_id for ranking in test.run.values() for doc_id in ranking.doc_ids[: config.depth])
        passages = vectors[[collection.number(doc_id) for doc_id in doc_ids]]  # in the order of pairs.passages
        scores = scorer.similarities(pairs.rows, scorer.vectors(pairs.queries), passages)
        reranking = time.monotonic() - started
    collection.check_unchanged()
    run = Run(job.names[0], reordered(test.run, scores, config.depth))
    # its passages were encoded for the search, but a reranking costs that too
    seconds = encoding + reranking
    cut = replace(cut, queries=int((queries.lost > 0).sum()))
    return [
        ArmResult(run, scorer, trained, pairs, seconds, scorer.encoding.truncation(pairs)),
        ArmResult(replace(found, name=dense_name(job)), scorer, None, pairs.only(np.arange(0)), searching, cut),
    ]


def with_costs(arm: Arm, result: ArmResult, data: StudyData, config: StudyConfig) -> ArmResult:
    """The result of an arm with its time per query, and, of the standard arm, with the words that decide."""
    scorer, pairs = result.scorer, result.pairs
    words: Mapping[str, float] = {}
    if arm.name == STANDARD:
        seconds = _EXPLAINING * config.training.max_minutes
        words = words_for_half(scorer, result.run, data.test.queries, data.test_collection, seconds)
    return result._replace(
        milliseconds=_milliseconds(scorer, pairs),
        indexed_milliseconds=_indexed_milliseconds(scorer, pairs),
        words_for_half=words,
    )


def _milliseconds(scorer: Scorer, pairs: Pairs) -> float:
    """The mean time of a query over some queries; a model that reads apart encodes the passages anew."""
    asked = np.unique(pairs.rows[:, 0])
    first, *drawn = (asked[number * len(asked) // (_TIMED + 1)] for number in range(_TIMED + 1))
    scorer.scores(_of_queries(pairs, [first]))  # pays for what is set up once
    started = time.monotonic()
    scorer.scores(_of_queries(pairs, drawn[:1]))
    once = time.monotonic() - started
    most = min(_TIMED, max(1, int(_TIMED_SECONDS / max(once, 1e-9))))
    timed = [drawn[number * _TIMED // most] for number in range(most)]
    started = time.monotonic()
    scorer.scores(_of_queries(pairs, timed))
    return (time.monotonic() - started) * 1_000 / len(set(timed))


def _indexed_milliseconds(scorer: Scorer, pairs: Pairs) -> float:
    """The time of a query whose passages were encoded beforehand, as for an index; NaN for other models."""
    if not scorer.model.config.apart:
        return math.nan
    asked = np.unique(pairs.rows[:, 0])[:_TIMED]
    some = _of_queries(pairs, asked.tolist())
    known, place = np.unique(some.rows[:, 1], return_inverse=True)
    passages = scorer.vectors(pairs.passages.only(known))
    started = time.monotonic()
    queries = scorer.vectors(pairs.queries.only(asked))
    np.einsum("pw,pw->p", queries[np.searchsorted(asked, some.rows[:, 0])], passages[place])
    return (time.monotonic() - started) * 1_000 / len(asked)


def _of_queries(pairs: Pairs, rows: Sequence[int]) -> Pairs:
    return Pairs(pairs.queries, pairs.passages, pairs.rows[np.isin(pairs.rows[:, 0], rows)])


def _ready(
    job: Job, data: StudyData, config: StudyConfig, compute: Compute, display: Display, models: ModelFolder
) -> tuple[list[Scorer], Sequence[Trained | None]]:
    """The models of a job, ready to score, and how each was trained."""
    if job.seed is None:
        untrained = _create_models(job, config, 0)
        return [Scorer(model, compute) for model in untrained], [None] * len(untrained)
    kept = [models.take(arm, job.seed, config.trust_remote_code) for arm in job.arms]
    known = [one for one in kept if one is not None]
    if len(known) == len(job.arms):
        return [Scorer(model, compute) for model, _ in known], [trained for _, trained in known]
    created = _create_models(job, config, job.seed)
    scorers = [Scorer(model, compute) for model in created]
    training = config.training_of(job.arms[0], job.seed)
    training_data = TrainingData(data.train_collection, data.train, None, config.negative_depth)
    watchdog = models.watchdog(job.names)
    for arm, model in zip(job.arms, created, strict=True):
        for note in model.notes:
            display.say(f"{arm.name}: {note}")
    with display.training(" ".join(job.names)) as on_step:
        if job.arms[0].shares_backbone:
            trained = fit_heads(scorers, training_data, training, on_step, watchdog)
        else:
            checkpoint = models.checkpoint(job.arms[0], job.seed)
            trained = [fit(scorers[0], training_data, training, on_step, checkpoint, watchdog)]
    for arm, model, one in zip(job.arms, created, trained, strict=True):
        models.keep(arm, job.seed, model, one)
    return scorers, trained


def _create_models(job: Job, config: StudyConfig, seed: int) -> list[Reranker]:
    """A model for each arm of a job; weights that stay frozen in all of them are in memory once."""
    models: list[Reranker] = []
    for arm in job.arms:
        model = create_model(config.reading(arm), config.backbone, seed, config.trust_remote_code)
        models.append(model)
        shared = dict(models[0].encoder.backbone.named_parameters())
        for name, weight in model.encoder.backbone.named_parameters():
            if not (weight.requires_grad or shared[name].requires_grad):
                weight.data = shared[name].data
    return models
