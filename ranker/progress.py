"""The callback by which long work reports its progress, and its default."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Advance = Callable[[int], object]
"""Is called with the number of things that are done since the last call."""


def no_progress(done: int) -> None:
    """Shows no progress: the default of every function that takes an ``Advance``."""
    del done


Progress = Callable[[str, int, str], AbstractContextManager[Advance]]
"""Opens a display of work by its label, the total and the unit, and gives what is called as the work goes on."""


def silent(label: str, total: int, unit: str) -> AbstractContextManager[Advance]:  # noqa: ARG001
    """Shows no progress: the default of every function that takes a ``Progress``."""
    return nullcontext(no_progress)
