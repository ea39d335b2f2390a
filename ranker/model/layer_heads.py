"""Heads that read several layers, or every token of the last."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from ranker.model.head import Head, Parts, linear
from ranker.model.views import Views

_ATTENTION_HEADS: Final = 4
"""Of ``layer-attention``; every supported backbone's width is a multiple of it."""


class MultiLayerHead(Head):
    """BERT (Mult-Int), Qiao et al. 2019, section 3: Σ_k w_k · [CLS]_k over the layers k."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.weights = nn.ModuleList(linear(parts.shape.width) for _ in range(parts.shape.layers))

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        layers = views.cls.unbind(dim=1)
        scores = [weight(cls) for weight, cls in zip(self.weights, layers, strict=True)]
        return torch.stack(scores).sum(dim=0).squeeze(-1)


class TermTransHead(Head):
    """BERT (Term-Trans), Qiao et al. 2019, section 3: Σ_k w_k mean_ij cos(ReLU(P_k q_i^k), ReLU(P_k p_j^k)).

    The mean of the cosines of all pairs of tokens is the inner product of the two means of the vectors at length one,
    so no matrix of tokens by tokens is made.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        width, layers = parts.shape
        self.projections = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(layers))
        self.layers = nn.Linear(layers, 1)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        query = self._direction(views.query, views.query_mask)
        passage = self._direction(views.passage, views.passage_mask)
        scores: Tensor = self.layers((query * passage).sum(dim=-1))
        return scores.squeeze(-1)

    def _direction(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The mean of a text's projected tokens at length one, by layer.

        Shape: (P, V, L, H) to (P, V, H).
        """
        layers = tokens.unbind(dim=1)
        projected = [project(layer) for project, layer in zip(self.projections, layers, strict=True)]
        directions = functional.normalize(torch.relu(torch.stack(projected, dim=1)), dim=-1)
        return _mean(directions, mask)


class TokenPoolHead(Head):
    """Linear on the mean of the last layer's vectors of all words of both texts: w · mean_i h_i + b.

    One of the ways to sum a text up that Peters et al. 2019 weigh; markers are no words.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.weights = linear(parts.shape.width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        words = torch.cat((views.query[:, -1], views.passage[:, -1]), dim=1).unsqueeze(1)
        mask = torch.cat((views.query_mask, views.passage_mask), dim=1)
        scores: Tensor = self.weights(_mean(words, mask)[:, 0])
        return scores.squeeze(-1)


class LayerMeanHead(Head):
    """Linear on the mean of all layers' [CLS], w · mean_k [CLS]_k + b: the uniform weights of Kaneko & Komachi 2019."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.weights = linear(parts.shape.width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        scores: Tensor = self.weights(views.cls.mean(dim=1))
        return scores.squeeze(-1)


class LayerAttentionHead(Head):
    """Linear on the [CLS] of all layers by attention of several heads: Kaneko & Komachi 2019.

    Head n has a key K_n h_k + a_n and a value V_n h_k + b_n of layer k, and gives Σ_k softmax_k(u_n · key_k) value_k.
    What the heads give is put end to end.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        width = parts.shape.width
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.attention = nn.Parameter(torch.empty(_ATTENTION_HEADS, width // _ATTENTION_HEADS))
        nn.init.normal_(self.attention, std=0.02)
        self.weights = linear(width)

    def forward(self, views: Views) -> Tensor:
        """Shape: (P,)."""
        PAIRS, LAYERS, WIDTH = views.cls.shape  # noqa: N806  # axes are named in capitals
        by_head = (PAIRS, LAYERS, _ATTENTION_HEADS, WIDTH // _ATTENTION_HEADS)
        keys, values = self.keys(views.cls).view(by_head), self.values(views.cls).view(by_head)
        shares = torch.softmax((keys * self.attention).sum(dim=-1, keepdim=True), dim=1)
        scores: Tensor = self.weights((shares * values).sum(dim=1).reshape(PAIRS, WIDTH))
        return scores.squeeze(-1)


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean over a text's tokens; of none it is zero.

    Shape: (P, V, L, H), (P, L) to (P, V, H).
    """
    kept = mask[:, None, :, None]
    return tokens.masked_fill(~kept, 0.0).sum(dim=2) / kept.sum(dim=2).clamp(min=1)
