"""Tokens that a model's tokenizer does not know: of a script that it never saw, a model reads nothing but these."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from ranker.scoring.text import Texts, backend_of

WORTH_SAYING: Final = 0.03
"""The share of unknown tokens from which it is said: names and typing errors are fewer."""

_WORDS: Final = 3
"""Examples that are given."""


class UnknownTokens:
    """Counts, over some texts, the tokens that a tokenizer has and those that it does not know."""

    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401  # no annotated base is shared
        self._tokenizer, self._unknown_id = tokenizer, tokenizer.unk_token_id
        self.tokens = self.unknown = 0
        self._example = ""

    def count(self, texts: Texts, text_of: Callable[[int], str]) -> None:
        """Adds texts; ``text_of`` gives one by its number, as it was tokenised."""
        if self._unknown_id is None:
            return
        places = np.flatnonzero(texts.ids == self._unknown_id)
        self.tokens += len(texts.ids)
        self.unknown += len(places)
        if len(places) and not self._example:
            self._example = text_of(int(np.searchsorted(texts.offsets, places[0], side="right")) - 1)

    @property
    def share(self) -> float:
        """The unknown among all tokens, 0 to 1."""
        return self.unknown / max(1, self.tokens)

    @property
    def words(self) -> list[str]:
        """Some words that are unknown."""
        if not self._example:
            return []
        encoding = backend_of(self._tokenizer).encode(self._example, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        words = (self._example[start:end] for id_, (start, end) in spans if id_ == self._unknown_id)
        return list(dict.fromkeys(words))[:_WORDS]
