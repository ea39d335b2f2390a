"""The callback by which long work reports its progress, and its default."""

from collections.abc import Callable

Advance = Callable[[int], object]
"""Is called with the number of things that are done since the last call."""


def no_progress(done: int) -> None:
    """Shows no progress: the default of every function that takes an ``Advance``."""
    del done
