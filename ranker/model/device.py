"""Devices and precisions: what this machine has, what it computes fastest, and by which kernels.

Flags of a processor say what it could do; whether the libraries use it is seen in a small product with a known result.
"""

import contextlib
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from torch import Tensor

from ranker.errors import SetupError
from ranker.files.digests import measure_once

_WIDTH: Final = 1_024
"""The size of the matrices whose product is timed, as wide as a large model."""

CLEARLY: Final = 1.2
"""The factor by which one precision must be faster than another to count as faster, since timings are noisy."""

_ROWS, _IN, _OUT = 128, 384, 384
"""The size of the products tried: that of a small model, so that the libraries choose the same kernels."""

_BF16_ERROR: Final = 0.02
"""The error allowed of a product in bfloat16, as a share of its largest value: the result has 8 bits."""

NEEDS: Final = {
    "bf16": "AVX-512, AMX or Arm's bf16 instructions",
    "int8": "x86-64 with AVX2 or more, or Arm",
}
"""The instructions that a precision needs."""

_NAMES: Final = {"AVX512": "AVX-512", "NO AVX": "no AVX", "DEFAULT": "no vector instructions that torch uses"}


def choose_device(name: str) -> torch.device:
    """Returns the device of a name; ``auto`` is a GPU where there is one.

    Raises: SetupError for ``cuda`` where there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise SetupError("--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA torch.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """Returns the precision of a name; ``auto`` is the fastest that changes no ranking.

    Raises: SetupError for one that the device does not compute.
    """
    if name == "auto":
        name = "bf16" if _bf16_is_faster(device) else "float32"
    kernels(name, device.type)
    return name


def name_of_device(device: torch.device) -> str:
    """Returns the kind of the processor, or the name of the GPU."""
    return f"cpu ({platform.machine()})" if device.type == "cpu" else torch.cuda.get_device_name(device)


@contextlib.contextmanager
def running_in(precision: str, device: torch.device) -> Iterator[None]:
    """Makes backbones that are called inside compute in a precision."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    with torch.autocast(device.type, dtype=dtype, enabled=precision in ("bf16", "fp16")):
        yield


def products_per_second(dtype: torch.dtype, device: torch.device) -> float:
    """Measures floating-point operations per second in matrix products, the best of three."""
    left, right = (torch.randn(_WIDTH, _WIDTH, device=device).to(dtype) for _ in range(2))
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        (left @ right).sum().item()  # item waits for the device
        best = max(best, 2 * _WIDTH**3 / (time.perf_counter() - started))
    return best


def peak_memory(device: torch.device) -> int:
    """Returns the most bytes that torch has taken on a GPU so far, or else the process in memory."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _bf16_is_faster(device: torch.device) -> bool:
    """Tells whether the device has instructions for bf16, and on a CPU whether they were measured to be faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not has_bf16_instructions():
        return False
    facts = (instruction_set(), platform.processor(), torch.get_num_threads(), torch.__version__)
    return bool(measure_once("bf16", facts, lambda: int(_ratio(device) > CLEARLY), (0, 1)))


def _ratio(device: torch.device) -> float:
    """Returns the speed of products in bf16 as a multiple of that in float32."""
    return products_per_second(torch.bfloat16, device) / products_per_second(torch.float32, device)


class Kernels(NamedTuple):
    """The kernels of linear maps in a precision; ``name`` goes into manifests.

    ``prepacked``: oneDNN lays the weights out beforehand. ``weight_bits``: those of weights in int8, 8 or 7.
    """

    name: str
    prepacked: bool = False
    weight_bits: int = 0


@cache
def kernels(precision: str, device: str) -> Kernels:
    """Returns the kernels of a precision on a kind of device, ``cpu`` or ``cuda``.

    Raises: SetupError for a precision that the device does not compute.
    """
    other = {"fp16": "cuda", "int8": "cpu"}.get(precision, device)
    if other != device:
        raise SetupError(f"--precision {precision}: is for {other} devices alone, but this one is {device}.")
    if device == "cuda":
        return Kernels(f"CUDA {precision}")
    if precision == "int8":
        return _int8_kernels()
    prepacked = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if precision == "bf16" and not _computes(lambda: _bf16_error(prepacked) < _BF16_ERROR):
        raise SetupError(
            f"--precision bf16: this processor ({instruction_set()}) does not multiply matrices in it; "
            f"expected {NEEDS['bf16']}, or --precision float32."
        )
    return Kernels(f"{'oneDNN' if prepacked else 'torch'} {precision}", prepacked)


def _int8_kernels() -> Kernels:
    """Tries 8-bit weights, then 7-bit ones, which stay exact on processors without VNNI.

    These add products of unsigned and signed bytes in pairs into 16 bits, where 255 x 127 x 2 silently saturates, and
    255 x 63 x 2 fits.
    """
    for bits in (8, 7):
        if _computes(lambda bits=bits: _int8_error(bits) == 0):  # type: ignore[misc]
            return Kernels(f"oneDNN int8, {bits}-bit weights", prepacked=True, weight_bits=bits)
    raise SetupError(
        f"--precision int8: this processor ({instruction_set()}) does not add 8-bit products exactly; "
        f"expected {NEEDS['int8']}, or --precision float32."
    )


def _computes(is_right: Callable[[], bool]) -> bool:
    """Returns the result of a trial, or False where torch refuses it."""
    try:
        return is_right()
    except (RuntimeError, NotImplementedError, AttributeError):  # torch was built without it
        return False


def _random_integers(low: int, high: int, rows: int) -> Tensor:
    """Makes a matrix of integers whose first two rows are the extremes.

    Shape: (rows, ``_IN``), int64.
    """
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(low, high + 1, (rows, _IN), generator=generator)
    numbers[0], numbers[1] = high, low
    return numbers


def _bf16_error(prepacked: bool) -> float:
    """Returns the largest error of a product in bfloat16, as a share of the largest value."""
    left, right = _random_integers(-9, 9, _ROWS).bfloat16(), _random_integers(-9, 9, _OUT).bfloat16()
    exact = left.float() @ right.float().T
    bias = torch.zeros(_OUT, dtype=torch.bfloat16)
    if prepacked:
        weight = torch.ops.mkldnn._reorder_linear_weight(right, _ROWS)
        product: Any = torch.ops.mkldnn._linear_pointwise(left, weight, bias, "none", [], "")
    else:
        product = F.linear(left, right, bias)
    return float((product.float() - exact).abs().max() / exact.abs().max())


def _int8_error(bits: int) -> int:
    """Returns the largest error of a product of bytes with weights of so many bits."""
    most = 2 ** (bits - 1) - 1
    left, right = _random_integers(0, 255, _ROWS), _random_integers(-most, most, _OUT)
    weight = torch.ops.onednn.qlinear_prepack(right.to(torch.int8), [_ROWS, _IN])
    scales, zeros = torch.ones(_OUT), torch.zeros(_OUT, dtype=torch.int64)
    product: Any = torch.ops.onednn.qlinear_pointwise(
        left.to(torch.uint8), 1.0, 0, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return int((product.long() - left @ right.T).abs().max())


def has_bf16_instructions() -> bool:
    """Tells whether the processor has instructions for bf16 that oneDNN uses; others emulate it."""
    if not _computes(lambda: bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())):
        return False
    return _is_arm() or _has("avx512_bf16") or _has("amx_tile")


def instruction_set() -> str:
    """Names the vector instructions that torch uses on this processor, and those for bf16 and int8."""
    capability: str = torch.backends.cpu.get_cpu_capability()
    if capability != "AVX512":
        return "NEON" if capability == "DEFAULT" and _is_arm() else _NAMES.get(capability, capability)
    extensions = {"VNNI": "vnni", "bf16": "avx512_bf16", "AMX": "amx_tile"}
    return " + ".join(["AVX-512", *(name for name, flag in extensions.items() if _has(flag))])


def _has(flag: str) -> bool:
    return bool(getattr(torch.cpu, f"_is_{flag}_supported")())


def _is_arm() -> bool:
    return platform.machine() in ("arm64", "aarch64")
