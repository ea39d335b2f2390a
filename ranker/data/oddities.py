"""What a dataset holds that is left out, or read otherwise than it is written: counted, and said in one line."""

from collections import Counter
from collections.abc import Callable
from enum import Enum


class Oddity(Enum):
    """A kind of record that no dataset should hold and many do: as one is called, and as several are."""

    EMPTY_PASSAGE = ("passage without words left out", "passages without words left out")
    EMPTY_QUERY = ("query without words left out", "queries without words left out")
    UNKNOWN_QUERY = ("judged query without a text left out", "judged queries without a text left out")
    LOST_POSITIVE = ("positive that is not in the collection", "positives that are not in the collection")
    NULL = ("null read as an empty text", "nulls read as empty texts")
    NUMBER = ("number read as an id", "numbers read as ids")
    BLANK_LINE = ("blank line passed over", "blank lines passed over")


Oddities = Counter[Oddity]

Note = Callable[[Oddity, str], object]
"""Told of each oddity, and which record or key it is about."""


def ignored(_: Oddity, __: str) -> None:
    """The ``Note`` of those who were told before."""


def in_words(oddities: Oddities) -> str:
    """How many there are of each kind; empty where there are none."""
    return ", ".join(f"{count} {kind.value[count > 1]}" for kind in Oddity if (count := oddities[kind]))
