"""The order of work: inputs sorted by exact length, cut into batches by tokens."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]

TOKENS_PER_BATCH = {"cpu": 2_048, "cuda": 131_072}
"""On a CPU a batch that stays in cache is fastest; a GPU wants to be filled."""


def batches(lengths: NDArray[np.int64], tokens: int) -> Iterator[Order]:
    """The numbers of the inputs of each batch, longest inputs first, so that memory runs out early or never.

    A batch holds at most ``tokens`` tokens, padding counted, or one input.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        width = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + width]
        start += width
