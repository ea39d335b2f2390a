"""Packed scores beside those of the model's own classes in transformers, which know nothing of ranker."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from gpu_contenders import OfRanker, Scores
from gpu_machine import DTYPES
from gpu_models import Workload
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from ranker import open_dataset, read_run

_BATCH: Final = 32

_OF_A_QUERY: Final = 4
"""Candidates of a question of dev: few, so that many questions are read."""

_TOLERANCE: Final = {"float32": 1e-3, "fp16": 0.05, "bf16": 0.25}
"""How far a score may be off, as a share of the scores' spread: numbers of 24, 11 and 8 bits through every layer."""


def parity(pack: Path, work_folder: Path, mode: str, precision: str, device: str, pairs: int) -> dict[str, Any]:
    """The largest differences of the scores of so many pairs of the pack, and their spread, one standard deviation."""
    folder = _model(pack / "model", mode, work_folder)
    work = _first_pairs(pack, pairs)
    ours = OfRanker(folder, precision, device, mode)
    packed = ours.scores(ours.prepare(work))
    padded = _padded_scores(folder, mode, precision, device, work)
    exact = _exact_scores(folder, mode, work)
    spread = float(exact.std())
    from_padded, from_cpu = (float(np.abs(packed - scores).max()) for scores in (padded, exact))
    tolerance = _TOLERANCE[precision] * spread
    return {
        "pairs": len(work.passages),
        "spread": spread,
        "from_padded": from_padded,
        "from_cpu": from_cpu,
        "tolerance": tolerance,
        "within": max(from_padded, from_cpu) <= tolerance,
    }


def _model(backbone: Path, mode: str, work_folder: Path) -> Path:
    """The backbone as it is for ``dual``, and behind a new classifier, always the same one, for ``cross``."""
    folder = work_folder / "models" / f"parity-{mode}"
    if not folder.exists():
        torch.manual_seed(1)
        loader, settings = (
            (AutoModel, {}) if mode == "dual" else (AutoModelForSequenceClassification, {"num_labels": 1})
        )
        model: Any = loader.from_pretrained(backbone, dtype=torch.float32, **settings)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(backbone).save_pretrained(folder)
    return folder


@lru_cache(maxsize=1)
def _first_pairs(pack: Path, pairs: int) -> Workload:
    """The first candidates of each of the first questions of dev."""
    data, run = open_dataset(str(pack / "qa")), read_run(pack / "runs" / "dev.run")
    asked = data.queries("dev")
    every = ((query_id, doc_id) for query_id in run for doc_id in run[query_id].doc_ids[:_OF_A_QUERY])
    chosen = list(islice(every, pairs))
    row_of = {query_id: row for row, query_id in enumerate(dict.fromkeys(query_id for query_id, _ in chosen))}
    passages = tuple(data.collection[doc_id].contents for _, doc_id in chosen)
    query_of = np.array([row_of[query_id] for query_id, _ in chosen])
    return Workload(tuple(asked[query_id].text for query_id in row_of), passages, query_of, np.zeros_like(query_of))


def _exact_scores(folder: Path, mode: str, work: Workload) -> Scores:
    """Of float32 on the CPU, computed once. Shape: (P,)."""
    path = folder / "exact.npy"
    if not path.exists():
        np.save(path, _padded_scores(folder, mode, "float32", "cpu", work))
    scores: Scores = np.load(path)
    return scores


def _padded_scores(folder: Path, mode: str, precision: str, device: str, work: Workload) -> Scores:
    """The scores of batches in the order of the work, padded to their longest input. Shape: (P,)."""
    loader = AutoModel if mode == "dual" else AutoModelForSequenceClassification
    model: Any = loader.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    coarse = precision != "float32"
    with torch.inference_mode(), torch.autocast(device, dtype=DTYPES[precision] if coarse else None, enabled=coarse):
        if mode == "dual":
            queries, passages = (_vectors(model, folder, texts, device) for texts in (work.queries, work.passages))
            return (queries[work.query_of] * passages).sum(axis=1)
        parts = [model(**inputs).logits[:, 0].float().cpu() for inputs in _batches(folder, work.texts, device)]
    return torch.cat(parts).numpy()


def _vectors(model: Any, folder: Path, texts: Sequence[str], device: str) -> Scores:
    """The first tokens' vectors at length one. Shape: (texts, H)."""
    alone = [(text,) for text in texts]
    parts = [model(**inputs).last_hidden_state[:, 0].float().cpu() for inputs in _batches(folder, alone, device)]
    return torch.nn.functional.normalize(torch.cat(parts), dim=1).numpy()


def _batches(folder: Path, texts: Sequence[tuple[str, ...]], device: str) -> Iterator[Any]:
    """Texts, or pairs of them whose passage is cut, as transformers' own tokenizer pads them."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    settings = {
        "max_length": min(512, config["max_position_embeddings"]),
        "return_token_type_ids": config.get("type_vocab_size", 0) > 1,
    }
    for start in range(0, len(texts), _BATCH):
        columns = [list(column) for column in zip(*texts[start : start + _BATCH], strict=True)]
        truncation = "only_second" if len(columns) == 2 else True
        yield tokenizer(*columns, padding=True, truncation=truncation, return_tensors="pt", **settings).to(device)
