"""Token ids of texts and pairs, padded to the longest of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int32]


MARKER: Final = 0
QUERY: Final = 1
PASSAGE: Final = 2
"""What part of an input a token is; a text read alone is all markers and ``QUERY``."""


class Input(NamedTuple):
    """What a backbone reads of one text or pair.

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
        """How many inputs there are."""
        return len(self.offsets) - 1

    def between(self, first: int, last: int) -> "Packed":
        """The inputs from ``first`` to the one before ``last``."""
        offsets = self.offsets[first : last + 1]
        start, end = offsets[0], offsets[-1]
        return Packed(self.ids[start:end], self.segments[start:end], self.parts[start:end], offsets - start)


@dataclass(frozen=True)
class TokenBatch:
    """N inputs of at most L tokens.

    Shape: ids (N, L) int64, segments (N, L) int64, parts (N, L) int64, mask (N, L) bool, True at tokens.
    """

    ids: Tensor
    segments: Tensor
    parts: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        """The same batch on another device."""
        tensors = (self.ids, self.segments, self.parts, self.mask)
        return TokenBatch(*(tensor.to(device, non_blocking=True) for tensor in tensors))


def pad(inputs: Sequence[Input], pad_id: int) -> TokenBatch:
    """Inputs as one batch."""
    offsets = np.concatenate(([0], np.cumsum([len(one.ids) for one in inputs])))
    ids, segments, parts = (np.concatenate(column) for column in zip(*inputs, strict=True))
    return padded(Packed(ids, segments, parts, offsets), pad_id)


def padded(packed: Packed, pad_id: int) -> TokenBatch:
    """Inputs side by side, as long as the longest.

    The ids behind the end are ``pad_id``, which some backbones (RoBERTa) count positions by.
    """
    lengths = np.diff(packed.offsets)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids, segments, parts = (
        _laid_out(values, mask, behind) for values, behind in zip(packed[:3], (pad_id, 0, MARKER), strict=True)
    )
    return TokenBatch(ids, segments, parts, torch.from_numpy(mask))


def _laid_out(values: Ids, mask: NDArray[np.bool_], behind: int) -> Tensor:
    column = np.full(mask.shape, behind, dtype=np.int64)
    column[mask] = values
    return torch.from_numpy(column)
