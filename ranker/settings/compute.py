"""How a model is run: settings that change the time it takes, and nothing else beyond the precision's tolerance."""

from dataclasses import dataclass
from typing import Final

from ranker.errors import SetupError

PRECISIONS: Final = {
    "auto": "bf16 where the machine has instructions for it and is measured to be faster in it, else float32",
    "float32": "single precision",
    "bf16": "the backbone in bfloat16, the head in float32",
    "fp16": "the same in half precision, on GPUs alone, and not to train in",
    "int8": "exact sums of products of bytes, weights in 7 bits on CPUs without VNNI; on CPUs alone, for BERT's family "
    "and heads that read [CLS]; not to train in",
}

DEVICES: Final = {"auto": "a CUDA device where there is one, else the CPU", "cpu": "the CPU", "cuda": "a CUDA device"}


@dataclass(frozen=True)
class Compute:
    """Where a model runs, in what, and how much of it at once.

    ``tokens_per_batch`` counts padding too; 0 takes what suits the device.
    Raises: SetupError for a value that is not allowed.
    """

    precision: str = "auto"
    device: str = "auto"
    tokens_per_batch: int = 0

    def __post_init__(self) -> None:
        """Refuses what no machine has."""
        for key, allowed in (("precision", PRECISIONS), ("device", DEVICES)):
            if getattr(self, key) not in allowed:
                raise SetupError(f"{key} is {getattr(self, key)!r}, expected one of {', '.join(allowed)}.")
        if self.tokens_per_batch < 0:
            raise SetupError(f"tokens_per_batch is {self.tokens_per_batch}, expected 0 or more.")
