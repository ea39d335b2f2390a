"""``ranker reproduce``."""

from __future__ import annotations

from pathlib import Path

import click

from ranker.cli.options import PATH, claim, command_line, force_option, say_oddities, show, trust_option
from ranker.cli.records import countdown
from ranker.cli.settings import checked_compute, settings_options
from ranker.settings.compute import Compute


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
    on the embedded dataset, within 15 minutes on two cores. The time that it takes here is estimated at the beginning.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.experiments.arms import PUBLISHED_STEPS, reproduction
    from ranker.experiments.reproduce import HEADLINE, ReproductionFiles, reproduce
    from ranker.report.tables import render_evaluations, verdict

    steps = PUBLISHED_STEPS if steps_each is None else steps_each
    config = reproduction(backbone, seed, steps, minutes_each, depth, length, trust_remote_code)
    compute = checked_compute(context)
    dataset = open_dataset(name)
    files = ReproductionFiles(output, dataset, config)
    for path in files.paths:
        claim(path, force)
    with countdown() as on_moment:
        result = reproduce(dataset, config, compute, on_moment)
    say_oddities(dataset)
    files.write(result, dataset, config, command_line(), force)
    show(render_evaluations(result.evaluations))
    for baseline, comparison in result.comparisons.items():
        show(verdict(comparison.of(f"cross.seed{seed}", HEADLINE), baseline))
    if result.departures:
        show(result.departures)
