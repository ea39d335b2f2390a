"""The importance of each word: the score with it, less the score without it (Zeiler & Fergus 2014, section 4.2)."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.errors import ModelError
from ranker.explanation.words import Word, without_word, words_of
from ranker.model.inputs import PASSAGE, QUERY
from ranker.progress import Advance, no_progress
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.scoring.windows import unwindowed

Part = Literal["query", "passage"]
Watch = Callable[[int], AbstractContextManager[Advance]]
"""Is given the number of pairs to score, and gives what is called with the number of those that were."""

_PORTION: Final = 32
"""Pairs that are scored between two reports of progress."""

_MARGIN: Final = 16
"""Tokens by which a text that begins in the middle of another may differ from the end of that one."""


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
        """Gives the words of one text."""
        return [one for one in self.words if one.part == part]


@contextmanager
def unwatched(_: int) -> Iterator[Advance]:
    """Shows no progress."""
    yield no_progress


def occlude(
    scorer: Scorer,
    pairs: Sequence[PairText],
    parts: Sequence[Part] = ("query", "passage"),
    watch: Watch = unwatched,
) -> list[Occlusion]:
    """Computes the importance of every word of every pair; all pairs, whole and occluded, are scored in one call.

    What the model reads alike is scored once, so a word that it does not read has no importance and costs nothing;
    ``watch`` is told how many pairs that leaves.
    Raises: ModelError for a model that draws by the text which stopwords it reads.
    """
    if scorer.model.config.stopwords == "random":
        raise ModelError(
            f"{scorer.model.source}: draws by the whole text which stopwords it leaves out, so without a word it would "
            "leave out others; expected a model whose stopwords are 'keep' or 'drop'."
        )
    occluded = [list(_occluded(scorer, pair, parts)) for pair in pairs]
    texts = [text for pair, group in zip(pairs, occluded, strict=True) for text in (pair, *(one[2] for one in group))]
    scores = iter(_scores(scorer, texts, watch).tolist())
    occlusions = []
    for pair, group in zip(pairs, occluded, strict=True):
        whole = next(scores)
        importances = tuple(WordImportance(part, word, whole - next(scores)) for part, word, _ in group)
        occlusions.append(Occlusion(pair, whole, importances))
    return occlusions


def _scores(scorer: Scorer, texts: Sequence[PairText], watch: Watch) -> NDArray[np.float32]:
    """Scores each pair; pairs that the model reads alike are scored once."""
    pairs = as_ids(scorer, texts)
    first: dict[tuple[bytes, bytes], int] = {}
    kinds = [first.setdefault(_as_read(scorer, pairs, index), len(first)) for index in range(len(pairs))]
    job = scorer.job(unwindowed(pairs.only(np.unique(kinds, return_index=True)[1])))
    # a model that reads apart reports progress only after each portion
    size = _PORTION if scorer.model.config.apart else len(first)
    with watch(len(first)) as advance:
        portions = (np.arange(start, min(start + size, len(first))) for start in range(0, len(first), size))
        return np.concatenate([job.scores(portion, advance) for portion in portions])[kinds]


def _as_read(scorer: Scorer, pairs: Pairs, index: int) -> tuple[bytes, bytes]:
    """Gives the ids of a pair's query and passage that the model reads."""
    query, passage = pairs.rows[index]
    if scorer.model.config.apart or scorer.encoding.overflow.overflow == "windows":
        return pairs.queries[query].tobytes(), pairs.passages[passage].tobytes()
    read = scorer.encoding.pair(pairs.queries[query], pairs.passages[passage])
    return read.ids[read.parts == QUERY].tobytes(), read.ids[read.parts == PASSAGE].tobytes()


def as_ids(scorer: Scorer, pairs: Sequence[PairText]) -> Pairs:
    """Encodes pairs, every text once."""
    queries, passages = (list(dict.fromkeys(texts)) for texts in zip(*pairs, strict=True))
    query_rows, passage_rows = ({text: row for row, text in enumerate(texts)} for texts in (queries, passages))
    rows = [(query_rows[pair.query], passage_rows[pair.passage]) for pair in pairs]
    return Pairs(scorer.queries(queries), scorer.passages(passages), np.array(rows, dtype=np.int64))


def share_for_half(occlusion: Occlusion) -> float:
    """Finds the least share of the words that has half of all importance, by absolute value; NaN where none has any."""
    sizes = np.sort(np.abs([one.importance for one in occlusion.words]))[::-1]
    if not sizes.sum():
        return float("nan")
    return float((np.searchsorted(np.cumsum(sizes), sizes.sum() / 2) + 1) / len(sizes))


def _occluded(scorer: Scorer, pair: PairText, parts: Sequence[Part]) -> Iterator[tuple[Part, Word, PairText]]:
    """Yields every word, with the pair without it, or as it is where the model does not read as far as the word."""
    ids = as_ids(scorer, [pair])
    encoding = scorer.encoding
    lost = {"query": int(encoding.lost_of_queries(ids)[0]), "passage": int(encoding.lost_of_passages(ids)[0])}
    for part in parts:
        text: str = getattr(pair, part)
        words = words_of(text)
        reached = _reached(scorer, text, words, lost[part])
        for number, word in enumerate(words):
            yield part, word, pair._replace(**{part: without_word(text, word)}) if number < reached else pair


def _reached(scorer: Scorer, text: str, words: Sequence[Word], lost: int) -> int:
    """Counts the words that begin before the tokens lost at the end of their text, rather a few too many.

    Of a text that loses its beginning all are taken.
    """

    def is_lost(word: Word) -> bool:
        rest = scorer.passages([text[word.start :]])
        return int(rest.lengths[0] + rest.lost[0]) + _MARGIN <= lost

    return bisect_left(words, True, key=is_lost) if lost and not scorer.encoding.template.keeps_end else len(words)
