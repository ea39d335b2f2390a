"""The processes that train one model together: a single one, unless torchrun or accelerate launched several."""

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

_COLLECTIVE_TIMEOUT: Final = timedelta(minutes=30)
"""How long processes wait for another in the middle of a step; the longest of that is a validation."""

_DATASET_TIMEOUT: Final = timedelta(days=7)
"""How long processes wait for the one that reads and indexes the dataset before them."""

_EXIT_DELAY: Final = 5.0
"""Seconds until a process ends that did not fail first: a launcher ends all as soon as one has, and the first one's
error is to be seen."""


class ProcessGroup:
    """A single process; ``_TorchProcessGroup`` has the same methods for several, which do the same steps.

    The weights are equal in all processes: each has the scores of the whole step, sends gradients back through its own
    shard of them, and adds its gradients to the others'.
    """

    rank = 0
    world_size = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes, reports and validates."""
        return self.rank == 0

    def shard(self, groups: list[T]) -> list[T]:
        """This process's part of a step's groups: all shards together are the groups, in order, each once."""
        # both borders are rounded up, so that the main process has a group wherever there is one
        start, end = (-(-len(groups) * rank // self.world_size) for rank in (self.rank, self.rank + 1))
        return groups[start:end]

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Stacks the tensors of all processes, which have one shape.

        Shape: any, to (world_size, ...).
        """
        return tensor.unsqueeze(0)

    def all_gather_rows(self, rows: Tensor | None) -> Tensor:
        """Concatenates the rows of all processes, by rank; a process with an empty shard gives None.

        Gradients flow into this process's own rows alone. Shape: (rows, N) each to (all rows, N).
        """
        if rows is None:
            raise ValueError("a single process computes every group")
        return rows

    def all_reduce_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        """Replaces each gradient by the sum over all processes."""

    def broadcast(self, compute: Callable[[], float]) -> float:
        """Computes a number in the main process alone, and gives it to all."""
        return float(compute())

    def broadcast_state(self, load: Callable[[], State | None]) -> State | None:
        """Loads a state in the main process alone, and gives it to all."""
        return load()

    def check_same(self, request: Mapping[str, Any]) -> None:
        """Compares what the processes were asked for.

        Raises: TrainingError that names what differs.
        """

    def main_first(self) -> AbstractContextManager[None]:
        """Runs the main process first, then one process on each machine, then the rest, which find their caches."""
        return nullcontext()


SINGLE_PROCESS: Final = ProcessGroup()
_CURRENT: ContextVar[ProcessGroup] = ContextVar("processes", default=SINGLE_PROCESS)


def current_processes() -> ProcessGroup:
    """The processes of the innermost ``launched_processes``; outside of it, a single one."""
    return _CURRENT.get()


@contextmanager
def launched_processes(device: str, timeout: timedelta = _COLLECTIVE_TIMEOUT) -> Iterator[ProcessGroup]:
    """Connects the processes that torchrun or accelerate launched; a plain command is a single one.

    Where one fails, its exception is raised there alone, and the others end silently with status 1.

    Raises: SetupError where they cannot work together here.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "LOCAL_RANK" not in os.environ:
        yield SINGLE_PROCESS
        return
    processes: _TorchProcessGroup | None = None
    try:
        processes = _TorchProcessGroup(choose_device(device), timeout)
        token = _CURRENT.set(processes)
        try:
            yield processes
        finally:
            _CURRENT.reset(token)
        processes.destroy()
    except BaseException as error:
        # an error before the processes are connected is the same in all of them
        if processes.fails_first() if processes is not None else os.environ["LOCAL_RANK"] == "0":
            raise
        time.sleep(_EXIT_DELAY)
        raise SystemExit(1) from error


class _TorchProcessGroup(ProcessGroup):
    """One of several processes, which accelerate connects and torch.distributed lets exchange tensors."""

    def __init__(self, device: torch.device, timeout: timedelta) -> None:
        """Raises: SetupError where they do not reach each other, or one has no GPU of its own."""
        _check_gpus(device)
        accelerate = _accelerate()
        try:
            self._state = accelerate.PartialState(cpu=device.type == "cpu", timeout=timeout)
            # a store of keys that works even for a process whose collectives have failed
            host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            self._store = distributed.TCPStore(  # type: ignore[attr-defined]  # documented, and left out of __all__
                host, port, is_master=False, timeout=timeout
            )
        except (RuntimeError, ValueError, KeyError) as error:
            raise SetupError(
                f"the processes do not find each other: {_first_sentence(error)}; launch them again."
            ) from error
        self._device = self._state.device
        self.rank, self.world_size = self._state.process_index, self._state.num_processes
        self._prefix = f"ranker.{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        self._turns = 0

    def all_gather(self, tensor: Tensor) -> Tensor:
        return torch.stack(self._all_gather(tensor.to(self._device))).cpu()

    def all_gather_rows(self, rows: Tensor | None) -> Tensor:
        shape = torch.tensor([0, 0] if rows is None else list(rows.shape), device=self._device)
        shapes = torch.stack(self._all_gather(shape))  # (world_size, 2)
        lengths, width = shapes[:, 0].tolist(), int(shapes[:, 1].max())
        # no rows that require gradients, so that backward() works without a shard too
        own = torch.zeros(0, width, device=self._device, requires_grad=True) if rows is None else rows
        # all_gather takes tensors of one shape: each is padded to the longest, and cut again
        padded = torch.zeros(max(lengths), width, device=self._device, dtype=own.dtype)
        padded[: len(own)] = own.detach()
        parts = [part[:length] for part, length in zip(self._all_gather(padded), lengths, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def all_reduce_gradients(self, weights: Iterable[nn.Parameter]) -> None:
        learning = [weight for weight in weights if weight.requires_grad]
        used = torch.tensor([float(weight.grad is not None) for weight in learning], device=self._device)
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in learning]
        # one tensor for one all_reduce: which weights have a gradient, then all gradients end to end
        flat = torch.cat([used, *(gradient.flatten() for gradient in gradients)])
        with self._collective():
            distributed.all_reduce(flat)
        used, *sums = torch.split(flat, [len(learning), *(weight.numel() for weight in learning)])
        for weight, gradient, users in zip(learning, sums, used.tolist(), strict=True):
            # a weight that no process used stays without a gradient, or the optimizer would decay it
            weight.grad = gradient.view_as(weight) if users else None

    def broadcast(self, compute: Callable[[], float]) -> float:
        value = torch.tensor(compute() if self.is_main else 0.0, dtype=torch.float64, device=self._device)
        with self._collective():
            distributed.broadcast(value, 0)
        return value.item()

    def broadcast_state(self, load: Callable[[], State | None]) -> State | None:
        state = load() if self.is_main else None
        header = None
        if state is not None:  # tensors are too large to be pickled: their shapes go first, and they follow one by one
            header = State({name: tensor.to("meta") for name, tensor in state.tensors.items()}, state.facts)
        with self._collective():
            header = _accelerate().utils.broadcast_object_list([header])[0]
            if header is None:
                return None
            tensors = state.tensors if state is not None else header.tensors
            return State({name: self._broadcast_tensor(tensors[name]) for name in header.tensors}, header.facts)

    def _broadcast_tensor(self, tensor: Tensor) -> Tensor:
        on_device = torch.empty_like(tensor, device=self._device) if tensor.is_meta else tensor.to(self._device)
        distributed.broadcast(on_device, 0)
        return on_device.cpu()

    def check_same(self, request: Mapping[str, Any]) -> None:
        digests = {
            key: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
            for key, value in request.items()
        }
        with self._collective():
            of_all = _accelerate().utils.gather_object([digests])
        for rank, other in enumerate(of_all):
            different = [key for key in {**of_all[0], **other} if other.get(key) != of_all[0].get(key)]
            if different:
                raise TrainingError(
                    f"process {rank}: differs from process 0 in {' and '.join(different)}; "
                    "expected the same command, data, models and kind of machine for all."
                )

    @contextmanager
    def main_first(self) -> Iterator[None]:
        self._turns += 1
        turn = f"{self._prefix}.turn{self._turns}"
        main_key, machine_key = f"{turn}.first", f"{turn}.{os.environ.get('GROUP_RANK', '0')}"
        is_local_main = os.environ["LOCAL_RANK"] == "0"
        if not self.is_main:
            with self._collective():
                self._store.wait([main_key if is_local_main else machine_key], _DATASET_TIMEOUT)
        try:
            yield
        finally:
            if self.is_main:
                self._store.set(main_key, "done")
            if is_local_main:
                self._store.set(machine_key, "done")

    def fails_first(self) -> bool:
        """Whether no process failed before this one; True where that cannot be known, so that some error is shown."""
        try:
            return int(self._store.add(f"{self._prefix}.failures", 1)) == 1
        except RuntimeError:
            return True

    def destroy(self) -> None:
        """Disconnects the processes."""
        self._state.destroy_process_group()

    def _all_gather(self, tensor: Tensor) -> list[Tensor]:
        tensors = [torch.empty_like(tensor) for _ in range(self.world_size)]
        with self._collective():
            distributed.all_gather(tensors, tensor.contiguous())
        return tensors

    @contextmanager
    def _collective(self) -> Iterator[None]:
        """Names the cause where an exchange with the other processes fails.

        Raises: TrainingError where one ended, or does not answer.
        """
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            raise TrainingError(
                f"process {self.rank}: another process of the training ended or does not answer "
                f"({_first_sentence(error)}); see whether memory ran out, and launch again: it goes on from its last "
                "state."
            ) from error


def _accelerate() -> Any:
    """Loads accelerate, which is needed only where several processes were launched."""
    try:
        import accelerate  # noqa: PLC0415  # it is an extra
    except ImportError as error:
        raise SetupError(
            f"{os.environ['WORLD_SIZE']} processes were launched, but accelerate, which brings them together, is not "
            "installed; pip install 'ranker[distributed]', or launch one process."
        ) from error
    return accelerate


def _check_gpus(device: torch.device) -> None:
    local_size, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if device.type == "cuda" and local_size > gpus:
        raise SetupError(
            f"{local_size} processes were launched on a machine of {gpus} GPUs, but each takes one; "
            f"launch {gpus} there, or give --device cpu."
        )


def _first_sentence(error: Exception) -> str:
    """The first sentence of a message, without the position in torch's own source that gloo puts before it."""
    return re.sub(r"^\[[^]]*\] ", "", " ".join(str(error).split())).partition(". ")[0]
