"""What comes back of a trained model: the weights that changed, in small files; and the model that is made of them."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

MODES: Final = ("cross", "dual")

SHARD_BYTES: Final = 15 * 2**20
"""Of one file: who lends a machine may give back no larger ones."""

RECORDS: Final = ("config.json", "ranker.json", "training.json")
"""What a model directory says of itself beside weights and tokenizer."""


def keep_learned(model: Path, start: Path, folder: Path) -> int:
    """Writes the weights that differ from those at the start, in float16, in files of at most ``SHARD_BYTES``.

    Of trained models float16 loses less than bfloat16, since no weight is large. Gives the number of bytes.
    """
    ours, theirs = load_file(model / "model.safetensors"), load_file(start / "model.safetensors")
    origin = {name: _name_at_start(name, theirs) for name in ours}
    same = {
        name: old for name, old in origin.items() if old and torch.equal(theirs[old].to(ours[name].dtype), ours[name])
    }
    learned = {name: value.half().contiguous() for name, value in ours.items() if name not in same}
    facts = {name: (model / name).read_text() for name in RECORDS} | {"same": json.dumps(same)}
    folder.mkdir(parents=True)
    for number, shard in enumerate(_shards(learned), 1):
        save_file(shard, folder / f"learned-{number}.safetensors", metadata=facts)
    return sum(path.stat().st_size for path in folder.iterdir())


def _name_at_start(name: str, weights: Mapping[str, Tensor]) -> str:
    """A weight's name in the plain backbone, which a classifier puts a prefix before; empty where it has none."""
    return next((known for known in (name, name.partition(".")[2]) if known in weights), "")


def _shards(weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, value in weights.items():
        if shard and size + value.nbytes > SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = value
        size += value.nbytes
    yield shard


def restored(out: Path, pack: Path, models: Path) -> Iterator[Path]:
    """Writes the directory of each model in ``out``, of what it learned and what the pack has of its weights."""
    with tempfile.TemporaryDirectory() as name:
        shutil.unpack_archive(pack, name, "zip")
        start = Path(name) / "model"
        old = load_file(start / "model.safetensors")
        for mode in (mode for mode in MODES if (out / mode).is_dir()):
            weights: dict[str, Tensor] = {}
            facts: dict[str, Any] = {}
            for path in sorted((out / mode).glob("learned-*.safetensors")):
                weights |= {name: value.float() for name, value in load_file(path).items()}
                with safe_open(path, "pt") as shard:
                    facts = shard.metadata()
            weights |= {name: old[origin].float() for name, origin in json.loads(facts["same"]).items()}
            (models / mode).mkdir(parents=True)
            for path in start.glob("*token*"):
                shutil.copy(path, models / mode)
            save_file(weights, models / mode / "model.safetensors", metadata={"format": "pt"})
            for record in RECORDS:
                (models / mode / record).write_text(facts[record])
            yield models / mode
