"""Ray: workers, each with a process of its own, that shards of a job are handed to. The only user of ray."""

import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from ranker.cluster.address import check_address, said_of
from ranker.errors import RankerError, SetupError
from ranker.limits import MAX_FAILED_SHARDS, SHARD_ATTEMPTS
from ranker.version import __version__

T = TypeVar("T")

_CORES: Final = 4
"""Cores of a worker without a GPU, where nobody says how many workers there shall be."""


_QUIET: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # which nobody asked to be sent
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of what Ray itself recovers from
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning of what Ray is about to do otherwise
}
"""What Ray is told where its user has told it nothing else."""


class Shard(NamedTuple):
    """A part of a job: what messages call it, and what a worker is sent."""

    name: str
    payload: bytes


class Worker(Protocol):
    """What does shards, in a process of its own; made from what all workers of a job are sent."""

    def __call__(self, payload: bytes) -> bytes:
        """The result of a shard."""
        ...


Start = Callable[[bytes], Worker]


@dataclass(frozen=True)
class Failure:
    """A shard that no worker could do, and why; ``cause`` tells it to programs, where a worker's error does."""

    name: str
    reason: str
    cause: dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that was joined, and the share of it that each of some workers has."""

    address: str
    workers: int
    nodes: int
    cores: int
    gpus: int

    @property
    def device(self) -> str:
        """What the workers compute on."""
        return "cuda" if self.gpus else "cpu"

    def record(self) -> dict[str, Any]:
        """What a manifest says of it; the address is nobody else's business."""
        return {"workers": self.workers, "nodes": self.nodes}

    def ask(self, question: Callable[..., T], *values: object) -> T:
        """What a function says where a worker runs.

        Raises: SetupError where no worker can be had, or it has another version.
        """
        ray = _ray()
        look = ray.remote(_look).options(num_cpus=self.cores, num_gpus=self.gpus)
        with said_of(self.address):
            version, answer = ray.get(look.remote(question, values))
        _check_version(version, __version__)
        found: T = answer
        return found

    def map(self, start: Start, setup: bytes, shards: Iterable[Shard]) -> Iterator[tuple[int, bytes | Failure]]:
        """The result of each shard as it is there, with the shard's place.

        A shard whose worker dies is given to another one; what fails so often is a failure. After some failures that
        have no result between them the rest is left undone.
        """
        failed = 0
        for place, error, result in self._rows(start, setup, shards):
            if not error:
                failed = 0
                yield place, result
                continue
            failed += 1
            yield place, Failure(**json.loads(error))
            if failed == MAX_FAILED_SHARDS:
                return

    def _rows(self, start: Start, setup: bytes, shards: Iterable[Shard]) -> Iterator[tuple[int, str, bytes]]:
        ray = _ray()
        import pyarrow as pa  # noqa: PLC0415  # comes with the extra

        names, blocks = [], []
        for number, shard in enumerate(shards):
            names.append(shard.name)
            blocks.append(ray.put(pa.table({"number": [number], "payload": [shard.payload]})))
        if not blocks:
            return
        with said_of(self.address):
            ledger = (
                ray.remote(_Ledger).options(num_cpus=0, scheduling_strategy=_here(ray)).remote(names, [ray.put(setup)])
            )
            done = ray.data.from_arrow_refs(blocks).map_batches(
                _Pupil,
                fn_constructor_args=(ledger, start, __version__),
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.workers),
                num_cpus=self.cores,
                num_gpus=self.gpus,
            )
            for table in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in table.to_pylist():
                    yield row["number"], row["error"], row["result"]


@contextmanager
def joined(address: str, workers: int, device: str) -> Iterator[Cluster]:
    """A cluster to work in: ``local`` is started on this machine, ``auto`` is the one that this machine is of.

    ``workers`` of 0 are one for each GPU, or for every four cores where there are none.
    Raises: SetupError where Ray is not installed, no cluster answers, or it has no GPU and ``device`` is ``cuda``.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ray = _ray()
    check_address(address)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # which writes the frames behind what is said here
    # Ray prints the death of a worker to stdout, which is for results
    with redirect_stdout(io.StringIO()):
        with said_of(address), _nothing_to_stderr():
            ray.init(
                address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        try:
            ray.data.DataContext.get_current().enable_progress_bars = False
            yield _shares(ray, address, workers, device)
        finally:
            ray.shutdown()


def _shares(ray: Any, address: str, workers: int, device: str) -> Cluster:  # noqa: ANN401
    """How a cluster is shared among workers, none of which is on two nodes."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if device == "cuda" and not gpus:
        raise SetupError(f"--device cuda: the cluster {address} has no GPU; use --device cpu, or add a node with one.")
    cores = [int(node.get("CPU", 0)) for node in nodes]
    if on_gpus := bool(gpus) and device != "cpu":
        number, each, room = workers or gpus, 1, gpus
    else:
        number = workers or max(1, sum(cores) // _CORES)
        each = max(1, min(max(cores), sum(cores) // number))
        room = max(1, sum(one // each for one in cores))
    # any other cluster may grow when it is asked for more than it has
    grows = workers and address != "local"
    return Cluster(address, number if grows else min(number, room), len(nodes), each, int(on_gpus))


@contextmanager
def _nothing_to_stderr() -> Iterator[None]:
    """Ray's core writes there that it was told how much to write."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _ray() -> Any:  # noqa: ANN401
    """Raises: SetupError where Ray is not installed."""
    try:
        import ray  # noqa: PLC0415  # an extra
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise SetupError("--cluster needs Ray; install it with: pip install 'ranker[ray]'.") from error
    return ray


def _here(ray: Any) -> Any:  # noqa: ANN401
    """On the node of the command itself, which alone cannot leave without ending the job."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _look(question: Callable[..., T], values: tuple[object, ...]) -> tuple[str, T]:
    return __version__, question(*values)


def _check_version(found: str, expected: str) -> None:
    """Refuses a worker that may score otherwise, which its model's digest would not tell."""
    if found != expected:
        raise SetupError(f"--cluster: a worker has ranker {found}, expected {expected} as where the command is given.")


class _Ledger:
    """Knows how often each shard of a job was begun, whoever died over it; and what workers begin with."""

    def __init__(self, names: list[str], setup: list[Any]) -> None:
        self._names, self._setup = names, setup
        self._begun = [0] * len(names)

    def setup(self) -> Any:  # noqa: ANN401
        """What all workers are sent, in a list, so that it stays where it is until they fetch it."""
        return self._setup

    def begin(self, number: int) -> tuple[str, int]:
        """The name of a shard, and how often it was begun by now."""
        self._begun[number] += 1
        return self._names[number], self._begun[number]


class _Pupil:
    """A worker's process: makes the worker when the first shard comes, and does shard by shard."""

    def __init__(self, ledger: Any, start: Start, version: str) -> None:  # noqa: ANN401
        self._ledger, self._start, self._version = ledger, start, version
        self._worker: Worker | None = None

    def __call__(self, table: Any) -> Any:  # noqa: ANN401
        """A table of one shard to a table of its result."""
        import pyarrow as pa  # noqa: PLC0415

        row = table.to_pylist()[0]
        error, result = self._done(row["number"], row["payload"])
        return pa.table({"number": [row["number"]], "error": [error], "result": [result]})

    def _done(self, number: int, payload: bytes) -> tuple[str, bytes]:
        """Why it failed, or nothing, and the result."""
        ray, reason = _ray(), "its worker died each time"
        while True:
            name, attempt = ray.get(self._ledger.begin.remote(number))
            if attempt > SHARD_ATTEMPTS:
                return _told(name, f"was tried {SHARD_ATTEMPTS} times: {reason}", {}), b""
            try:
                _check_version(__version__, self._version)
                if self._worker is None:
                    self._worker = self._start(ray.get(ray.get(self._ledger.setup.remote())[0]))
                return "", self._worker(payload)
            except RankerError as error:  # which another attempt would not mend
                return _told(name, str(error).rstrip("."), vars(error)), b""
            except Exception as error:  # whatever it is, the job is told
                reason = f"{type(error).__name__}: {error}"


def _told(name: str, reason: str, cause: Mapping[str, object]) -> str:
    """A failure as JSON, with what of its cause can be."""
    known = {}
    for key, value in cause.items():
        with suppress(TypeError):
            json.dumps(value)
            known[key] = value
    return json.dumps({"name": name, "reason": " ".join(reason.split()), "cause": known})
