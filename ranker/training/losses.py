"""Losses of the scores of questions' passages, and their values by chance."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


class Loss(NamedTuple):
    """A function from scores to a loss, and the passages it compares: a group's own, or those of all groups of a step.

    Shape: scores (G, 1 + N) with the positive first, or ``in_batch`` (G, G * (1 + N)), the groups one after another.
    """

    function: Callable[[Tensor], Tensor]
    in_batch: bool = False

    def chance(self, scores: Tensor) -> Tensor:
        """The loss of a model that tells no passages apart: the least over scores that are all equal.

        Scores of -inf stay. Shape: (G, C) to ().
        """
        # pointwise alone depends on the height: its best is the logit of the positives' share, 1 of C
        equal = torch.full_like(scores, -math.log(max(scores.shape[1] - 1, 1)), requires_grad=False)
        return self.function(equal.masked_fill(scores.detach().isneginf(), float("-inf")))


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


def contrastive(scores: Tensor) -> Tensor:
    """Cross-entropy of each question's positive among the passages of all groups (Karpukhin et al. 2020).

    A score of -inf leaves a passage out. Shape: scores (G, G * (1 + N)).
    """
    GROUPS, PASSAGES = scores.shape  # noqa: N806  # axes are named in capitals
    # the positive of group g is the first of its 1 + N passages: column g * (1 + N)
    targets = torch.arange(GROUPS, device=scores.device) * (PASSAGES // GROUPS)
    return functional.cross_entropy(scores, targets)


LOSSES: Final[dict[str, Loss]] = {
    "pointwise": Loss(pointwise),
    "pairwise": Loss(pairwise),
    "listwise": Loss(listwise),
    "contrastive": Loss(contrastive, in_batch=True),
}
"""Every loss by its name; ``settings.training.LOSSES`` says what each is."""


def loss_by_chance(name: str, groups: int, passages: int) -> float:
    """The loss of a step of ``groups`` groups of so many ``passages`` each, were all scores equal."""
    loss = LOSSES[name]
    columns = groups * passages if loss.in_batch else passages
    return loss.chance(torch.zeros(groups, columns, dtype=torch.float64)).item()
