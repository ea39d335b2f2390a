"""Batches by tokens, prepared ahead in a thread, and split where they run out of memory."""

import ctypes
import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.errors import ModelError
from ranker.model.inputs import Packed
from ranker.scoring.tokens import Rows
from ranker.wording import counted

T = TypeVar("T")
Matrix = NDArray[np.float32]
Forward = Callable[[Packed], Matrix]
_OUT_OF_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "could not create a memory",
    "could not create a primitive",
)
"""Words of CUDA, torch and oneDNN; the last is also said of products that oneDNN cannot do, which none of ours is."""


def batches(lengths: Rows, tokens: int) -> Iterator[Rows]:
    """Yields the indices of the inputs of each batch, longest inputs first, so that memory runs out early or never.

    A batch holds at most ``tokens`` tokens, padding counted, or one input.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


def prefetch(items: Iterable[T]) -> Iterator[T]:
    """Yields items, preparing the next in a background thread."""
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(next, remaining, _NO_MORE)
        while (item := coming.result()) is not _NO_MORE:
            coming = thread.submit(next, remaining, _NO_MORE)
            yield item  # type: ignore[misc]


_NO_MORE = object()


class InputError(ModelError, ABC):
    """Something is wrong with one input; ``index`` is among those of whoever asked for it."""

    index: int

    @abstractmethod
    def renamed(self, index: int, name: str = "") -> "InputError":
        """Makes the same error with another index, or with a name."""


class TooLargeError(InputError):
    """An input does not fit into memory even alone."""

    def __init__(self, index: int, tokens: int, name: str = "") -> None:
        self.index, self.tokens = index, tokens
        super().__init__(
            f"{name or f'input {index}'}: its {counted(tokens, 'token')} do not fit into memory even alone; "
            "expected more memory, or a model of less --length."
        )

    def renamed(self, index: int, name: str = "") -> "TooLargeError":
        """Makes the same error with another index, or with a name."""
        return TooLargeError(index, self.tokens, name)


@contextmanager
def input_names(name: Callable[[int], str]) -> Iterator[None]:
    """Names the input that an error inside is about."""
    try:
        yield
    except InputError as error:
        raise error.renamed(error.index, name(error.index)) from error


@contextmanager
def input_indices(index: Callable[[int], int]) -> Iterator[None]:
    """Translates the index of the input that an error inside is about."""
    try:
        yield
    except InputError as error:
        raise error.renamed(index(error.index)) from error


def indices_of_batches(indices: Sequence[Rows]) -> Callable[[int], int]:
    """Translates an index among the inputs of all batches to that which the batch itself gives."""
    return lambda index: int(np.concatenate(indices)[index])


class BatchSplitter:
    """Computes batches, in as many parts as memory asks for, and remembers which size did not fit.

    ``max_tokens`` bounds the parts from now on, and ``failures`` counts those that did not fit.
    """

    def __init__(self) -> None:
        self.max_tokens = 2**62
        self.failures = 0

    def run(self, inputs: Iterable[Packed], compute: Forward) -> Iterator[tuple[int, Matrix]]:
        """Yields the values of each batch with its index, preparing the next batch meanwhile.

        Shape: (inputs of the batch, width) each. Raises: TooLargeError by the index among the inputs of all batches.
        """
        first = 0
        for index, batch in enumerate(prefetch(inputs)):
            yield index, self(batch, compute, first)
            first += batch.size

    def __call__(self, inputs: Packed, compute: Forward, first: int = 0) -> Matrix:
        """Computes the values of one batch, whose first input has the index ``first``.

        Shape: (N, width). Raises: TooLargeError.
        """
        waiting, values, done = [inputs], list[Matrix](), 0
        while waiting:
            part = waiting.pop()
            computed = self._attempt(part, compute) if part.size == 1 or len(part.ids) <= self.max_tokens else None
            if computed is None and part.size == 1:
                # the memory of an earlier attempt is free by now
                computed = self._attempt(part, compute)
            if computed is not None:
                values.append(computed)
                done += part.size
            elif part.size == 1:
                raise TooLargeError(first + done, len(part.ids))
            else:
                middle = part.size // 2
                waiting += [part.between(middle, part.size), part.between(0, middle)]
        return np.concatenate(values)

    def _attempt(self, part: Packed, compute: Forward) -> Matrix | None:
        """Computes the values, or gives None where memory was too small for them."""
        try:
            return compute(part)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # outside of the handler nothing holds the tensors of the attempt any more
        self.failures += 1
        # a half would leave no room for what engines set up for each new shape
        self.max_tokens = min(self.max_tokens, len(part.ids) // 4)
        _free_memory()
        return None


def _free_memory() -> None:
    """Returns unused memory, which the allocators keep for later, to the device and the system."""
    gc.collect()
    torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an engine, or Python, says that memory ran out."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(words in message for words in _OUT_OF_MEMORY)
