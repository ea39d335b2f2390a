"""How much each word matters: the score with it, less the score without it (Zeiler & Fergus 2014, section 4.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ranker.explanation.words import Word, without_word, words_of
from ranker.scoring.scorer import Pairs, Scorer

Part = Literal["query", "passage"]


class PairText(NamedTuple):
    """A question and a passage as text."""

    query: str
    passage: str


@dataclass(frozen=True)
class WordImportance:
    """A word of one of the two texts; ``importance`` is in logits, above 0 where the word raises the score."""

    part: Part
    word: Word
    importance: float


@dataclass(frozen=True)
class Occlusion:
    """The score of a pair, and the importance of each of its words, the query's first."""

    pair: PairText
    score: float
    words: tuple[WordImportance, ...]

    def of(self, part: Part) -> list[WordImportance]:
        """The words of one text."""
        return [one for one in self.words if one.part == part]


def occlude(scorer: Scorer, pairs: Sequence[PairText], parts: Sequence[Part] = ("query", "passage")) -> list[Occlusion]:
    """The importance of every word of every pair; all pairs, whole and occluded, are scored in one call."""
    texts = [[pair, *(one for part in parts for _, one in _occluded(pair, part))] for pair in pairs]
    scores = scorer.scores(as_ids(scorer, [text for group in texts for text in group]), lambda _: None)
    found, start = [], 0
    for pair, group in zip(pairs, texts, strict=True):
        whole, *less = scores[start : start + len(group)].tolist()
        words = [(part, word) for part in parts for word, _ in _occluded(pair, part)]
        importances = (WordImportance(*key, whole - score) for key, score in zip(words, less, strict=True))
        found.append(Occlusion(pair, whole, tuple(importances)))
        start += len(group)
    return found


def as_ids(scorer: Scorer, pairs: Sequence[PairText]) -> Pairs:
    """The pairs as the model reads them, every text tokenised once."""
    queries, passages = (list(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True))
    query_rows, passage_rows = ({text: row for row, text in enumerate(texts)} for texts in (queries, passages))
    rows = [(query_rows[pair.query], passage_rows[pair.passage]) for pair in pairs]
    return Pairs(scorer.queries(queries), scorer.passages(passages), np.array(rows, dtype=np.int64))


def share_for_half(occlusion: Occlusion) -> float:
    """The least share of the words that has half of all importance, by absolute value; NaN where no word has any."""
    sizes = np.sort(np.abs([one.importance for one in occlusion.words]))[::-1]
    if not sizes.sum():
        return float("nan")
    return float((np.searchsorted(np.cumsum(sizes), sizes.sum() / 2) + 1) / len(sizes))


def _occluded(pair: PairText, part: Part) -> Iterator[tuple[Word, PairText]]:
    text: str = getattr(pair, part)
    for word in words_of(text):
        yield word, pair._replace(**{part: without_word(text, word)})
