"""Texts of a test that a training has read: exact copies, and copies with a few words changed."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from typing import Final, NamedTuple

_WORD: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u9fff\uf900-\ufaff]+")
"""A letter of Chinese counts as a word, since nothing stands between its words."""

_SLACK: Final = 1e-9


class Copy(NamedTuple):
    """A text of ours that is one of theirs; ``similarity`` 1.0 with ``exact`` is the same words in the same order."""

    ours: str
    theirs: str
    similarity: float
    exact: bool


def find_copies(ours: Iterable[tuple[str, str]], theirs: Mapping[str, str], least: float) -> list[Copy]:
    """For each of our texts, which are named, the one of theirs that is likest, where they are that alike.

    Likeness is the share of the different words of both texts that they have in common (Jaccard), whatever the letters'
    case and the punctuation. Two sets as alike as ``least`` share one of their few rarest words, so these alone are
    looked up (prefix filter, Chaudhuri et al. 2006). Only theirs are held in memory.
    """
    right = {key: _words(text) for key, text in theirs.items()}
    counts = Counter(word for words in right.values() for word in set(words))
    known: dict[str, list[str]] = defaultdict(list)
    for key, words in right.items():
        for word in _rarest(words, counts, least):
            known[word].append(key)
    sets = {key: frozenset(words) for key, words in right.items()}
    found: list[Copy] = []
    for key, text in ours:
        words = _words(text)
        others = dict.fromkeys(other for word in _rarest(words, counts, least) for other in known.get(word, ()))
        copies = [Copy(key, other, alike, words == right[other]) for other, alike in _alike(words, others, sets, least)]
        if copies:
            found.append(max(copies, key=lambda copy: (copy.exact, copy.similarity)))
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _rarest(words: Sequence[str], counts: Mapping[str, int], least: float) -> list[str]:
    """As many of the rarest words as a set that is alike cannot lack all of."""
    different = sorted(set(words), key=lambda word: (counts.get(word, 0), word))
    return different[: len(different) - ceil(least * len(different) - _SLACK) + 1] if different else []


def _alike(
    words: Sequence[str], others: Mapping[str, None], sets: Mapping[str, frozenset[str]], least: float
) -> Iterator[tuple[str, float]]:
    mine = frozenset(words)
    for other in others:
        shared = len(mine & sets[other])
        share = shared / (len(mine) + len(sets[other]) - shared)
        if share >= least - _SLACK:
            yield other, share
