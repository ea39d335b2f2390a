"""The words of a text as a reader sees them, and the kind of word that each token of a model belongs to."""

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
"""Matches words in the classes of a text's characters; a mark, such as a vowel sign, belongs to the letter before."""


class Word(NamedTuple):
    """A word, with the characters of its text between which it stands."""

    text: str
    start: int
    end: int

    @property
    def kind(self) -> Kind:
        """Whether it is a function word of English, or not."""
        return "stopword" if self.text.lower().replace("\u2019", "'") in STOPWORDS else "content"


def words_of(text: str) -> list[Word]:
    """The words of a text in order: runs of letters and digits, without punctuation.

    In scripts that set no spaces each character is a word.
    """
    matches = _WORD.finditer("".join(map(_class, text)))
    return [Word(text[match.start() : match.end()], match.start(), match.end()) for match in matches]


@lru_cache(maxsize=65_536)
def _class(character: str) -> str:
    """A character's class: ``l`` letter or digit, ``a`` a word alone, ``m`` mark, ``'`` apostrophe, or a space."""
    if character in _JOINERS or unicodedata.category(character).startswith("M"):
        return "m"
    if character.isalnum():
        return "a" if any(first <= ord(character) <= last for first, last in _ALONE) else "l"
    return "'" if character in "'\u2019" else " "


def without_word(text: str, word: Word) -> str:
    """The text without a word and the space between it and the next."""
    rest = text[word.end :]
    return text[: word.start] + (rest.lstrip() if text[: word.start][-1:].isspace() or not word.start else rest)


def kinds_of(spans: Sequence[tuple[int, int]], words: Sequence[Word]) -> list[Kind]:
    """The kind of each token by its span in the text; a token outside all words is punctuation."""
    kinds: list[Kind] = []
    current = 0
    for start, end in spans:
        while current < len(words) and words[current].end <= start:
            current += 1
        inside = current < len(words) and words[current].start < end
        kinds.append(words[current].kind if inside else "punctuation")
    return kinds
