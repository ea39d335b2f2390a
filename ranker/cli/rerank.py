"""``rerank``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.core import ParameterSource

from ranker.cli.cluster import Sharing, Wanted, cluster_options, joined_cluster, open_scorer
from ranker.cli.options import (
    PATH,
    asked_split,
    claim,
    command_line,
    force_option,
    leave_out_option,
    leave_out_queries,
    open_runs,
    progress,
    say,
    say_oddities,
    seconds,
    show,
    split_option,
    trust_option,
)
from ranker.cli.records import say_unknown, write_result
from ranker.cli.settings import MODEL_HELP, mode_option, settings_of, settings_options
from ranker.limits import DEFAULT_RERANK_DEPTH, MAX_DEPTH
from ranker.settings.compute import Compute, Overflow
from ranker.settings.model import AUTO, MODES, PlainConfig
from ranker.wording import did_you_mean

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.data.manifest import RunManifest
    from ranker.data.run import Run
    from ranker.reranking.rerank import Reranked, Stage


class StageOption(NamedTuple):
    """One model of a cascade by its mode, and how far down it reranks."""

    mode: str
    depth: int


def _cascade(_: click.Context, option: click.Parameter, value: str | None) -> tuple[StageOption, ...]:
    """Parses a cascade: ``dual:100,cross:20``."""
    stages = tuple(_stage(part, option) for part in value.split(",")) if value else ()
    if any(later.depth > earlier.depth for earlier, later in pairwise(stages)):
        raise click.BadParameter(f"{value!r} goes deeper again, expected depths that do not rise.", param=option)
    if len({stage.mode for stage in stages}) < len(stages):
        raise click.BadParameter(f"{value!r} has a mode twice, expected each once.", param=option)
    return stages


def _stage(text: str, option: click.Parameter) -> StageOption:
    mode, _, depth = text.partition(":")
    if mode not in MODES or not depth.isdecimal() or not 1 <= int(depth) <= MAX_DEPTH:
        raise click.BadParameter(
            f"{text!r} is no stage, expected MODE:DEPTH, a mode of {', '.join(MODES)} and a depth of 1 to {MAX_DEPTH}."
            f"{did_you_mean(mode, MODES) if mode not in MODES else ''}",
            param=option,
        )
    return StageOption(mode, int(depth))


@click.command("rerank")
@click.argument("dataset")
@click.option("--run", "run_path", type=PATH, required=True, help="The run to rerank.")
@mode_option(required=False)
@click.option(
    "--model", "models", multiple=True, required=True, help=f"{MODEL_HELP} For a cascade, MODE=MODEL for each."
)
@click.option(
    "--depth",
    type=click.IntRange(1, MAX_DEPTH),
    default=DEFAULT_RERANK_DEPTH,
    show_default=True,
    help="Passages of each ranking to score; the rest stay beneath.",
)
@click.option(
    "--cascade",
    callback=_cascade,
    metavar="MODE:DEPTH,...",
    help="Several models instead of --mode, as in dual:100,cross:20.",
)
@click.option(
    "--budget",
    callback=seconds,
    metavar="TIME",
    help="Time for scoring, as in 10m: shallow ranks of all queries come first.",
)
@click.option("--plan", "planned", is_flag=True, help="Only say what it would take, by a probe of five seconds.")
@click.option("--fresh", is_flag=True, help="Score every pair anew, also those whose scores are remembered.")
@settings_options(Overflow)
@settings_options(PlainConfig)
@trust_option
@split_option
@leave_out_option
@settings_options(Compute)
@cluster_options
@click.option("-o", "--output", type=PATH, metavar="RUN", help="The run to write; needed without --plan.")
@force_option
@click.pass_context
def rerank_command(
    context: click.Context,
    dataset: str,
    run_path: Path,
    mode: str | None,
    models: tuple[str, ...],
    depth: int,
    cascade: tuple[StageOption, ...],
    budget: float | None,
    planned: bool,
    fresh: bool,
    trust_remote_code: bool,
    split: str,
    leave_out_query: bool,
    output: Path | None,
    force: bool,
) -> None:
    """Put a run's passages in a model's order.

    Ranks are decided by the model's raw float32 scores; what lies below --depth keeps its order, beneath. With --budget
    the run is whole whenever time is up, or at Ctrl-C: ranks that were not reached keep their order too. Of a DATASET
    without judgments, the run may answer all queries.

    Scores are remembered, by model and texts, as they are computed: what is stopped goes on where it was when it is
    given again.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.data.manifest import DatasetRecord, RunManifest, RunRecord
    from ranker.files.digests import content_digest
    from ranker.reranking.rerank import Stage, check_run
    from ranker.reranking.rerank import cascade as rerank_by_stages

    stages = _stages(context, mode, depth, cascade)
    sources = _sources(stages, models, bool(cascade))
    _check_use(stages, budget, planned, output)
    if settings_of(context, Sharing).cluster and (planned or budget is not None):
        raise click.UsageError("--cluster goes without --plan and --budget, which are of one process.")
    if output is not None and not planned:
        claim(output, force)
    data = open_dataset(dataset)
    [run] = open_runs((run_path,))
    source = RunRecord(run.name, str(run_path), content_digest(run_path))
    split = asked_split(split, data)
    queries, run = data.queries(split), leave_out_queries(run, leave_out_query)
    say_oddities(data)
    # before a model is opened, which may take a minute
    check_run(run, queries, data.collection, max(stage.depth for stage in stages))
    cluster, overflow = context.with_resource(joined_cluster(context)), settings_of(context, Overflow)
    opened = [
        Stage(
            open_scorer(context, Wanted(source, stage.mode, plain, trust_remote_code), cluster, overflow), stage.depth
        )
        for stage, source, plain in zip(stages, sources, _plain(context, stages), strict=True)
    ]
    if planned or output is None:
        _say_plan(opened, run, data, split)
        return
    results = rerank_by_stages(opened, run, queries, data.collection, budget, "tokens" if fresh else "all", progress)
    origin = RunManifest(
        dataset=DatasetRecord(**data.record(split)),
        run=source,
        facts={"leave_out_query": leave_out_query},
        command=command_line(),
    )
    _write(opened, results, origin, budget, output, force)


def _write(
    stages: Sequence[Stage],
    results: Sequence[Reranked],
    origin: RunManifest,
    budget: float | None,
    output: Path,
    force: bool,
) -> None:
    """Writes the last run; its manifest tells of the last stage, and under ``earlier`` of the others."""
    manifests = []
    for (scorer, depth), result in zip(stages, results, strict=True):
        if result.stopped:
            least, median, most = result.reached
            ranks = f"the first {least} to {most} ranks were scored, {median} mostly"
            say(f"stopped by {result.stopped}: of a query, {ranks}.")
        say_unknown(scorer)
        manifests.append(result.manifest(scorer, depth, budget))
    *earlier, last = manifests
    facts = {"earlier": [manifest.own_record() for manifest in earlier]} if earlier else {}
    manifest = replace(last, dataset=origin.dataset, run=origin.run, command=origin.command)
    write_result(results[-1], output, force, manifest.with_facts({**origin.facts, **facts}))


def _stages(
    context: click.Context, mode: str | None, depth: int, cascade: tuple[StageOption, ...]
) -> tuple[StageOption, ...]:
    if (mode is None) == (not cascade):
        raise click.UsageError("needs either --mode, or --cascade, which has a mode for each of its models.")
    if cascade and context.get_parameter_source("depth") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--depth goes with --mode; in a --cascade each model has its own, as in dual:100.")
    return cascade or (StageOption(str(mode), depth),)


def _sources(stages: tuple[StageOption, ...], models: tuple[str, ...], cascade: bool) -> list[str]:
    """Finds the model of each stage."""
    if not cascade:
        if len(models) > 1:
            raise click.UsageError(f"--model names {', '.join(models)}; expected one, or a --cascade of them.")
        return [models[0]]
    named = dict(model.partition("=")[::2] for model in models)
    modes = [stage.mode for stage in stages]
    if len(named) < len(models) or sorted(named) != sorted(modes) or "" in named.values():
        raise click.UsageError(
            f"--model names {', '.join(models)}; expected MODE=MODEL for each stage: {', '.join(modes)}."
        )
    return [named[mode] for mode in modes]


def _plain(context: click.Context, stages: tuple[StageOption, ...]) -> list[PlainConfig]:
    """Gives the settings of a stage's model that has none; a cascade's pooling is for the one that reads apart."""
    plain = settings_of(context, PlainConfig)
    apart = [MODES[stage.mode].apart for stage in stages]
    without = replace(plain, pooling=AUTO) if any(apart) else plain
    return [plain if reads_apart else without for reads_apart in apart]


def _check_use(stages: tuple[StageOption, ...], budget: float | None, planned: bool, output: Path | None) -> None:
    if output is None and not planned:
        raise click.UsageError("needs --output, the run to write, or --plan.")
    if budget is not None and (planned or len(stages) > 1):
        raise click.UsageError("--budget goes with one model and without --plan.")


def _say_plan(stages: Sequence[Stage], run: Run, data: Dataset, split: str) -> None:
    """Shows the plan of each stage, as it would be if the stage before changed no ranks."""
    from ranker.report.tables import render_plan
    from ranker.reranking.plan import plan
    from ranker.reranking.rerank import candidates

    for scorer, depth in stages:
        planned = plan(scorer, candidates(scorer, run, data.queries(split), data.collection, depth))
        say_unknown(scorer)
        show(render_plan(planned, f"{scorer.model.config.mode} to depth {depth} in {scorer.precision}"))
