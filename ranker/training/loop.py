"""The training loop, read from top to bottom: groups, validation, forward, loss, backward, clip, step, checkpoint."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ranker.errors import TrainingError
from ranker.model.cpu_attention import learning_in
from ranker.model.encoder import layers_of
from ranker.model.inputs import TokenBatch, Views
from ranker.model.reranker import Reranker
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs, Rows, Texts
from ranker.settings.training import TrainingConfig
from ranker.training.checkpoint import Checkpoint, State
from ranker.training.frozen import FrozenViews
from ranker.training.groups import Group, TrainingSet, draw_groups
from ranker.training.losses import LOSSES
from ranker.training.optimizer import lowest_layers_frozen, optimizer_of, warm_up_then_decay
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

    def record(self) -> dict[str, Any]:
        """The JSON of it, for the manifest of a run and ``training.json``."""
        return {
            "steps": self.steps,
            "groups": self.groups,
            "seconds": round(self.seconds, 1),
            "validations": [validation._asdict() for validation in self.validations],
            "kept": self.best._asdict() if self.best else None,
            "warnings": list(self.warnings),
            "losses": [round(loss, 5) for loss in self.losses],
        }


@dataclass
class _Training:
    """One model in training: its optimizer, its steps and validations so far, and its best weights on dev."""

    scorer: Scorer
    config: TrainingConfig
    validate: Callable[[], float] | None
    processes: ProcessGroup
    optimizer: torch.optim.Optimizer
    losses: list[float] = field(default_factory=list)
    groups: int = 0
    validations: list[Validation] = field(default_factory=list)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    validation_seconds: float = 0.0

    @property
    def model(self) -> Reranker:
        """The scorer's model, whose weights learn."""
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
    A single model continues from its checkpoint as if it had not been stopped; the caller removes that once the model
    is saved. Each process of ``launched_processes`` computes its shard of every step.

    Raises: TrainingError where a model cannot learn so, or a loss or gradient is no longer a number; ModelError where
    more layers are to be frozen than there are.
    """
    processes, started = current_processes(), time.monotonic()
    configs = [config.resolved(scorer.model.config) for scorer in scorers]
    for scorer, own in zip(scorers, configs, strict=True):
        check_trainable(scorer, own, len(scorers) > 1)
    # other random numbers in each process, or dropout would drop the same units of every shard
    torch.manual_seed(config.seed + processes.rank)

    with lowest_layers_frozen(scorers[0].model, config.frozen_layers):
        trainings = [
            _Training(scorer, own, validate if own.validations else None, processes, optimizer_of(scorer.model, own))
            for scorer, own, validate in zip(scorers, configs, validators, strict=True)
        ]
        # one pass of a frozen backbone over each pair serves all heads and epochs; texts read apart are no pairs
        model = scorers[0].model.config
        frozen = FrozenViews(scorers, data.queries, data.passages) if model.frozen and not model.apart else None

        # resume: the main process reads the state, and all continue from it
        if checkpoint is not None and (state := processes.broadcast_state(checkpoint.load)) is not None:
            _restore(trainings[0], state)
            started = time.monotonic() - float(state.facts["seconds"])

        done, closing_seconds = len(trainings[0].losses), partial(_closing_seconds, trainings)
        for progress, groups in training_steps(data, config, started, done, processes, closing_seconds):
            # views (P, V, L, H) of the P pairs of this process's shard
            shard = processes.shard(groups)
            views = frozen.of(data.rows(shard)) if frozen is not None and shard else None

            # each model by itself: validation, forward, loss, backward, clip, optimizer step
            steps = [_train_step(training, data, groups, views, progress) for training in trainings]

            # of several heads, the one that tells passages apart least is reported
            on_step(min(steps, key=lambda step: step.spread))

            # the main process's clock decides for all, since all take part in collecting the state
            if checkpoint is not None and processes.broadcast(lambda: checkpoint.due):
                state = _state(trainings[0], time.monotonic() - started)
                if processes.is_main:
                    checkpoint.save(state)

        return [_finish(training, started) for training in trainings]


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


def training_steps(
    data: TrainingSet,
    config: TrainingConfig,
    started: float,
    done: int = 0,
    processes: ProcessGroup = SINGLE_PROCESS,
    closing_seconds: Callable[[], float] = lambda: 0.0,
) -> Iterator[tuple[float, list[Group]]]:
    """The groups of each step, and how far the training is before it, until epochs, steps or minutes are over.

    The groups depend on the seed alone, so that every model sees the same in the same order. The first steps, which a
    checkpoint has ``done``, are left out. Minutes count from ``started``, a time of ``time.monotonic``, by the clock of
    the main process, and ``closing_seconds`` of them are kept for the last validations.
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
    training: _Training, data: TrainingSet, groups: list[Group], views: Views | None, progress: float
) -> Step:
    """Validates a model where that is due, and moves its weights against the gradient of the loss of the groups.

    Raises: TrainingError where the loss or its gradient is no longer a number.
    """
    config, model, criterion = training.config, training.model, LOSSES[training.config.loss]

    # of four validations the first is due at progress 1/4; the last follows the last step
    due = progress * config.validations >= len(training.validations) + 1
    validated = _validate(training) if due else None

    # warm-up and decay: backbone and head keep the ratio of their rates
    share = warm_up_then_decay(progress, config.warmup)
    for parameters in training.optimizer.param_groups:
        parameters["lr"] = parameters["initial_lr"] * share

    # forward: (G, 1 + N), or in batch (G, G * (1 + N)), of all processes' groups
    model.train(config.dropout)
    scores = _scores(training, data, groups, criterion.in_batch, views) / config.temperature

    # in batch, passages of other groups may answer a question too; -inf takes them out of its negatives
    compared = scores
    if criterion.in_batch:
        known_positives = torch.from_numpy(data.known_positives(groups)).to(scores.device)
        compared = scores.masked_fill(known_positives, float("-inf"))
    loss = criterion.function(compared)
    _check_finite("loss", loss, training)

    # backward through this process's own rows of the scores; the gradients of all rows add up
    loss.backward()  # type: ignore[no-untyped-call]
    training.processes.all_reduce_gradients(model.parameters())

    # clip, after the sum, so that the norm is the whole step's
    _check_finite("gradient", clip_grad_norm_(model.parameters(), config.clip), training)
    training.optimizer.step()
    training.optimizer.zero_grad(set_to_none=True)

    training.losses.append(loss.item())
    training.groups += len(groups)
    scores = scores.detach()
    spread = (scores.amax(dim=1) - scores.amin(dim=1)).mean().item()
    chance = criterion.chance(compared).item()
    pairs = sum(len(group.doc_ids) for group in groups)
    return Step(len(training.losses), progress, training.losses[-1], pairs, spread, chance, validated)


def _check_finite(name: str, value: Tensor, training: _Training) -> None:
    if not torch.isfinite(value):
        step = len(training.losses) + 1
        raise TrainingError(f"step {step}: the {name} is {value.item()}; try a smaller learning rate.")


def _validate(training: _Training) -> Validation | None:
    """Computes a model's value on dev, where it has a validator, and keeps its weights if they are the best so far."""
    if training.validate is None:
        return None
    training.model.eval()
    began = time.monotonic()
    # the main process alone computes the value; all weights are equal
    validation = Validation(len(training.losses), training.processes.broadcast(training.validate))
    training.validation_seconds = time.monotonic() - began
    training.validations.append(validation)
    if training.best is validation:
        training.best_weights = {name: _copy(value) for name, value in training.model.state_dict().items()}
    return validation


def _closing_seconds(trainings: list[_Training]) -> float:
    """The time that the last validations will take: as long as the ones before, 0 before the first."""
    return sum(training.validation_seconds for training in trainings)


def _finish(training: _Training, started: float) -> Trained:
    """Validates a last time, and gives the model its best weights."""
    _validate(training)
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


# forward passes


def _scores(training: _Training, data: TrainingSet, groups: list[Group], in_batch: bool, views: Views | None) -> Tensor:
    """The scores of each question for the passages of its group, or ``in_batch`` for those of all groups.

    Each process computes its shard, and has the scores of all. Shape: (G, 1 + N) or (G, G * (1 + N)).
    """
    scorer, processes = training.scorer, training.processes
    shard = processes.shard(groups)
    if in_batch:
        queries, passages = _vectors(scorer, data, shard) if shard else (None, None)
        # (G, H) times (H, G * (1 + N)), of all processes
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
    return _in_order(scorer, scorer.encoding.pair_batches(pairs, _TOKENS_PER_PASS[scorer.device.type]), model.score)


def _vectors(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> tuple[Tensor, Tensor]:
    """The vectors of the groups' queries and passages.

    Shape: (G, H) and (G * (1 + N), H).
    """
    rows, size = data.rows(groups), len(groups[0].doc_ids)
    # a query is the same for all pairs of its group, so that of the first is encoded
    return _encode(scorer, data.queries, rows[::size, 0]), _encode(scorer, data.passages, rows[:, 1])


def _encode(scorer: Scorer, texts: Texts, rows: Rows) -> Tensor:
    """Shape: rows (R,) to (R, H)."""
    batches = scorer.encoding.text_batches(texts, rows, _TOKENS_PER_PASS[scorer.device.type])
    return _in_order(scorer, batches, scorer.model.vectors)


def _in_order(
    scorer: Scorer, batches: Iterator[tuple[Rows, TokenBatch]], compute: Callable[[TokenBatch], Tensor]
) -> Tensor:
    """Computes batches of inputs of like length, which wastes little on padding, and restores the order of the inputs.

    Shape: (inputs, ...).
    """
    positions, outputs = [], []
    with learning_in(scorer.precision, scorer.device):
        for numbers, batch in batches:
            positions.append(numbers)
            outputs.append(compute(batch.to(scorer.device)))
    # output i belongs to input positions[i]; argsort gives the output of each input
    order = torch.from_numpy(np.argsort(np.concatenate(positions)))
    return torch.cat(outputs)[order.to(scorer.device)]


# checkpoints


def _state(training: _Training, seconds: float) -> State:
    """All that the next step depends on; complete in the main process, with the random states of all."""
    processes = training.processes
    # (world_size, bytes): each process draws its own random numbers
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


def _restore(training: _Training, state: State) -> None:
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
    random, processes = _under("random.", state), training.processes
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
