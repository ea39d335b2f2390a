"""An explanation of a score: as values, as JSON, in a sentence, and as one page of HTML that needs nothing else."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from ranker.explanation.attention import LayerAttention, attention_mass
from ranker.explanation.occlusion import (
    Occlusion,
    PairText,
    Part,
    Watch,
    WordImportance,
    as_ids,
    occlude,
    share_for_half,
    unwatched,
)
from ranker.explanation.words import KINDS
from ranker.report.page import html_page
from ranker.report.tables import Table
from ranker.scoring.scorer import Scorer
from ranker.wording import counted

_LISTED: Final = 12
"""Words in the table: further down the figures say little."""


@dataclass(frozen=True)
class Explanation:
    """The importance of each word of a pair, the attention of each layer, and the number of tokens that are cut off."""

    model: str
    mode: str
    occlusion: Occlusion
    attention: tuple[LayerAttention, ...]
    unread: int


def explain(scorer: Scorer, pair: PairText, watch: Watch = unwatched) -> Explanation:
    """Explains a model's score of a pair by its words and its attention; ``watch`` is as ``occlude`` takes it.

    Raises: as scoring and ``occlude`` do.
    """
    (occlusion,) = occlude(scorer, [pair], watch=watch)
    pairs = as_ids(scorer, [pair])
    return Explanation(
        scorer.model.source,
        scorer.model.config.mode,
        occlusion,
        tuple(attention_mass(scorer, pair)),
        int(scorer.encoding.lost_of_passages(pairs).sum() + scorer.encoding.lost_of_queries(pairs).sum()),
    )


def record(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON has it; words start and end at characters of their text."""
    share = share_for_half(explanation.occlusion)
    return {
        "model": explanation.model,
        "mode": explanation.mode,
        **explanation.occlusion.pair._asdict(),
        "score": explanation.occlusion.score,
        "words": [
            {"part": word.part, **word.word._asdict(), "kind": word.word.kind, "importance": word.importance}
            for word in explanation.occlusion.words
        ],
        "share_of_words_with_half_of_the_importance": None if math.isnan(share) else share,
        "attention": [{"layer": layer.layer, **layer.shares} for layer in explanation.attention],
        "tokens_unread": explanation.unread,
    }


def strongest(explanation: Explanation) -> list[WordImportance]:
    """The words with the largest importance, by absolute value."""
    return sorted(explanation.occlusion.words, key=lambda word: -abs(word.importance))[:_LISTED]


def coloured_pieces(explanation: Explanation, part: Part) -> Iterator[tuple[str, WordImportance | None, float]]:
    """Yields one text in pieces: what lies between words, and each word with its share of the largest importance."""
    text: str = getattr(explanation.occlusion.pair, part)
    largest = max((abs(word.importance) for word in explanation.occlusion.words), default=0.0)
    end = 0
    for word in explanation.occlusion.of(part):
        yield text[end : word.word.start], None, 0.0
        yield word.word.text, word, word.importance / largest if largest else 0.0
        end = word.word.end
    yield text[end:], None, 0.0


def summary(explanation: Explanation) -> str:
    """The score, and how many words it depends on, in a sentence or two."""
    share = share_for_half(explanation.occlusion)
    half = "no word changes it" if math.isnan(share) else f"{share:.0%} of the words make half of all change"
    are = "is" if explanation.unread == 1 else "are"
    beyond = f" {counted(explanation.unread, 'token')} {are} beyond what the model reads."
    unread = beyond if explanation.unread else ""
    return f"{explanation.mode} of {explanation.model} scores {explanation.occlusion.score:.4f}; {half}.{unread}"


def page(explanation: Explanation) -> str:
    """A page with both texts, their words coloured, the strongest words, and the attention of each layer."""
    rows = []
    for word in strongest(explanation):
        rows.append([word.word.text, word.part, word.word.kind, f"{word.importance:+.4f}"])
    note = (
        "<p><small>Green words raise the score, red ones lower it: by how much it changes when the word is left out. "
        "Point at a\nword for its figure.</small></p>"
    )
    head = ["word", "of", "kind", "change of the score"]
    body = [
        f'<h2>Question</h2>\n<p class="text">{_coloured(explanation, "query")}</p>',
        f'<h2>Passage</h2>\n<p class="text">{_coloured(explanation, "passage")}</p>',
        note,
        Table(head, rows or [["none", "", "", ""]], words=(0, 1, 2), title="The words that matter most").html({}),
        f"<h2>Where attention falls</h2>\n{_attention(explanation.attention)}",
    ]
    return html_page(f"Why {explanation.occlusion.score:.2f}?", summary(explanation), "\n".join(body))


def _coloured(explanation: Explanation, part: Part) -> str:
    pieces = []
    for text, word, share in coloured_pieces(explanation, part):
        if word is None:
            pieces.append(escape(text))
        else:
            side, title = "for" if share > 0 else "against", f"{word.importance:+.4f}"
            style = f"--share:{abs(share) * 0.8:.2f}"
            pieces.append(f'<span class="{side}" style="{style}" title="{title}">{escape(text)}</span>')
    return "".join(pieces)


def _attention(layers: Sequence[LayerAttention]) -> str:
    """A bar for each layer, divided by what its tokens attend to."""
    if not layers:
        return "<p>This mode reads the word embeddings alone: no layer attends to anything.</p>"
    lines = ['<p class="key soft">' + "".join(f'<i class="{kind}"></i>{kind}' for kind in KINDS) + "</p>"]
    for layer in layers:
        parts = [
            f'<div class="{kind}" style="width:{share:.2%}" title="{kind} {share:.1%}"></div>'
            for kind, share in layer.shares.items()
        ]
        lines.append(f'<div class="layer"><b>layer {layer.layer}</b><div class="bar">{"".join(parts)}</div></div>')
    return "\n".join(lines)
