"""The words of a text as a reader sees them, and what each token of a model belongs to."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from ranker.scoring.stopwords import STOPWORDS

Kind = Literal["marker", "stopword", "content", "punctuation"]
KINDS: Final[tuple[Kind, ...]] = ("marker", "stopword", "content", "punctuation")

_ALONE: Final = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),
    (0x3400, 0x9FFF),
    (0xA9E0, 0xA9FF),  # Burmese
    (0xAA60, 0xAA7F),  # Burmese
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
"""Scripts that set no spaces between words: Chinese and Japanese, and those named."""

_JOINERS: Final = ("\u200c", "\u200d")
"""Zero-width: they say how the letters of one word of an Indic or Arabic script join."""

_WORD: Final = re.compile("am*|l[lm]*(?:'l[lm]*)*")
"""Over the classes of a text's characters; marks, as vowel signs are, belong to the letter before them."""


class Word(NamedTuple):
    """A word by its place in the text."""

    text: str
    start: int
    end: int

    @property
    def kind(self) -> Kind:
        """Whether it is a function word of English."""
        return "stopword" if self.text.lower().replace("\u2019", "'") in STOPWORDS else "content"


def words_of(text: str) -> list[Word]:
    """The words of a text in order: letters and digits that stand together; punctuation is none.

    Of scripts that set no spaces each character is one.
    """
    found = _WORD.finditer("".join(map(_class, text)))
    return [Word(text[match.start() : match.end()], match.start(), match.end()) for match in found]


@lru_cache(maxsize=65_536)
def _class(character: str) -> str:
    """``l``: letter or digit, ``a``: one that is a word alone, ``m``: mark, ``'``: apostrophe; else a space."""
    if character in _JOINERS or unicodedata.category(character).startswith("M"):
        return "m"
    if character.isalnum():
        return "a" if any(first <= ord(character) <= last for first, last in _ALONE) else "l"
    return "'" if character in "'\u2019" else " "


def without_word(text: str, word: Word) -> str:
    """The text without one word and the space that parted it from the next."""
    rest = text[word.end :]
    return text[: word.start] + (rest.lstrip() if text[: word.start][-1:].isspace() or not word.start else rest)


def kinds_of(spans: Sequence[tuple[int, int]], words: Sequence[Word]) -> list[Kind]:
    """What each token belongs to, by the place in the text that it was made of; outside all words it is punctuation."""
    found: list[Kind] = []
    number = 0
    for start, end in spans:
        while number < len(words) and words[number].end <= start:
            number += 1
        inside = number < len(words) and words[number].start < end
        found.append(words[number].kind if inside else "punctuation")
    return found
