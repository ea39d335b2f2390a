"""``explain``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ranker.cli.options import (
    PATH,
    Choice,
    asked_split,
    force_option,
    progress,
    say,
    say_notes,
    say_oddities,
    show,
    shown,
    split_option,
    trust_option,
)
from ranker.cli.records import say_unknown
from ranker.cli.settings import MODEL_HELP, mode_option, settings_of, settings_options
from ranker.errors import DataError
from ranker.settings.compute import Compute
from ranker.settings.model import PlainConfig
from ranker.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ranker.explanation.occlusion import PairText, WordImportance
    from ranker.explanation.result import Explanation

_FOR = (255, 194, 114, 71, 28)
_AGAINST = (255, 224, 217, 210, 160)
"""Of a terminal's 256 colours, from white to green and to red; the text on them is black."""


@click.command("explain")
@click.argument("dataset", required=False)
@mode_option(required=True)
@click.option("--model", "source", required=True, help=MODEL_HELP)
@click.option("--query-id", help="A query of the DATASET's split.")
@click.option("--doc-id", help="A passage of the DATASET.")
@click.option("--query", help="A question of your own, with --passage and without a DATASET.")
@click.option("--passage", help="A passage of your own.")
@settings_options(PlainConfig)
@trust_option
@split_option
@settings_options(Compute, only=("device",))
@click.option(
    "--format",
    "form",
    type=Choice(("table", "json")),
    default="table",
    show_default=True,
    help="How the result is printed.",
)
@click.option("-o", "--output", type=PATH, metavar="PAGE", help="The same as a page of HTML.")
@force_option
@click.pass_context
def explain_command(
    context: click.Context,
    dataset: str | None,
    mode: str,
    source: str,
    query_id: str | None,
    doc_id: str | None,
    query: str | None,
    passage: str | None,
    trust_remote_code: bool,
    split: str,
    form: str,
    output: Path | None,
    force: bool,
) -> None:
    """Show why a model scores a passage as it does.

    Every word is left out in turn, and the change of the score is its importance. Below stands how much attention each
    layer pays to markers, stopwords, content words and punctuation. Stopwords are English ones.
    """
    from ranker.explanation.document import page
    from ranker.explanation.result import explain, record
    from ranker.files.atomic import atomic_file, check_output
    from ranker.model.loading import load_model
    from ranker.scoring.scorer import Scorer

    if output:
        check_output(output, force)
    given = (query_id, doc_id) if dataset else (query, passage)
    other = (query, passage) if dataset else (query_id, doc_id)
    if None in given or other != (None, None):
        raise click.UsageError("give a DATASET with --query-id and --doc-id, or --query and --passage without one")
    pair = _pair(dataset, str(given[0]), str(given[1]), split)
    # single precision: bf16 rounds away what one word changes
    model = say_notes(load_model(source, mode, settings_of(context, PlainConfig), trust_remote_code))
    scorer = Scorer(model, replace(settings_of(context, Compute), precision="float32"))
    explanation = explain(scorer, pair, lambda total: progress("explain", total, "pair"))
    say_unknown(scorer)
    if output:
        with atomic_file(output, force) as beside:
            beside.write_text(page(explanation), encoding="utf-8")
        say(f"{output}: {counted(len(explanation.occlusion.words), 'word')} explained.")
    show(_json(record(explanation)) if form == "json" else _table(explanation))


def _pair(dataset: str | None, query: str, passage: str, split: str) -> PairText:
    """The two texts, from a dataset by their ids.

    Raises: DataError for an id that the dataset lacks, and an empty text.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.explanation.occlusion import PairText

    if dataset is None:
        found = PairText(query, passage)
        empty = next((part for part, text in found._asdict().items() if not text.strip()), None)
        if empty is not None:
            raise DataError(f"--{empty}: is empty, expected a text.")
        return found
    data = open_dataset(dataset)
    split = asked_split(split, data)
    queries = data.queries(split)
    say_oddities(data)
    if query not in queries:
        place = f"split {split!r} has" if split else "has"
        raise DataError(f"dataset {data.name}: {place} no query {query!r}.")
    if passage not in data.collection:
        raise DataError(f"dataset {data.name}: has no passage {passage!r}.")
    return PairText(queries[query].text, data.collection[passage].contents)


def _json(told: dict[str, Any]) -> str:
    """JSON escapes the control characters of ASCII alone; a terminal obeys those above it too."""
    text = json.dumps(told, indent=2, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f]", lambda match: f"\\u{ord(match.group()):04x}", text)


def _table(explanation: Explanation) -> str:
    from ranker.explanation.document import strongest, summary
    from ranker.explanation.words import KINDS

    found = explanation.occlusion
    words = [
        f"  {one.importance:+8.4f}  {shown(one.word.text)}  ({one.part}, {one.word.kind})"
        for one in strongest(explanation)
    ] or ["  none"]
    layers = [
        f"  {one.layer:5d}  " + "  ".join(f"{one.shares[kind]:11.1%}" for kind in KINDS)
        for one in explanation.attention
    ]
    head = "  layer  " + "  ".join(f"{kind:>11}" for kind in KINDS)
    attention = [head, *layers] if layers else ["  none: this mode reads the word embeddings alone"]
    return "\n".join(
        (
            shown(summary(explanation)),
            "",
            "question: " + _coloured(explanation, found.pair.query, found.of("query")),
            "passage:  " + _coloured(explanation, found.pair.passage, found.of("passage")),
            "",
            "change of the score by the words that matter most",
            *words,
            "",
            "where the attention of each layer falls",
            *attention,
        )
    )


def _coloured(explanation: Explanation, text: str, words: Sequence[WordImportance]) -> str:
    """The text with its words on green, where they raise the score, or red; plain where nothing shows colours."""
    from ranker.explanation.document import shares

    parts, end = [], 0
    for one, share in zip(words, shares(explanation, words), strict=True):
        scale = _FOR if share > 0 else _AGAINST
        strength = round(abs(share) * (len(scale) - 1))
        word = shown(one.word.text)
        styled = click.style(word, fg="black", bg=scale[strength]) if strength else word
        parts += [shown(text[end : one.word.start]), styled]
        end = one.word.end
    return "".join((*parts, shown(text[end:])))
