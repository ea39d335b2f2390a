"""``ranker verify``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranker.cli.options import PATH, say, trust_option
from ranker.scoring.overflow_config import Overflow
from ranker.scoring.speed import Speed

if TYPE_CHECKING:
    from ranker.verification import Change


@click.command("verify")
@click.argument("run", type=PATH)
@click.option("--dataset", help="Where the DATASET is now.  [default: where the manifest says]")
@click.option("--model", "source", help="Where the model is now.  [default: where the manifest says]")
@trust_option
@click.option("--queries", default=20, show_default=True, type=click.IntRange(min=1), help="Queries scored again.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="Decides which.")
def verify_command(
    run: Path, dataset: str | None, source: str | None, trust_remote_code: bool, queries: int, seed: int
) -> None:
    """Hold a reranked RUN against its manifest.

    Checks the digests of the run, dataset and model, and scores some of its queries again: in the same precision, a
    pair at a time, and in float32. Exit status 1 where a digest differs or a score moves more than its precision
    explains.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.data.manifest import read_manifest, scored_depth
    from ranker.data.trec import read_run
    from ranker.model.loading import load_model
    from ranker.scoring.scorer import Scorer
    from ranker.verification import changes, check_digests, sampled, told

    written, manifest = read_run(run), read_manifest(run)
    data = open_dataset(dataset or told(run, manifest, "dataset", "source"))
    model = load_model(
        source or told(run, manifest, "model", "source"),
        told(run, manifest, "model", "mode"),
        told(run, manifest, "model", "pooling"),
        trust_remote_code,
    )
    overflow = Overflow(str(manifest.get("overflow", "cut")), manifest.get("stride", 0))
    scorer = Scorer(model, Speed(told(run, manifest, "precision")), overflow)
    holds = True
    for check in check_digests(run, manifest, data, scorer):
        holds &= check.holds
        click.echo(f"{check.what}: {check.found}" if check.holds else _differs(check.what, check.expected, check.found))
    split, depth = told(run, manifest, "dataset", "split"), scored_depth(run, manifest)
    for change in changes(scorer, sampled(written, queries, seed), data, split, depth):
        holds &= change.holds
        click.echo(_moves(change))
    say(f"{run}: {'is' if holds else 'is not'} what its manifest says.")
    if not holds:
        sys.exit(1)


def _differs(what: str, expected: str, found: str) -> str:
    return f"{what}: FAIL, the manifest says {expected}, but it is {found}"


def _moves(change: Change) -> str:
    score = f"a score moves by {change.score:.2g} at most, {change.share:.2g} of their spread"
    failed = "" if change.holds else f": FAIL, at most {change.tolerance:.2g} is expected"
    return f"{change.way}, {change.pairs} pairs: {score}, and a rank by {change.rank}{failed}"
