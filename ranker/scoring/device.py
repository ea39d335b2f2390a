"""Where and in which precision a model runs."""

import contextlib
from collections.abc import Iterator

import torch

from ranker.errors import SetupError


def choose_device(name: str) -> torch.device:
    """The device of that name.

    Raises: SetupError for ``cuda`` where there is none.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise SetupError("--device cuda: torch finds no CUDA device here; use --device cpu, or install a CUDA torch.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def choose_precision(name: str, device: torch.device) -> str:
    """``bf16`` or ``float32``."""
    if name != "auto":
        return name
    return "bf16" if _computes_bf16(device) else "float32"


@contextlib.contextmanager
def running_in(precision: str, device: torch.device) -> Iterator[None]:
    """Backbones called inside compute in that precision."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
        yield


def _computes_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
