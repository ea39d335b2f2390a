"""Heads: each turns views into one score per pair, ``forward(views) -> (P,)``."""

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from ranker.model.backbone import Classify
from ranker.model.config import RankerConfig
from ranker.model.views import Reads, Views


class Head(nn.Module):
    """What every head has: a declaration of what it reads."""

    reads: ClassVar[Reads]


class DualHead(Head):
    """Similarity of the two texts' own vectors: BERT (Rep), Qiao et al. 2019, equation 1 with cosine."""

    reads = Reads(layers="last")

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self._cosine = config.similarity == "cosine"

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        query, passage = self.vectors(views.query[:, -1, 0]), self.vectors(views.passage[:, -1, 0])
        return (query * passage).sum(dim=-1)

    def vectors(self, pooled: Tensor) -> Tensor:
        """The vectors whose inner product is the score: what FAISS indexes.

        Shape: (N, H) in and out.
        """
        return functional.normalize(pooled, dim=-1) if self._cosine else pooled


class CrossHead(Head):
    """The stock classifier's own way from the last layer's [CLS] to one logit: BERT (Last-Int), Qiao et al. 2019.

    Of two classes the score is the log-odds of the second, as Nogueira & Cho 2019 label relevance.
    """

    reads = Reads(layers="last")

    def __init__(self, stock: nn.Module, classify: Classify) -> None:
        super().__init__()
        self._classify = classify
        # a tuple, so that the parameters stay registered once, where the stock model has them
        self._stock: tuple[Any] = (stock,)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        logits = self._classify(self._stock[0], views.cls[:, -1])
        return logits[:, 0] if logits.shape[-1] == 1 else logits[:, 1] - logits[:, 0]


HEADS: dict[str, Callable[[RankerConfig, nn.Module, Classify], Head]] = {
    "dual": lambda config, _stock, _classify: DualHead(config),
    "cross": lambda _config, stock, classify: CrossHead(stock, classify),
}
"""The head of each mode, made from the settings, the stock model, and its way from [CLS] to classes."""
