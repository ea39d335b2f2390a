"""``train``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from ranker.cli.model_options import MODEL_HELP, checkpoint_option, mode_option, reading_options, training_options
from ranker.cli.options import PATH, force_option, open_merged, output_option, say, trust_option
from ranker.cli.records import training_progress, training_record
from ranker.cli.settings import settings_of, speed_options
from ranker.limits import MAX_DEPTH
from ranker.model.config import RankerConfig
from ranker.scoring.speed import Speed
from ranker.training.config import TrainingConfig


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
@trust_option
@reading_options
@training_options
@speed_options
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
    trust_remote_code: bool,
    output: Path,
    force: bool,
) -> None:
    """Train a model on a DATASET's judgments.

    Each step draws groups of one judged positive and negatives from the run: never a judged positive, nor its text
    under another id. The best weights by RR@10 on dev are kept. What is stopped goes on where it was when it is given
    again.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.data.files import check_output, digest, written_folder
    from ranker.experiment import Lessons, fit, judged, training_split
    from ranker.index.firststage import bm25_run
    from ranker.model.loading import create_model
    from ranker.scoring.scorer import Scorer
    from ranker.training.checkpoint import Checkpoint

    check_output(output, force)
    config = settings_of(context, TrainingConfig)
    data = open_dataset(dataset)
    splits = [name for name in (split, dev) if name == split or name in data.splits]
    found = open_merged(runs) if runs else bm25_run(data, splits, negative_depth)
    reads = settings_of(context, RankerConfig, {"mode": mode})
    model = create_model(reads, backbone, config.seed, trust_remote_code)
    scorer = Scorer(model, settings_of(context, Speed))
    origin = {
        "backbone": {"source": backbone, "sha256": model.digest()},
        "runs": {str(path): digest(path) for path in runs},
        "negative_depth": negative_depth,
    }
    training = training_split(data, split, found)
    validation = judged(data, dev, found) if dev in splits else None
    if validation is None or not validation.run:
        validation = None
        say(f"no candidates for a split {dev!r}, so no validation: the last weights are kept.")
    chosen_on = {"dev": dev} if validation else {}
    dataset_facts = {"name": data.name, "split": split, **chosen_on, **data.digests(split)}
    reading = {**asdict(model.config), "precision": scorer.precision, "device": scorer.device.type}
    asked = {"dataset": dataset_facts, **origin, "training": asdict(config), "model": reading}
    checkpoint = Checkpoint(output.with_name(f".{output.name}.training"), asked, checkpoint_minutes)
    lessons = Lessons(data.collection, training, validation, negative_depth)
    with training_progress(mode) as on_step:
        trained = fit(scorer, lessons, config, on_step, checkpoint)
    with written_folder(output, force) as beside:
        scorer.model.save(beside)
        record = training_record(dataset_facts, origin, scorer, config, trained)
        (beside / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    checkpoint.remove()
    best = f", RR@10 on {dev} {trained.best.value:.4f} at step {trained.best.step}" if trained.best else ""
    say(f"{output}: {mode} after {trained.steps} steps, {trained.groups} groups, {trained.seconds:.0f} s{best}.")
