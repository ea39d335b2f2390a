"""A model at work: vectors of texts and scores of pairs, the same whatever the batch."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.data.collection import Collection
from ranker.errors import ModelError
from ranker.limits import MIN_STRIDE
from ranker.model.device import choose_device, choose_precision, kernels, name_of_device, running_in
from ranker.model.inputs import Ids, Input, Packed, TokenBatch, padded
from ranker.model.reranker import Reranker
from ranker.scoring import assembly
from ranker.scoring.backend import Reader, TokenCounts, check_precision, reader_of
from ranker.scoring.batching import Order, ahead, batches
from ranker.scoring.budget import DEFAULT, WORTH_PROBING, Probe, learned_budget
from ranker.scoring.cache import ScoreSource, computed
from ranker.scoring.jobs import CrossJob, DualJob, ScoringJob
from ranker.scoring.pairs import Pairs, Truncation
from ranker.scoring.stopwords import without_all, without_some
from ranker.scoring.survival import BatchSplitter, Forward, InputError
from ranker.scoring.text import Template, Texts, kept_of, tokenize
from ranker.scoring.token_file import TextEncoding, find_token_file
from ranker.scoring.unknown import UnknownTokens
from ranker.scoring.windows import Inputs, in_windows, one_each
from ranker.settings.compute import CUT, Compute, Overflow
from ranker.settings.model import LAST, Needs

Matrix = NDArray[np.float32]
Advance = Callable[[int], object]

_WHOLE = 2**31  # more tokens than a passage has
_AT_RANDOM = 3  # stopwords left out of a text at random: as many as a pair of BERT's has markers


class Scorer:
    """A model on its device, in its precision, with its tokenizer's template."""

    def __init__(self, model: Reranker, compute: Compute, overflow: Overflow = CUT) -> None:
        self.device = choose_device(compute.device)
        self.precision = choose_precision(compute.precision, self.device)
        self.model = model.to(self.device)
        self.template = Template(model.tokenizer, model.config.markers)
        self.overflow = overflow
        self._check_lengths()
        check_precision(self.model.encoder, self.model.config.needs, self.precision)
        self.tokens_per_batch = compute.tokens_per_batch or DEFAULT[self.device.type]
        self._may_learn = not compute.tokens_per_batch
        self.token_counts = TokenCounts()
        self.unknown = {side: UnknownTokens(model.tokenizer) for side in ("queries", "passages")}
        self.shared: Mapping[str, object] = {}
        self.splitter = BatchSplitter()

    def queries(self, texts: Iterable[str]) -> Texts:
        """Queries as ids, cut to what fits beside no passage, or is read of one alone."""
        config = self.model.config
        most = config.query_length - self._markers if config.apart else self.room
        return tokenize(self.model.tokenizer, map(self.read_query, texts), most, self.unknown["queries"].count)

    def passages(self, texts: Iterable[str]) -> Texts:
        """Passages as ids, whole where they are read in windows, else cut to what fits beside no query."""
        seen = self.unknown["passages"].count
        return tokenize(self.model.tokenizer, map(self.read_passage, texts), self._most, seen)

    def passages_of(self, collection: Collection, doc_ids: Sequence[str]) -> Texts:
        """The same for passages of a collection, from its token file where it has one.

        Raises: KeyError for a doc_id that the collection has not.
        """
        tokens = find_token_file(self.reading, collection)
        if tokens is None:
            return self.passages(collection[doc_id].contents for doc_id in doc_ids)
        numbers = np.fromiter(map(collection.number, doc_ids), dtype=np.int64, count=len(doc_ids))
        texts = tokens.texts(numbers, self._most, self.template.keeps_end)
        self.unknown["passages"].count(texts, lambda row: self.read_passage(collection[doc_ids[row]].contents))
        return texts

    @property
    def reading(self) -> TextEncoding:
        """How texts become ids here, for the token files of collections."""
        prompt = self.model.config.passage_prompt
        name = self.model.config.stopwords + (f", behind {prompt!r}" if prompt else "")
        return TextEncoding(self.model.tokenizer, name, self.read_passage)

    def vectors(self, texts: Texts, advance: Advance) -> Matrix:
        """One vector per text, for modes that read apart.

        Shape: (texts, H).
        """
        vectors = np.empty((len(texts), self.model.width), dtype=np.float32)
        with torch.inference_mode():
            reader = self.reader(LAST)
            cuts = list(self.text_batches(reader, texts, np.arange(len(texts))))
            for place, found in self.encoded(reader, texts, cuts):
                vectors[cuts[place]] = found
                advance(len(found))
        return vectors

    def vectors_of(self, parts: Iterable[Texts], advance: Advance) -> Iterator[tuple[int, Matrix]]:
        """The same for many texts, part by part, as they are there, each part with its place.

        Raises: InputError by the number of a text among those of all parts.
        """
        start = 0
        for place, texts in enumerate(parts):
            try:
                found = self.vectors(texts, advance)
            except InputError as error:
                raise error.of(start + error.number) from error
            yield place, found
            start += len(texts)

    def text_batches(self, reader: Reader, texts: Texts, rows: Order) -> Iterator[Order]:
        """Batches of texts read alone, as places in ``rows``."""
        return batches(texts.lengths[rows] + self._markers, self.budget(reader, LAST, len(texts.ids)))

    def encoded(self, reader: Reader, texts: Texts, cuts: Sequence[Order]) -> Iterator[tuple[int, Matrix]]:
        """The vectors of batches of texts as they are there, each with its batch's place among these.

        Shape: (rows of a batch, H) each. Raises: TooLargeError for a text, by its number.
        """

        def vectors(inputs: Packed) -> Matrix:
            found: Matrix = self.model.head.vectors(reader.pooled(inputs)).cpu().numpy()
            return found

        return self.survived(cuts, self.single_inputs(texts, cuts), vectors)

    def logits(self, reader: Reader, pairs: Pairs, cuts: Sequence[Order]) -> Iterator[tuple[int, Matrix]]:
        """The scores of batches of pairs read together, in the same way.

        Shape: (pairs of a batch, 1) each. Raises: TooLargeError for a pair, by its number.
        """

        def logits(inputs: Packed) -> Matrix:
            return self.model.from_views(reader.views(inputs, self.model.config.needs)).cpu().numpy()[:, None]

        return self.survived(cuts, self.pair_inputs(pairs, cuts), logits)

    def survived(
        self, cuts: Sequence[Order], inputs: Iterator[Packed], compute: Forward
    ) -> Iterator[tuple[int, Matrix]]:
        """What ``compute`` gives for each batch, with its place. Raises: TooLargeError, by a number in ``cuts``."""
        for place, batch in enumerate(ahead(inputs)):
            yield place, self.splitter(batch, cuts[place], compute)

    def reader(self, needs: Needs) -> Reader:
        """The model's encoder at work, with the weights that it has now."""
        self.model.eval()
        return reader_of(
            self.model.encoder, needs, self.template.pad_id, self.device, self.precision, self.token_counts
        )

    def scores(self, pairs: Pairs, advance: Advance) -> Matrix:
        """One logit per pair.

        Shape: (P,).
        """
        return self.work(pairs).scores(np.arange(len(pairs.rows)), advance)

    def work(self, pairs: Pairs, recall: ScoreSource = computed) -> ScoringJob:
        """The same, to be done in portions; ``recall`` may know of some from before."""
        return DualJob(self, pairs, recall) if self.model.config.apart else CrossJob(self, pairs, recall)

    def inputs(self, pairs: Pairs) -> Inputs:
        """What is read for these pairs: one input for each, or windows where ``overflow`` says so."""
        if self.overflow.overflow != "windows":
            return one_each(pairs)
        return in_windows(pairs, self.rooms(pairs), self.window, self.stride)

    def rooms(self, pairs: Pairs) -> Order:
        """Tokens of a passage that fit beside the query of each pair.

        Shape: (P,).
        """
        if self.model.config.apart:
            return np.full(len(pairs.rows), self.room, dtype=np.int64)
        return self.room - self.kept_of_queries(pairs)

    def kept_of_queries(self, pairs: Pairs) -> Order:
        """Tokens of each pair's query that are read: its share of the input, and what the passage leaves of the rest.

        Shape: (P,).
        """
        whole, config = pairs.queries.lengths[pairs.rows[:, 0]], self.model.config
        if config.apart:
            return whole
        left = self.room - pairs.passages.lengths[pairs.rows[:, 1]]
        return np.minimum(whole, np.maximum(left, config.query_length))

    def pair_lengths(self, pairs: Pairs) -> Order:
        """Tokens of each pair read together, markers included.

        Shape: (P,).
        """
        return self.kept_of_queries(pairs) + self.kept(pairs) + self._markers

    def cut(self, pairs: Pairs) -> Truncation:
        """What of these pairs the model cannot read; in windows it reads all of a passage."""
        lost, of_queries = self.lost(pairs), self.lost_of_queries(pairs)
        queries = np.unique(pairs.rows[of_queries > 0, 0])
        return Truncation(len(queries), int((lost > 0).sum()), int(lost.sum()))

    def lost(self, pairs: Pairs) -> Order:
        """Tokens of each pair's passage that are not read.

        Shape: (P,).
        """
        if self.overflow.overflow == "windows":
            return np.zeros(len(pairs.rows), dtype=np.int64)
        return (pairs.passages.lengths + pairs.passages.lost)[pairs.rows[:, 1]] - self.kept(pairs)

    def lost_of_queries(self, pairs: Pairs) -> Order:
        """Tokens of each pair's query that are not read.

        Shape: (P,).
        """
        return (pairs.queries.lengths + pairs.queries.lost)[pairs.rows[:, 0]] - self.kept_of_queries(pairs)

    def budget(self, reader: Reader, needs: Needs, work: int) -> int:
        """The tokens of a batch, for work of so many: as asked for, or learned where there is enough to do."""
        if not self._may_learn or work < WORTH_PROBING:
            return self.tokens_per_batch
        config: Any = self.model.encoder.backbone.config
        shape = f"{config.model_type} {config.num_hidden_layers} x {config.hidden_size}"
        kind = f"{shape}, {needs}, {self.precision}"
        return learned_budget(Probe(reader, needs, kind, self.device, self.model.config.length))

    def pair_inputs(self, pairs: Pairs, cuts: Iterable[Order]) -> Iterator[Packed]:
        """The pairs of each batch, put together."""
        texts, kept = (pairs.queries, pairs.passages), (self.kept_of_queries(pairs), self.kept(pairs))
        return (
            assembly.pairs(self.template, texts, pairs.rows[numbers], (kept[0][numbers], kept[1][numbers]))
            for numbers in cuts
        )

    def single_inputs(self, texts: Texts, cuts: Iterable[Order]) -> Iterator[Packed]:
        """The same for texts read alone."""
        return (assembly.singles(self.template, texts, rows) for rows in cuts)

    def pair_batches(self, pairs: Pairs, tokens: int) -> Iterator[tuple[Order, TokenBatch]]:
        """The same side by side on the device, for the model itself to learn from; with the pairs' numbers."""
        cuts = list(batches(self.pair_lengths(pairs), tokens))
        return zip(cuts, map(self._on_device, self.pair_inputs(pairs, cuts)), strict=True)

    def single_batches(self, texts: Texts, rows: Order, tokens: int) -> Iterator[tuple[Order, TokenBatch]]:
        """The same for texts read alone; the numbers are places in ``rows``."""
        cuts = list(batches(texts.lengths[rows] + self._markers, tokens))
        inputs = self.single_inputs(texts, (rows[places] for places in cuts))
        return zip(cuts, map(self._on_device, inputs), strict=True)

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.type

    @property
    def device_name(self) -> str:
        """The kind of processor, or the GPU by name."""
        return name_of_device(self.device)

    @property
    def kernels(self) -> str:
        """What computes the linear maps: scores of other kernels differ."""
        return kernels(self.precision, self.device.type).name

    def at_work(self) -> AbstractContextManager[None]:
        """Without dropout, in the precision of the scorer."""
        self.model.eval()
        return running_in(self.precision, self.device)

    def pair(self, query: Ids, passage: Ids) -> Input:
        """A pair read together, both cut to the room that there is."""
        most = max(self.room - len(passage), self.model.config.query_length)
        query = kept_of(query, most, self.template.keeps_end)
        return self.template.pair(query, kept_of(passage, self.room - len(query), self.template.keeps_end))

    def single(self, text: Ids) -> Input:
        """A text read alone."""
        return self.template.single(text)

    def read_query(self, text: str) -> str:
        """The query as it is tokenised: behind the prompt, and without the stopwords that are not read."""
        return self.model.config.query_prompt + self._without_stopwords(text)

    def read_passage(self, text: str) -> str:
        """The passage in the same way."""
        return self.model.config.passage_prompt + self._without_stopwords(text)

    def _without_stopwords(self, text: str) -> str:
        if self.model.config.stopwords == "keep":
            return text
        return without_all(text) if self.model.config.stopwords == "drop" else without_some(text, _AT_RANDOM)

    def _on_device(self, inputs: Packed) -> TokenBatch:
        return padded(inputs, self.template.pad_id).to(self.device)

    def _check_lengths(self) -> None:
        """Refuses bounds under which a whole query would leave no room for a passage, or markers none for a query."""
        config = self.model.config
        most = config.length if config.apart else config.length - self._markers - 1
        if config.query_length > most or config.query_length <= self._markers:
            raise ModelError(
                f"{self.model.source}: query_length is {config.query_length} and length {config.length}, expected a "
                f"query_length of {self._markers + 1} to {most}: {self._markers} tokens are markers."
            )
        if self.overflow.overflow == "windows" and self.stride > self.window:
            expected = f"expected at most that, which is what fits beside a query of {config.query_length} tokens"
            raise ModelError(f"{self.model.source}: stride is {self.stride} in windows of {self.window}, {expected}.")

    @property
    def window(self) -> int:
        """Tokens of a window: what fits beside the longest query, so that windows are the same for every query."""
        return self.room if self.model.config.apart else self.room - self.model.config.query_length

    @property
    def stride(self) -> int:
        """Tokens between the beginnings of two windows."""
        return self.overflow.stride or max(self.window // 2, min(MIN_STRIDE, self.window))

    @property
    def _most(self) -> int:
        """Tokens that are kept of a passage."""
        return _WHOLE if self.overflow.overflow == "windows" else self.room

    @property
    def _markers(self) -> int:
        return self.template.single_markers if self.model.config.apart else self.template.pair_markers

    @property
    def room(self) -> int:
        """Tokens of a passage beside the shortest query."""
        return self.model.config.length - self._markers

    def kept(self, pairs: Pairs) -> Order:
        """Tokens of each pair's passage that fit beside its query.

        Shape: (P,).
        """
        return np.minimum(pairs.passages.lengths[pairs.rows[:, 1]], self.rooms(pairs))
