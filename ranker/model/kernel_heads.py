"""Heads that count how alike the words of question and passage are, in soft bins of cosine."""

from itertools import product
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ranker.model.head import Head, Parts, linear
from ranker.model.views import Views

_MEANS: Final = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)
_WIDTHS: Final = (1e-3, *(0.1,) * 10)
"""Eleven kernels, the first for equal words (Xiong et al. 2017, section 4.4)."""

_LOG_SCALE: Final = 0.01
"""By which the authors' own code scales the logarithms, so that a new linear layer does not saturate."""

_NGRAMS: Final = (1, 2, 3)
_FILTERS: Final = 128
"""Of ``conv-knrm`` (Dai et al. 2018, section 4.3)."""


class KernelHead(Head):
    """K-NRM, Xiong et al. 2017, equations 4 to 6, on the backbone's word embeddings.

    The tanh around it is left out: it changes no order, and losses here take scores of any size.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.kernels = Kernels()
        self.weights = linear(len(_MEANS))

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        features = self.kernels(views.query[:, -1], views.passage[:, -1], views.query_mask, views.passage_mask)
        scores: Tensor = self.weights(features)
        return scores.squeeze(-1)


class ConvKernelHead(Head):
    """Conv-KNRM, Dai et al. 2018, equations 1 to 4: kernels on every pair of n-gram lengths of question and passage."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.convolutions = nn.ModuleList(nn.Conv1d(parts.shape.width, _FILTERS, length) for length in _NGRAMS)
        self.kernels = Kernels()
        self.weights = linear(len(_MEANS) * len(_NGRAMS) ** 2)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        queries = self._ngrams(views.query[:, -1], views.query_mask)
        passages = self._ngrams(views.passage[:, -1], views.passage_mask)
        features = [
            self.kernels(query, passage, views.query_mask, views.passage_mask)
            for query, passage in product(queries, passages)
        ]
        scores: Tensor = self.weights(torch.cat(features, dim=-1))
        return scores.squeeze(-1)

    def _ngrams(self, words: Tensor, mask: Tensor) -> list[Tensor]:
        """The n-gram that begins at each word, by length; behind the last word come zeros.

        Shape: (P, L, H) to (P, L, F) each.
        """
        kept = words.masked_fill(~mask.unsqueeze(-1), 0.0).transpose(1, 2)
        padded = (functional.pad(kept, (0, length - 1)) for length in _NGRAMS)
        return [
            torch.relu(convolution(part)).transpose(1, 2)
            for convolution, part in zip(self.convolutions, padded, strict=True)
        ]


class CedrKernelHead(Head):
    """CEDR-KNRM, MacAvaney et al. 2019: w · [φ(1); ...; φ(V); [CLS]_V], with the kernels φ(k) on layer k's words.

    Question and passage are read together.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        width, layers = parts.shape
        self.kernels = Kernels()
        self.weights = linear(len(_MEANS) * layers + width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        layers = zip(views.query.unbind(dim=1), views.passage.unbind(dim=1), strict=True)
        features = [self.kernels(query, passage, views.query_mask, views.passage_mask) for query, passage in layers]
        scores: Tensor = self.weights(torch.cat((*features, views.cls[:, -1]), dim=-1))
        return scores.squeeze(-1)


class Kernels(nn.Module):
    """Soft term frequencies: the kernels' sums over the passage's words, their logarithms over the question's."""

    means: Tensor
    widths: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(_MEANS), persistent=False)
        self.register_buffer("widths", torch.tensor(_WIDTHS), persistent=False)

    def forward(self, query: Tensor, passage: Tensor, query_mask: Tensor, passage_mask: Tensor) -> Tensor:
        """What the masks leave out counts nothing, whichever kernel its similarity falls into.

        Shape: query (P, Lq, H), passage (P, Lp, H), masks (P, Lq) and (P, Lp), result (P, K).
        """
        cosines = functional.normalize(query, dim=-1) @ functional.normalize(passage, dim=-1).transpose(1, 2)
        near = torch.exp(-((cosines.unsqueeze(-1) - self.means) ** 2) / (2 * self.widths**2))
        counts = near.masked_fill(~passage_mask[:, None, :, None], 0.0).sum(dim=2)
        logs = torch.log(counts.clamp(min=1e-10)) * _LOG_SCALE
        return logs.masked_fill(~query_mask.unsqueeze(-1), 0.0).sum(dim=1)
