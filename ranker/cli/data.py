"""``import``, ``index`` and ``retrieve``."""

from __future__ import annotations

import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from ranker.cli.cluster import Sharing, Wanted, cluster_options, joined_cluster, open_scorer
from ranker.cli.model_options import plain_options
from ranker.cli.options import (
    PATH,
    Choice,
    asked_split,
    claim,
    force_option,
    language_option,
    leave_out_option,
    leave_out_queries,
    output_option,
    progress,
    run_name,
    say,
    say_oddities,
    split_option,
    trust_option,
)
from ranker.cli.settings import checked_compute, compute_options, settings_of, settings_options
from ranker.errors import DataError
from ranker.limits import DEFAULT_RETRIEVE_DEPTH, MAX_DEPTH
from ranker.settings.compute import Compute
from ranker.settings.dense import DenseConfig
from ranker.settings.lexical import LANGUAGES, LexicalConfig
from ranker.settings.model import PlainConfig
from ranker.wording import counted, did_you_mean

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.data.records import Query
    from ranker.data.run import Run
    from ranker.index.dense_folder import DenseSettings
    from ranker.scoring.batching import Advance
    from ranker.scoring.scorer import Scorer

_LEXICAL = {
    "language": "For bm25: the analyser, by language code; of a dataset that says another, that is the default",
    "k1": "For bm25: how much a repeated word counts",
    "b": "For bm25: how much long passages are marked down",
    "rm3": "For bm25: expand each query by RM3 feedback",
}
_DENSE = {
    "faiss": "For dense: Flat (exact), HNSW, IVF, IVF-PQ (compressed), or a FAISS factory string",
    "nprobe": "For dense: lists that an IVF index looks into",
    "ef_search": "For dense: candidates that an HNSW index keeps while it looks",
    "recall_at": "For dense: measure recall at this depth against exact search, and the time of both; 0 does not",
}


@click.command("import")
@click.argument("format_name", metavar="FORMAT")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@language_option("The language of the data, by its code, which is remembered with the DATASET and used by BM25.")
@output_option("DATASET")
@force_option
def import_command(format_name: str, sources: tuple[str, ...], language: str | None, output: Path, force: bool) -> None:
    """Turn data of another FORMAT into a DATASET folder in BEIR layout.

    \b
    squad      [SPLIT=]PATH...         SQuAD 1.1 or 2.0 JSON
    msmarco    collection=PATH queries=PATH [qrels[:SPLIT]=PATH]
    dpr        [SPLIT=]PATH...         Dense Passage Retrieval JSON
    trec       collection=PATH topics=PATH [qrels[:SPLIT]=PATH]
    trec-html  collection=PATH topics=PATH [qrels[:SPLIT]=PATH]

    A SOURCE is ROLE=PATH, or ROLE:SPLIT=PATH where a role goes by split; without a SPLIT it is test. A role may be
    given several times, any file may be .gz, and a TREC collection a file, a folder or a tar archive. Numbers of topics
    are matched with the qrels as they are written, then without zeros before them.
    """  # noqa: D301  # click keeps lines as they are behind a real backspace
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
@plain_options
@trust_option
@settings_options(LexicalConfig, _LEXICAL, {"language": LANGUAGES})
@settings_options(DenseConfig, _DENSE, {})
@compute_options
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
    from ranker.files.lines import check_output

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
            from ranker.index.bm25_building import build_lexical_index

            lexical = settings_of(context, LexicalConfig)
            if context.get_parameter_source("language") is ParameterSource.DEFAULT:
                lexical = replace(lexical, language=data.language)
            build_lexical_index(data.collection, lexical, output, force=force, advance=advance)
        else:
            from ranker.cli.records import say_unknown, told_cut
            from ranker.index.dense_folder import build_dense_index
            from ranker.scoring.tokens import Truncation

            wanted = Wanted(source, "dual", settings_of(context, PlainConfig), trust_remote_code)
            scorer = open_scorer(context, wanted, context.with_resource(joined_cluster(context)))
            built = build_dense_index(scorer, data, settings_of(context, DenseConfig), output, force, advance)
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
    settings = {"bm25": {*_LEXICAL}, "dense": {*_DENSE, *(field.name for field in fields(PlainConfig))}}
    for parameter in context.command.params:
        name = parameter.name or ""
        owner = next((other for other in settings if other != kind and name in settings[other]), None)
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        if owner is not None and given and name not in settings[kind]:
            raise click.UsageError(f"{parameter.opts[0]} goes with --kind {owner}, not {kind}.")


def _recall(output: Path, built: DenseSettings) -> str:
    """What was measured, with what it was measured on."""
    asked = f"{built.recall_queries} {built.recall_of} in one batch, threads: {built.recall_threads}"
    rate = f"{built.ms_per_query:.3f} ms per query, exact search {built.exact_ms_per_query:.3f} ms ({asked})"
    return f"{output}: {built.factory}, recall@{built.recall_at} {built.recall:.4f} of exact search, {rate}."


def _index_tokens(data: Dataset, source: str, trusted: bool) -> None:
    from ranker.model.loading import load_model
    from ranker.scoring.scorer import Scorer
    from ranker.scoring.token_file import build_token_file, token_folder

    model, count = load_model(source, trust_remote_code=trusted), len(data.collection)
    encoding = Scorer(model, Compute(device="cpu")).encoding
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
@compute_options
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
    from ranker.cli.records import write_named
    from ranker.data.catalogue import open_dataset
    from ranker.data.run import Run
    from ranker.index.store import index_kind

    claim(output, force)
    data = open_dataset(dataset)
    split = asked_split(split, data)
    queries = data.queries(split)
    say_oddities(data)
    started = time.monotonic()
    kind = index_kind(index_path)
    search = {"bm25": _search_bm25, "dense": _search_dense}[kind]
    compute = checked_compute(context) if kind == "dense" else settings_of(context, Compute)
    with progress("retrieve", len(queries), "query") as advance:
        # one more, since the query itself may be among them
        deep = min(depth + int(leave_out_query), MAX_DEPTH)
        run, facts = search(_Retrieval(data, queries, index_path, deep, source, trust_remote_code, compute, advance))
    run = leave_out_queries(Run(run_name(output), run.rankings), leave_out_query).head(depth)
    seconds = time.monotonic() - started
    if not len(run):
        raise DataError(
            f"{index_path}: none of the {counted(len(queries), 'query')} finds a passage; no run is written."
        )
    dataset_facts = data.record(split)
    told = {"dataset": dataset_facts, "depth": depth, "leave_out_query": leave_out_query}
    write_named(run, output, force, {**told, **facts, "seconds": round(seconds, 2)})
    unanswered = len(queries) - len(run)
    missed = f"; {counted(unanswered, 'query')} found nothing" if unanswered else ""
    missed += f"; {counted(facts['queries_cut'], 'query')} cut" if facts.get("queries_cut") else ""
    say(f"{output}: {counted(len(run), 'query')}, {counted(run.hits, 'hit')} in {seconds:.1f} s{missed}.")


class _Retrieval(NamedTuple):
    """What one retrieval needs."""

    data: Dataset
    queries: dict[str, Query]
    folder: Path
    depth: int
    model: str
    trusted: bool
    compute: Compute
    advance: Advance


def _search_bm25(job: _Retrieval) -> tuple[Run, dict[str, Any]]:
    from ranker.index.bm25 import LexicalIndex

    index = LexicalIndex.open(job.folder, job.data.collection)
    run = index.search(job.queries, job.depth, advance=job.advance)
    return run, {"index": {"kind": "bm25", "digest": index.manifest.digest, **asdict(index.config)}}


def _search_dense(job: _Retrieval) -> tuple[Run, dict[str, Any]]:
    from ranker.cli.records import say_unknown
    from ranker.index.dense_folder import check_model, open_dense_index

    index, settings = open_dense_index(job.folder, job.data.collection)
    scorer = _dual_encoder(job.model or settings.model, settings, job.trusted, job.compute)
    check_model(job.folder, settings, scorer)
    queries = scorer.queries(query.text for query in job.queries.values())
    run = index.search(job.queries, scorer.vectors(queries, job.advance), job.depth)
    say_unknown(scorer)
    cut = {"queries_cut": int((queries.lost > 0).sum())}
    return run, {"index": {"kind": "dense", **asdict(settings)}, **scorer.record(), **cut}


def _dual_encoder(source: str, settings: DenseSettings, trusted: bool, compute: Compute) -> Scorer:
    from ranker.model.loading import as_recorded, load_model
    from ranker.scoring.scorer import Scorer

    plain = as_recorded(source, "dual", asdict(settings))
    return Scorer(load_model(source, "dual", plain, trusted), compute)
