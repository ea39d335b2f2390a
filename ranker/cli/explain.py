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
    from ranker.explanation.document import Explanation
    from ranker.explanation.occlusion import PairText, Part

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
    from ranker.explanation.document import explain, page, record
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
        with atomic_file(output, force) as path:
            path.write_text(page(explanation), encoding="utf-8")
        say(f"{output}: {counted(len(explanation.occlusion.words), 'word')} explained.")
    show(_json(record(explanation)) if form == "json" else _table(explanation))


def _pair(dataset: str | None, query: str, passage: str, split: str) -> PairText:
    """The two texts: those given, or those of a dataset with these ids.

    Raises: DataError for an id that the dataset lacks, and an empty text.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.explanation.occlusion import PairText

    if dataset is None:
        pair = PairText(query, passage)
        empty = next((part for part, text in pair._asdict().items() if not text.strip()), None)
        if empty is not None:
            raise DataError(f"--{empty}: is empty, expected a text.")
        return pair
    data = open_dataset(dataset)
    split = asked_split(split, data)
    queries = data.queries(split)
    say_oddities(data)
    if query not in queries:
        subject = f"split {split!r} has" if split else "has"
        raise DataError(f"dataset {data.name}: {subject} no query {query!r}.")
    if passage not in data.collection:
        raise DataError(f"dataset {data.name}: has no passage {passage!r}.")
    return PairText(queries[query].text, data.collection[passage].contents)


def _json(told: dict[str, Any]) -> str:
    """JSON without the control characters above ASCII, which the format leaves as they are and a terminal obeys."""
    text = json.dumps(told, indent=2, ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f]", lambda match: f"\\u{ord(match.group()):04x}", text)


def _table(explanation: Explanation) -> str:
    """The explanation for a terminal."""
    from ranker.explanation.document import strongest, summary
    from ranker.explanation.words import KINDS

    words = [
        f"  {word.importance:+8.4f}  {shown(word.word.text)}  ({word.part}, {word.word.kind})"
        for word in strongest(explanation)
    ] or ["  none"]
    attention = ["  layer  " + "  ".join(f"{kind:>11}" for kind in KINDS)]
    for layer in explanation.attention:
        attention.append(f"  {layer.layer:5d}  " + "  ".join(f"{layer.shares[kind]:11.1%}" for kind in KINDS))
    if not explanation.attention:
        attention = ["  none: this mode reads the word embeddings alone"]
    return "\n".join(
        (
            shown(summary(explanation)),
            "",
            "question: " + _coloured(explanation, "query"),
            "passage:  " + _coloured(explanation, "passage"),
            "",
            "change of the score by the words that matter most",
            *words,
            "",
            "where the attention of each layer falls",
            *attention,
        )
    )


def _coloured(explanation: Explanation, part: Part) -> str:
    """A text with its words on green, where they raise the score, or red; plain where nothing shows colours."""
    from ranker.explanation.document import coloured_pieces

    pieces = []
    for text, _, share in coloured_pieces(explanation, part):
        scale = _FOR if share > 0 else _AGAINST
        strength = round(abs(share) * (len(scale) - 1))
        pieces.append(click.style(shown(text), fg="black", bg=scale[strength]) if strength else shown(text))
    return "".join(pieces)
