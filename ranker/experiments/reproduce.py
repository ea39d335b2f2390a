"""The reproduction: the study of ``ranker reproduce``, with its verdict and the time that it takes."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from ranker.data.dataset import Dataset
from ranker.data.manifest import DatasetRecord, RunManifest
from ranker.data.run import Run
from ranker.data.run_files import write_with_manifest
from ranker.data.trec import write_qrels
from ranker.evaluation.measures import Evaluation, evaluate, parse_measures
from ranker.evaluation.significance import Comparison, compare
from ranker.experiments.arms import (
    FIRST_STAGE,
    PUBLISHED_STEPS,
    StudyConfig,
    arms_of,
    dense_name,
    jobs_of,
    searches,
)
from ranker.experiments.forecast import Countdown, OnMoment, scoring_seconds, share_of, step_seconds
from ranker.experiments.models import UNKEPT
from ranker.experiments.run import ArmResult, Display, StudyData, run_job
from ranker.files.atomic import atomic_folder
from ranker.index.bm25 import bm25_run
from ranker.index.dense import check_faiss
from ranker.limits import DEFAULT_MEASURES
from ranker.model.encoder import layers_of
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import MODES
from ranker.training.fit import judged_run, training_split
from ranker.training.loop import Step

HEADLINE: Final = "RR@10"
"""The measure of the verdict: that of MS MARCO, for questions that one passage answers."""


@dataclass(frozen=True)
class Reproduction:
    """Every run and result by its name, their evaluations, and comparisons by the name of their baseline."""

    first_stage: Run
    first_stage_seconds: float
    results: dict[str, ArmResult]
    evaluations: tuple[Evaluation, ...]
    comparisons: dict[str, Comparison]

    @property
    def departures(self) -> str:
        """A sentence on trainings that are shorter or longer than the published ones; empty where none is."""
        lengths = {name: one.trained.steps for name, one in self.results.items() if one.trained is not None}
        others = [f"{name} after {steps}" for name, steps in lengths.items() if steps != PUBLISHED_STEPS]
        if not others:
            return ""
        return f"{' and '.join(others)} of {PUBLISHED_STEPS} steps: not the published experiment."


def reproduce(dataset: Dataset, config: StudyConfig, compute: Compute, on_moment: OnMoment) -> Reproduction:
    """Runs the reproduction, a ``config`` of ``arms.reproduction``, on a dataset with the splits train and test.

    Raises: what training, searching and scoring raise.
    """
    check_faiss()
    started = time.monotonic()
    candidates = bm25_run(dataset, ("train", "test"), config.depth)
    first_stage_seconds = time.monotonic() - started
    config = _fitted(config)
    data = StudyData(
        training_split(dataset, "train", candidates),
        dataset.collection,
        judged_run(dataset, "test", candidates),
        dataset.collection,
    )
    countdown = Countdown(expected_seconds(dataset, config, compute), on_moment)
    display = Display(partial(_training_stage, countdown), partial(_counting_stage, countdown))
    results: dict[str, ArmResult] = {}
    for job in jobs_of(arms_of(config), config.seeds):
        for result in run_job(job, data, config, compute, display, UNKEPT):
            results[result.run.name] = result
    first_stage = data.test.run
    measures = parse_measures(DEFAULT_MEASURES)
    runs = [first_stage, *(result.run for result in results.values())]
    evaluations = tuple(evaluate(run, data.test.qrels, measures) for run in runs)
    dual, _ = model_names(config)
    comparisons = {name: compare(evaluations, name, missing="zero") for name in (FIRST_STAGE, dual)}
    return Reproduction(first_stage, first_stage_seconds, results, evaluations, comparisons)


def _fitted(config: StudyConfig) -> StudyConfig:
    """The settings for a backbone that may have fewer layers than are to keep their weights."""
    model = create_model(config.reading(arms_of(config)[0]), config.backbone, 0, config.trust_remote_code)
    layers = min(config.training.frozen_layers, layers_of(model.encoder.backbone))
    return replace(config, training=replace(config.training, frozen_layers=layers))


def expected_seconds(dataset: Dataset, config: StudyConfig, compute: Compute) -> dict[str, float]:
    """Seconds that each stage takes on this machine, by the label that ``run_job`` displays, in order; by a probe."""
    pairs, passages = config.depth * len(dataset.queries("test")), len(dataset.collection)
    limit = 60 * config.training.max_minutes or float("inf")
    step, scoring = dict[str, float](), dict[str, float]()  # by mode, of which each has an arm that learns
    for arm in arms_of(config):
        if arm.learns:
            model = create_model(config.reading(arm), config.backbone, 0, config.trust_remote_code)
            scorer = Scorer(model, compute)
            step[arm.mode] = step_seconds(scorer, dataset, config.training_of(arm, config.seeds[0]))
            scoring[arm.mode] = scoring_seconds(scorer, dataset)
    expected: dict[str, float] = {}
    for job in jobs_of(arms_of(config), config.seeds):
        arm, name = job.arms[0], job.names[0]
        apart = MODES[arm.mode].apart
        if arm.learns:
            expected[f"training {name}"] = min(config.training.max_steps * step[arm.mode], limit)
        if searches(job, config):
            expected[dense_name(job)] = passages * scoring[arm.mode]
        else:
            expected[name] = (min(pairs, passages) if apart else pairs) * scoring[arm.mode]
    return expected


@contextmanager
def _training_stage(countdown: Countdown, label: str) -> Iterator[Callable[[Step], object]]:
    with countdown.stage(f"training {label}") as advance:
        yield lambda step: advance(step.progress)


@contextmanager
def _counting_stage(countdown: Countdown, label: str, total: int, _: str) -> Iterator[Callable[[int], object]]:
    with countdown.stage(label.partition(" ")[2]) as advance:
        yield share_of(advance, total)


def run_names(config: StudyConfig) -> list[str]:
    """The names of all runs of a reproduction, the first stage first."""
    names = [FIRST_STAGE]
    for job in jobs_of(arms_of(config), config.seeds):
        names += job.names
        if searches(job, config):
            names.append(dense_name(job))
    return names


def model_names(config: StudyConfig) -> list[str]:
    """The names of the trained models of a reproduction."""
    return [name for job in jobs_of(arms_of(config), config.seeds) if job.seed is not None for name in job.names]


class ReproductionFiles:
    """The files of a reproduction below a folder: ``runs/``, ``qrels/`` and ``models/``, by the dataset's name."""

    def __init__(self, folder: Path, dataset: Dataset, config: StudyConfig) -> None:
        # ``irds:beir/scifact`` is ``irds-beir-scifact``: one folder, on any file system
        name = re.sub(r"[^\w.+-]+", "-", dataset.name)
        self.runs = {run: folder / "runs" / name / f"{run}.run" for run in run_names(config)}
        self.qrels = folder / "qrels" / f"{name}.test.qrels"
        self.models = {model: folder / "models" / name / model for model in model_names(config)}

    @property
    def paths(self) -> list[Path]:
        """Every file and folder that is written."""
        return [*self.runs.values(), self.qrels, *self.models.values()]

    def write(self, result: Reproduction, dataset: Dataset, config: StudyConfig, command: str, force: bool) -> None:
        """Writes every run with its manifest, the judgments, and the trained models.

        Raises: OutputError where one of them exists and ``force`` is not given, or cannot be written.
        """
        record = DatasetRecord(**dataset.record("test"))
        first = RunManifest(depth=config.depth, command=command)
        written = {FIRST_STAGE: (result.first_stage, first, result.first_stage_seconds)} | {
            name: (one.run, one.manifest(config.depth, command), one.seconds) for name, one in result.results.items()
        }
        for name, (run, manifest, seconds) in written.items():
            facts = {"seed": config.seeds[0], "seconds": round(seconds, 1)}
            write_with_manifest(run, self.runs[name], replace(manifest, dataset=record).with_facts(facts), force)
        write_qrels(dataset.qrels("test"), self.qrels, force)
        for name, path in self.models.items():
            with atomic_folder(path, force) as beside:
                result.results[name].scorer.model.save(beside)
