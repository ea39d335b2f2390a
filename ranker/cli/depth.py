"""``ranker depth``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from ranker.cli.options import PATH, open_qrels, open_runs, say_queries_found, show, split_option
from ranker.cli.results import format_option, measure_option

if TYPE_CHECKING:
    from ranker.data.manifest import RunManifest
    from ranker.report.tables import Format


@click.command("depth")
@click.argument("qrels")
@click.argument("run", type=PATH)
@click.option("--first", type=PATH, help="The run that RUN was made from.  [default: by the manifest of RUN]")
@measure_option
@format_option
@split_option
def depth_command(qrels: str, run: Path, first: Path | None, measures: tuple[str, ...], form: str, split: str) -> None:
    """Say what a reranked RUN would be worth, had fewer passages been reranked.

    The scores of one deep reranking are enough for it. QRELS is a TREC qrels file, a BEIR .tsv, or a DATASET with
    --split. Depth 0 is the run before.
    """
    from ranker.data.manifest import read_manifest
    from ranker.evaluation.measures import parse_measures
    from ranker.evaluation.ties import evaluations_by_depth
    from ranker.report.tables import render_depths

    wanted = parse_measures(measures)
    reranked = open_runs((run,))[0]
    manifest = read_manifest(run)
    before = open_runs((first or _source(run, manifest),))[0]
    say_queries_found(reranked)
    longest = max(map(len, before.values()))
    deepest = longest if manifest is None or manifest.depth is None else min(longest, manifest.depth)
    judgments = open_qrels(qrels, split, wanted)
    evaluations = evaluations_by_depth(before, reranked, deepest, judgments, wanted)
    show(render_depths(evaluations, cast("Format", form)), newline=False)


def _source(run: Path, manifest: RunManifest | None) -> Path:
    """Finds the run that a manifest names.

    Raises: DataError where it is not there, or has changed.
    """
    from ranker.errors import DataError
    from ranker.files.digests import content_digest

    if manifest is None or manifest.run is None:
        raise DataError(f"{run}: has no manifest that names the run that it was made from; name it with --first.")
    path = Path(manifest.run.path)
    if not path.is_file():
        raise DataError(f"{run}: was made from {path}, which is not there; name that run with --first.")
    if content_digest(path) != manifest.run.sha256:
        raise DataError(f"{run}: was made from {path}, which has changed since; name that run with --first.")
    return path
