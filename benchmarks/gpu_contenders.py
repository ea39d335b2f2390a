"""ranker and sentence-transformers as scorers of the same pairs: from texts, and from token ids that are ready."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gpu_machine import DTYPES
from gpu_models import Workload
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers.utils import is_flash_attn_2_available

from ranker import Compute, Scorer, load_model
from ranker.scoring.tokens import Pairs

Scores = NDArray[np.float32]


class Batches(NamedTuple):
    """Inputs by length, and which of the texts each of them is.

    Shape: order (P,).
    """

    order: NDArray[np.int64]
    features: list[dict[str, Any]]


class OfRanker:
    """``ranker``'s scorer of a model directory; ``dual`` is compared by vectors, everything else reads pairs."""

    def __init__(self, folder: Path, precision: str, device: str, mode: str = "cross") -> None:
        self._scorer = Scorer(load_model(str(folder), mode), Compute(precision, device))

    def prepare(self, work: Workload) -> Pairs:
        """Token ids, each text tokenised once."""
        rows = np.stack([work.query_of, np.arange(len(work.passages))], axis=1)
        return Pairs(self._scorer.queries(work.queries), self._scorer.passages(work.passages), rows)

    def scores(self, pairs: Pairs) -> Scores:
        """One logit for each pair, in host memory."""
        return self._scorer.scores(pairs, lambda _: None)


class OfSentenceTransformers:
    """sentence-transformers' ``CrossEncoder``, its weights in the precision itself, with torch's attention.

    ``flattened``: inputs end to end through flash-attn, which this library does behind heads of its own alone.
    """

    def __init__(self, folder: Path, precision: str, device: str, flattened: bool = False) -> None:
        loading = {"dtype": DTYPES[precision], "attn_implementation": "flash_attention_2" if flattened else "sdpa"}
        if flattened:
            self._model = CrossEncoder(modules=_flattening(folder, loading), device=device).to(DTYPES[precision])
        else:
            self._model = CrossEncoder(str(folder), device=device, model_kwargs=loading)
        self._device = torch.device(device)
        self._model.eval()

    def predict(self, texts: list[tuple[str, str]], batch: int) -> Scores:
        """The library's own way from texts to logits."""
        scores = self._model.predict(
            texts, batch_size=batch, show_progress_bar=False, activation_fn=torch.nn.Identity(), convert_to_numpy=True
        )
        return np.asarray(scores, dtype=np.float32)

    def prepare(self, texts: list[tuple[str, str]], batch: int) -> Batches:
        """Batches of features in host memory, longest texts first as ``predict`` has them."""
        order = np.argsort([-sum(map(len, pair)) for pair in texts], kind="stable")
        inputs = [texts[number] for number in order]
        parts = [self._model.preprocess(inputs[start : start + batch]) for start in range(0, len(inputs), batch)]
        return Batches(order, parts)

    def scores(self, batches: Batches) -> Scores:
        """The logits of batches that are ready, computed as ``predict`` does."""
        with torch.inference_mode():
            parts = [self._model(self._on_device(features))["scores"].view(-1) for features in batches.features]
            scores = torch.cat(parts).float().cpu().numpy()
        return scores[np.argsort(batches.order)]

    def _on_device(self, features: dict[str, Any]) -> dict[str, Any]:
        """A copy, so that the same batches can be computed again."""
        return {
            name: value.to(self._device, non_blocking=True) if torch.is_tensor(value) else value
            for name, value in features.items()
        }


def _flattening(folder: Path, loading: dict[str, Any]) -> list[torch.nn.Module]:
    """A backbone, its first token's vector, and a linear map to one score."""
    backbone = Transformer(str(folder), transformer_task="feature-extraction", model_kwargs=loading)
    width = int(backbone.model.config.hidden_size)
    head = Dense(width, 1, activation_function=None, module_output_name="scores")
    return [backbone, Pooling(width, "cls"), head]


def can_flatten(precision: str) -> bool:
    """Whether flash-attn is installed, and computes in this precision."""
    return precision != "float32" and bool(is_flash_attn_2_available())


def fastest_batch(
    peer: OfSentenceTransformers, texts: list[tuple[str, str]], sizes: Sequence[int], seconds: float
) -> tuple[int, float]:
    """The batch size of most pairs per second, and that rate; one of which two batches take longer is not tried.

    Raises: the last error where no size can be computed.
    """
    rates: dict[int, float] = {}
    for size in sizes:
        if rates and 2 * size / max(rates.values()) > seconds:
            break
        tried = texts[: 2 * size]
        try:
            peer.predict(tried, size)  # the first call of a size pays for kernels that later ones find ready
            rates[size] = len(tried) / seconds_of(lambda tried=tried, size=size: peer.predict(tried, size))
        except torch.OutOfMemoryError:
            if not rates:
                raise
            break
    best = max(rates, key=rates.__getitem__)
    return best, rates[best]


def seconds_of(work: Any) -> float:
    """The time that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
