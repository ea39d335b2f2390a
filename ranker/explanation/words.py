"""The words of a text as a reader sees them, and what each token of a model belongs to."""

import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from ranker.scoring.stopwords import STOPWORDS

Kind = Literal["marker", "stopword", "content", "punctuation"]
KINDS: Final[tuple[Kind, ...]] = ("marker", "stopword", "content", "punctuation")

_WORD: Final = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+(?:['\u2019][^\W_]+)*"
)
"""Letters and digits that stand together; of scripts that set no spaces, Chinese and Japanese, each character."""


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
    """The words of a text in order; punctuation is none."""
    return [Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(text)]


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
