"""Every head by its mode; the two that need nothing of their own are here."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from ranker.model.head import Head, Parts
from ranker.model.kernel_heads import CedrKernelHead, ConvKernelHead, KernelHead
from ranker.model.layer_heads import LayerAttentionHead, LayerMeanHead, MultiLayerHead, TermTransHead, TokenPoolHead
from ranker.model.views import Views


class DualHead(Head):
    """Similarity of the two texts' own vectors: BERT (Rep), Qiao et al. 2019, equation 1 with cosine."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._cosine = parts.config.similarity == "cosine"
        self.projection = parts.projection

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,), of views that have ``vectors``."""
        query, passage = self._compared(views.query[:, -1, 0]), self._compared(views.passage[:, -1, 0])
        return (query * passage).sum(dim=-1)

    def vectors(self, pooled: Tensor) -> Tensor:
        """The vectors whose inner product is the score: what FAISS indexes.

        Shape: (N, H times the poolings) to (N, what the projection gives).
        """
        projected: Tensor = self.projection(pooled)
        return self._compared(projected)

    def _compared(self, vectors: Tensor) -> Tensor:
        return functional.normalize(vectors, dim=-1) if self._cosine else vectors


class CrossHead(Head):
    """The stock classifier's own way from the last layer's [CLS] to one logit: BERT (Last-Int), Qiao et al. 2019.

    The paper's is w · [CLS]; a stock BERT has its pooler in between, tanh(W [CLS] + b), as Nogueira & Cho 2019 do too.
    Of two classes the score is the log-odds of the one that ``RankerConfig.label`` names.
    """

    classifies = True

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self._classify = parts.classify
        # a tuple, so that the parameters stay registered once, where the stock model has them
        self._stock: tuple[Any] = (parts.stock,)
        labels = {name: number for number, name in parts.stock.config.id2label.items()}
        self._label = int(labels[parts.config.label]) if parts.config.label else 0

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        logits = self._classify(self._stock[0], views.cls[:, -1])
        return logits[:, 0] if logits.shape[-1] == 1 else logits[:, self._label] - logits[:, 1 - self._label]


HEADS: dict[str, type[Head]] = {
    "dual": DualHead,
    "cross": CrossHead,
    "mult-int": MultiLayerHead,
    "term-trans": TermTransHead,
    "token-pool": TokenPoolHead,
    "layer-mean": LayerMeanHead,
    "layer-attention": LayerAttentionHead,
    "knrm": KernelHead,
    "conv-knrm": ConvKernelHead,
    "cedr-knrm": CedrKernelHead,
}
"""The head of each mode."""
