"""Token ids of texts and pairs, padded to the longest of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class TokenBatch:
    """N inputs of at most L tokens.

    Shape: ids (N, L) int64, segments (N, L) int64, mask (N, L) bool, True at tokens.
    """

    ids: Tensor
    segments: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> "TokenBatch":
        """The same batch on another device."""
        return TokenBatch(*(part.to(device, non_blocking=True) for part in (self.ids, self.segments, self.mask)))


def pad(inputs: Sequence[tuple[Ids, Ids]], pad_id: int) -> TokenBatch:
    """Inputs, each ids and segments of equal length, as one batch.

    The ids behind the end are ``pad_id``, which some backbones (RoBERTa) count positions by.
    """
    rows, width = len(inputs), max(len(ids) for ids, _ in inputs)
    ids = np.full((rows, width), pad_id, dtype=np.int64)
    segments = np.zeros((rows, width), dtype=np.int64)
    lengths = np.empty(rows, dtype=np.int64)
    for row, (row_ids, row_segments) in enumerate(inputs):
        ids[row, : len(row_ids)] = row_ids
        segments[row, : len(row_ids)] = row_segments
        lengths[row] = len(row_ids)
    mask = np.arange(width) < lengths[:, None]
    return TokenBatch(torch.from_numpy(ids), torch.from_numpy(segments), torch.from_numpy(mask))
