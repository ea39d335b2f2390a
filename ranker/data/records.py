"""The records that files hold: queries, passages and judgments; and what is irregular about them."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple
from unicodedata import category

_INVISIBLE = ("Cc", "Cf")
"""Unicode's categories of control and format characters, such as the zero-width space."""


class Query(NamedTuple):
    """A question, and the strings that answer it where they are known."""

    query_id: str
    text: str
    answers: tuple[str, ...] = ()


class Passage(NamedTuple):
    """A passage of a collection; ``title`` or ``text`` may be empty, but not both."""

    doc_id: str
    title: str
    text: str

    @property
    def contents(self) -> str:
        """Title and text as one string, which is what indexes and models read."""
        return f"{self.title} {self.text}" if self.title and self.text else self.title or self.text


class Judgment(NamedTuple):
    """The relevance of a passage to a query, in one split; 0 means judged and not relevant."""

    split: str
    query_id: str
    doc_id: str
    relevance: int


Qrels = dict[str, dict[str, int]]
"""Relevance by query_id and doc_id; a passage that is absent is unjudged."""


@dataclass(frozen=True)
class DatasetStreams:
    """The records of a dataset before it is written to disk.

    Each stream is read once, in this order, so a source may collect judgments while it yields passages.
    """

    passages: Iterable[Passage]
    queries: Iterable[Query]
    judgments: Iterable[Judgment]


def has_words(text: str) -> bool:
    """Returns whether a text has any visible character, without which it can be neither indexed nor scored.

    Only this decides which passages a collection leaves out, so that its length, indexes and token files agree.
    Control characters do not count, since Anserini leaves out what Java's ``trim`` makes empty.
    """
    return any(
        character > " " and not character.isspace() and (character < "\x7f" or category(character) not in _INVISIBLE)
        for character in text
    )


class Oddity(Enum):
    """A kind of irregular record that many datasets hold, with its description for one and for several."""

    EMPTY_PASSAGE = ("passage without words left out", "passages without words left out")
    EMPTY_QUERY = ("query without words left out", "queries without words left out")
    UNKNOWN_QUERY = ("judged query without a text left out", "judged queries without a text left out")
    LOST_POSITIVE = ("positive that is not in the collection", "positives that are not in the collection")
    NULL = ("null read as an empty text", "nulls read as empty texts")
    NUMBER = ("number read as an id", "numbers read as ids")
    BLANK_LINE = ("blank line passed over", "blank lines passed over")


Oddities = Counter[Oddity]
"""How often each kind occurs."""

OnOddity = Callable[[Oddity, str], object]
"""Is called with each oddity and the id or key that it concerns."""


def ignore_oddity(_: Oddity, __: str) -> None:
    """Does nothing, for readers whose caller counts no oddities."""


def describe_oddities(oddities: Oddities) -> str:
    """Returns the number of each kind in words, or an empty string where there are none."""
    return ", ".join(f"{count} {kind.value[count > 1]}" for kind in Oddity if (count := oddities[kind]))
