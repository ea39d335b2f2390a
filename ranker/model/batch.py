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
    """Inputs as one batch.

    The ids behind the end are ``pad_id``, which some backbones (RoBERTa) count positions by.
    """
    rows, width = len(inputs), max(len(one.ids) for one in inputs)
    ids = np.full((rows, width), pad_id, dtype=np.int64)
    segments = np.zeros((rows, width), dtype=np.int64)
    parts = np.full((rows, width), MARKER, dtype=np.int64)
    lengths = np.empty(rows, dtype=np.int64)
    for row, one in enumerate(inputs):
        lengths[row] = length = len(one.ids)
        ids[row, :length] = one.ids
        segments[row, :length] = one.segments
        parts[row, :length] = one.parts
    mask = np.arange(width) < lengths[:, None]
    return TokenBatch(*(torch.from_numpy(array) for array in (ids, segments, parts, mask)))
