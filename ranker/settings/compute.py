"""How a model is run: precision, device, batch size, and what is done with passages that are too long."""

from dataclasses import dataclass
from typing import Final

from ranker.errors import ModelError, SetupError
from ranker.limits import MIN_STRIDE
from ranker.settings.fields import check, in_a_line, setting

PRECISIONS: Final = {
    "auto": "bf16 where the machine has instructions for it and is measured to be faster in it, else float32",
    "float32": "single precision",
    "bf16": "the backbone in bfloat16, the head in float32",
    "fp16": "the backbone in float16, the head in float32; on GPUs alone, and not to train in",
    "int8": "exact sums of products of bytes, weights in 7 bits on CPUs without VNNI; on CPUs alone, for BERT's family "
    "and heads that read [CLS]; not to train in",
}

DEVICES: Final = {"auto": "a CUDA device where there is one, else the CPU", "cpu": "the CPU", "cuda": "a CUDA device"}

OVERFLOWS: Final = {
    "cut": "its first tokens are read",
    "fail": "it is refused, with its name",
    "windows": "it is read in overlapping windows, and the best one gives the score (MaxP, Dai and Callan 2019)",
}
"""The ways to handle a passage that is longer than the model reads."""


@dataclass(frozen=True)
class Compute:
    """Where a model runs, in which precision, and in batches of how many tokens.

    ``tokens_per_batch`` counts padding too; 0 takes what suits the device. These settings change the time a score
    takes, and the score only within the tolerance of the precision.
    Raises: SetupError for a value that is not allowed.
    """

    precision: str = setting("auto", in_a_line(PRECISIONS), choices=PRECISIONS)
    device: str = setting("auto", in_a_line(DEVICES), choices=DEVICES)
    tokens_per_batch: int = setting(0, "Tokens in a batch, padding included; 0: as many as suit the device", least=0)

    def __post_init__(self) -> None:
        """Refuses values that are not allowed."""
        check(self, SetupError)


@dataclass(frozen=True)
class Overflow:
    """How passages are read that are too long; ``stride`` is in tokens from window to window, 0 for half a window.

    Raises: ModelError for a value that is not allowed.
    """

    overflow: str = setting(
        "cut", f"How to read a passage that is longer than the model reads. {in_a_line(OVERFLOWS)}", choices=OVERFLOWS
    )
    stride: int = setting(0, "Tokens from the start of a window to the start of the next; 0: half a window", least=0)

    def __post_init__(self) -> None:
        """Refuses values that are not allowed, and a stride without windows."""
        if type(self.stride) is not int or (self.stride and (self.overflow != "windows" or self.stride < MIN_STRIDE)):
            expected = f"expected {MIN_STRIDE} tokens or more, and windows"
            raise ModelError(f"stride is {self.stride!r} with overflow {self.overflow!r}, {expected}.")
        check(self, ModelError)


CUT: Final = Overflow()
"""The default, and what the published rerankers do."""
