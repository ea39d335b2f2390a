"""Inputs put together from ids, a whole batch at a time: copies of stretches of arrays, no loop over pairs."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.model.inputs import PASSAGE, QUERY, Ids, Input, Packed
from ranker.scoring.text import Template, Texts

Rows = NDArray[np.int64]


class Span(NamedTuple):
    """A part that every input of a batch has: a stretch of ``source`` for each.

    Shape: starts (N,), lengths (N,).
    """

    source: Input
    starts: Rows
    lengths: Rows


def pairs(template: Template, texts: tuple[Texts, Texts], rows: Rows, kept: tuple[Rows, Rows]) -> Packed:
    """Pairs of queries and passages read together, so many tokens of each.

    Shape: rows (N, 2): query, passage; kept (N,) each.
    """
    start, middle, end = template.pair_parts
    parts = zip(texts, template.pair_segments, (QUERY, PASSAGE), rows.T, kept, strict=True)
    query, passage = (
        Span(_whole(own, segment, part), _starts(template, own, numbers, most), most)
        for own, segment, part, numbers, most in parts
    )
    markers = (_markers(source, len(rows)) for source in (start, middle, end))
    return packed((next(markers), query, next(markers), passage, next(markers)))


def singles(template: Template, texts: Texts, rows: Rows) -> Packed:
    """Texts read alone.

    Shape: rows (N,).
    """
    start, end = template.single_parts
    own = Span(_whole(texts, template.single_segment, QUERY), texts.offsets[rows], texts.lengths[rows])
    return packed((_markers(start, len(rows)), own, _markers(end, len(rows))))


def packed(spans: Sequence[Span]) -> Packed:
    """Each input's stretches behind each other, and the inputs end to end."""
    offsets = np.concatenate(([0], np.cumsum(sum(span.lengths for span in spans))))
    ids, segments, parts = (np.empty(int(offsets[-1]), dtype=np.int32) for _ in range(3))
    at = offsets[:-1].copy()
    for span in spans:
        within = _count_up(span.lengths)
        target = np.repeat(at, span.lengths) + within
        source = np.repeat(span.starts, span.lengths) + within
        for column, values in zip((ids, segments, parts), span.source, strict=True):
            column[target] = values[source]
        at += span.lengths
    return Packed(ids, segments, parts, offsets)


def _starts(template: Template, texts: Texts, rows: Rows, kept: Rows) -> Rows:
    """Where the tokens that are kept of each text begin."""
    return texts.offsets[rows] + (texts.lengths[rows] - kept) * template.keeps_end


def _markers(source: Input, count: int) -> Span:
    return Span(source, np.zeros(count, dtype=np.int64), np.full(count, len(source.ids), dtype=np.int64))


def _whole(texts: Texts, segment: int, part: int) -> Input:
    """All texts as one source; what is the same for every token takes no memory."""
    return Input(texts.ids, _same(segment, len(texts.ids)), _same(part, len(texts.ids)))


def _same(value: int, length: int) -> Ids:
    return np.broadcast_to(np.int32(value), length)


def _count_up(lengths: Rows) -> Rows:
    """0 to each length, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)
