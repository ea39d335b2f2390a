"""English stopwords, which an ablation leaves out of texts, and an explanation counts the attention on."""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from random import Random
from typing import Final

STOPWORDS: Final = frozenset(
    """
    a about above after again against all also am among an and any are as at be because been before being below between
    both but by can could did do does doing down during each either few for from further had has have having he hence
    her here hers herself him himself his how however i if in into is it its itself may me might more most must my
    myself neither no nor not now of off on once only or other our ours ourselves out over own per same shall she should
    since so some such than that the their theirs them themselves then there these they this those through thus to too
    under until up upon us very was we were what when where whether which while who whom whose why will with within
    without would yet you your yours yourself yourselves
    """.split()  # noqa: SIM905  # a list of literals is three times as long
)
"""Function words: articles, pronouns, prepositions, conjunctions, auxiliaries, question words and a few adverbs."""

_WORD: Final = re.compile(r"(?P<word>[^\W_]+(?:['\u2019][^\W_]+)?)\s*")


def without(text: str, chosen: Callable[[int], set[int]]) -> str:
    """Leaves out the stopwords that ``chosen`` picks by index from their count; a text of nothing else stays whole."""
    stopwords = [match for match in _WORD.finditer(text) if match["word"].lower() in STOPWORDS and _whole(text, match)]
    dropped = [stopwords[index] for index in sorted(chosen(len(stopwords)))]
    kept, end = [], 0
    for match in dropped:
        kept.append(text[end : match.start()])
        end = match.end()
    rest = "".join((*kept, text[end:])).strip()
    return rest or text


def _whole(text: str, match: re.Match[str]) -> bool:
    """Whether a match is a whole word: no mark, such as an accent written apart, stands beside it."""
    neighbours = text[max(0, match.start() - 1) : match.start()] + text[match.end("word") : match.end("word") + 1]
    return not any(unicodedata.category(character).startswith("M") for character in neighbours)


def without_all(text: str) -> str:
    """Leaves out all stopwords of a text."""
    return without(text, lambda count: set(range(count)))


def without_some(text: str, most: int) -> str:
    """Leaves out ``most`` stopwords, drawn by the text itself, so that it is the same every time."""
    random = Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())  # noqa: S311  # no secret
    return without(text, lambda count: set(random.sample(range(count), min(most, count))))
