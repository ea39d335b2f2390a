"""Answers that are known, and were cut away with the end of a passage."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ranker.data.records import Query
from ranker.scoring.pairs import Pairs
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import backend_of


def answers_cut(scorer: Scorer, pairs: Pairs, texts: Callable[[int], tuple[Query, str]]) -> int:
    """How many pairs lost every place where their passage states an answer of their query, whatever its case.

    ``texts`` gives the query and the passage of a pair by its number.
    """
    lost, kept = np.flatnonzero(scorer.lost(pairs)), scorer.kept(pairs)
    backend = backend_of(scorer.model.tokenizer)
    return sum(
        _is_cut(backend, query, scorer.read(text), int(kept[n])) for n in lost for query, text in [texts(int(n))]
    )


def _is_cut(backend: Any, query: Query, text: str, kept: int) -> bool:  # noqa: ANN401  # the tokenizer has no types
    """Whether an answer is in the text, and nowhere in its first tokens."""
    found = [match.end() for answer in query.answers for match in re.finditer(re.escape(answer), text, re.IGNORECASE)]
    if not found:
        return False
    read = backend.encode(text, add_special_tokens=False).offsets[:kept]
    return min(found) > (read[-1][1] if read else 0)
