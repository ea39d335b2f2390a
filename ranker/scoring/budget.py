"""The tokens that a batch holds: measured on the machine once for each kind of model, and remembered."""

import platform
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import torch

from ranker.files.digests import measure_once
from ranker.model.inputs import Packed

DEFAULT: Final = {"cpu": 2_048, "cuda": 131_072}
"""On a CPU a batch that stays in cache is fastest; a GPU wants to be filled."""

_TRIED: Final = {"cpu": (1_024, 2_048, 4_096, 8_192), "cuda": (32_768, 65_536, 131_072, 262_144)}

WORTH_PROBING: Final = 4_000_000
"""Tokens of work from which on a probe of a few seconds is not missed; less work has the default."""

_LENGTH: Final = 128
"""Tokens of an input of the probe, a passage's of a few sentences, where the model reads as many."""

_TIMES: Final = 3
"""Batches of each size: the median of fewer is one timing."""

_MOST_OF_FREE_MEMORY: Final = 0.5
"""Of a GPU: the next size tried takes twice as much."""

_BETTER: Final = 0.97
"""Another budget than the default must take this share of its time a token or less: timings are noisy."""


class Probe(NamedTuple):
    """A model whose best batch size is asked for: how it computes a batch, on which device, and its longest input.

    ``kind`` names all that the answer depends on beside the machine: the model's shape and precision.
    """

    compute: Callable[[Packed], object]
    kind: str
    device: torch.device
    length: int


def learned_budget(probe: Probe) -> int:
    """Gives the tokens of a batch at which a model is fastest here, measured where that is not known yet."""
    device = probe.device
    machine = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    )
    facts = (machine, device.type, torch.get_num_threads(), torch.__version__, probe.kind)
    sizes = (*_TRIED[device.type], DEFAULT[device.type])
    return measure_once("batch", facts, lambda: fastest(lambda tokens: _seconds(probe, tokens), device), sizes)


def fastest(seconds: Callable[[int], float], device: torch.device) -> int:
    """Chooses the size of least time a token that fits into memory, or the default if none is clearly better."""
    default = DEFAULT[device.type]
    rates: dict[int, float] = {}
    for tokens in _TRIED[device.type]:
        try:
            rates[tokens] = seconds(tokens) / tokens
        except torch.OutOfMemoryError:
            break
        if not _twice_fits(device):
            break
    best = min(rates, key=rates.__getitem__, default=default)
    return best if default not in rates or rates[best] < _BETTER * rates[default] else default


def _seconds(probe: Probe, tokens: int) -> float:
    """Measures the median time that a batch takes."""
    inputs, spent = _artificial_batch(tokens, min(_LENGTH, probe.length)), list[float]()
    for _ in range(_TIMES):
        started = time.monotonic()
        probe.compute(inputs)
        if probe.device.type == "cuda":
            torch.cuda.synchronize(probe.device)
        spent.append(time.monotonic() - started)
    return float(np.median(spent))


def _artificial_batch(tokens: int, length: int) -> Packed:
    count = max(1, tokens // length)
    ids = np.ones(count * length, dtype=np.int32)
    return Packed(ids, np.zeros_like(ids), np.zeros_like(ids), np.arange(count + 1, dtype=np.int64) * length)


def _twice_fits(device: torch.device) -> bool:
    """Whether a batch twice as large as the largest yet would leave half of the free memory."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * torch.cuda.max_memory_allocated(device) < _MOST_OF_FREE_MEMORY * free
