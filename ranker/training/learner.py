"""One model that learns: its optimiser, its learning rate, and the best of its weights."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from ranker.errors import TrainingError
from ranker.model.reranker import Reranker
from ranker.settings.training import TrainingConfig
from ranker.training.checkpoint import State
from ranker.training.losses import Graded
from ranker.training.processes import ALONE, Team

_WEIGHTS, _MOMENTS, _BEST, _RANDOM = "weights.", "moments.", "best.", "random."


class Validation(NamedTuple):
    """What dev said after a step."""

    step: int
    value: float


class Step(NamedTuple):
    """How far a training is: ``progress`` from 0 to 1, the loss of this step, and the pairs it held.

    ``spread`` is the mean distance of a group's highest score from its lowest, as the loss saw them; ``chance`` the
    loss of scores that are all equal; ``validated`` what dev said just before the step, where it was asked.
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
    """What a training did: its length, and the validation whose weights the model now has.

    ``warnings`` are the watchdog's.
    """

    steps: int
    groups: int
    seconds: float
    losses: tuple[float, ...]
    validations: tuple[Validation, ...]
    best: Validation | None
    warnings: tuple[str, ...] = ()


class Learner:
    """Takes losses, moves the weights, and keeps those that ``validate`` (higher is better) liked best.

    Of a ``team`` each process has one; all take the same steps.
    """

    def __init__(
        self, model: Reranker, config: TrainingConfig, validate: Callable[[], float] | None, team: Team = ALONE
    ) -> None:
        self._team = team
        self._model = model
        self._config = config
        self._parts = _parts(model, config)
        self._optimizer = torch.optim.AdamW(
            [{"params": part.weights, "lr": part.rate, "weight_decay": part.decay} for part in self._parts], fused=True
        )
        self._keeper = _Keeper(model, partial(team.agreed, validate) if validate and config.validations else None)
        self._losses: list[float] = []
        self._groups = 0
        self._validated: Validation | None = None
        self._started = time.monotonic()

    def begin(self, progress: float) -> None:
        """Makes the model ready for a step, and validates it first where that is due."""
        self._validated = None
        if progress * self._config.validations >= len(self._keeper.validations) + 1:
            self._validated = self._keeper.consider(len(self._losses))
        share = warm_up_then_decay(progress, self._config.warmup)
        for group, part in zip(self._optimizer.param_groups, self._parts, strict=True):
            group["lr"] = part.rate * share
        self._model.train(self._config.dropout)

    def learn(self, graded: Graded, progress: float, pairs: int) -> Step:
        """Moves the weights against the gradient of a loss over the scores of groups that hold so many pairs.

        Raises: TrainingError where the loss or its gradient is no longer a number.
        """
        loss = graded.loss
        self._check_finite("loss", loss)
        loss.backward()  # type: ignore[no-untyped-call]
        self._team.add_up(self._model.parameters())
        self._check_finite("gradient", clip_grad_norm_(self._model.parameters(), self._config.clip))
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self._losses.append(loss.item())
        self._groups += len(graded.scores)
        spread = (graded.scores.amax(dim=1) - graded.scores.amin(dim=1)).mean().item()
        chance = graded.chance.item()
        return Step(len(self._losses), progress, self._losses[-1], pairs, spread, chance, self._validated)

    def _check_finite(self, what: str, number: Tensor) -> None:
        if not torch.isfinite(number):
            raise TrainingError(
                f"step {len(self._losses) + 1}: the {what} is {number.item()}; try a smaller learning rate."
            )

    @property
    def steps(self) -> int:
        """The steps that were taken."""
        return len(self._losses)

    @property
    def seconds(self) -> float:
        """The time since the training began, less that in which it was stopped."""
        return time.monotonic() - self._started

    def closing(self) -> float:
        """The seconds that ``finish`` will take: those of the last validation, 0 before the first."""
        return self._keeper.seconds

    def state(self) -> State:
        """All that it is, to be taken up by another; of a team the first process has it, with all random states.

        The weights are copies, so that what shares memory here is whole there.
        """
        random = {f"{_RANDOM}cpu": self._team.stacked(torch.get_rng_state())}
        if torch.cuda.is_available():
            random |= {f"{_RANDOM}cuda": self._team.stacked(torch.cuda.get_rng_state())}
        if not self._team.leads:
            return State(random, {})
        tensors = random | {
            f"{_WEIGHTS}{name}": value.detach().cpu().clone() for name, value in self._model.state_dict().items()
        }
        for number, moments in self._optimizer.state_dict()["state"].items():
            tensors |= {f"{_MOMENTS}{number}.{name}": value.detach().cpu().clone() for name, value in moments.items()}
        tensors |= {f"{_BEST}{name}": value.clone() for name, value in self._keeper.weights.items()}
        validations = [list(validation) for validation in self._keeper.validations]
        facts = {"losses": self._losses, "groups": self._groups, "seconds": self.seconds, "validations": validations}
        return State(tensors, facts)

    def take_up(self, state: State) -> None:
        """Becomes what another was; with other random states where that was one of another number of processes."""
        self._model.load_state_dict(_part(state, _WEIGHTS))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(state, _MOMENTS).items():
            number, _, kind = name.partition(".")
            moments.setdefault(int(number), {})[kind] = value
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": moments})
        self._keeper.take_up(_part(state, _BEST), [Validation(*one) for one in state.facts["validations"]])
        random = _part(state, _RANDOM)
        if len(random["cpu"]) == self._team.count:
            # torch crashes on a state that is a part of another tensor
            torch.set_rng_state(random["cpu"][self._team.rank].clone())
            if "cuda" in random and torch.cuda.is_available():
                torch.cuda.set_rng_state(random["cuda"][self._team.rank].clone())
        self._losses, self._groups = list(state.facts["losses"]), int(state.facts["groups"])
        self._started = time.monotonic() - float(state.facts["seconds"])

    def finish(self) -> Trained:
        """Validates a last time, gives the model its best weights, and says what was done."""
        self._keeper.consider(len(self._losses))
        self._keeper.restore()
        self._model.eval()
        seconds = self.seconds
        validations, best = tuple(self._keeper.validations), self._keeper.best
        return Trained(len(self._losses), self._groups, seconds, tuple(self._losses), validations, best)


class _Part(NamedTuple):
    weights: list[nn.Parameter]
    rate: float
    decay: float


def _parts(model: Reranker, config: TrainingConfig) -> list[_Part]:
    """Backbone and head, each at its rate; biases and normalisations do not decay (Devlin et al. 2019, A.2)."""
    head = {id(weight) for weight in model.head_parameters()}
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for weight in model.parameters():
        if weight.requires_grad:
            kinds.setdefault((id(weight) in head, weight.ndim > 1), []).append(weight)
    return [
        _Part(
            weights,
            config.head_learning_rate if of_head else config.learning_rate,
            config.weight_decay if matrix else 0.0,
        )
        for (of_head, matrix), weights in kinds.items()
    ]


def warm_up_then_decay(progress: float, warmup: float) -> float:
    """The share of the learning rate: rising to 1 at ``warmup``, then falling to 0 at the end."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return max((1.0 - progress) / (1.0 - warmup), 0.0) if warmup < 1.0 else 1.0


class _Keeper:
    """Validates, and keeps a copy of the best weights so far."""

    def __init__(self, model: Reranker, validate: Callable[[], float] | None) -> None:
        self._model = model
        self._validate = validate
        self.weights: dict[str, Tensor] = {}
        self.validations: list[Validation] = []
        self.best: Validation | None = None
        self.seconds = 0.0

    def consider(self, step: int) -> Validation | None:
        if self._validate is None:
            return None
        self._model.eval()
        started = time.monotonic()
        validation = Validation(step, self._validate())
        self.seconds = time.monotonic() - started
        self.validations.append(validation)
        if self.best is None or validation.value > self.best.value:
            self.best = validation
            self.weights = {key: value.detach().cpu().clone() for key, value in self._model.state_dict().items()}
        return validation

    def restore(self) -> None:
        if self.weights:
            self._model.load_state_dict(self.weights)

    def take_up(self, weights: dict[str, Tensor], validations: list[Validation]) -> None:
        """Becomes what another was: of equal validations the first is the best."""
        self.weights, self.validations = weights, validations
        self.best = max(validations, key=lambda validation: validation.value, default=None)


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.tensors.items() if name.startswith(prefix)}
