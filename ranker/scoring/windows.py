"""Passages that are longer than a model reads, in windows of which the best counts (MaxP, Dai and Callan 2019)."""

from dataclasses import dataclass, replace

import numpy as np

from ranker.model.inputs import positions_in_groups
from ranker.scoring.text import TextEncoding
from ranker.scoring.tokens import Pairs, Rows, Texts


@dataclass(frozen=True)
class WindowedPairs:
    """Pairs, and the windows that a model reads of each: one that is the pair itself, or several.

    Shape: offsets (P + 1,): the windows of pair p are rows ``offsets[p]`` to ``offsets[p + 1]`` of ``windows``;
    starts (texts,): the token of its passage at which each text of ``windows.passages`` starts.
    """

    whole: Pairs
    windows: Pairs
    offsets: Rows
    starts: Rows

    def __len__(self) -> int:
        """Number of pairs, not of windows."""
        return len(self.whole)

    @property
    def counts(self) -> Rows:
        """Windows of each pair.

        Shape: (P,).
        """
        return np.diff(self.offsets)


def windowed(encoding: TextEncoding, pairs: Pairs) -> WindowedPairs:
    """Splits the passages of pairs into windows where the model's ``overflow`` says so."""
    if encoding.overflow.overflow != "windows":
        return unwindowed(pairs)
    return in_windows(pairs, encoding.rooms(pairs), encoding.window, encoding.stride)


def unwindowed(pairs: Pairs) -> WindowedPairs:
    """Takes each pair as its only window."""
    return WindowedPairs(pairs, pairs, np.arange(len(pairs) + 1), np.zeros(len(pairs.passages), dtype=np.int64))


def in_windows(pairs: Pairs, room: Rows, width: int, stride: int) -> WindowedPairs:
    """Splits passages that are longer than the ``room`` beside their query into windows of ``width`` tokens.

    The last window is as long as the others: it ends where the passage does.
    Shape: room (P,).
    """
    passages, lengths = pairs.passages, pairs.passages.lengths  # lengths (passages,), in tokens
    passage_of = pairs.rows[:, 1]  # (P,)
    is_long = lengths[passage_of] > room  # (P,): a passage may fit beside one query and not beside another
    long_passages = np.unique(passage_of[is_long])

    # A passage is split once, whatever number of queries it is too long for.
    counts = np.zeros(len(passages), dtype=np.int64)  # (passages,): windows of each, 0 where none is needed
    # one window, and one more for each stride begun beyond it: -(-a // b) rounds up
    counts[long_passages] = 1 + -(-(lengths[long_passages] - width) // stride)
    owner = np.repeat(np.arange(len(passages)), counts)  # (windows,): the passage that each is of
    # strides from the beginning of the passage, but the last window is moved back to end with it
    starts = np.minimum(positions_in_groups(counts) * stride, lengths[owner] - width)  # (windows,), in tokens
    texts = _with_slices(passages, passages.offsets[owner] + starts, width)

    # The windows are texts of their own behind the passages: those of a passage are numbered from first_window.
    first_window = len(passages) + np.cumsum(counts) - counts  # (passages,)
    inputs = np.where(is_long, counts[passage_of], 1)  # (P,): windows of each pair
    first_text = np.where(is_long, first_window[passage_of], passage_of)  # (P,): a short passage is itself its window
    text_of = np.repeat(first_text, inputs) + positions_in_groups(inputs)  # (all pairs' windows,)
    rows = np.stack((np.repeat(pairs.rows[:, 0], inputs), text_of), axis=1)
    return WindowedPairs(
        pairs,
        replace(pairs, passages=texts, rows=rows),
        np.concatenate(([0], np.cumsum(inputs))),
        np.concatenate((np.zeros(len(passages), dtype=np.int64), starts)),
    )


def _with_slices(texts: Texts, starts: Rows, width: int) -> Texts:
    """Appends slices of the texts' ids as texts of their own.

    Shape: starts (slices,), indices of ``texts.ids``.
    """
    ids = texts.ids[(starts[:, None] + np.arange(width)).ravel()]
    offsets = texts.offsets[-1] + width * np.arange(1, len(starts) + 1)
    lost = np.zeros(len(starts), dtype=np.int64)
    return Texts(np.append(texts.ids, ids), np.append(texts.offsets, offsets), np.append(texts.lost, lost))
