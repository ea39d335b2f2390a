"""``ranker verify``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranker.cli.options import PATH, open_runs, say, say_oddities, show, trust_option
from ranker.errors import DataError, ModelError, SetupError
from ranker.settings.compute import Compute, Overflow
from ranker.wording import counted

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.data.manifest import RunManifest, ScoringRecord
    from ranker.data.run import Run
    from ranker.reranking.verify import Change, Check
    from ranker.scoring.scorer import Scorer
    from ranker.settings.model import PlainConfig


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

    Checks the digests of the run, of the run that it reranks where that is where it was, of dataset and model, what the
    model reads, and what was counted; and scores some of its queries again: in the same precision, a pair at a time,
    and in float32. Exit status 1 where something differs or a score moves more than its precision explains.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.model.loading import load_model
    from ranker.reranking.verify import changes, check_digests, reranked_manifest, sampled
    from ranker.scoring.scorer import Scorer

    [written], manifest = open_runs((run,)), reranked_manifest(run)
    recorded, scoring = manifest.parts(run)
    data = open_dataset(dataset or recorded.source)
    source = source or scoring.model.source
    plain, compute, overflow = _settings(run, scoring, source)
    model = load_model(source, str(scoring.model.settings.get("mode")), plain, trust_remote_code)
    scorer = Scorer(model, _computed_here(compute), overflow)
    holds = _all_hold(check_digests(run, manifest, data, scorer))
    holds &= _others_hold(run, manifest, written, data, scorer)
    depth = manifest.scored_depth(run)
    for change in changes(scorer, sampled(written, queries, seed), data, recorded.split, depth, compute.precision):
        holds &= change.holds
        show(_moves(change))
    say_oddities(data)
    say(f"{run}: {'is' if holds else 'is not'} what its manifest says.")
    if not holds:
        sys.exit(1)


def _computed_here(compute: Compute) -> Compute:
    """Gives the run's own precision, or float32, and says so, where this machine does not compute it."""
    from ranker.model.device import choose_device, choose_precision

    try:
        choose_precision(compute.precision, choose_device(compute.device))
    except SetupError as error:
        show(f"{compute.precision}: not computed again, but held against float32: {error}")
        return Compute("float32")
    return compute


def _settings(run: Path, scoring: ScoringRecord, source: str) -> tuple[PlainConfig, Compute, Overflow]:
    """Reads from a manifest how the model was read, how it was computed, and how passages that are too long were read.

    Raises: DataError for values that do not exist.
    """
    from ranker.model.loading import model_folder, recorded_settings

    settings = scoring.model.settings
    model_folder(source)  # that there is no such model is not the manifest's fault
    try:
        overflow = Overflow(scoring.overflow, scoring.stride)
        return recorded_settings(source, str(settings.get("mode")), settings), Compute(scoring.precision), overflow
    except (ModelError, SetupError) as error:
        raise DataError(f"{run}: its manifest does not fit: {error}") from error


def _others_hold(run: Path, manifest: RunManifest, written: Run, data: Dataset, scorer: Scorer) -> bool:
    """Checks the first stage, settings and counts, and shows a line for each."""
    from ranker.reranking.verify import check_counts, check_first_stage, check_settings

    first = check_first_stage(manifest)
    if first is None:
        show("first stage: not looked at, it is not where it was")
    holds = _all_hold([first] if first else [])
    holds &= _all_hold(check_settings(run, manifest, scorer), "settings")
    return _all_hold(check_counts(run, manifest, written, data, scorer), "counts") and holds


def _all_hold(checks: list[Check], together: str = "") -> bool:
    """Whether all checks hold; shows a line for each, or, ``together``, one for all or for each that does not hold."""
    wrong = [check for check in checks if not check.holds]
    if together and checks and not wrong:
        show(f"{together}: {', '.join(f'{check.fact} {check.actual}' for check in checks)}")
    for check in wrong if together else checks:
        show(f"{check.fact}: {check.actual}" if check.holds else _differs(check))
    return not wrong


def _differs(check: Check) -> str:
    return f"{check.fact}: FAIL, the manifest says {check.expected}, but it is {check.actual}"


def _moves(change: Change) -> str:
    score = f"a score moves by {change.score:.2g} at most, {change.share:.2g} of their spread"
    failed = "" if change.holds else f": FAIL, at most {change.tolerance:.2g} is expected"
    return f"{change.way}, {counted(change.pairs, 'pair')}: {score}, and a rank by {change.rank}{failed}"
