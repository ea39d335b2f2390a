"""sentence-transformers' ``CrossEncoderTrainer``: FOLDER SETTINGS."""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from torch.utils.data import BatchSampler, SequentialSampler
from transformers import TrainerCallback
from turns import say_trained


class InOrder(CrossEncoderTrainer):
    """The pairs in the order in which they are given."""

    def get_batch_sampler(self, dataset: Dataset, batch_size: int, drop_last: bool, **_: object) -> BatchSampler:
        """Batches as they come."""
        return BatchSampler(SequentialSampler(dataset), batch_size, drop_last)


class Losses(TrainerCallback):
    """Each step's loss, and the time at the first step's beginning."""

    def __init__(self) -> None:
        self.found: list[float] = []
        self.started = 0.0

    def on_train_begin(self, *_: object, **__: object) -> None:
        """Starts the clock, as it is started where ranker trains: texts and model are at hand."""
        self.started = time.monotonic()

    def on_log(self, *_: object, logs: Mapping[str, float], **__: object) -> None:
        """Keeps the step's loss."""
        if "loss" in logs:
            self.found.append(float(logs["loss"]))


def main(folder: Path, settings: dict[str, Any]) -> None:
    """From texts to trained weights, which the process keeps to itself."""
    config = json.loads((folder / "training.json").read_text())
    length = int((folder / "length").read_text())
    model = CrossEncoder((folder / "model").read_text(), max_length=length, device="cpu")
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    columns = {name: [pair[name] for pair in pairs] for name in ("query", "passage", "label")}
    arguments = CrossEncoderTrainingArguments(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=settings["precision"] == "bf16",
        num_train_epochs=1,
        per_device_train_batch_size=config["groups_per_step"] * (1 + config["negatives"]),
        learning_rate=config["learning_rate"],
        weight_decay=config["weight_decay"],
        max_grad_norm=config["clip"],
        warmup_steps=round(config["warmup"] * config["max_steps"]),
        lr_scheduler_type="linear",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    losses = Losses()
    loss = BinaryCrossEntropyLoss(model)
    trainer = InOrder(model, arguments, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[losses])
    trainer.train()
    say_trained(time.monotonic() - losses.started, losses.found)


main(Path(sys.argv[1]), json.loads(sys.argv[2]))
