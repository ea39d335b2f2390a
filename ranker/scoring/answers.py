"""Answers that are known, and were cut away with the end of a passage."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ranker.data.records import Query
from ranker.scoring.pairs import Pairs
from ranker.scoring.scorer import Scorer
from ranker.scoring.text import backend_of


def answers_cut(scorer: Scorer, pairs: Pairs, texts: Callable[[int], tuple[Query, str]]) -> int:
    """How many pairs lost every place where their passage states an answer of their query, whatever its case.

    ``texts`` gives the query and the passage of a pair by its number.
    """
    lost, kept = np.flatnonzero(scorer.lost(pairs)), scorer.kept(pairs)
    cut = partial(_is_cut, backend_of(scorer.model.tokenizer), scorer.template.keeps_end)
    return sum(cut(query, scorer.read_passage(text), int(kept[n])) for n in lost for query, text in [texts(int(n))])


def _is_cut(backend: Any, keeps_end: bool, query: Query, text: str, kept: int) -> bool:  # noqa: ANN401  # no types
    """Whether an answer is in the text, and nowhere in the tokens that are kept of it."""
    found = [match.span() for answer in query.answers for match in re.finditer(re.escape(answer), text, re.IGNORECASE)]
    if not found:
        return False
    offsets = backend.encode(text, add_special_tokens=False).offsets
    if keeps_end:
        return max(start for start, _ in found) < (offsets[-kept][0] if kept else len(text))
    return min(end for _, end in found) > (offsets[kept - 1][1] if kept else 0)
