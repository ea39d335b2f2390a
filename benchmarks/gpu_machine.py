"""What the machine is, and the TFLOP/s of its largest matrix products; torch alone is loaded.

    python benchmarks/gpu_machine.py FILE DEVICE SIZE

FILE gets the facts as JSON; the products are of SIZE x SIZE matrices.
"""

import importlib.util
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import torch

PACKAGES: Final = ("torch", "transformers", "sentence-transformers", "tokenizers", "numpy")

DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}

_PRODUCTS: Final = 5
"""Timed together, since waiting for the device takes time too."""

_TIMES: Final = 5


def main() -> None:
    """Measures and writes."""
    file, device, size = sys.argv[1:]
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no CUDA device on this machine; expected one, or --rehearse for the CPU.")
    precisions = DTYPES if device == "cuda" else ("float32",)
    rates = {name: tflops(DTYPES[name], device, int(size)) for name in precisions}
    Path(file).write_text(json.dumps({**machine(device), "tflops": rates, "size": int(size)}))


def machine(device: str) -> dict[str, Any]:
    """What the figures are measured on, and with."""
    facts: dict[str, Any] = {
        "card": f"no card: {platform.machine()}",
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "flash_attn": importlib.util.find_spec("flash_attn") is not None,
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }
    if device == "cpu":
        return facts
    card = torch.cuda.get_device_properties(0)
    gib, capability = round(card.total_memory / 2**30, 1), f"{card.major}.{card.minor}"
    return facts | {"card": card.name, "gib": gib, "capability": capability, "cuda": torch.version.cuda}


def tflops(dtype: torch.dtype, device: str, size: int) -> float:
    """Of the best of several products, on random data: zeros would be faster."""
    factors = [torch.randn(size, size, device=device).to(dtype) for _ in range(2)]
    result = torch.empty_like(factors[0])
    best = float("inf")
    for _ in range(_TIMES):
        started = time.perf_counter()
        for _ in range(_PRODUCTS):
            torch.mm(*factors, out=result)
        result[0, 0].item()  # which waits for the device
        best = min(best, time.perf_counter() - started)
    return _PRODUCTS * 2 * size**3 / best / 1e12


if __name__ == "__main__":
    main()
