"""Out of memory costs a batch its size and never the work: what does not fit is halved, and so is what comes after."""

import ctypes
import gc
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from ranker.errors import ModelError
from ranker.model.inputs import Packed
from ranker.wording import counted

Values = NDArray[np.float32]
Numbers = NDArray[np.int64]
Forward = Callable[[Packed], Values]

_OF_MEMORY: Final = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "could not create a memory",
    "could not create a primitive",
)
"""What CUDA, torch and oneDNN say; the last also of products that it cannot do at all, which are none of ours."""


class InputError(ModelError, ABC):
    """Something about an input, by the number that whoever asks for it has given it."""

    number: int

    @abstractmethod
    def of(self, number: int, name: str = "") -> "InputError":
        """The same by another number, or by name."""


class TooLargeError(InputError):
    """An input that does not fit into memory even alone."""

    def __init__(self, number: int, tokens: int, name: str = "") -> None:
        self.number, self.tokens = number, tokens
        super().__init__(
            f"{name or f'input {number}'}: its {counted(tokens, 'token')} do not fit into memory even alone; "
            "expected more memory, or a model of less --length."
        )

    def of(self, number: int, name: str = "") -> "TooLargeError":
        """As ``InputError`` says."""
        return TooLargeError(number, self.tokens, name)


@contextmanager
def named(name: Callable[[int], str]) -> Iterator[None]:
    """What is wrong with an input inside is told of by the name of its number."""
    try:
        yield
    except InputError as error:
        raise error.of(error.number, name(error.number)) from error


class BatchSplitter:
    """Computes batches in as many portions as memory asks for, and remembers what did not fit.

    ``most`` are the tokens of a portion from now on, and ``failures`` the portions that did not fit.
    """

    def __init__(self) -> None:
        self.most = 2**62
        self.failures = 0

    def __call__(self, inputs: Packed, numbers: Numbers, compute: Forward) -> Values:
        """The values of each input; ``numbers`` are what the caller calls them.

        Shape: numbers (N,), result (N, width). Raises: TooLargeError.
        """
        waiting, found = [inputs], list[Values]()
        while waiting:
            part = waiting.pop()
            values = self._attempt(part, compute) if part.size == 1 or len(part.ids) <= self.most else None
            if values is None and part.size == 1:
                # what an earlier attempt had taken is given back by now
                values = self._attempt(part, compute)
            if values is not None:
                found.append(values)
            elif part.size == 1:
                raise TooLargeError(int(numbers[sum(map(len, found))]), len(part.ids))
            else:
                middle = part.size // 2
                waiting += [part.between(middle, part.size), part.between(0, middle)]
        return np.concatenate(found)

    def _attempt(self, part: Packed, compute: Forward) -> Values | None:
        """The values, or nothing where memory was too small for them."""
        try:
            return compute(part)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # out here nothing holds what the attempt had computed any more
        self.failures += 1
        # a half would leave no room for what engines set up for each new shape
        self.most = min(self.most, len(part.ids) // 4)
        _give_back()
        return None


def _give_back() -> None:
    """Hands memory that nothing uses to the device and the system, which the allocators keep for later."""
    gc.collect()
    torch.cuda.empty_cache()
    with suppress(OSError, AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an engine, or Python, says that memory ran out."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _OF_MEMORY)
