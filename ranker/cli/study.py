"""``ranker study``: every way to use the backbone, side by side, going on where it stopped."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranker.cli.model_options import MODEL_HELP, checkpoint_option, shared_options
from ranker.cli.options import PATH, claim, open_merged, say, split_option, trust_option
from ranker.cli.records import training_progress, write_named
from ranker.cli.settings import settings_of, speed_options
from ranker.cli.study_folder import arm_facts, is_done, run_path_of, write_report
from ranker.errors import DataError
from ranker.limits import MAX_DEPTH, MAX_SEED
from ranker.model.config import MODES, RankerConfig
from ranker.scoring.speed import Speed
from ranker.training.config import TrainingConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ranker.data.dataset import Dataset
    from ranker.study.arms import Job, StudyConfig
    from ranker.study.work import StudyData
    from ranker.study.workshop import Workshop

_SETTINGS = "study.settings.json"
_TUNINGS = ("fine-tuned", "frozen")


@click.command("study")
@click.argument("dataset")
@click.option("--run", "run_path", type=PATH, help="The run that is reranked; without, BM25's of the split.")
@click.option(
    "--train-run",
    "train_runs",
    type=PATH,
    multiple=True,
    help="A run with candidates of train that negatives are drawn from; without any, BM25's.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice(tuple(MODES)),
    multiple=True,
    help="A mode; may be given several times.  [default: all]",
)
@click.option("--tuning", "tunings", type=click.Choice(_TUNINGS), multiple=True, help="Which of both.  [default: both]")
@click.option(
    "--seed",
    "seeds",
    type=click.IntRange(0, MAX_SEED),
    multiple=True,
    default=(1, 2, 3),
    show_default=True,
    help="A seed; may be given several times.",
)
@click.option(
    "--ablations", is_flag=True, help="Cross also without markers, without stopwords, and without some of these."
)
@click.option("--minutes-each", default=5.0, show_default=True, help="Minutes of training for each arm and seed.")
@click.option(
    "--steps-each",
    default=0,
    type=click.IntRange(0),
    help="Steps instead of minutes, the same on any machine; then slow arms have more time.",
)
@click.option(
    "--depth",
    default=50,
    show_default=True,
    type=click.IntRange(1, MAX_DEPTH),
    help="How far down the run is reranked.",
)
@click.option(
    "--negative-depth",
    default=50,
    show_default=True,
    type=click.IntRange(1, MAX_DEPTH),
    help="How far down BM25's run negatives are drawn.",
)
@click.option("--train", "train_name", help="The dataset to train on.  [default: the DATASET]")
@click.option("--model", "backbone", default="offline", show_default=True, help=MODEL_HELP)
@trust_option
@split_option
@click.option(
    "--measure",
    "-m",
    "measures",
    multiple=True,
    default=("RR@10", "nDCG@10"),
    show_default=True,
    help="A measure; the first decides claims.",
)
@click.option(
    "--models",
    type=PATH,
    metavar="FOLDER",
    help="Where trained models are kept, and found by other studies that train on the same.",
)
@checkpoint_option
@shared_options
@speed_options
@click.option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    metavar="FOLDER",
    help="Runs and report; what is there already is not done again.",
)
@click.pass_context
def study_command(
    context: click.Context,
    dataset: str,
    run_path: Path | None,
    train_runs: tuple[Path, ...],
    modes: tuple[str, ...],
    tunings: tuple[str, ...],
    seeds: tuple[int, ...],
    ablations: bool,
    minutes_each: float,
    steps_each: int,
    depth: int,
    negative_depth: int,
    train_name: str | None,
    backbone: str,
    trust_remote_code: bool,
    split: str,
    measures: tuple[str, ...],
    models: Path | None,
    checkpoint_minutes: float,
    output: Path,
) -> None:
    """Compare every way to use BERT for ranking, at equal cost.

    Each mode is trained fine-tuned and frozen, for the same minutes on the same groups, and reranks the same passages.
    The report says what became of the papers' claims. A study that was stopped goes on where it stopped.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.evaluation import parse_measures
    from ranker.study.arms import StudyConfig, arms_of, jobs_of
    from ranker.study.result import Frame
    from ranker.study.work import check_study
    from ranker.study.workshop import Workshop

    claim(output, force=True)
    reading = settings_of(context, RankerConfig, {"mode": "cross"})
    config = StudyConfig(
        modes=modes or tuple(MODES),
        seeds=seeds,
        tunings=tunings or _TUNINGS,
        ablations=ablations,
        backbone=backbone,
        trust_remote_code=trust_remote_code,
        depth=depth,
        negative_depth=negative_depth,
        length=reading.length,
        query_length=reading.query_length,
        training=replace(
            settings_of(context, TrainingConfig),
            max_minutes=0.0 if steps_each else minutes_each,
            max_steps=steps_each,
            validations=0,
            epochs=_ENDLESS,
        ),
    )
    parsed = parse_measures(measures)
    test = open_dataset(dataset)
    train = open_dataset(train_name) if train_name else test
    frame = Frame(f"{test.name}: ways to use BERT for ranking", {}, parsed, parsed[0].name, depth)
    data = _data((test, train), split, run_path, train_runs, config)
    check_study(data, config)
    settings = _begin(output, _settings(test, train, split, data, config))
    leaks = _leaks(data, test.name, config.negative_depth)
    jobs = list(jobs_of(arms_of(config), config.seeds))
    speed = settings_of(context, Speed)
    workshop = Workshop(output, models, _asked(settings, speed), checkpoint_minutes, say)
    _work(jobs, data, config, speed, workshop, output)
    write_report(jobs, data, frame._replace(settings={**settings, "leaks": leaks}), output)


_ENDLESS = 10_000
"""Epochs: minutes or steps end a training."""


def _data(
    datasets: tuple[Dataset, Dataset],
    split: str,
    run_path: Path | None,
    train_runs: tuple[Path, ...],
    config: StudyConfig,
) -> StudyData:
    """What is tested on, and trained on."""
    from ranker.data.trec import read_run
    from ranker.experiment import judged, training_split
    from ranker.index.firststage import bm25_run
    from ranker.study.work import StudyData

    test, train = datasets
    deepest = max(config.depth, config.negative_depth)
    if "train" not in train.splits:
        raise DataError(f"dataset {train.name}: has no split 'train' to train on; name another one with --train.")
    candidates = open_merged(train_runs) if train_runs else bm25_run(train, ["train"], deepest)
    found = read_run(run_path) if run_path else bm25_run(test, [split], deepest)
    return StudyData(
        training_split(train, "train", candidates), train.collection, judged(test, split, found), test.collection
    )


def _leaks(data: StudyData, name: str, negative_depth: int) -> dict[str, Any]:
    """What of the test is in the training, which is said."""
    from ranker.experiment import Lessons
    from ranker.leakage import HeldOut, find_leaks

    questions = {query_id: query.text for query_id, query in data.test.queries.items()}
    test = HeldOut(name, questions, data.test.qrels, data.test_collection)
    found = find_leaks(Lessons(data.train_collection, data.train, None, negative_depth), [test])
    if found:
        say(f"in the training are {found}; a test praises what was learned by heart.")
    return found.record()


def _settings(test: Dataset, train: Dataset, split: str, data: StudyData, config: StudyConfig) -> dict[str, Any]:
    """What every score of the study depends on."""
    return {
        "dataset": {"name": test.name, "split": split, **test.digests(split)},
        "train": {"name": train.name, **train.digests("train")},
        "candidates": {"train": data.train.run.digest, "test": data.test.run.digest},
        **json.loads(json.dumps(config.record())),
    }


def _begin(output: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Writes the settings at a study's beginning; they are the same whenever it goes on.

    Raises: DataError where the folder holds a study of something else.
    """
    from ranker.data.files import written
    from ranker.data.objects import first_difference, read_object

    path = output / _SETTINGS
    if path.is_file():
        begun = read_object(path, DataError)
        changed = first_difference(begun, settings)
        if changed is not None:
            name, before, now = changed
            raise DataError(
                f"{output}: holds a study whose {name} is {before}, but now it is {now}; name another --output."
            )
        return settings
    with written(path) as beside:
        beside.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return settings


def _asked(settings: Mapping[str, Any], speed: Speed) -> dict[str, Any]:
    """What every trained model depends on: all of the settings that is not of the test, and where it learns."""
    from ranker.scoring.device import choose_device, choose_precision

    device = choose_device(speed.device)
    lessons = {key: value for key, value in settings.items() if key not in ("dataset", "depth")}
    lessons["candidates"] = settings["candidates"]["train"]
    return {**lessons, "device": device.type, "precision": choose_precision(speed.precision, device)}


def _work(
    jobs: Sequence[Job], data: StudyData, config: StudyConfig, speed: Speed, workshop: Workshop, output: Path
) -> None:
    from ranker.study.arms import FIRST_STAGE
    from ranker.study.work import do

    write_named(data.test.run, run_path_of(output, FIRST_STAGE), True, {"depth": config.depth})
    done = {name: is_done(output, name) for job in jobs for name in job.names}
    missing = [job for job in jobs if not all(done[name] for name in job.names)]
    spent: dict[bool, list[float]] = {True: [], False: []}
    for number, job in enumerate(missing):
        say(f"{number + 1} of {len(missing)}: {', '.join(job.names)}{_left(missing[number:], spent, config)}.")
        started = time.monotonic()
        for arm, made in zip(job.arms, do(job, data, config, speed, training_progress, workshop), strict=True):
            write_named(made.run, run_path_of(output, made.run.name), True, arm_facts(arm, job, made, config))
        spent[job.seed is not None].append(time.monotonic() - started)


def _left(jobs: Sequence[Job], spent: Mapping[bool, Sequence[float]], config: StudyConfig) -> str:
    """The time that is left, once it is known what a job takes that learns, and one that does not."""
    known = {learns: sum(seconds) / len(seconds) for learns, seconds in spent.items() if seconds}
    if config.training.max_minutes:
        known.setdefault(True, 60 * config.training.max_minutes)
    wanted = [job.seed is not None for job in jobs]
    if not all(learns in known for learns in wanted):
        return ""
    return f"; {sum(known[learns] for learns in wanted) / 60:.0f} minutes left"
