"""Token ids that a backbone is given, packed end to end or padded to a batch, and the views that it gives back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranker.settings.model import Needs

Ids = NDArray[np.int32]

MARKER: Final = 0
QUERY: Final = 1
PASSAGE: Final = 2
"""The part of an input that a token belongs to. A text encoded alone has the parts ``MARKER`` and ``QUERY``."""


class Input(NamedTuple):
    """The token ids of one text or pair, with the segment and the part of each token.

    Shape: ids (L,), segments (L,), parts (L,), int32.
    """

    ids: Ids
    segments: Ids
    parts: Ids


class Packed(NamedTuple):
    """N inputs end to end, without padding.

    Shape: ids, segments and parts (tokens,) int32, offsets (N + 1,) int64.
    """

    ids: Ids
    segments: Ids
    parts: Ids
    offsets: NDArray[np.int64]

    @property
    def size(self) -> int:
        """The number of inputs."""
        return len(self.offsets) - 1

    def between(self, first: int, last: int) -> "Packed":
        """Returns the inputs from ``first`` up to, but without, ``last``."""
        offsets = self.offsets[first : last + 1]
        start, end = offsets[0], offsets[-1]
        return Packed(self.ids[start:end], self.segments[start:end], self.parts[start:end], offsets - start)


@dataclass(frozen=True)
class TokenBatch:
    """N inputs padded to L tokens.

    Shape: ids (N, L) int64, segments (N, L) int64, parts (N, L) int64, mask (N, L) bool, True at tokens.
    """

    ids: Tensor
    segments: Tensor
    parts: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        """Copies the batch to a device."""
        tensors = (self.ids, self.segments, self.parts, self.mask)
        return TokenBatch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def pad(inputs: Sequence[Input], pad_id: int) -> TokenBatch:
    """Makes a batch of single inputs."""
    offsets = np.concatenate(([0], np.cumsum([len(row.ids) for row in inputs])))
    ids, segments, parts = (np.concatenate(column) for column in zip(*inputs, strict=True))
    return padded(Packed(ids, segments, parts, offsets), pad_id)


def padded(packed: Packed, pad_id: int) -> TokenBatch:
    """Makes a batch of packed inputs, as long as the longest of them.

    Padding has the id ``pad_id``, by which some backbones (RoBERTa) count positions.
    """
    lengths = np.diff(packed.offsets)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]  # (N, L)
    columns = []
    for values, padding in zip(packed[:3], (pad_id, 0, MARKER), strict=True):
        column = np.full(mask.shape, padding, dtype=np.int64)
        column[mask] = values  # a mask selects row by row, the order in which packed tokens lie
        columns.append(torch.from_numpy(column))
    ids, segments, parts = columns
    return TokenBatch(ids, segments, parts, torch.from_numpy(mask))


def positions_in_groups(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts from 0 within each of some groups that lie end to end: lengths 2, 3 give 0, 1, 0, 1, 2.

    Shape: lengths (groups,), result (sum of the lengths,).
    """
    ends = np.cumsum(lengths)
    # the position among all, less the position among all at which its group starts
    return np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - lengths, lengths)


@dataclass(frozen=True)
class Views:
    """P pairs as V layers represent them, from the lowest layer to the highest.

    Shape: query (P, V, Lq, H), passage (P, V, Lp, H), query_mask (P, Lq), passage_mask (P, Lp), cls (P, V, H).
    Masks are True at tokens; [CLS] and [SEP] belong to neither text. Without ``Needs.tokens`` there are no tokens
    (Lq = Lp = 0). Where question and passage are encoded apart there is no joint [CLS] (V = 0), and ``query`` and
    ``passage`` hold one pooled vector each (Lq = Lp = 1).
    """

    query: Tensor
    passage: Tensor
    query_mask: Tensor
    passage_mask: Tensor
    cls: Tensor


def pair_views(query: Tensor, passage: Tensor) -> Views:
    """Makes the views of pairs whose texts were encoded apart.

    Shape: query (P, H), passage (P, H).
    """
    PAIRS, WIDTH = query.shape  # noqa: N806  # axes are named in capitals
    mask = torch.ones(PAIRS, 1, dtype=torch.bool, device=query.device)
    no_cls = query.new_empty(PAIRS, 0, WIDTH)
    return Views(query.view(PAIRS, 1, 1, WIDTH), passage.view(PAIRS, 1, 1, WIDTH), mask, mask, no_cls)


def joint_needs(needs: Iterable[Needs]) -> Needs:
    """Returns the least that serves several heads at once; ``words`` cannot be combined with layers."""
    needed = list(needs)
    layers = {need.layers for need in needed}
    return Needs("all" if "all" in layers else needed[0].layers, any(need.tokens for need in needed))
