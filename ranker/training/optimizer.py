"""The optimizer of a training: which weights learn, and how fast."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ranker.model.encoder import lowest_layers
from ranker.model.reranker import Reranker
from ranker.settings.training import TrainingConfig


def optimizer_of(model: Reranker, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW with a learning rate each for backbone and head; it decays no biases and norms (Devlin et al. 2019, A.2).

    ``initial_lr`` of a parameter group is its rate at the height of the warm-up.
    """
    head = {id(weight) for weight in model.head_parameters()}
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for weight in model.parameters():
        if weight.requires_grad:
            # biases and the weights of norms are vectors
            kinds.setdefault((id(weight) in head, weight.ndim > 1), []).append(weight)
    groups = []
    for (in_head, is_matrix), weights in kinds.items():
        rate = config.head_learning_rate if in_head else config.learning_rate
        decay = config.weight_decay if is_matrix else 0.0
        groups.append({"params": weights, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(groups, fused=True)


def warm_up_then_decay(progress: float, warmup: float) -> float:
    """The share of the learning rate: rising to 1 at ``warmup``, then falling to 0 at the end."""
    if progress < warmup:
        # not from 0, or the first step would learn nothing
        return max(progress / warmup, 0.01)
    return max((1.0 - progress) / (1.0 - warmup), 0.0) if warmup < 1.0 else 1.0


@contextmanager
def lowest_layers_frozen(model: Reranker, count: int) -> Iterator[None]:
    """Takes the lowest layers of a backbone that is fine-tuned out of the training.

    Raises: ModelError where there are fewer layers.
    """
    layers = [] if model.config.frozen else lowest_layers(model.encoder.backbone, count)
    weights = [weight for layer in layers for weight in layer.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
