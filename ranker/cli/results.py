"""``evaluate`` and ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from ranker.cli.options import (
    PATH,
    Choice,
    leave_out_option,
    leave_out_queries,
    open_qrels,
    open_runs,
    say,
    show,
    split_option,
)
from ranker.limits import DEFAULT_MEASURES

if TYPE_CHECKING:
    from ranker.report.tables import Format

_FORMATS = ("table", "markdown", "json", "csv")
"""The formats of ``report.tables.FORMATS``, whose import would load numpy."""

measure_option = click.option(
    "-m", "--measure", "measures", multiple=True, default=DEFAULT_MEASURES, show_default=True,
    help="A measure as ir-measures writes it; may be given several times.",
)  # fmt: skip
format_option = click.option(
    "--format", "form", type=Choice(_FORMATS), default="table", show_default=True, help="How results are printed."
)


@click.command("evaluate")
@click.argument("qrels")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@measure_option
@click.option("--per-query", is_flag=True, help="Print each query's value.")
@format_option
@split_option
@leave_out_option
def evaluate_command(
    qrels: str,
    runs: tuple[Path, ...],
    measures: tuple[str, ...],
    per_query: bool,
    form: str,
    split: str,
    leave_out_query: bool,
) -> None:
    """Say how good RUNS are by QRELS.

    QRELS is a TREC qrels file, a BEIR .tsv, or a DATASET with --split. A judged query that a run lacks counts 0.

    Equal scores are ordered by doc_id, as trec_eval does. Where that decides a value, the least, the expected and the
    greatest under all orders are told too.
    """
    from ranker.evaluation.measures import evaluate, parse_measures
    from ranker.evaluation.ties import evaluate_ties
    from ranker.report.tables import notes, render_evaluations, tie_notes

    wanted = parse_measures(measures)
    judgments = open_qrels(qrels, split, wanted)
    opened = [leave_out_queries(run, leave_out_query) for run in open_runs(runs)]
    evaluations = [evaluate(run, judgments, wanted) for run in opened]
    ties = [evaluate_ties(run, judgments, e) for run, e in zip(opened, evaluations, strict=True)]
    show(render_evaluations(evaluations, cast("Format", form), per_query, ties), newline=False)
    if form == "csv":
        for evaluation, tied in zip(evaluations, ties, strict=True):
            for note in (*notes(evaluation), *tie_notes(tied)):
                say(note)


@click.command("compare")
@click.argument("qrels")
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option(
    "--baseline", help="The run that the others are compared with: its file's name, or the file.  [default: the first]"
)
@click.option(
    "--missing",
    type=Choice(("refuse", "zero")),
    default="refuse",
    show_default=True,
    help="What is done with a run that lacks judged queries: refuse it, or count each of them 0.",
)
@measure_option
@format_option
@split_option
@leave_out_option
def compare_command(
    qrels: str,
    runs: tuple[Path, ...],
    baseline: str | None,
    missing: Literal["refuse", "zero"],
    measures: tuple[str, ...],
    form: str,
    split: str,
    leave_out_query: bool,
) -> None:
    """Say whether RUNS differ from a baseline by QRELS, and whether that could be chance.

    Per measure: the mean difference with its bootstrap 95 % interval, paired randomisation and t-tests with Holm's
    correction over the runs, and the queries won, tied and lost.
    """
    from ranker.data.run_files import run_name
    from ranker.evaluation.measures import evaluate, parse_measures
    from ranker.evaluation.significance import compare
    from ranker.report.tables import render_comparison

    wanted = parse_measures(measures)
    judgments = open_qrels(qrels, split, wanted)
    opened = [leave_out_queries(run, leave_out_query) for run in open_runs(runs)]
    evaluations = [evaluate(run, judgments, wanted) for run in opened]
    name = run_name(Path(baseline)) if baseline else None
    comparison = compare(evaluations, name, missing=missing)
    show(render_comparison(comparison, cast("Format", form)), newline=False)
