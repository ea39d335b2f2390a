"""Lightning-IR's ``CrossEncoderModule.score``: FOLDER SETTINGS."""

import os
import sys
from pathlib import Path

import torch
from lightning_ir import CrossEncoderModule
from lightning_ir.models import MonoConfig
from transformers import AutoModelForSequenceClassification
from turns import read_pairs, take_turns, write_scores


def main(folder: Path) -> None:
    """A query at a time, which is how its rerankers are fed."""
    source, length = (folder / "model").read_text(), int((folder / "length").read_text())
    config = MonoConfig(query_length=64, doc_length=length - 67, pooling_strategy="bert_pool", linear_bias=True)
    module = CrossEncoderModule(model_name_or_path=source, config=config).eval()
    _same_head(module.model, AutoModelForSequenceClassification.from_pretrained(source))

    def once() -> None:
        scored = {}
        with torch.inference_mode():
            for query_id, hits in read_pairs(folder).items():
                scores = module.score([hits[0][0]], [[text for _, _, text in hits]]).scores
                scored[query_id] = [(hit[1], float(score)) for hit, score in zip(hits, scores, strict=True)]
        write_scores(folder / f"{os.getpid()}.run", scored)

    take_turns(once)


def _same_head(model: torch.nn.Module, stock: torch.nn.Module) -> None:
    """Gives a new head the stock classifier's pooler and linear layer."""
    model.bert_pool[0].load_state_dict(stock.bert.pooler.dense.state_dict())
    model.linear.load_state_dict(stock.classifier.state_dict())


main(Path(sys.argv[1]))
