"""The processes that train one model together; one alone, unless torchrun or accelerate launched several."""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, distributed, nn

from ranker.errors import SetupError, TrainingError
from ranker.model.device import choose_device
from ranker.scoring.batching import is_out_of_memory
from ranker.training.checkpoint import State

T = TypeVar("T")

_ANSWER: Final = timedelta(minutes=30)
"""How long the others wait for a process in the middle of a step; the longest of that is a validation."""

_TURN: Final = timedelta(days=7)
"""How long they wait for one that reads and indexes the dataset before them."""

_LAST_WORDS: Final = 5.0
"""Seconds until those end that did not fail first: a launcher ends all as soon as one has, and that one is to speak."""


class Team:
    """One process that trains alone; ``_Launched`` says the same of several, each of which does the same steps.

    All weights are the same in each: every one has the scores of the whole step, sends back through its own share of
    them, and adds up its gradient with the others'.
    """

    rank = 0
    count = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes, speaks and validates."""
        return self.rank == 0

    def share(self, groups: list[T]) -> list[T]:
        """What of a step's groups this process reads: all shares together are the groups, in order, each once."""
        cuts = [-(-len(groups) * rank // self.count) for rank in (self.rank, self.rank + 1)]
        return groups[cuts[0] : cuts[1]]

    def joined(self, found: Tensor | None) -> Tensor:
        """The rows that all processes found of their shares, in order; None is found of a share without groups.

        Gradients flow into one's own rows alone. Shape: (rows, N) each to (all rows, N).
        """
        if found is None:
            raise ValueError("a process alone reads every group")
        return found

    def all_of(self, groups: list[T], read: Callable[[list[T]], Tensor]) -> Tensor:
        """What ``read`` finds of all groups, each of which one process reads."""
        own = self.share(groups)
        return self.joined(read(own) if own else None)

    def add_up(self, weights: Iterable[nn.Parameter]) -> None:
        """Makes each gradient the sum of all processes'."""

    def agreed(self, find: Callable[[], float]) -> float:
        """What the first process finds, for all; the others do not look."""
        return float(find())

    def stacked(self, own: Tensor) -> Tensor:
        """Each process's tensor. Shape: any, to (count, ...)."""
        return own.unsqueeze(0)

    def handed(self, find: Callable[[], State | None]) -> State | None:
        """The state that the first process finds, for all; the others do not look."""
        return find()

    def check_alike(self, asked: Mapping[str, Any]) -> None:
        """Holds that every process was asked for the same.

        Raises: TrainingError with what is not.
        """

    def in_turn(self) -> AbstractContextManager[None]:
        """The first process goes before the others, and on each machine one before the rest; they find its caches."""
        return nullcontext()


ALONE: Final = Team()
_CURRENT: ContextVar[Team] = ContextVar("team", default=ALONE)


def current_team() -> Team:
    """The processes of the innermost ``launched``; outside, one alone."""
    return _CURRENT.get()


@contextmanager
def launched(device: str, patience: timedelta = _ANSWER) -> Iterator[Team]:
    """The processes that torchrun or accelerate launched train together inside; of a plain command it is one alone.

    Where one fails, its exception is raised there alone, and the others end with status 1 and say nothing.

    Raises: SetupError where they cannot work together here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "LOCAL_RANK" not in os.environ:
        yield ALONE
        return
    team: _Launched | None = None
    try:
        team = _Launched(choose_device(device), patience)
        token = _CURRENT.set(team)
        try:
            yield team
        finally:
            _CURRENT.reset(token)
        team.leave()
    except BaseException as error:
        # what fails before they know of each other fails in all of them
        if team.fails_first() if team is not None else os.environ["LOCAL_RANK"] == "0":
            raise
        time.sleep(_LAST_WORDS)
        raise SystemExit(1) from error


class _Launched(Team):
    """One of several processes. Accelerate brings them together, and torch carries what they exchange."""

    def __init__(self, device: torch.device, patience: timedelta) -> None:
        """Raises: SetupError where they do not reach each other, or one has no GPU of its own."""
        _check_gpus(device)
        accelerate = _accelerate()
        try:
            self._state = accelerate.PartialState(cpu=device.type == "cpu", timeout=patience)
            # where all of them can leave a word, even one whose collectives have failed
            host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            self._board = distributed.TCPStore(  # type: ignore[attr-defined]  # documented, and left out of __all__
                host, port, is_master=False, timeout=patience
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise SetupError(f"the processes do not find each other: {_told(error)}; launch them again.") from error
        self._device = self._state.device
        self.rank, self.count = self._state.process_index, self._state.num_processes
        self._prefix = f"ranker.{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        self._turns = 0

    def joined(self, found: Tensor | None) -> Tensor:
        shape = torch.tensor([0, 0] if found is None else list(found.shape), device=self._device)
        shapes = torch.stack(self._gathered(shape))
        lengths, width = shapes[:, 0].tolist(), int(shapes[:, 1].max())
        # which asks for a gradient, so that there is a way back that leads nowhere
        own = torch.zeros(0, width, device=self._device, requires_grad=True) if found is None else found
        padded = torch.zeros(max(lengths), width, device=self._device, dtype=own.dtype)
        padded[: len(own)] = own.detach()
        parts = [part[:length] for part, length in zip(self._gathered(padded), lengths, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def add_up(self, weights: Iterable[nn.Parameter]) -> None:
        learning = [weight for weight in weights if weight.requires_grad]
        used = torch.tensor([float(weight.grad is not None) for weight in learning], device=self._device)
        gradients = (torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in learning)
        flat = torch.cat([used, *(gradient.flatten() for gradient in gradients)])
        with self._waiting():
            distributed.all_reduce(flat)
        used, *sums = torch.split(flat, [len(learning), *(weight.numel() for weight in learning)])
        for weight, gradient, users in zip(learning, sums, used.tolist(), strict=True):
            # what nobody used stays without a gradient, or the optimiser would let it decay
            weight.grad = gradient.view_as(weight) if users else None

    def agreed(self, find: Callable[[], float]) -> float:
        number = torch.tensor(find() if self.leads else 0.0, dtype=torch.float64, device=self._device)
        with self._waiting():
            distributed.broadcast(number, 0)
        return number.item()

    def stacked(self, own: Tensor) -> Tensor:
        return torch.stack(self._gathered(own.to(self._device))).cpu()

    def handed(self, find: Callable[[], State | None]) -> State | None:
        found = find() if self.leads else None
        empty = None
        if found is not None:  # of the tensors only their shapes: they are too large to go as objects
            empty = State({name: one.to("meta") for name, one in found.tensors.items()}, found.facts)
        with self._waiting():
            empty = _accelerate().utils.broadcast_object_list([empty])[0]
            if empty is None:
                return None
            tensors = found.tensors if found is not None else empty.tensors
            return State({name: self._handed(tensors[name]) for name in empty.tensors}, empty.facts)

    def _handed(self, tensor: Tensor) -> Tensor:
        there = torch.empty_like(tensor, device=self._device) if tensor.is_meta else tensor.to(self._device)
        distributed.broadcast(there, 0)
        return there.cpu()

    def check_alike(self, asked: Mapping[str, Any]) -> None:
        own = {
            key: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest() for key, value in asked.items()
        }
        with self._waiting():
            every = _accelerate().utils.gather_object([own])
        for rank, other in enumerate(every):
            wrong = [key for key in {**every[0], **other} if other.get(key) != every[0].get(key)]
            if wrong:
                raise TrainingError(
                    f"process {rank}: differs from process 0 in {' and '.join(wrong)}; "
                    "expected the same command, data, models and kind of machine for all."
                )

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        self._turns += 1
        first_here = os.environ["LOCAL_RANK"] == "0"
        ours, firsts = (f"{self._prefix}.turn{self._turns}.{of}" for of in (os.environ.get("GROUP_RANK", "0"), "first"))
        if not self.leads:
            with self._waiting():
                self._board.wait([firsts if first_here else ours], _TURN)
        try:
            yield
        finally:
            for key in (firsts,) * self.leads + (ours,) * first_here:
                self._board.set(key, "done")

    def fails_first(self) -> bool:
        """Whether none failed before; who cannot learn that speaks rather than that nobody does."""
        try:
            return int(self._board.add(f"{self._prefix}.failures", 1)) == 1
        except RuntimeError:
            return True

    def leave(self) -> None:
        """Ends what connects them, after which none waits for another."""
        self._state.destroy_process_group()

    def _gathered(self, own: Tensor) -> list[Tensor]:
        """Everybody's tensors, which have one shape."""
        every = [torch.empty_like(own) for _ in range(self.count)]
        with self._waiting():
            distributed.all_gather(every, own.contiguous())
        return every

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """For the others, inside.

        Raises: TrainingError where one ended, or does not answer.
        """
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise TrainingError(
                f"process {self.rank}: another process of the training ended or does not answer "
                f"({_told(error)}); see whether memory ran out, and launch again: it goes on from its last state."
            ) from error


def _accelerate() -> Any:  # noqa: ANN401  # it has no annotations
    """Loaded where several processes were launched, and nowhere else."""
    try:
        import accelerate  # noqa: PLC0415  # it is an extra
    except ImportError as error:
        raise SetupError(
            f"{os.environ['WORLD_SIZE']} processes were launched, but accelerate, which brings them together, is not "
            "installed; pip install 'ranker[distributed]', or launch one process."
        ) from error
    return accelerate


def _check_gpus(device: torch.device) -> None:
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if device.type == "cuda" and here > gpus:
        raise SetupError(
            f"{here} processes were launched on a machine of {gpus} GPUs, but each takes one; "
            f"launch {gpus} there, or give --device cpu."
        )


def _told(error: Exception) -> str:
    """The first sentence, without the place in torch's own source that gloo puts before it."""
    return re.sub(r"^\[[^]]*\] ", "", " ".join(str(error).split())).partition(". ")[0]
