"""The training loop, to be read from top to bottom."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from ranker.errors import TrainingError
from ranker.model.backbone import layers_of, lowest_layers
from ranker.model.batch import TokenBatch, pad
from ranker.model.reranker import Reranker
from ranker.scoring.device import learning_in
from ranker.scoring.schedule import batches
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Input, Texts
from ranker.training.config import TrainingConfig
from ranker.training.losses import GROUP_LOSSES, contrastive
from ranker.training.negatives import Candidates, Group, draw_groups

_TOKENS_PER_PASS = {"cpu": 4_096, "cuda": 65_536}
"""Tokens computed at once within a step; the step's loss sees all of them."""


@dataclass(frozen=True)
class TrainingSet:
    """The groups' source, with every text as ids; ``query_rows`` and ``passage_rows`` say where each id's text is."""

    candidates: list[Candidates]
    queries: Texts
    passages: Texts
    query_rows: dict[str, int]
    passage_rows: dict[str, int]

    @cached_property
    def positives(self) -> dict[str, frozenset[str]]:
        """The positives of each query."""
        return {one.query_id: frozenset(one.positives) for one in self.candidates}


class Step(NamedTuple):
    """How far a training is: ``progress`` from 0 to 1, the loss of this step, and the pairs it held."""

    number: int
    progress: float
    loss: float
    pairs: int


class Validation(NamedTuple):
    """What dev said after a step."""

    step: int
    value: float


@dataclass(frozen=True)
class Trained:
    """What a training did: its length, and the validation whose weights the model now has."""

    steps: int
    groups: int
    seconds: float
    losses: tuple[float, ...]
    validations: tuple[Validation, ...]
    best: Validation | None


def train(
    scorer: Scorer,
    data: TrainingSet,
    config: TrainingConfig,
    validate: Callable[[], float] | None,
    on_step: Callable[[Step], object],
) -> Trained:
    """Trains the scorer's model in place; where ``validate`` is given (higher is better), the best weights are kept.

    Raises: TrainingError where the loss is no longer a number, or does not fit the mode; ModelError where more layers
    are to be frozen than there are.
    """
    model = scorer.model
    config = config.resolved(model.config.apart)
    _check_trainable(model, config)
    with _frozen(lowest_layers(model.encoder.backbone, config.frozen_layers)):
        return _train(scorer, data, config, _Keeper(model, validate if config.validations else None), on_step)


def _train(
    scorer: Scorer, data: TrainingSet, config: TrainingConfig, keeper: "_Keeper", on_step: Callable[[Step], object]
) -> Trained:
    model = scorer.model
    torch.manual_seed(config.seed)
    optimizer = torch.optim.AdamW(_parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True)
    losses: list[float] = []
    groups_seen, total, started = 0, _total_steps(data, config), time.monotonic()
    for groups in _steps(data, config):
        progress = _progress(len(losses) / total, time.monotonic() - started, config.max_minutes)
        if progress >= 1.0:
            break
        if progress * config.validations >= len(keeper.validations) + 1:
            keeper.consider(len(losses))
        for part in optimizer.param_groups:
            part["lr"] = config.learning_rate * _warm_up_then_decay(progress, config.warmup)
        model.train(config.dropout)
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(scorer, data, groups, config)
        if not torch.isfinite(loss):
            raise TrainingError(f"step {len(losses) + 1}: the loss is {loss.item()}; try a smaller learning rate.")
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        losses.append(loss.item())
        groups_seen += len(groups)
        on_step(Step(len(losses), progress, losses[-1], sum(len(group.doc_ids) for group in groups)))
    keeper.consider(len(losses))
    keeper.restore()
    model.eval()
    seconds = time.monotonic() - started
    return Trained(len(losses), groups_seen, seconds, tuple(losses), tuple(keeper.validations), keeper.best)


def _loss(scorer: Scorer, data: TrainingSet, groups: list[Group], config: TrainingConfig) -> Tensor:
    with learning_in(scorer.precision, scorer.device):
        if not scorer.model.config.apart:
            scores = _scores_together(scorer, data, groups)
            return GROUP_LOSSES[config.loss](scores / config.temperature)
        queries, passages = _vectors(scorer, data, groups)
    if config.loss == "contrastive":
        known = _known_positives(data, groups).to(scorer.device)
        return contrastive(queries @ passages.T / config.temperature, len(groups[0].doc_ids), known)
    repeated = queries.repeat_interleave(len(groups[0].doc_ids), dim=0)
    scores = scorer.model.similarities(repeated, passages).view(len(groups), -1)
    return GROUP_LOSSES[config.loss](scores / config.temperature)


def _scores_together(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> Tensor:
    """Shape: (G, 1 + N)."""
    inputs = [
        scorer.pair(data.queries[data.query_rows[group.query_id]], data.passages[data.passage_rows[doc_id]])
        for group in groups
        for doc_id in group.doc_ids
    ]
    return _in_passes(scorer, inputs, scorer.model.score).view(len(groups), -1)


def _vectors(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> tuple[Tensor, Tensor]:
    """Shape: (G, H) and (G * (1 + N), H)."""
    queries = [scorer.single(data.queries[data.query_rows[group.query_id]]) for group in groups]
    passages = [scorer.single(data.passages[data.passage_rows[doc_id]]) for group in groups for doc_id in group.doc_ids]
    return _in_passes(scorer, queries, scorer.model.vectors), _in_passes(scorer, passages, scorer.model.vectors)


def _in_passes(scorer: Scorer, inputs: list[Input], compute: Callable[[TokenBatch], Tensor]) -> Tensor:
    """Computes inputs of like length together, which wastes little on padding, and answers in their own order."""
    lengths = np.array([len(one.ids) for one in inputs], dtype=np.int64)
    parts, rows = [], []
    for numbers in batches(lengths, _TOKENS_PER_PASS[scorer.device.type]):
        batch = pad([inputs[number] for number in numbers], scorer.template.pad_id)
        parts.append(compute(batch.to(scorer.device)))
        rows.append(numbers)
    back = np.argsort(np.concatenate(rows))
    return torch.cat(parts)[torch.from_numpy(back).to(scorer.device)]


def _known_positives(data: TrainingSet, groups: list[Group]) -> Tensor:
    """Where a passage of the batch is another positive of a query, and so no negative of it.

    Shape: (G, G * (1 + N)), bool.
    """
    positives = data.positives
    passages = [doc_id for group in groups for doc_id in group.doc_ids]
    size = len(groups[0].doc_ids)
    known = [[doc_id in positives[group.query_id] for doc_id in passages] for group in groups]
    for number in range(len(groups)):
        known[number][number * size] = False
    return torch.tensor(known)


def _check_trainable(model: Reranker, config: TrainingConfig) -> None:
    mode = model.config.mode
    if config.loss == "contrastive" and not model.config.apart:
        raise TrainingError(f"loss contrastive needs a mode that reads apart, but the mode is {mode!r}.")
    every_layer = model.config.frozen or config.frozen_layers > layers_of(model.encoder.backbone)
    if every_layer and not any(parameter.requires_grad for parameter in model.head_parameters()):
        raise TrainingError(
            f"mode {mode!r} frozen has nothing to learn, since its head has no weights; use it as it is."
        )


@contextlib.contextmanager
def _frozen(layers: list[nn.Module]) -> Iterator[None]:
    """Their weights get no gradients inside."""
    weights = [weight for layer in layers for weight in layer.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _parameter_groups(model: Reranker, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay, biases and normalisations do not (Devlin et al. 2019, appendix A.2)."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in learned if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in learned if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _steps(data: TrainingSet, config: TrainingConfig) -> Iterator[list[Group]]:
    """The groups of each step; they depend on the seed alone, so every mode sees the same in the same order."""
    rng = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        groups = draw_groups(data.candidates, config.negatives, rng)
        for start in range(0, len(groups), config.groups_per_step):
            yield groups[start : start + config.groups_per_step]


def _total_steps(data: TrainingSet, config: TrainingConfig) -> int:
    return config.epochs * math.ceil(len(data.candidates) / config.groups_per_step)


def _progress(share: float, seconds: float, max_minutes: float) -> float:
    return max(share, seconds / (60 * max_minutes) if max_minutes else 0.0)


def _warm_up_then_decay(progress: float, warmup: float) -> float:
    """The share of the learning rate: rising to 1 at ``warmup``, then falling to 0 at the end."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return max((1.0 - progress) / (1.0 - warmup), 0.0) if warmup < 1.0 else 1.0


class _Keeper:
    """Validates, and keeps a copy of the best weights so far."""

    def __init__(self, model: Reranker, validate: Callable[[], float] | None) -> None:
        self._model = model
        self._validate = validate
        self._weights: dict[str, Tensor] = {}
        self.validations: list[Validation] = []
        self.best: Validation | None = None

    def consider(self, step: int) -> None:
        if self._validate is None:
            return
        self._model.eval()
        validation = Validation(step, self._validate())
        self.validations.append(validation)
        if self.best is None or validation.value > self.best.value:
            self.best = validation
            self._weights = {key: value.detach().cpu().clone() for key, value in self._model.state_dict().items()}

    def restore(self) -> None:
        if self._weights:
            self._model.load_state_dict(self._weights)
