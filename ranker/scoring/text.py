"""How texts become a model's inputs: tokens, truncation and markers; knows no device, and calls no model."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np

from ranker.data.records import Query
from ranker.errors import ModelError
from ranker.limits import MIN_STRIDE
from ranker.model.inputs import Ids, Input, Packed, TokenBatch, padded
from ranker.model.reranker import Reranker
from ranker.scoring import assembly
from ranker.scoring.assembly import Template
from ranker.scoring.batching import batches
from ranker.scoring.stopwords import without_all, without_some
from ranker.scoring.tokens import Pairs, Rows, Texts, Truncation, rust_tokenizer, tokenize, truncated
from ranker.settings.compute import CUT, Overflow

REPORTED_SHARE: Final = 0.03
"""The share of unknown tokens from which it is reported: names and typing errors are fewer."""

_EXAMPLES: Final = 3
_UNLIMITED: Final = 2**31  # more tokens than a passage has
_RANDOM_STOPWORDS: Final = 3  # left out of a text at random: as many as a pair of BERT's has markers

_DIGEST_FORMAT: Final = 2
"""Raised where the same settings come to other ids, so that token files made before are not used."""


class TextEncoding:
    """Encodes queries and passages for one model, and says what of a pair remains after truncation."""

    def __init__(self, model: Reranker, overflow: Overflow = CUT) -> None:
        """Raises: ModelError for lengths under which a query leaves no room for a passage, or a stride beyond a window.

        The model gives its tokenizer and settings; its weights are not used.
        """
        self.tokenizer, self.config, self.overflow = model.tokenizer, model.config, overflow
        self.template = Template(model.tokenizer, model.config.markers)
        self.unknown = {side: UnknownTokens(model.tokenizer) for side in ("queries", "passages")}
        self._check_lengths(model.source)

    @property
    def markers(self) -> int:
        """Markers of an input, in tokens."""
        return self.template.single_markers if self.config.apart else self.template.pair_markers

    @property
    def room(self) -> int:
        """Tokens of a passage beside the shortest query."""
        return self.config.length - self.markers

    @property
    def window(self) -> int:
        """Tokens of a window: those that fit beside the longest query, so that windows are the same for every query."""
        return self.room if self.config.apart else self.room - self.config.query_length

    @property
    def stride(self) -> int:
        """Tokens between the beginnings of two windows."""
        return self.overflow.stride or max(self.window // 2, min(MIN_STRIDE, self.window))

    @property
    def passage_length(self) -> int:
        """Tokens that are kept of a passage, whatever its query: all where it is read in windows."""
        return _UNLIMITED if self.overflow.overflow == "windows" else self.room

    @property
    def digest(self) -> str:
        """SHA-256 of all that a passage's ids depend on, beside its text."""
        prompt = self.config.passage_prompt
        name = self.config.stopwords + (f", behind {prompt!r}" if prompt else "")
        facts = f"{_DIGEST_FORMAT}|{name}|{rust_tokenizer(self.tokenizer).to_str()}"
        return hashlib.sha256(facts.encode()).hexdigest()

    def prepare_query(self, text: str) -> str:
        """Puts the query's prompt before it, and leaves out the stopwords that are not read."""
        return self.config.query_prompt + self._without_stopwords(text)

    def prepare_passage(self, text: str) -> str:
        """Puts the passage's prompt before it, and leaves out the stopwords that are not read."""
        return self.config.passage_prompt + self._without_stopwords(text)

    def queries(self, texts: Iterable[str]) -> Texts:
        """Tokenizes queries, truncated to what fits beside no passage, or is read of one alone."""
        length = self.config.query_length - self.markers if self.config.apart else self.room
        return tokenize(self.tokenizer, map(self.prepare_query, texts), length, self.unknown["queries"].count)

    def passages(self, texts: Iterable[str]) -> Texts:
        """Tokenizes passages, whole where they are read in windows, else truncated to what fits beside no query."""
        count = self.unknown["passages"].count
        return tokenize(self.tokenizer, map(self.prepare_passage, texts), self.passage_length, count)

    def rooms(self, pairs: Pairs) -> Rows:
        """Tokens of a passage that fit beside the query of each pair.

        Shape: (P,).
        """
        if self.config.apart:
            return np.full(len(pairs), self.room, dtype=np.int64)
        return self.room - self.query_lengths(pairs)

    def query_lengths(self, pairs: Pairs) -> Rows:
        """Tokens of each pair's query that are read: its share of the input, and what the passage leaves of the rest.

        Shape: (P,).
        """
        whole = pairs.queries.lengths[pairs.rows[:, 0]]
        if self.config.apart:
            return whole
        left = self.room - pairs.passages.lengths[pairs.rows[:, 1]]
        return np.minimum(whole, np.maximum(left, self.config.query_length))

    def passage_lengths(self, pairs: Pairs) -> Rows:
        """Tokens of each pair's passage that fit beside its query.

        Shape: (P,).
        """
        return np.minimum(pairs.passages.lengths[pairs.rows[:, 1]], self.rooms(pairs))

    def pair_lengths(self, pairs: Pairs) -> Rows:
        """Tokens of each pair read together, markers included.

        Shape: (P,).
        """
        return self.query_lengths(pairs) + self.passage_lengths(pairs) + self.markers

    def lost_of_queries(self, pairs: Pairs) -> Rows:
        """Tokens of each pair's query that are not read.

        Shape: (P,).
        """
        return (pairs.queries.lengths + pairs.queries.lost)[pairs.rows[:, 0]] - self.query_lengths(pairs)

    def lost_of_passages(self, pairs: Pairs) -> Rows:
        """Tokens of each pair's passage that are not read; in windows all are.

        Shape: (P,).
        """
        if self.overflow.overflow == "windows":
            return np.zeros(len(pairs), dtype=np.int64)
        return (pairs.passages.lengths + pairs.passages.lost)[pairs.rows[:, 1]] - self.passage_lengths(pairs)

    def truncation(self, pairs: Pairs) -> Truncation:
        """Counts what of these pairs is not read."""
        lost = self.lost_of_passages(pairs)
        queries = np.unique(pairs.rows[self.lost_of_queries(pairs) > 0, 0])
        return Truncation(len(queries), int((lost > 0).sum()), int(lost.sum()))

    def answers_lost(self, pairs: Pairs, texts: Callable[[int], tuple[Query, str]]) -> int:
        """Counts the pairs in which no place of the passage that states an answer of the query is read, in any case.

        ``texts`` gives the query and the passage of a pair by its index.
        """
        kept, lost = self.passage_lengths(pairs), 0
        for index in np.flatnonzero(self.lost_of_passages(pairs)):
            query, text = texts(int(index))
            lost += self._answer_is_lost(query, self.prepare_passage(text), int(kept[index]))
        return lost

    def pair_inputs(self, pairs: Pairs, indices: Iterable[Rows]) -> Iterator[Packed]:
        """Puts together the inputs of each batch of pairs, given by their indices."""
        texts = pairs.queries, pairs.passages
        query_lengths, passage_lengths = self.query_lengths(pairs), self.passage_lengths(pairs)
        for batch in indices:
            kept = query_lengths[batch], passage_lengths[batch]
            yield assembly.pairs(self.template, texts, pairs.rows[batch], kept)

    def text_inputs(self, texts: Texts, indices: Iterable[Rows]) -> Iterator[Packed]:
        """Puts together the inputs of each batch of texts read alone, given by their indices."""
        return (assembly.singles(self.template, texts, batch) for batch in indices)

    def pair_batches(self, pairs: Pairs, tokens: int) -> Iterator[tuple[Rows, TokenBatch]]:
        """Yields batches of pairs as padded tensors, for a model to learn from, with the indices of the pairs."""
        indices = list(batches(self.pair_lengths(pairs), tokens))
        for batch, inputs in zip(indices, self.pair_inputs(pairs, indices), strict=True):
            yield batch, padded(inputs, self.template.pad_id)

    def text_batches(self, texts: Texts, rows: Rows, tokens: int) -> Iterator[tuple[Rows, TokenBatch]]:
        """Yields batches of texts read alone as padded tensors, with indices in ``rows``.

        Shape: rows (N,), indices of texts.
        """
        indices = list(batches(texts.lengths[rows] + self.markers, tokens))
        for batch, inputs in zip(indices, self.text_inputs(texts, (rows[batch] for batch in indices)), strict=True):
            yield batch, padded(inputs, self.template.pad_id)

    def pair(self, query: Ids, passage: Ids) -> Input:
        """Puts together one pair, both texts truncated to the room that there is."""
        query = truncated(query, max(self.room - len(passage), self.config.query_length), self.template.keeps_end)
        return self.template.pair(query, truncated(passage, self.room - len(query), self.template.keeps_end))

    def _without_stopwords(self, text: str) -> str:
        if self.config.stopwords == "keep":
            return text
        return without_all(text) if self.config.stopwords == "drop" else without_some(text, _RANDOM_STOPWORDS)

    def _answer_is_lost(self, query: Query, text: str, kept: int) -> bool:
        """Whether an answer is in the text, and nowhere in the tokens that are kept of it."""
        places = [
            match.span() for answer in query.answers for match in re.finditer(re.escape(answer), text, re.IGNORECASE)
        ]
        if not places:
            return False
        offsets = rust_tokenizer(self.tokenizer).encode(text, add_special_tokens=False).offsets
        if self.template.keeps_end:
            return max(start for start, _ in places) < (offsets[-kept][0] if kept else len(text))
        return min(end for _, end in places) > (offsets[kept - 1][1] if kept else 0)

    def _check_lengths(self, source: str) -> None:
        config = self.config
        longest = config.length if config.apart else config.length - self.markers - 1
        if config.query_length > longest or config.query_length <= self.markers:
            raise ModelError(
                f"{source}: query_length is {config.query_length} and length {config.length}, expected a "
                f"query_length of {self.markers + 1} to {longest}: {self.markers} tokens are markers."
            )
        if self.overflow.overflow == "windows" and self.stride > self.window:
            expected = f"expected at most that, which is what fits beside a query of {config.query_length} tokens"
            raise ModelError(f"{source}: stride is {self.stride} in windows of {self.window}, {expected}.")


class UnknownTokens:
    """Counts tokens, and those that a tokenizer does not know: of a script that it never saw it gives no other."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self._unknown_id = tokenizer, tokenizer.unk_token_id
        self.tokens = self.unknown = 0
        self._example = ""

    def count(self, texts: Texts, text_of: Callable[[int], str]) -> None:
        """Counts the tokens of texts; ``text_of`` gives one by its index, as it was tokenized."""
        if self._unknown_id is None:
            return
        unknown = np.flatnonzero(texts.ids == self._unknown_id)
        self.tokens += len(texts.ids)
        self.unknown += len(unknown)
        if len(unknown) and not self._example:
            self._example = text_of(int(np.searchsorted(texts.offsets, unknown[0], side="right")) - 1)

    @property
    def share(self) -> float:
        """Unknown tokens as a share of all, 0 to 1."""
        return self.unknown / max(1, self.tokens)

    @property
    def words(self) -> list[str]:
        """Some unknown words as examples."""
        if not self._example:
            return []
        encoding = rust_tokenizer(self._tokenizer).encode(self._example, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        words = (self._example[start:end] for id_, (start, end) in spans if id_ == self._unknown_id)
        return list(dict.fromkeys(words))[:_EXAMPLES]
