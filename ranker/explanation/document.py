"""An explanation in words, and as one page of HTML that needs nothing else."""

import math
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template
from typing import Final

from ranker.explanation.attention import LayerAttention
from ranker.explanation.occlusion import WordImportance, share_for_half
from ranker.explanation.result import Explanation
from ranker.explanation.words import KINDS
from ranker.wording import counted

_LISTED: Final = 12
"""Words in the table: further down the figures say little."""


def strongest(explanation: Explanation) -> list[WordImportance]:
    """The words with the largest importance, by absolute value."""
    return sorted(explanation.occlusion.words, key=lambda one: -abs(one.importance))[:_LISTED]


def shares(explanation: Explanation, words: Sequence[WordImportance]) -> list[float]:
    """Each importance as a share of the largest of the pair, with its sign."""
    largest = max((abs(one.importance) for one in explanation.occlusion.words), default=0.0)
    return [one.importance / largest if largest else 0.0 for one in words]


def summary(explanation: Explanation) -> str:
    """What the figures say, in a sentence or two."""
    found = explanation.occlusion
    share = share_for_half(found)
    half = "no word changes it" if math.isnan(share) else f"{share:.0%} of the words make half of all change"
    are = "is" if explanation.unread == 1 else "are"
    beyond = f" {counted(explanation.unread, 'token')} {are} beyond what the model reads."
    unread = beyond if explanation.unread else ""
    return f"{explanation.mode} of {explanation.model} scores {found.score:.4f}; {half}.{unread}"


def page(explanation: Explanation) -> str:
    """Both texts with their words coloured, the strongest words, and the attention of each layer."""
    template = Template(resources.files("ranker.explanation").joinpath("page.html").read_text(encoding="utf-8"))
    pair, found = explanation.occlusion.pair, explanation.occlusion
    return template.substitute(
        title=escape(f"Why {found.score:.2f}?"),
        summary=escape(summary(explanation)),
        query=_coloured(pair.query, explanation, found.of("query")),
        passage=_coloured(pair.passage, explanation, found.of("passage")),
        words="\n".join(map(_row, strongest(explanation))) or '<tr><td colspan="4">none</td></tr>',
        attention=_attention(explanation.attention),
    )


def _coloured(text: str, explanation: Explanation, words: Sequence[WordImportance]) -> str:
    parts, end = [], 0
    for one, share in zip(words, shares(explanation, words), strict=True):
        side = "for" if share > 0 else "against"
        parts.append(escape(text[end : one.word.start]))
        parts.append(
            f'<span class="{side}" style="--share:{abs(share) * 0.8:.2f}" title="{one.importance:+.4f}">'
            f"{escape(one.word.text)}</span>"
        )
        end = one.word.end
    return "".join((*parts, escape(text[end:])))


def _row(one: WordImportance) -> str:
    cells = (escape(one.word.text), one.part, one.word.kind, f"{one.importance:+.4f}")
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _attention(layers: Sequence[LayerAttention]) -> str:
    if not layers:
        return "<p>This mode reads the word embeddings alone: no layer attends to anything.</p>"
    key = "".join(f'<i class="{kind}"></i>{kind}' for kind in KINDS)
    bars = (
        f'<div class="layer"><b>layer {one.layer}</b><div class="bar">'
        + "".join(
            f'<div class="{kind}" style="width:{share:.2%}" title="{kind} {share:.1%}"></div>'
            for kind, share in one.shares.items()
        )
        + "</div></div>"
        for one in layers
    )
    return "\n".join((f'<p class="key soft">{key}</p>', *bars))
