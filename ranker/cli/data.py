"""``import``, ``index`` and ``retrieve``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ranker.cli.cluster import Sharing, Wanted, cluster_options, joined_cluster, open_scorer
from ranker.cli.options import (
    PATH,
    Choice,
    asked_split,
    claim,
    command_line,
    force_option,
    language_option,
    leave_out_option,
    leave_out_queries,
    output_option,
    progress,
    say,
    say_oddities,
    split_option,
    trust_option,
)
from ranker.cli.settings import checked_compute, settings_of, settings_options
from ranker.errors import DataError
from ranker.limits import DEFAULT_RETRIEVE_DEPTH, MAX_DEPTH
from ranker.settings.compute import Compute
from ranker.settings.fields import options_of
from ranker.settings.index import DenseConfig, LexicalConfig
from ranker.settings.model import PlainConfig
from ranker.wording import counted, did_you_mean

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.index.dense import DenseSettings


class _ImportCommand(click.Command):
    """Adds the formats to the help."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from ranker.data.imports.formats import FORMATS, SOURCES_HELP

        super().format_help_text(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(SOURCES_HELP)
        with formatter.section("Formats and their sources"):
            formatter.write_dl([(f"{name} {form.usage}", form.summary) for name, form in FORMATS.items()])


@click.command("import", cls=_ImportCommand)
@click.argument("format_name", metavar="FORMAT")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@language_option("The language of the data, by its code, which is remembered with the DATASET and used by BM25.")
@output_option("DATASET")
@force_option
def import_command(format_name: str, sources: tuple[str, ...], language: str | None, output: Path, force: bool) -> None:
    """Turn data of another FORMAT into a DATASET folder in BEIR layout."""
    from ranker.data.beir import write_dataset
    from ranker.data.imports.formats import FORMATS

    if format_name not in FORMATS:
        meant = did_you_mean(format_name, FORMATS)
        raise click.BadParameter(f"{format_name!r} is not one of {', '.join(FORMATS)}.{meant}", param_hint="FORMAT")
    claim(output, force)
    form = FORMATS[format_name]
    imported = form.read(form.sources(sources))
    write_dataset(imported, output, force, language or "")
    skipped = "".join(f"; {count} {what} skipped" for what, count in sorted(imported.skipped.items()))
    say(f"{output}: imported from {format_name}{skipped}.")


@click.command("index")
@click.argument("dataset")
@click.option(
    "--kind",
    type=Choice(("bm25", "dense", "tokens")),
    default="bm25",
    show_default=True,
    help="bm25: Lucene, through Anserini; dense: vectors of a dual encoder in FAISS; tokens: token ids of a model's "
    "tokenizer, kept in the cache, which reranking makes when it needs them.",
)
@click.option(
    "--model", "source", default="", help="For dense and tokens: the model, a directory or hub name, or 'offline'."
)
@settings_options(PlainConfig)
@trust_option
@settings_options(LexicalConfig)
@settings_options(DenseConfig)
@settings_options(Compute)
@cluster_options
@click.option("-o", "--output", type=PATH, metavar="INDEX", help="The index to write; not for tokens.")
@force_option
@click.pass_context
def index_command(
    context: click.Context,
    dataset: str,
    kind: str,
    source: str,
    trust_remote_code: bool,
    output: Path | None,
    force: bool,
) -> None:
    """Index a DATASET's passages, for BM25 by Lucene or by a dual encoder's vectors in FAISS.

    Its settings are remembered and used again by ranker retrieve.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.files.atomic import check_output

    if kind != "dense" and settings_of(context, Sharing).cluster:
        raise click.UsageError(f"--kind {kind} goes without --cluster, which shares the work of a model.")
    if kind != "bm25" and not source:
        raise click.UsageError(f"--kind {kind} needs --model, the model that reads the passages.")
    if kind == "tokens":
        _index_tokens(open_dataset(dataset), source, trust_remote_code)
        return
    if output is None:
        raise click.UsageError(f"--kind {kind} needs --output, the index to write.")
    _refuse_other_kinds(context, kind)
    check_output(output, force)
    data = open_dataset(dataset)
    count = len(data.collection)
    say_oddities(data)
    started = time.monotonic()
    with progress(f"index {kind}", count, "passage") as advance:
        if kind == "bm25":
            from ranker.index.bm25 import index_bm25

            lexical = settings_of(context, LexicalConfig)
            if context.get_parameter_source("language") is ParameterSource.DEFAULT:
                lexical = replace(lexical, language=data.language)
            index_bm25(data.collection, lexical, output, force, advance=advance)
        else:
            from ranker.cli.records import say_unknown, told_cut
            from ranker.index.dense import index_dense
            from ranker.scoring.tokens import Truncation

            wanted = Wanted(source, "dual", settings_of(context, PlainConfig), trust_remote_code)
            scorer = open_scorer(context, wanted, context.with_resource(joined_cluster(context)))
            built = index_dense(data, scorer, settings_of(context, DenseConfig), output, force, advance)
    seconds = time.monotonic() - started
    lost = told_cut(Truncation(0, built.passages_cut, built.tokens_cut)) if kind == "dense" else ""
    rate = counted(count / seconds, "passage", ".0f")
    say(f"{output}: {kind} index of {counted(count, 'passage')} in {seconds:.1f} s, {rate}/s{lost}.")
    if kind == "dense":
        say_unknown(scorer)
        if built.recall_at:
            say(_recall(output, built))


def _refuse_other_kinds(context: click.Context, kind: str) -> None:
    """Refuses settings of another kind of index, which would be passed over."""
    other, classes = ("dense", (DenseConfig, PlainConfig)) if kind == "bm25" else ("bm25", (LexicalConfig,))
    for name in (name for settings in classes for name in options_of(settings)):
        if context.get_parameter_source(name) not in (None, ParameterSource.DEFAULT):
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --kind {other}, not {kind}.")


def _recall(output: Path, built: DenseSettings) -> str:
    """Returns a line about the recall measured, and the queries that it was measured on."""
    asked = f"{built.recall_queries} {built.recall_of} in one batch, threads: {built.recall_threads}"
    rate = f"{built.ms_per_query:.3f} ms per query, exact search {built.exact_ms_per_query:.3f} ms ({asked})"
    return f"{output}: {built.factory}, recall@{built.recall_at} {built.recall:.4f} of exact search, {rate}."


def _index_tokens(data: Dataset, source: str, trusted: bool) -> None:
    from ranker.model.loading import load_model
    from ranker.scoring.scorer import Scorer
    from ranker.scoring.token_file import build_token_file, token_folder

    encoding = Scorer(load_model(source, trust_remote_code=trusted), Compute(device="cpu")).encoding
    count = len(data.collection)
    say_oddities(data)
    started = time.monotonic()
    with progress("tokens", count, "passage") as advance:
        build_token_file(encoding, data.collection, advance)
    seconds = time.monotonic() - started
    say(f"{token_folder(encoding, data.collection)}: tokens of {counted(count, 'passage')} in {seconds:.1f} s.")


@click.command("retrieve")
@click.argument("dataset")
@click.option("--index", "index_path", type=PATH, required=True, help="An index of the DATASET's passages.")
@click.option(
    "--depth",
    type=click.IntRange(1, MAX_DEPTH),
    default=DEFAULT_RETRIEVE_DEPTH,
    show_default=True,
    help="Passages to find for each query.",
)
@click.option("--model", "source", default="", help="For a dense index: its model, where it has moved since.")
@trust_option
@split_option
@leave_out_option
@settings_options(Compute)
@output_option("RUN")
@force_option
@click.pass_context
def retrieve_command(
    context: click.Context,
    dataset: str,
    index_path: Path,
    depth: int,
    source: str,
    trust_remote_code: bool,
    split: str,
    leave_out_query: bool,
    output: Path,
    force: bool,
) -> None:
    """Find passages for each query of a DATASET's split, with the settings that the index remembers.

    Of a DATASET without judgments, all queries are taken.
    """
    from ranker.cli.records import say_unknown
    from ranker.data.catalogue import open_dataset
    from ranker.data.manifest import DatasetRecord, RunManifest
    from ranker.data.run import Run
    from ranker.data.run_files import run_name, write_with_manifest
    from ranker.index.retrieval import retrieve
    from ranker.index.store import index_kind

    claim(output, force)
    data = open_dataset(dataset)
    split = asked_split(split, data)
    queries = data.queries(split)
    say_oddities(data)
    started = time.monotonic()
    compute = checked_compute(context) if index_kind(index_path) == "dense" else settings_of(context, Compute)
    with progress("retrieve", len(queries), "query") as advance:
        # one more, since the query itself may be among them
        deep = min(depth + int(leave_out_query), MAX_DEPTH)
        retrieved = retrieve(index_path, data.collection, queries, deep, compute, source, trust_remote_code, advance)
    if retrieved.scorer is not None:
        say_unknown(retrieved.scorer)
    run = leave_out_queries(Run(run_name(output), retrieved.run.rankings), leave_out_query).head(depth)
    seconds = time.monotonic() - started
    if not len(run):
        raise DataError(
            f"{index_path}: none of the {counted(len(queries), 'query')} finds a passage; no run is written."
        )
    facts = {"leave_out_query": leave_out_query, "index": retrieved.index_settings, "seconds": round(seconds, 2)}
    manifest = RunManifest(
        dataset=DatasetRecord(**data.record(split)),
        depth=depth,
        scoring=None if retrieved.scorer is None else retrieved.scorer.record(),
        counts={} if retrieved.scorer is None else {"queries_cut": retrieved.queries_cut},
        facts=facts,
        command=command_line(),
    )
    write_with_manifest(run, output, manifest, force)
    unanswered = len(queries) - len(run)
    missed = f"; {counted(unanswered, 'query')} found nothing" if unanswered else ""
    missed += f"; {counted(retrieved.queries_cut, 'query')} cut" if retrieved.queries_cut else ""
    say(f"{output}: {counted(len(run), 'query')}, {counted(run.hits, 'hit')} in {seconds:.1f} s{missed}.")
