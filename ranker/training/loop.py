"""The training loop, read from top to bottom: groups, validation, forward, loss, backward, clip, step, checkpoint."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from ranker.errors import TrainingError
from ranker.model.backbone import layers_of, lowest_layers
from ranker.model.batch import TokenBatch
from ranker.model.cpu_attention import learning_in
from ranker.model.reranker import Reranker
from ranker.model.views import Views
from ranker.scoring.batching import Order
from ranker.scoring.pairs import Pairs
from ranker.scoring.scorer import Scorer
from ranker.scoring.text import Texts
from ranker.settings.training import TrainingConfig
from ranker.training.checkpoint import Checkpoint, State
from ranker.training.frozen import FrozenViews
from ranker.training.groups import Group, TrainingSet, draw_groups
from ranker.training.losses import LOSSES
from ranker.training.processes import SINGLE_PROCESS, ProcessGroup, current_processes

_TOKENS_PER_PASS: Final = {"cpu": 2_048, "cuda": 65_536}
"""Tokens that a forward pass computes at once; the loss sees all passes of a step together."""

_PRECISIONS: Final = ("float32", "bf16")
"""The precisions that a model can be trained in."""


class Validation(NamedTuple):
    """The value on dev after a step."""

    step: int
    value: float


class Step(NamedTuple):
    """One step of a model: how far the training was before it, 0 to 1, its loss, and the pairs it held.

    ``spread`` is the mean distance of a group's highest score from its lowest, as the loss saw them; ``chance`` the
    loss of scores that are all equal; ``validated`` the validation just before the step, where there was one.
    """

    number: int
    progress: float
    loss: float
    pairs: int
    spread: float
    chance: float
    validated: Validation | None


@dataclass(frozen=True)
class Trained:
    """A training that is over: its length, and the validation whose weights the model now has.

    ``warnings`` are the watchdog's.
    """

    steps: int
    groups: int
    seconds: float
    losses: tuple[float, ...]
    validations: tuple[Validation, ...]
    best: Validation | None
    warnings: tuple[str, ...] = ()


@dataclass
class _Training:
    """One model in training: its optimizer, its steps and validations so far, and its best weights on dev."""

    scorer: Scorer
    config: TrainingConfig
    optimizer: torch.optim.Optimizer
    validate: Callable[[], float] | None
    losses: list[float] = field(default_factory=list)
    groups: int = 0
    validations: list[Validation] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    validation_seconds: float = 0.0

    @classmethod
    def begin(cls, scorer: Scorer, config: TrainingConfig, validate: Callable[[], float] | None) -> "_Training":
        """A training before its first step, with resolved settings."""
        optimizer = optimizer_of(scorer.model, config)
        return cls(scorer, config, optimizer, validate if config.validations else None)

    @property
    def model(self) -> Reranker:
        return self.scorer.model

    @property
    def best(self) -> Validation | None:
        """The validation of the highest value, the first of equals."""
        return max(self.validations, key=lambda validation: validation.value, default=None)


def train(
    scorers: Sequence[Scorer],
    data: TrainingSet,
    config: TrainingConfig,
    validators: Sequence[Callable[[], float] | None],
    on_step: Callable[[Step], object],
    checkpoint: Checkpoint | None = None,
) -> list[Trained]:
    """Trains models in place on the same groups: a single one, or several heads on one frozen backbone.

    A validator gives a model's value on dev, where higher is better; a model that has one ends with its best weights.
    The training of a single model continues from its checkpoint as if it had not been stopped; the caller removes that
    once the model is saved. Every process of ``launched_processes`` computes its shard of each step.

    Raises: TrainingError where a model cannot be trained so, or a loss or gradient is no longer a number; ModelError
    where more layers are to be frozen than there are.
    """
    processes, started = current_processes(), time.monotonic()
    configs = [config.resolved(scorer.model.config) for scorer in scorers]
    for scorer, own in zip(scorers, configs, strict=True):
        check_trainable(scorer, own, len(scorers) > 1)
    # other random numbers in each process, or dropout would drop the same units of every shard
    torch.manual_seed(config.seed + processes.rank)

    with _lowest_layers_frozen(scorers[0].model, config.frozen_layers):
        trainings = [_Training.begin(*parts) for parts in zip(scorers, configs, validators, strict=True)]
        # a frozen backbone computes each pair once, for all heads and epochs; texts read apart are no pairs
        heads_alone = scorers[0].model.config.frozen and not scorers[0].model.config.apart
        frozen_views = FrozenViews(scorers, data.queries, data.passages) if heads_alone else None
        if checkpoint is not None and (state := processes.broadcast_state(checkpoint.load)) is not None:
            _restore(trainings[0], state, processes)
            started = time.monotonic() - float(state.facts["seconds"])

        def closing_seconds() -> float:
            return sum(training.validation_seconds for training in trainings)

        done = len(trainings[0].losses)
        for progress, groups in training_steps(data, config, started, done, processes, closing_seconds):
            shard = processes.shard(groups)
            views = frozen_views.of(data.rows(shard)) if frozen_views is not None and shard else None

            steps = [_train_step(training, data, groups, views, progress, processes) for training in trainings]

            # of several heads, the one that tells passages apart least is reported
            on_step(min(steps, key=lambda step: step.spread))

            # the main process decides for all when a checkpoint is due, and alone writes it
            if checkpoint is not None and processes.broadcast(lambda: checkpoint.due):
                state = _state(trainings[0], time.monotonic() - started, processes)
                if processes.is_main:
                    checkpoint.save(state)

        return [_finish(training, started, processes) for training in trainings]


def training_steps(
    data: TrainingSet,
    config: TrainingConfig,
    started: float,
    done: int = 0,
    processes: ProcessGroup = SINGLE_PROCESS,
    closing_seconds: Callable[[], float] = lambda: 0.0,
) -> Iterator[tuple[float, list[Group]]]:
    """The groups of each step, and how far the training is before it, until epochs, steps or minutes are over.

    The groups depend on the seed alone, so that every model sees the same in the same order; the steps that are
    ``done`` are left out. Minutes count from ``started``, a time of ``time.monotonic``, by the clock of the main
    process; what follows the last step takes ``closing_seconds`` of them.
    """
    total = config.epochs * math.ceil(len(data.candidates) / config.groups_per_step)
    total = min(total, config.max_steps) if config.max_steps else total

    def progress_before(step: int) -> float:
        if not config.max_minutes:
            return step / total
        spent, budget = time.monotonic() - started, 60 * config.max_minutes - closing_seconds()
        # a step that would end further beyond the budget than the one before ended short of it is left out
        if step and budget - spent < spent / step / 2:
            return 1.0
        return max(step / total, spent / budget)

    for step, groups in islice(enumerate(_draw_steps(data, config)), done, None):
        # one clock for all, or processes would end at different steps
        progress = processes.broadcast(partial(progress_before, step))
        if progress >= 1.0:
            return
        yield progress, groups


def _draw_steps(data: TrainingSet, config: TrainingConfig) -> Iterator[list[Group]]:
    rng = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        groups = draw_groups(data.candidates, config.negatives, rng)
        for start in range(0, len(groups), config.groups_per_step):
            yield groups[start : start + config.groups_per_step]


def _train_step(
    training: _Training,
    data: TrainingSet,
    groups: list[Group],
    views: Views | None,
    progress: float,
    processes: ProcessGroup,
) -> Step:
    """Validates a model where that is due, and moves its weights against the gradient of the loss of the groups.

    Raises: TrainingError where the loss or its gradient is no longer a number.
    """
    config, model, loss_function = training.config, training.model, LOSSES[training.config.loss]

    # validations lie evenly: the first of four comes at progress 1/4, the last after the last step
    due = progress * config.validations >= len(training.validations) + 1
    validated = _validate(training, training.validate, processes) if due and training.validate is not None else None

    # learning rate
    share = warm_up_then_decay(progress, config.warmup)
    for parameters in training.optimizer.param_groups:
        parameters["lr"] = parameters["initial_lr"] * share
    model.train(config.dropout)

    # forward: (G, 1 + N), or (G, G * (1 + N)) for a loss over all groups
    scores = _scores(training.scorer, data, groups, loss_function.in_batch, views, processes) / config.temperature
    compared = scores
    if loss_function.in_batch:
        # other positives of a question are among the other groups' passages; -inf leaves them out
        known = torch.from_numpy(data.known_positives(groups)).to(scores.device)
        compared = scores.masked_fill(known, float("-inf"))
    loss = loss_function.function(compared)
    _check_finite("loss", loss, training)

    # backward, through this process's own rows of the scores; the gradients of all shards add up
    loss.backward()  # type: ignore[no-untyped-call]
    processes.all_reduce_gradients(model.parameters())
    _check_finite("gradient", clip_grad_norm_(model.parameters(), config.clip), training)

    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)

    training.losses.append(loss.item())
    training.groups += len(groups)
    scores = scores.detach()
    spread = (scores.amax(dim=1) - scores.amin(dim=1)).mean().item()
    chance = loss_function.chance(compared).item()
    pairs = sum(len(group.doc_ids) for group in groups)
    return Step(len(training.losses), progress, training.losses[-1], pairs, spread, chance, validated)


def _check_finite(name: str, value: Tensor, training: _Training) -> None:
    if not torch.isfinite(value):
        step = len(training.losses) + 1
        raise TrainingError(f"step {step}: the {name} is {value.item()}; try a smaller learning rate.")


def warm_up_then_decay(progress: float, warmup: float) -> float:
    """The share of the learning rate: rising to 1 at ``warmup``, then falling to 0 at the end."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return max((1.0 - progress) / (1.0 - warmup), 0.0) if warmup < 1.0 else 1.0


# forward passes


def _scores(
    scorer: Scorer, data: TrainingSet, groups: list[Group], in_batch: bool, views: Views | None, processes: ProcessGroup
) -> Tensor:
    """The scores of each question for the passages of its group, or ``in_batch`` for those of all groups.

    Each process computes its shard, and has the scores of all. Shape: (G, 1 + N) or (G, G * (1 + N)).
    """
    shard = processes.shard(groups)
    if in_batch:
        queries, passages = _vectors(scorer, data, shard) if shard else (None, None)
        return processes.all_gather_rows(queries) @ processes.all_gather_rows(passages).T
    scores = _shard_scores(scorer, data, shard, views).view(len(shard), -1) if shard else None
    return processes.all_gather_rows(scores)


def _shard_scores(scorer: Scorer, data: TrainingSet, groups: list[Group], views: Views | None) -> Tensor:
    """The scores of pairs, group by group.

    Shape: (G * (1 + N),).
    """
    model = scorer.model
    if model.config.apart:
        queries, passages = _vectors(scorer, data, groups)
        # (G, H) to (G * (1 + N), H): each query's vector beside those of its passages
        return model.similarities(queries.repeat_interleave(len(groups[0].doc_ids), dim=0), passages)
    if views is not None:
        return model.from_views(views)
    pairs = Pairs(data.queries, data.passages, data.rows(groups))
    return _in_order(scorer, scorer.pair_batches(pairs, _TOKENS_PER_PASS[scorer.device.type]), model.score)


def _vectors(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> tuple[Tensor, Tensor]:
    """The vectors of the groups' queries and passages.

    Shape: (G, H) and (G * (1 + N), H).
    """
    rows, size = data.rows(groups), len(groups[0].doc_ids)
    # a query is the same for all pairs of its group, so that of the first is encoded
    return _encode(scorer, data.queries, rows[::size, 0]), _encode(scorer, data.passages, rows[:, 1])


def _encode(scorer: Scorer, texts: Texts, rows: Order) -> Tensor:
    """Shape: rows (R,) to (R, H)."""
    batches = scorer.single_batches(texts, rows, _TOKENS_PER_PASS[scorer.device.type])
    return _in_order(scorer, batches, scorer.model.vectors)


def _in_order(
    scorer: Scorer, batches: Iterator[tuple[Order, TokenBatch]], compute: Callable[[TokenBatch], Tensor]
) -> Tensor:
    """Computes batches of inputs of like length, which wastes little on padding, and restores the order of the inputs.

    Shape: (inputs, ...).
    """
    positions, outputs = [], []
    with learning_in(scorer.precision, scorer.device):
        for numbers, batch in batches:
            positions.append(numbers)
            outputs.append(compute(batch))
    # output i belongs to input positions[i]; argsort gives the output of each input
    order = torch.from_numpy(np.argsort(np.concatenate(positions)))
    return torch.cat(outputs)[order.to(scorer.device)]


# before the first step and after the last


def check_trainable(scorer: Scorer, config: TrainingConfig, shared: bool = False) -> None:
    """Refuses settings under which a model cannot learn, or cannot share its backbone with other heads.

    Raises: TrainingError.
    """
    model, mode = scorer.model, scorer.model.config.mode
    if shared and not model.config.frozen:
        raise TrainingError(f"mode {mode!r} is fine-tuned, expected a frozen backbone.")
    if scorer.precision not in _PRECISIONS:
        raise TrainingError(f"precision {scorer.precision} is not to train in, expected {' or '.join(_PRECISIONS)}.")
    if LOSSES[config.loss].in_batch and not model.config.apart:
        raise TrainingError(f"loss {config.loss} needs a mode that reads apart, but the mode is {mode!r}.")
    every_layer = model.config.frozen or config.frozen_layers > layers_of(model.encoder.backbone)
    if every_layer and not any(parameter.requires_grad for parameter in model.head_parameters()):
        raise TrainingError(
            f"mode {mode!r} frozen has nothing to learn, since its head has no weights; use it as it is."
        )


@contextmanager
def _lowest_layers_frozen(model: Reranker, count: int) -> Iterator[None]:
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


def _validate(training: _Training, validate: Callable[[], float], processes: ProcessGroup) -> Validation:
    """Computes the model's value on dev in the main process, and keeps its weights where they are the best so far."""
    training.model.eval()
    began = time.monotonic()
    validation = Validation(len(training.losses), processes.broadcast(validate))
    training.validation_seconds = time.monotonic() - began
    training.validations.append(validation)
    if training.best is validation:
        training.best_weights = {name: _copy(value) for name, value in training.model.state_dict().items()}
    return validation


def _finish(training: _Training, started: float, processes: ProcessGroup) -> Trained:
    """Validates a last time, and gives the model its best weights."""
    if training.validate is not None:
        _validate(training, training.validate, processes)
    if training.best_weights:
        training.model.load_state_dict(training.best_weights)
    training.model.eval()
    return Trained(
        steps=len(training.losses),
        groups=training.groups,
        seconds=time.monotonic() - started,
        losses=tuple(training.losses),
        validations=tuple(training.validations),
        best=training.best,
    )


# checkpoints


def _state(training: _Training, seconds: float, processes: ProcessGroup) -> State:
    """All that the next step depends on; complete in the main process, with the random states of all."""
    tensors = {"random.cpu": processes.all_gather(torch.get_rng_state())}
    if torch.cuda.is_available():
        tensors["random.cuda"] = processes.all_gather(torch.cuda.get_rng_state())
    if not processes.is_main:
        return State(tensors, {})
    for name, value in training.model.state_dict().items():
        tensors[f"weights.{name}"] = _copy(value)
    for index, moments in training.optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"moments.{index}.{name}"] = _copy(value)
    tensors |= {f"best.{name}": value.clone() for name, value in training.best_weights.items()}
    validations = [list(validation) for validation in training.validations]
    facts = {"losses": training.losses, "groups": training.groups, "seconds": seconds, "validations": validations}
    return State(tensors, facts)


def _restore(training: _Training, state: State, processes: ProcessGroup) -> None:
    """Continues from a state; random numbers are others where another number of processes wrote it."""
    training.model.load_state_dict(_under("weights.", state))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("moments.", state).items():
        index, _, kind = name.partition(".")
        moments.setdefault(int(index), {})[kind] = value
    training.optimizer.load_state_dict({**training.optimizer.state_dict(), "state": moments})
    training.best_weights = _under("best.", state)
    training.validations = [Validation(*validation) for validation in state.facts["validations"]]
    training.losses, training.groups = list(state.facts["losses"]), int(state.facts["groups"])
    random = _under("random.", state)
    if len(random["cpu"]) == processes.world_size:
        # torch crashes on a random state that is a view of another tensor
        torch.set_rng_state(random["cpu"][processes.rank].clone())
        if "cuda" in random and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"][processes.rank].clone())


def _copy(value: Tensor) -> Tensor:
    """A tensor on the CPU that shares no memory with another, since safetensors writes none that do."""
    return value.detach().cpu().clone()


def _under(prefix: str, state: State) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.tensors.items() if name.startswith(prefix)}
