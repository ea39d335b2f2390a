"""``rerank``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from ranker.cli.cluster import Sharing, Wanted, cluster_options, joined_cluster, open_scorer
from ranker.cli.options import (
    PATH,
    asked_split,
    claim,
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
from ranker.cli.records import counts, say_unknown, scoring_record, write_result
from ranker.cli.settings import MODEL_HELP, mode_option, settings_of, settings_options
from ranker.cli.tokens import keep_tokens
from ranker.limits import DEFAULT_RERANK_DEPTH, MAX_DEPTH
from ranker.settings.compute import Compute, Overflow
from ranker.settings.model import AUTO, MODES, PlainConfig
from ranker.wording import did_you_mean

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.data.records import Query
    from ranker.data.run import Run
    from ranker.reranking.rerank import Reranked
    from ranker.scoring.scorer import Advance, Scorer
    from ranker.scoring.windows import Inputs


class Stage(NamedTuple):
    """One model of a cascade, and how far down it reads."""

    mode: str
    depth: int


class _Scoring(NamedTuple):
    """The seconds that scoring may take, and whether what is remembered is left aside."""

    budget: float | None
    fresh: bool


def _cascade(_: click.Context, option: click.Parameter, value: str | None) -> tuple[Stage, ...]:
    """Models behind each other: ``dual:100,cross:20``."""
    stages = tuple(_stage(part, option) for part in value.split(",")) if value else ()
    if any(later.depth > earlier.depth for earlier, later in pairwise(stages)):
        raise click.BadParameter(f"{value!r} goes deeper again, expected depths that do not rise.", param=option)
    if len({stage.mode for stage in stages}) < len(stages):
        raise click.BadParameter(f"{value!r} has a mode twice, expected each once.", param=option)
    return stages


def _stage(text: str, option: click.Parameter) -> Stage:
    mode, _, depth = text.partition(":")
    if mode not in MODES or not depth.isdecimal() or not 1 <= int(depth) <= MAX_DEPTH:
        raise click.BadParameter(
            f"{text!r} is no stage, expected MODE:DEPTH, a mode of {', '.join(MODES)} and a depth of 1 to {MAX_DEPTH}."
            f"{did_you_mean(mode, MODES) if mode not in MODES else ''}",
            param=option,
        )
    return Stage(mode, int(depth))


@dataclass(frozen=True)
class _Work:
    """What is reranked."""

    data: Dataset
    split: str
    queries: dict[str, Query]
    run: Run
    leave_out_query: bool
    source: dict[str, str]


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
    cascade: tuple[Stage, ...],
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
    from ranker.files.digests import content_digest

    stages = _stages(context, mode, depth, cascade)
    sources = _sources(stages, models, bool(cascade))
    _check_use(stages, budget, planned, output)
    if settings_of(context, Sharing).cluster and (planned or budget is not None):
        raise click.UsageError("--cluster goes without --plan and --budget, which are of one process.")
    if output is not None and not planned:
        claim(output, force)
    data = open_dataset(dataset)
    [run] = open_runs((run_path,))
    source = {"name": run.name, "path": str(run_path), "sha256": content_digest(run_path)}
    split = asked_split(split, data)
    work = _Work(data, split, data.queries(split), leave_out_queries(run, leave_out_query), leave_out_query, source)
    say_oddities(data)
    _check_run(work, max(stage.depth for stage in stages))
    cluster, overflow = context.with_resource(joined_cluster(context)), settings_of(context, Overflow)
    scorers = [
        open_scorer(context, Wanted(source, stage.mode, plain, trust_remote_code), cluster, overflow)
        for stage, source, plain in zip(stages, sources, _plain(context, stages), strict=True)
    ]
    if planned:
        _say_plan(work, stages, scorers)
    elif output is not None:
        _rerank(work, stages, scorers, _Scoring(budget, fresh), (output, force))


def _stages(context: click.Context, mode: str | None, depth: int, cascade: tuple[Stage, ...]) -> tuple[Stage, ...]:
    if (mode is None) == (not cascade):
        raise click.UsageError("needs either --mode, or --cascade, which has a mode for each of its models.")
    if cascade and context.get_parameter_source("depth") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--depth goes with --mode; in a --cascade each model has its own, as in dual:100.")
    return cascade or (Stage(str(mode), depth),)


def _sources(stages: tuple[Stage, ...], models: tuple[str, ...], cascade: bool) -> list[str]:
    """The model of each stage."""
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


def _plain(context: click.Context, stages: tuple[Stage, ...]) -> list[PlainConfig]:
    """How each stage's model is read that does not say it; in a cascade the pooling is of the one that reads apart."""
    plain = settings_of(context, PlainConfig)
    apart = [MODES[stage.mode].apart for stage in stages]
    without = replace(plain, pooling=AUTO) if any(apart) else plain
    return [plain if reads_apart else without for reads_apart in apart]


def _check_use(stages: tuple[Stage, ...], budget: float | None, planned: bool, output: Path | None) -> None:
    if output is None and not planned:
        raise click.UsageError("needs --output, the run to write, or --plan.")
    if budget is not None and (planned or len(stages) > 1):
        raise click.UsageError("--budget goes with one model and without --plan.")


def _say_plan(work: _Work, stages: tuple[Stage, ...], scorers: Sequence[Scorer]) -> None:
    """The plan of each stage, as it would be if the stage before changed no ranks."""
    from ranker.report.tables import render_plan
    from ranker.reranking.plan import plan

    for stage, scorer in zip(stages, scorers, strict=True):
        found = plan(scorer, _inputs(work, work.run, stage, scorer, keeping=False))
        say_unknown(scorer)
        show(render_plan(found, f"{stage.mode} to depth {stage.depth} in {scorer.precision}"))


def _rerank(
    work: _Work, stages: tuple[Stage, ...], scorers: Sequence[Scorer], scoring: _Scoring, output: tuple[Path, bool]
) -> None:
    """Each stage on what the one before made; the manifest tells of the last, and under ``earlier`` of the others."""
    from ranker.reranking.rerank import gold_answers_cut

    run, told = work.run, []
    for stage, scorer in zip(stages, scorers, strict=True):
        inputs = _inputs(work, run, stage, scorer)
        started = time.monotonic()
        with progress(f"rerank {stage.mode}", len(inputs.read.rows), "pair") as advance:
            done, facts = _scored(scorer, run, inputs, stage, scoring, advance)
        answers = gold_answers_cut(scorer, run, inputs, work.queries, work.data.collection, stage.depth)
        new = done.pairs * (1 - facts["remembered"])
        facts["pairs_per_second"] = round(new / (time.monotonic() - started), 1)
        told.append(
            {
                "depth": stage.depth,
                **scoring_record(scorer),
                **facts,
                **counts(done.pairs, done.cut),
                "answers_cut": answers,
            }
        )
        run = done.run
    earlier = {"earlier": told[:-1]} if told[:-1] else {}
    facts = {"dataset": work.data.record(work.split), "run": work.source, "leave_out_query": work.leave_out_query}
    for scorer in scorers:
        say_unknown(scorer)
    write_result(done, *output, {**facts, **earlier, **told[-1]})


def _check_run(work: _Work, depth: int) -> None:
    """Refuses a run of something else before a model is opened, which may take a minute."""
    from ranker.reranking.rerank import check_run

    check_run(work.run, work.queries, work.data.collection, depth)


def _inputs(work: _Work, run: Run, stage: Stage, scorer: Scorer, keeping: bool = True) -> Inputs:
    from ranker.reranking.rerank import candidates

    if keeping:
        wanted = {doc_id for ranking in run.values() for doc_id in ranking.doc_ids[: stage.depth]}
        keep_tokens(scorer, work.data.collection, len(wanted))
    return candidates(scorer, run, work.queries, work.data.collection, stage.depth)


def _scored(
    scorer: Scorer, run: Run, inputs: Inputs, stage: Stage, scoring: _Scoring, advance: Advance
) -> tuple[Reranked, dict[str, Any]]:
    """The reranked run, and what a manifest says of a budget and of what was remembered."""
    from ranker.reranking.plan import Progress, rerank_while
    from ranker.reranking.rerank import rescored
    from ranker.scoring.cache import Memory, computed, remembering

    with nullcontext(computed) if scoring.fresh else remembering(scorer, inputs.read) as recall:
        remembered = round(recall.share, 4) if isinstance(recall, Memory) else 0.0
        if scoring.budget is None:
            return rescored(scorer, run, inputs, stage.depth, advance, recall), {"remembered": remembered}
        end = time.monotonic() + scoring.budget
        progress = Progress(advance, lambda: time.monotonic() < end, recall)
        partial = rerank_while(scorer, run, inputs, stage.depth, progress)
    least, median, most = partial.reached
    if partial.stopped:
        say(
            f"stopped by {partial.stopped}: of a query, the first {least} to {most} ranks were scored, {median} mostly."
        )
    reached = {"least": least, "median": median, "most": most}
    budget = {"seconds": scoring.budget, "stopped": partial.stopped, "ranks_scored": reached}
    return partial, {"budget": budget, "remembered": remembered}
