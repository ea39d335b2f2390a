"""Inputs of a model, put together from token ids and markers: one at a time, or a batch at once by copying slices."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ranker.model.inputs import MARKER, PASSAGE, QUERY, Ids, Input, Packed, positions_in_groups
from ranker.scoring.tokens import Rows, Texts, rust_tokenizer, truncates_left


class Template:
    """Where a tokenizer puts markers in texts and pairs, learned from its own output, so that it holds for any of them.

    Without ``markers`` texts are put together as they are. Segments are 0 where the tokenizer gives a model none, and
    of a text that is too long its end is kept where the tokenizer truncates on the left.
    """

    def __init__(self, tokenizer: Any, markers: bool = True) -> None:
        backend = rust_tokenizer(tokenizer)
        pair, single = backend.encode("a", "b"), backend.encode("a")
        segments = "token_type_ids" in tokenizer.model_input_names
        self.pair_parts = _marker_parts(pair, (0, 1), markers, segments)
        self.single_parts = _marker_parts(single, (0,), markers, segments)
        self.pair_segments = tuple(_segment(pair, sequence) * segments for sequence in (0, 1))
        self.single_segment = _segment(single, 0) * segments
        self.keeps_end = truncates_left(tokenizer)
        self.pad_id = int(tokenizer.pad_token_id or 0)

    @property
    def pair_markers(self) -> int:
        """Markers of a pair, in tokens."""
        return sum(len(part.ids) for part in self.pair_parts)

    @property
    def single_markers(self) -> int:
        """Markers of a text read alone, in tokens."""
        return sum(len(part.ids) for part in self.single_parts)

    def pair(self, query: Ids, passage: Ids) -> Input:
        """Puts together the input of a pair."""
        start, middle, end = self.pair_parts
        first, second = self.pair_segments
        return _concatenated(start, _labelled(query, first, QUERY), middle, _labelled(passage, second, PASSAGE), end)

    def single(self, text: Ids) -> Input:
        """Puts together the input of a text read alone."""
        start, end = self.single_parts
        return _concatenated(start, _labelled(text, self.single_segment, QUERY), end)


class Span(NamedTuple):
    """A part that every input of a batch has: a slice of ``source`` for each.

    Shape: starts (N,), lengths (N,).
    """

    source: Input
    starts: Rows
    lengths: Rows


def pairs(template: Template, texts: tuple[Texts, Texts], rows: Rows, kept: tuple[Rows, Rows]) -> Packed:
    """Puts together the inputs of pairs; ``kept`` are the tokens that remain of each query and each passage.

    Shape: rows (N, 2): query, passage; kept (N,) each.
    """
    spans = []
    for side, part in enumerate((QUERY, PASSAGE)):
        side_texts, numbers, lengths = texts[side], rows[:, side], kept[side]
        starts = side_texts.offsets[numbers] + (side_texts.lengths[numbers] - lengths) * template.keeps_end
        spans.append(Span(_labelled(side_texts.ids, template.pair_segments[side], part), starts, lengths))
    query, passage = spans
    start, middle, end = (_repeated(marker, len(rows)) for marker in template.pair_parts)
    return pack((start, query, middle, passage, end))


def singles(template: Template, texts: Texts, rows: Rows) -> Packed:
    """Puts together the inputs of texts read alone.

    Shape: rows (N,).
    """
    start, end = (_repeated(marker, len(rows)) for marker in template.single_parts)
    text = Span(_labelled(texts.ids, template.single_segment, QUERY), texts.offsets[rows], texts.lengths[rows])
    return pack((start, text, end))


def take(inputs: Packed, rows: Rows) -> Packed:
    """Selects inputs by their indices.

    Shape: rows (N,).
    """
    lengths = np.diff(inputs.offsets)
    return pack((Span(Input(*inputs[:3]), inputs.offsets[rows], lengths[rows]),))


def pack(spans: Sequence[Span]) -> Packed:
    """Copies the slices of each input behind each other, and lays the inputs end to end."""
    offsets = np.concatenate(([0], np.cumsum(sum(span.lengths for span in spans))))  # (N + 1,)
    ids, segments, parts = (np.empty(int(offsets[-1]), dtype=np.int32) for _ in range(3))
    next_token = offsets[:-1].copy()  # (N,): where the next slice of each input goes
    for span in spans:
        within = positions_in_groups(span.lengths)  # (tokens of the span,)
        target = np.repeat(next_token, span.lengths) + within
        source = np.repeat(span.starts, span.lengths) + within
        for column, values in zip((ids, segments, parts), span.source, strict=True):
            column[target] = values[source]
        next_token += span.lengths
    return Packed(ids, segments, parts, offsets)


def _repeated(marker: Input, count: int) -> Span:
    return Span(marker, np.zeros(count, dtype=np.int64), np.full(count, len(marker.ids), dtype=np.int64))


def _labelled(ids: Ids, segment: int, part: int) -> Input:
    """Gives every token the same segment and part, which takes no memory for each of them."""
    return Input(ids, np.broadcast_to(np.int32(segment), len(ids)), np.broadcast_to(np.int32(part), len(ids)))


def _concatenated(*inputs: Input) -> Input:
    return Input(*(np.concatenate(columns) for columns in zip(*inputs, strict=True)))


def _segment(encoding: Any, sequence: int) -> int:
    return int(encoding.type_ids[encoding.sequence_ids.index(sequence)])


def _marker_parts(encoding: Any, sequences: tuple[int, ...], wanted: bool, segments: bool) -> list[Input]:
    """Gives the markers before the first text, between two, and behind the last; empty where they are not wanted."""
    if not wanted:
        return [Input(_as_ids([]), _as_ids([]), _as_ids([]))] * (len(sequences) + 1)
    owners = encoding.sequence_ids  # for each token the text that it is of, None for a marker
    bounds = [0]
    for sequence in sequences:
        bounds += [owners.index(sequence), len(owners) - owners[::-1].index(sequence)]
    bounds.append(len(owners))
    kinds = [kind * segments for kind in encoding.type_ids]
    return [
        Input(_as_ids(encoding.ids[start:end]), _as_ids(kinds[start:end]), _as_ids([MARKER] * (end - start)))
        for start, end in zip(bounds[::2], bounds[1::2], strict=True)
    ]


def _as_ids(numbers: list[int]) -> Ids:
    return np.array(numbers, dtype=np.int32)
