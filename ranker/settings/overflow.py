"""What becomes of a passage that is longer than a model reads."""

from dataclasses import dataclass
from typing import Final

from ranker.errors import ModelError
from ranker.limits import MIN_STRIDE

OVERFLOWS: Final = {
    "cut": "its first tokens are read",
    "fail": "it is refused, with its name",
    "windows": "it is read in windows that overlap, of which the best counts (MaxP, Dai and Callan 2019)",
}
"""For a passage that is longer than the model reads."""


@dataclass(frozen=True)
class Overflow:
    """How passages are read that are too long; ``stride`` is in tokens from window to window, 0 for half a window.

    Raises: ModelError for a value that is not allowed.
    """

    overflow: str = "cut"
    stride: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be read so."""
        if self.overflow not in OVERFLOWS:
            raise ModelError(f"overflow is {self.overflow!r}, expected one of {', '.join(OVERFLOWS)}.")
        if type(self.stride) is not int or (self.stride and (self.overflow != "windows" or self.stride < MIN_STRIDE)):
            expected = f"expected {MIN_STRIDE} tokens or more, and windows"
            raise ModelError(f"stride is {self.stride!r} with overflow {self.overflow!r}, {expected}.")


CUT: Final = Overflow()
"""As the published rerankers read."""
