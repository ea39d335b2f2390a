"""``ranker fuse``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from ranker.cli.options import (
    PATH,
    Choice,
    command_line,
    force_option,
    open_qrels,
    open_runs,
    output_option,
    progress,
    qrels_path,
    say,
)
from ranker.limits import DEFAULT_RRF_K, MAX_DEPTH, MAX_RRF_K
from ranker.wording import counted

if TYPE_CHECKING:
    from ranker.evaluation.fusion import Source

METHODS: Final = {
    "rrf": "reciprocal rank fusion, the sum of weight / (k + rank); needs no tuning",
    "interpolation": "the weighted mean of scores, those of each query and run brought to 0 to 1",
}
"""The names of ``fusion.METHODS``, which cannot be read without loading numpy."""

_OF_TUNING: Final = {"tune_runs": "--tune-run", "split": "--split", "measure": "--measure", "folds": "--folds",
                     "seed": "--seed"}  # fmt: skip


@click.command("fuse")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--method",
    type=Choice(tuple(METHODS)),
    default="rrf",
    show_default=True,
    help="; ".join(f"{name}: {meaning}" for name, meaning in METHODS.items()) + ".",
)
@click.option(
    "--weight", "weights", multiple=True, type=float, help="One for each RUN, in their order.  [default: all alike]"
)
@click.option(
    "--k",
    type=click.IntRange(0, MAX_RRF_K),
    default=DEFAULT_RRF_K,
    show_default=True,
    help="What rrf adds to each rank.",
)
@click.option(
    "--depth", type=click.IntRange(1, MAX_DEPTH), default=MAX_DEPTH, help="Passages per query to write.  [default: all]"
)
@click.option("--tune", help="QRELS to choose weights by, instead of --weight.")
@click.option(
    "--tune-run", "tune_runs", multiple=True, type=PATH, help="For each RUN, in their order, that of its system there."
)
@click.option("--split", default="dev", show_default=True, help="The split of a DATASET given as --tune.")
@click.option("-m", "--measure", default="nDCG@10", show_default=True, help="What weights are chosen by.")
@click.option(
    "--folds", type=click.IntRange(2), default=5, show_default=True, help="Parts of the queries to cross-validate on."
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Decides who is in which fold.")
@output_option("RUN")
@force_option
@click.pass_context
def fuse_command(
    context: click.Context,
    runs: tuple[Path, ...],
    method: str,
    weights: tuple[float, ...],
    k: int,
    depth: int,
    tune: str | None,
    tune_runs: tuple[Path, ...],
    split: str,
    measure: str,
    folds: int,
    seed: int,
    output: Path,
    force: bool,
) -> None:
    """Make one run of several RUNS, of a lexical and a dense one, or of a reranked one and its first stage.

    \b
    ranker fuse bm25.run dual.run --output hybrid.run
    ranker fuse bm25.run cross.run --method interpolation --weight 0.3 --weight 0.7 --output blend.run

    By interpolation, a passage's score of a run is (score - least) / (greatest - least) of that query's passages, and
    0 where the run lacks the passage. Of a reranked run, as its manifest tells, what lies below the depth of the
    reranking counts as lacking, and what no run has scored stays beneath. A run of weight 0 brings no passages. A query
    that some runs lack is fused from the others.

    With --tune the weights are those of a grid that are worth most on other queries, such as a dev split:

    \b
    ranker fuse a.run b.run --output ab.run --tune DATASET --split dev --tune-run dev.a.run --tune-run dev.b.run

    The value that is told of them is out of fold: each query's by weights chosen on the other folds.
    """  # noqa: D301  # click keeps lines as they are behind a real backspace
    from ranker.data.manifest import RunManifest
    from ranker.data.run_files import write_with_manifest
    from ranker.evaluation.fusion import Fusion, Tuning, fuse, unanswered, weights_grid
    from ranker.evaluation.fusion import tune as tune_weights
    from ranker.evaluation.measures import parse_measures
    from ranker.files.atomic import check_output
    from ranker.files.digests import content_digest

    _check_use(context, runs, weights, tune, tune_runs)
    check_output(output, force)
    fusion = Fusion(method, weights or (1.0,) * len(runs), k)
    sources, records = _open(runs)
    facts: dict[str, Any] = {"runs": records}
    tuned = None
    if tune is not None:
        (wanted,) = parse_measures([measure])
        judgments = open_qrels(tune, split, [wanted])
        path = qrels_path(tune, split)
        tune_sources, tune_records = _open(tune_runs)
        with progress("tune", len(weights_grid(len(runs))), "fusion") as advance:
            tuned = tune_weights(tune_sources, judgments, fusion, Tuning(wanted, folds, seed), advance)
        fusion = replace(fusion, weights=tuned.weights)
        facts["tuned"] = {
            "qrels": {"path": str(path), "sha256": content_digest(path)},
            "runs": tune_records,
            "measure": str(wanted),
            "queries": len(judgments),
            "folds": folds,
            "seed": seed,
            **asdict(tuned),
            "out_of_fold": tuned.value,
        }
    run = fuse(sources, fusion, depth)
    facts |= {"fusion": {**asdict(fusion), "depth": depth}, "queries": len(run), "unanswered": unanswered(sources)}
    if tuned is not None:
        facts["tuned"]["fused_too"] = len(tuned.out_of_fold.keys() & run.keys())
    write_with_manifest(run, output, RunManifest(facts=facts, command=command_line()), force)
    say(f"{output}: {_told(method, facts)}.")


def _check_use(
    context: click.Context,
    runs: tuple[Path, ...],
    weights: tuple[float, ...],
    tune: str | None,
    theirs: tuple[Path, ...],
) -> None:
    """Refuses options that do not go together, and runs to tune on that cannot be those of the runs to fuse."""
    if len(runs) < 2:
        raise click.UsageError("needs two runs or more, to make one of them.")
    if weights and len(weights) != len(runs):
        raise click.UsageError(
            f"--weight is given for {len(weights)} of {counted(len(runs), 'run')}, expected one for each."
        )
    if tune is None:
        typed = [name for name in _OF_TUNING if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if typed:
            raise click.UsageError(
                f"{_OF_TUNING[typed[0]]} goes with --tune, which names the QRELS to choose weights by."
            )
        return
    if weights:
        raise click.UsageError("--weight gives the weights that --tune is to choose; expected one of the two.")
    if len(theirs) != len(runs):
        raise click.UsageError(
            f"--tune-run is given for {len(theirs)} of {counted(len(runs), 'run')}, expected one for each."
        )
    from ranker.data.run_files import run_name

    names, tuned_names = [run_name(path) for path in runs], [run_name(path) for path in theirs]
    if tuned_names != names and sorted(tuned_names) == sorted(names):
        raise click.UsageError(
            f"--tune-run names {', '.join(tuned_names)}; expected the order of the runs, {', '.join(names)}."
        )


def _open(paths: tuple[Path, ...]) -> tuple[list[Source], list[dict[str, Any]]]:
    """Opens runs with the depth to which they were scored, and gives the manifest's record of each.

    Raises: DataError where two are the same.
    """
    from ranker.errors import DataError
    from ranker.evaluation.fusion import Source
    from ranker.files.digests import content_digest

    sources, records, seen = list[Source](), list[dict[str, Any]](), dict[str, Path]()
    for run, path in zip(open_runs(paths), paths, strict=True):
        other = seen.setdefault(run.digest, path)
        if other is not path:
            raise DataError(
                f"{path}: is the run {other} again; expected each once, and a --weight where it counts more."
            )
        sha256 = content_digest(path)
        scored = _scored(path, sha256)
        told = {"name": run.name, "path": str(path), "sha256": sha256}
        records.append(told if scored == MAX_DEPTH else {**told, "scored": scored})
        sources.append(Source(run, scored))
    return sources, records


def _scored(path: Path, sha256: str) -> int:
    """The depth to which a run has scores of one system: the whole of it, unless it was reranked."""
    from ranker.data.manifest import manifest_path, read_manifest
    from ranker.errors import DataError

    manifest = read_manifest(path)
    if manifest is None or manifest.scoring is None:
        return MAX_DEPTH
    if manifest.sha256 != sha256:
        raise DataError(
            f"{path}: has changed since {manifest_path(path)} was written, which tells how deep it was reranked; "
            "expected the run as it was, or none of its manifest."
        )
    return manifest.scored_depth(path)


def _told(method: str, facts: Mapping[str, Any]) -> str:
    """The line that is said at the end: what was fused, and how good tuned weights are."""
    weights = zip(facts["fusion"]["weights"], facts["runs"], strict=True)
    shares = " and ".join(f"{weight:g} {run['name']}" for weight, run in weights)
    lacking = "".join(f"; {name} lacks {count}" for name, count in facts["unanswered"].items() if count)
    told = f"{counted(facts['queries'], 'query')} by {method}, {shares}{lacking}"
    tuned = facts.get("tuned")
    if tuned is None:
        return told
    alone = ", ".join(f"{name} alone {value:.4f}" for name, value in tuned["alone"].items())
    worth = (
        f"{tuned['measure']} {tuned['out_of_fold']:.4f} out of fold on {counted(tuned['queries'], 'query')}, {alone}"
    )
    both = counted(tuned["fused_too"], "query")
    are = "is" if tuned["fused_too"] == 1 else "are"
    too = f"; {both} that chose the weights {are} fused too" if tuned["fused_too"] else ""
    return f"{told}; {worth}{too}"
