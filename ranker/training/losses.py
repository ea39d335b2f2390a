"""Losses on the scores of groups; the first passage of a group is its positive."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

GroupLoss = Callable[[Tensor], Tensor]


class Graded(NamedTuple):
    """What a loss says of the scores of groups, and what it would say of the best scores that are all equal.

    Shape: scores (G, N), loss and chance ().
    """

    scores: Tensor
    loss: Tensor
    chance: Tensor


def graded(scores: Tensor, loss: GroupLoss) -> Graded:
    """The loss of scores beside that of chance; only ``pointwise`` asks how high equal scores are.

    Shape: scores (G, N).
    """
    equal = torch.full_like(scores, -math.log(max(scores.shape[1] - 1, 1)), requires_grad=False)
    return Graded(scores.detach(), loss(scores), loss(equal))


def pointwise(scores: Tensor) -> Tensor:
    """Binary cross-entropy of every passage on its own (Nogueira & Cho 2019).

    Shape: scores (G, 1 + N).
    """
    labels = torch.zeros_like(scores)
    labels[:, 0] = 1.0
    return functional.binary_cross_entropy_with_logits(scores, labels)


def pairwise(scores: Tensor) -> Tensor:
    """Logistic loss of the positive's lead over each negative (RankNet, Burges et al. 2005).

    Shape: scores (G, 1 + N).
    """
    return functional.softplus(scores[:, 1:] - scores[:, :1]).mean()


def listwise(scores: Tensor) -> Tensor:
    """Cross-entropy of the positive among its group (localised contrastive estimation, Gao et al. 2021).

    Shape: scores (G, 1 + N).
    """
    return functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long, device=scores.device))


GROUP_LOSSES: dict[str, GroupLoss] = {"pointwise": pointwise, "pairwise": pairwise, "listwise": listwise}
"""Losses that look at each group by itself."""


def contrastive(similarities: Tensor, group_size: int, known: Tensor) -> Tensor:
    """Cross-entropy of each query's positive among all passages of the batch (Karpukhin et al. 2020).

    ``known`` marks the passages that are positives of a query without being its target; they do not count as negatives.

    Shape: similarities (G, G * (1 + N)), known the same, bool; the groups' passages follow each other.
    """
    targets = torch.arange(len(similarities), device=similarities.device) * group_size
    return functional.cross_entropy(similarities.masked_fill(known, float("-inf")), targets)
