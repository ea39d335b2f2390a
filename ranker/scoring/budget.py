"""How many tokens a batch holds: learned from the machine once for each kind of model, and remembered."""

import hashlib
import json
import platform
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from ranker.data.cache import cache_folder
from ranker.data.files import written
from ranker.model.batch import Packed
from ranker.model.views import Reads
from ranker.scoring.readers import Reader

DEFAULT: Final = {"cpu": 2_048, "cuda": 131_072}
"""On a CPU a batch that stays in cache is fastest; a GPU wants to be filled."""

_TRIED: Final = {"cpu": (1_024, 2_048, 4_096, 8_192), "cuda": (32_768, 65_536, 131_072, 262_144)}

WORTH_PROBING: Final = 4_000_000
"""Tokens of work from which on a probe of a few seconds is not missed; less work has the default."""

_LENGTH: Final = 128
_TIMES: Final = 3
_MOST_OF_FREE_MEMORY: Final = 0.5

_BETTER: Final = 0.97
"""Another budget than the default must take this share of its time a token or less: timings are noisy."""


def learned_budget(reader: Reader, reads: Reads, kind: str, device: torch.device) -> int:
    """The tokens of a batch at which this reader is fastest here; it is measured where it is not known yet.

    ``kind`` says what the answer depends on beside the machine: the model's shape and precision.
    """
    path = cache_folder() / "budgets" / f"{_key(kind, device)}.json"
    if path.is_file():
        return int(json.loads(path.read_text())["tokens"])
    best = fastest(lambda tokens: _seconds(reader, reads, tokens, device), device)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written(path) as beside:
        beside.write_text(json.dumps({"kind": kind, "tokens": best}) + "\n")
    return best


def fastest(seconds: Callable[[int], float], device: torch.device) -> int:
    """Of the budgets that fit into memory the one of least time a token, or the default if none is clearly better."""
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


def _seconds(reader: Reader, reads: Reads, tokens: int, device: torch.device) -> float:
    """The median time that a batch takes."""
    inputs, spent = _made_up(tokens), []
    for _ in range(_TIMES):
        started = time.monotonic()
        reader.views(inputs, reads)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.monotonic() - started)
    return float(np.median(spent))


def _made_up(tokens: int) -> Packed:
    count = max(1, tokens // _LENGTH)
    ids = np.ones(count * _LENGTH, dtype=np.int32)
    return Packed(ids, np.zeros_like(ids), np.zeros_like(ids), np.arange(count + 1, dtype=np.int64) * _LENGTH)


def _twice_fits(device: torch.device) -> bool:
    """Whether a batch twice as large as the largest yet would leave half of the free memory."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * torch.cuda.max_memory_allocated(device) < _MOST_OF_FREE_MEMORY * free


def _key(kind: str, device: torch.device) -> str:
    """Names the machine, torch and the kind."""
    machine = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    )
    facts = (machine, device.type, torch.get_num_threads(), torch.__version__, kind)
    return hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:24]
