"""``reproduce``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranker.cli.options import PATH, claim, force_option, say_oddities, show, trust_option
from ranker.cli.records import countdown, training_facts, write_named
from ranker.cli.settings import checked_compute, settings_options
from ranker.settings.compute import Compute

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.experiments.reproduction import Arm, Reproduction, ReproductionConfig


@click.command("reproduce")
@click.option("--dataset", "name", default="almanac", show_default=True, help="The DATASET; it needs train and test.")
@click.option("--model", "backbone", default="offline", show_default=True, help="The backbone of every arm.")
@trust_option
@click.option("--seed", default=1, show_default=True, help="Seed of new heads, groups and dropout.")
@click.option(
    "--steps-each",
    type=int,
    help="Steps of training for each trained arm.  [default: those of the published experiment]",
)
@click.option(
    "--minutes-each", default=0.0, show_default=True, help="Minutes that end a training before its steps; 0 do not."
)
@click.option("--depth", default=30, show_default=True, help="Passages of BM25 to rerank, and to draw negatives from.")
@click.option("--length", default=160, show_default=True, help="Tokens of a pair, or of a passage read apart.")
@click.option(
    "--output",
    "-o",
    type=PATH,
    default=Path(),
    metavar="FOLDER",
    help="Where runs/, qrels/ and models/ are written.  [default: this folder]",
)
@settings_options(Compute)
@force_option
@click.pass_context
def reproduce_command(
    context: click.Context,
    name: str,
    backbone: str,
    trust_remote_code: bool,
    seed: int,
    steps_each: int | None,
    minutes_each: float,
    depth: int,
    length: int,
    output: Path,
    force: bool,
) -> None:
    """Find out whether reading question and passage together wins, and by how much.

    Index, retrieve, train a cross and a dual encoder on the same groups, rerank, search by FAISS, evaluate and compare:
    on the embedded dataset, within 15 minutes on two cores. How long it takes here is said at the beginning.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.experiments.reproduction import (
        HEADLINE,
        PUBLISHED_STEPS,
        ReproductionConfig,
        arm_names,
        departures,
        reproduce,
        trained_names,
    )
    from ranker.report.tables import render_evaluations, verdict

    config = ReproductionConfig(
        seed=seed,
        steps_each=PUBLISHED_STEPS if steps_each is None else steps_each,
        minutes_each=minutes_each,
        depth=depth,
        length=length,
        trust_remote_code=trust_remote_code,
    )
    compute = checked_compute(context)
    dataset = open_dataset(name)
    runs = {arm: output / "runs" / _file_name(dataset) / f"{arm}.run" for arm in arm_names(config)}
    qrels = output / "qrels" / f"{_file_name(dataset)}.test.qrels"
    models = output / "models" / _file_name(dataset)
    for path in (*runs.values(), qrels, *(models / arm for arm in trained_names(config))):
        claim(path, force)
    with countdown() as on_moment:
        result = reproduce(dataset, backbone, config, compute, on_moment)
    say_oddities(dataset)
    for arm, path in runs.items():
        write_named(result.arms[arm].run, path, force, _facts(result.arms[arm], dataset, config))
    _write_rest(result, qrels, models, force)
    show(render_evaluations(result.evaluations))
    for baseline, comparison in result.comparisons.items():
        show(verdict(comparison.of(f"cross.seed{seed}", HEADLINE), baseline))
    if others := departures(result):
        show(others)


def _file_name(dataset: Dataset) -> str:
    """``irds:beir/scifact`` as ``irds-beir-scifact``: one folder, on any file system."""
    return re.sub(r"[^\w.+-]+", "-", dataset.name)


def _facts(arm: Arm, dataset: Dataset, config: ReproductionConfig) -> dict[str, Any]:
    """What the manifest of an arm's run says beside command and versions."""
    facts: dict[str, Any] = {
        "dataset": dataset.record("test"),
        "depth": config.depth,
        "seed": config.seed,
        "seconds": round(arm.seconds, 1),
    }
    if arm.scorer is not None:
        facts |= {**arm.scorer.record(), "pairs": arm.pairs, **arm.cut.record()}
        if arm.pairs:
            facts["pairs_per_second"] = round(arm.pairs / arm.seconds, 1)
    if arm.trained is not None:
        facts["training"] = training_facts(arm.trained)
    return facts


def _write_rest(result: Reproduction, qrels: Path, models: Path, force: bool) -> None:
    """The judgments that the runs are for, and the models behind them."""
    from ranker.data.trec import write_qrels
    from ranker.files.atomic import atomic_folder

    write_qrels(result.qrels, qrels, force)
    for name, arm in result.arms.items():
        if arm.trained is not None and arm.scorer is not None:
            with atomic_folder(models / name, force) as beside:
                arm.scorer.model.save(beside)
