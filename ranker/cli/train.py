"""``train``."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranker.cli.options import (
    FIRST_STAGE_LANGUAGE,
    PATH,
    Choice,
    claim,
    force_option,
    language_option,
    output_option,
    say,
    say_notes,
    say_oddities,
    say_queries_found,
    trust_option,
)
from ranker.cli.records import say_unknown, training_progress, training_record
from ranker.cli.settings import (
    MODEL_HELP,
    checked_compute,
    checkpoint_option,
    mode_option,
    settings_of,
    settings_options,
)
from ranker.errors import TrainingError
from ranker.limits import MAX_DEPTH
from ranker.settings.compute import Compute
from ranker.settings.fields import in_a_line
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.wording import counted

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.data.run import Run
    from ranker.model.reranker import Reranker
    from ranker.scoring.scorer import Scorer
    from ranker.training.fit import JudgedRun, TrainingData
    from ranker.training.loop import Trained


_LOOKED_AT = 200
"""Queries and passages of which the tokens are looked at before a training."""

_LEAKS = {"warn": "say so", "drop": "leave them out", "stop": "do not train", "ignore": "do not look"}
_WATCHDOGS = {"stop": "stop with the cause and the cure", "warn": "say so and go on", "off": "do not look"}


@click.command("train")
@click.argument("dataset")
@mode_option(required=True)
@click.option(
    "--run",
    "runs",
    type=PATH,
    multiple=True,
    help="A run with candidates for the split, and for dev; without any, BM25 finds them.",
)
@click.option("--model", "backbone", default="offline", show_default=True, help=MODEL_HELP)
@click.option(
    "--negative-depth",
    default=100,
    show_default=True,
    type=click.IntRange(1, MAX_DEPTH),
    help="How far down the run negatives are drawn.",
)
@click.option("--split", default="train", show_default=True, help="The split of the DATASET to train on.")
@click.option(
    "--dev", default="dev", show_default=True, help="The split that chooses the weights kept, if the DATASET has it."
)
@checkpoint_option
@click.option(
    "--test",
    "tests",
    metavar="DATASET",
    multiple=True,
    help="A dataset that the model will be tested on; the other splits of the DATASET always count as such.",
)
@click.option(
    "--leaks",
    type=Choice(tuple(_LEAKS)),
    default="warn",
    show_default=True,
    help=f"Where questions of a test, or passages that answer them, are in the training. {in_a_line(_LEAKS)}.",
)
@click.option(
    "--watchdog",
    type=Choice(tuple(_WATCHDOGS)),
    default="stop",
    show_default=True,
    help=f"Where a question's passages all have one score. {in_a_line(_WATCHDOGS)}.",
)
@language_option(FIRST_STAGE_LANGUAGE)
@trust_option
@settings_options(RankerConfig)
@settings_options(TrainingConfig)
@settings_options(Compute)
@output_option("MODEL")
@force_option
@click.pass_context
def train_command(
    context: click.Context,
    dataset: str,
    mode: str,
    runs: tuple[Path, ...],
    backbone: str,
    negative_depth: int,
    split: str,
    dev: str,
    checkpoint_minutes: float,
    tests: tuple[str, ...],
    leaks: str,
    watchdog: str,
    language: str | None,
    trust_remote_code: bool,
    output: Path,
    force: bool,
) -> None:
    """Train a model on a DATASET's judgments.

    Each step draws groups of one judged positive and negatives from the run: never a judged positive, nor its text
    under another id. The best weights by RR@10 on dev are kept. What is stopped goes on where it was when it is given
    again. Launched by torchrun or accelerate (-m ranker train ...), several processes share each step.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.data.run_files import open_merged
    from ranker.files.digests import content_digest
    from ranker.index.bm25 import bm25_run
    from ranker.model.loading import check_backbone, create_model
    from ranker.scoring.scorer import Scorer
    from ranker.training.checkpoint import Checkpoint
    from ranker.training.fit import fit
    from ranker.training.processes import launched_processes
    from ranker.training.watchdog import Watchdog

    config, compute = settings_of(context, TrainingConfig), checked_compute(context)
    with launched_processes(compute.device) as processes:
        tell = say if processes.is_main else _silently
        if processes.is_main:
            claim(output, force)
        needs = settings_of(context, RankerConfig, {"mode": mode})
        check_backbone(needs, backbone, trust_remote_code)
        with processes.main_first():
            data = open_dataset(dataset, language or "")
            splits = [name for name in (split, dev) if name == split or name in data.splits]
            candidates = open_merged(runs, tell) if runs else bm25_run(data, splits, negative_depth)
        training_data = _training_data(data, splits, dev, candidates, negative_depth)
        if training_data.dev is None:
            tell(f"no candidates for a split {dev!r}, so no validation: the last weights are kept.")
        with processes.main_first():
            training_data, leaked = _without_leaks(training_data, (data, split), tests, leaks, tell)
        chosen_on = {"dev": dev} if training_data.dev else {}
        model = create_model(needs, backbone, config.seed, trust_remote_code)
        scorer = Scorer(say_notes(model, tell), compute)
        origin: dict[str, Any] = {
            "backbone": {"source": backbone, "sha256": model.digest()},
            "runs": {str(path): content_digest(path) for path in runs},
            "negative_depth": negative_depth,
        }
        _report_dataset(data, candidates, tell)
        _report_texts(scorer, training_data, tell)
        dataset_facts = {"name": data.name, "split": split, **chosen_on, **data.digests(split)}
        reading = {**asdict(model.config), "precision": scorer.precision, "device": scorer.device.type}
        if leaks == "drop":
            origin["dropped"] = leaked
        asked = {"dataset": dataset_facts, **origin, "training": asdict(config), "model": reading}
        processes.check_same(asked)
        checkpoint = Checkpoint(output.with_name(f".{output.name}.training"), asked, checkpoint_minutes, tell)
        watch = None if watchdog == "off" else Watchdog(tell, stops=watchdog == "stop")
        with training_progress(mode) if processes.is_main else nullcontext(_silently) as on_step:
            trained = fit(scorer, training_data, config, on_step, checkpoint, watch)
        data.check_unchanged()
        if processes.is_main:
            record = training_record(dataset_facts, origin, scorer, config, trained)
            _write(scorer.model, {**record, "leaks": leaked, "processes": processes.world_size}, output, force)
            checkpoint.remove()
        tell(
            f"{output}: {mode} after {_length(trained, processes.world_size)}{_best(trained, dev, training_data.dev)}."
        )


def _report_dataset(data: Dataset, candidates: Run, tell: Callable[[str], None]) -> None:
    """Reports odd records of a dataset, and candidates that are the queries themselves."""
    say_oddities(data, tell)
    say_queries_found(candidates, tell)


def _report_texts(scorer: Scorer, training_data: TrainingData, tell: Callable[[str], None]) -> None:
    """Reports grades that count alike, and unknown tokens of the first queries and passages."""
    judged, collection = training_data.training, training_data.collection
    grades = sorted({grade for passages in judged.qrels.values() for grade in passages.values() if grade > 0})
    if len(grades) > 1:
        told = f"{', '.join(map(str, grades[:-1]))} and {grades[-1]}"
        tell(f"judgments of {told} count alike: a passage is relevant, or it is not.")
    scorer.queries(query.text for query in islice(judged.queries.values(), _LOOKED_AT))
    scorer.passages(passage.contents for passage in islice(collection, _LOOKED_AT))
    say_unknown(scorer, tell)


def _training_data(data: Dataset, splits: list[str], dev: str, candidates: Run, depth: int) -> TrainingData:
    """Collects the data of the first split to train on, and of dev, where the run has candidates for it.

    Raises: DataError for a run of something else, before a model is opened, which may take a minute.
    """
    from ranker.reranking.rerank import check_run
    from ranker.training.fit import TrainingData, judged_run, training_split

    training = training_split(data, splits[0], candidates)
    check_run(training.run, training.queries, data.collection, depth)
    validation = judged_run(data, dev, candidates) if dev in splits else None
    return TrainingData(data.collection, training, validation if validation and validation.run else None, depth)


def _write(model: Reranker, record: dict[str, Any], output: Path, force: bool) -> None:
    from ranker.files.atomic import atomic_folder

    with atomic_folder(output, force) as beside:
        model.save(beside)
        (beside / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def _length(trained: Trained, processes: int) -> str:
    shared = f" of {processes} processes" if processes > 1 else ""
    return f"{counted(trained.steps, 'step')}{shared}, {counted(trained.groups, 'group')}, {trained.seconds:.0f} s"


def _best(trained: Trained, dev: str, validation: JudgedRun | None) -> str:
    """The clause of the last line about dev, with the number of candidates where they are few."""
    from ranker.training.fit import DEV_DEPTH

    if trained.best is None or validation is None:
        return ""
    counts = [min(len(ranking), DEV_DEPTH) for ranking in validation.run.values()]
    mean = sum(counts) / len(counts)
    few = f", of {mean:.1f} candidates a query" if mean < DEV_DEPTH / 2 else ""
    return f", RR@10 on {dev} {trained.best.value:.4f}{few} at step {trained.best.step}"


def _silently(_: object) -> None:
    """Says and shows nothing: the main process alone does."""


def _without_leaks(
    training_data: TrainingData,
    trained_on: tuple[Dataset, str],
    tests: tuple[str, ...],
    wish: str,
    tell: Callable[[str], None],
) -> tuple[TrainingData, dict[str, Any]]:
    """Looks for questions and passages of the tests in the training data, and leaves them out where that is wished.

    Raises: TrainingError where something was found, and that is not wished.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.training.leakage import find_leaks, held_out, without_leaks

    if wish == "ignore":
        return training_data, {}
    dataset, split = trained_on
    others = [open_dataset(name) for name in tests]
    copies = find_leaks(
        training_data, [*held_out(dataset, split), *(one for data in others for one in held_out(data, ""))]
    )
    for data in others:
        say_oddities(data, tell)
    if copies and wish == "stop":
        raise TrainingError(f"dataset {dataset.name}: holds in its training {copies}; leave them out by --leaks drop.")
    if copies:
        tell(f"dataset {dataset.name}: holds in its training {copies}; {_SAID[wish]}.")
    if wish == "drop":
        training_data = replace(training_data, training=without_leaks(training_data.training, copies))
        if not training_data.training.run:
            raise TrainingError(f"dataset {dataset.name}: --leaks drop leaves no question to train on.")
    return training_data, copies.record()


_SAID = {
    "warn": "a test would praise what was learned by heart, so leave them out by --leaks drop",
    "drop": "they are left out",
}
