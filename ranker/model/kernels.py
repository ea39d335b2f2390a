"""The kernels that compute a precision on this machine, known by computing a small product with them.

Flags of a processor say what it could do; what the libraries make of it is seen in a product whose result is known.
"""

import platform
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from torch import Tensor

from ranker.errors import SetupError

_ROWS, _IN, _OUT = 128, 384, 384
"""Of the products tried: as wide as a small model, so that the libraries take the kernels that they take for one."""

_BF16_ERROR: Final = 0.02
"""Of a product in bfloat16, against its largest value: sums are kept in float32, the result has 8 bits."""

NEEDS: Final = {
    "bf16": "AVX-512, AMX or Arm's bf16 instructions",
    "int8": "x86-64 with AVX2 or more, or Arm",
}
"""What a processor lacks that does not compute a precision."""

_NAMES: Final = {"AVX512": "AVX-512", "NO AVX": "no AVX", "DEFAULT": "no vector instructions that torch uses"}


class Kernels(NamedTuple):
    """What computes the linear maps of a precision; ``name`` goes into manifests.

    ``prepacked``: oneDNN lays the weights out beforehand. ``weight_bits``: of int8's weights, 8 or 7.
    """

    name: str
    prepacked: bool = False
    weight_bits: int = 0


@cache
def kernels(precision: str, device: str) -> Kernels:
    """The kernels of a precision on a kind of device, ``cpu`` or ``cuda``.

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
    """Unsigned bytes times signed ones, which processors without VNNI add in pairs into 16 bits.

    255 x 127 x 2 does not fit there and is cut off in silence, 255 x 63 x 2 does: weights of 7 bits keep sums exact.
    """
    for bits in (8, 7):
        if _computes(lambda bits=bits: _int8_error(bits) == 0):  # type: ignore[misc]
            return Kernels(f"oneDNN int8, {bits}-bit weights", prepacked=True, weight_bits=bits)
    raise SetupError(
        f"--precision int8: this processor ({instruction_set()}) does not add 8-bit products exactly; "
        f"expected {NEEDS['int8']}, or --precision float32."
    )


def _computes(right: Callable[[], bool]) -> bool:
    try:
        return right()
    except (RuntimeError, NotImplementedError, AttributeError):  # how torch refuses what it was built without
        return False


def _made_up(low: int, high: int, rows: int) -> Tensor:
    """Whole numbers that begin with the extremes. Shape: (rows, ``_IN``), int64."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(low, high + 1, (rows, _IN), generator=generator)
    numbers[0], numbers[1] = high, low
    return numbers


def _bf16_error(prepacked: bool) -> float:
    """The largest error of a product in bfloat16, as a share of the largest value."""
    left, right = _made_up(-9, 9, _ROWS).bfloat16(), _made_up(-9, 9, _OUT).bfloat16()
    exact = left.float() @ right.float().T
    bias = torch.zeros(_OUT, dtype=torch.bfloat16)
    if prepacked:
        weight = torch.ops.mkldnn._reorder_linear_weight(right, _ROWS)
        product: Any = torch.ops.mkldnn._linear_pointwise(left, weight, bias, "none", [], "")
    else:
        product = F.linear(left, right, bias)
    return float((product.float() - exact).abs().max() / exact.abs().max())


def _int8_error(bits: int) -> int:
    """The largest error of a product of bytes with the largest weights of so many bits."""
    most = 2 ** (bits - 1) - 1
    left, right = _made_up(0, 255, _ROWS), _made_up(-most, most, _OUT)
    weight = torch.ops.onednn.qlinear_prepack(right.to(torch.int8), [_ROWS, _IN])
    scales, zeros = torch.ones(_OUT), torch.zeros(_OUT, dtype=torch.int64)
    product: Any = torch.ops.onednn.qlinear_pointwise(
        left.to(torch.uint8), 1.0, 0, weight, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return int((product.long() - left @ right.T).abs().max())


def has_bf16_instructions() -> bool:
    """Whether the processor multiplies in bf16 by itself, and oneDNN knows it; without, it is computed by detours."""
    if not _computes(lambda: bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())):
        return False
    return _is_arm() or _has("avx512_bf16") or _has("amx_tile")


def instruction_set() -> str:
    """The vector instructions that torch uses on this processor, and what it has for bf16 and int8 beside them."""
    capability: str = torch.backends.cpu.get_cpu_capability()
    if capability != "AVX512":
        return "NEON" if capability == "DEFAULT" and _is_arm() else _NAMES.get(capability, capability)
    beside = {"VNNI": "vnni", "bf16": "avx512_bf16", "AMX": "amx_tile"}
    return " + ".join(["AVX-512", *(name for name, flag in beside.items() if _has(flag))])


def _has(flag: str) -> bool:
    return bool(getattr(torch.cpu, f"_is_{flag}_supported")())


def _is_arm() -> bool:
    return platform.machine() in ("arm64", "aarch64")
