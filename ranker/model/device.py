"""Where and in which precision a model runs."""

import contextlib
import platform
import resource
import sys
import time
from collections.abc import Iterator

import torch

from ranker.errors import SetupError
from ranker.files.digests import measure_once
from ranker.model.kernels import has_bf16_instructions, instruction_set, kernels

_WIDE = 1_024

CLEARLY = 1.2
"""One precision is faster than another by this factor or not at all: timings are noisy."""


def choose_device(name: str) -> torch.device:
    """The device of that name.

    Raises: SetupError for ``cuda`` where there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise SetupError("--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA torch.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` as what the device is fastest in without moving a ranking, else the one that is named.

    Raises: SetupError for one that the device does not compute in.
    """
    if name == "auto":
        name = "bf16" if _bf16_is_faster(device) else "float32"
    kernels(name, device.type)
    return name


def name_of_device(device: torch.device) -> str:
    """The kind of processor, or the GPU by name."""
    return f"cpu ({platform.machine()})" if device.type == "cpu" else torch.cuda.get_device_name(device)


@contextlib.contextmanager
def running_in(precision: str, device: torch.device) -> Iterator[None]:
    """Backbones called inside compute in that precision."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(device.type, dtype=dtype, enabled=precision in ("bf16", "fp16")):
        yield


def products_per_second(dtype: torch.dtype, device: torch.device) -> float:
    """Floating-point operations per second in products of matrices as wide as a large model, the best of three."""
    left, right = (torch.randn(_WIDE, _WIDE, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        (left @ right).sum().item()  # which waits for the device
        best = max(best, 2 * _WIDE**3 / (time.perf_counter() - started))
    return best


def peak_memory(device: torch.device) -> int:
    """The most memory that torch took on the GPU so far, or else the process, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _bf16_is_faster(device: torch.device) -> bool:
    """Whether the device has instructions for bf16, and on a CPU a measurement finds them faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not has_bf16_instructions():
        return False
    facts = (instruction_set(), platform.processor(), torch.get_num_threads(), torch.__version__)
    return bool(measure_once("bf16", facts, lambda: int(_ratio(device) > CLEARLY), (0, 1)))


def _ratio(device: torch.device) -> float:
    """How many times as fast as in float32 products are in bf16."""
    return products_per_second(torch.bfloat16, device) / products_per_second(torch.float32, device)
