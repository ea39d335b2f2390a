"""The order of work: inputs sorted by exact length, cut into batches by tokens."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int64]
T = TypeVar("T")


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


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, each made while what is done with the one before goes on."""
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers=1) as beside:
        coming = beside.submit(next, remaining, _NO_MORE)
        while (item := coming.result()) is not _NO_MORE:
            coming = beside.submit(next, remaining, _NO_MORE)
            yield item  # type: ignore[misc]


_NO_MORE = object()
