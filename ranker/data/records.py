"""The nouns of the field: what a file holds, one record at a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from unicodedata import category

_UNSEEN = ("Cc", "Cf")
"""Unicode's categories of control and format characters, as the space of no width."""


class Query(NamedTuple):
    """A question; ``answers`` are strings that answer it, where they are known."""

    query_id: str
    text: str
    answers: tuple[str, ...] = ()


class Passage(NamedTuple):
    """A passage of a collection; ``title`` or ``text`` may be empty, never both."""

    doc_id: str
    title: str
    text: str

    @property
    def contents(self) -> str:
        """Title and text as one string: what is indexed and what a model reads."""
        return f"{self.title} {self.text}" if self.title and self.text else self.title or self.text


class Judgment(NamedTuple):
    """How relevant a passage is to a query, in one split; 0 is judged and not relevant."""

    split: str
    query_id: str
    doc_id: str
    relevance: int


def has_words(text: str) -> bool:
    """Whether a text holds more than blanks and characters that nobody sees: else it can be neither indexed nor read.

    This alone decides what a collection leaves out, so that its length, its indexes and its tokens agree. Control
    characters are no words, since Anserini turns away what Java's trim leaves empty.
    """
    return any(
        character > " " and not character.isspace() and (character < "\x7f" or category(character) not in _UNSEEN)
        for character in text
    )


Qrels = dict[str, dict[str, int]]
"""Relevance by query_id and doc_id. An absent passage is unjudged."""


@dataclass(frozen=True)
class DatasetStreams:
    """What a dataset is made of, as streams, before it lies on disk.

    The three are read once each, in this order, so a source may fill in judgments while it yields passages.
    """

    passages: Iterable[Passage]
    queries: Iterable[Query]
    judgments: Iterable[Judgment]
