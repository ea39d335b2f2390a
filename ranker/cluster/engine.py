"""Ray: workers, each in a process of its own, and the shards of a job that they do; nothing else imports ray."""

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
"""Settings of Ray where its user has set nothing else."""


class Shard(NamedTuple):
    """A part of a job: its name in messages, and what a worker is sent."""

    name: str
    payload: bytes


class Worker(Protocol):
    """Does shards in a process of its own; it is made from what all workers of a job are sent."""

    def __call__(self, payload: bytes) -> bytes:
        """Does one shard, and gives its result."""
        ...


Start = Callable[[bytes], Worker]


@dataclass(frozen=True)
class Failure:
    """A shard that no worker could do, and the reason; ``cause`` has the attributes of the worker's error."""

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
        """The kind of device that the workers compute on."""
        return "cuda" if self.gpus else "cpu"

    def record(self) -> dict[str, Any]:
        """Gives what a manifest says of the cluster; the address stays private."""
        return {"workers": self.workers, "nodes": self.nodes}

    def ask(self, question: Callable[..., T], *values: object) -> T:
        """Calls a function where a worker runs, and gives its answer.

        Raises: SetupError where no worker can be had, or it has another version.
        """
        ray = _ray()
        ask = ray.remote(_answer).options(num_cpus=self.cores, num_gpus=self.gpus)
        with said_of(self.address):
            version, answer = ray.get(ask.remote(question, values))
        _check_version(version, __version__)
        typed: T = answer
        return typed

    def map(self, start: Start, setup: bytes, shards: Iterable[Shard]) -> Iterator[tuple[int, bytes | Failure]]:
        """Yields the result of each shard as it comes, with the shard's index.

        A shard whose worker dies is given to another one, and after some attempts it is a failure. After some failures
        with no result between them the rest is left undone.
        """
        failed = 0
        for index, error, result in self._rows(start, setup, shards):
            if not error:
                failed = 0
                yield index, result
                continue
            failed += 1
            yield index, Failure(**json.loads(error))
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
                _WorkerProcess,
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
    """Joins a cluster: ``local`` is started on this machine, ``auto`` is the one that this machine is part of.

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


def _shares(ray: Any, address: str, workers: int, device: str) -> Cluster:
    """Shares a cluster among workers, none of which spans two nodes."""
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
        room = max(1, sum(node_cores // each for node_cores in cores))
    # any other cluster may grow when it is asked for more than it has
    grows = workers and address != "local"
    return Cluster(address, number if grows else min(number, room), len(nodes), each, int(on_gpus))


@contextmanager
def _nothing_to_stderr() -> Iterator[None]:
    """Silences stderr, to which Ray's core writes its own logging settings."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _ray() -> Any:
    """Imports Ray.

    Raises: SetupError where it is not installed.
    """
    try:
        import ray  # noqa: PLC0415  # an extra
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise SetupError("--cluster needs Ray; install it with: pip install 'ranker[ray]'.") from error
    return ray


def _here(ray: Any) -> Any:
    """Places an actor on the node of the command itself, the only one that cannot leave without ending the job."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def _answer(question: Callable[..., T], values: tuple[object, ...]) -> tuple[str, T]:
    return __version__, question(*values)


def _check_version(actual: str, expected: str) -> None:
    """Refuses a worker of another version, which may score otherwise though its model's digest is the same."""
    if actual != expected:
        raise SetupError(f"--cluster: a worker has ranker {actual}, expected {expected} as where the command is given.")


class _Ledger:
    """Counts how often each shard was begun, also by workers that died, and holds what workers are made from."""

    def __init__(self, names: list[str], setup: list[Any]) -> None:
        self._names, self._setup = names, setup
        self._begun = [0] * len(names)

    def setup(self) -> Any:
        """Gives what all workers are sent, in a list, so that it stays where it is until they fetch it."""
        return self._setup

    def begin(self, number: int) -> tuple[str, int]:
        """Notes that a shard is begun; gives its name, and how often it was begun."""
        self._begun[number] += 1
        return self._names[number], self._begun[number]


class _WorkerProcess:
    """Makes the worker when the first shard comes, and does shard by shard."""

    def __init__(self, ledger: Any, start: Start, version: str) -> None:
        self._ledger, self._start, self._version = ledger, start, version
        self._worker: Worker | None = None

    def __call__(self, table: Any) -> Any:
        """Turns a table of one shard into a table of its result."""
        import pyarrow as pa  # noqa: PLC0415

        row = table.to_pylist()[0]
        error, result = self._do(row["number"], row["payload"])
        return pa.table({"number": [row["number"]], "error": [error], "result": [result]})

    def _do(self, number: int, payload: bytes) -> tuple[str, bytes]:
        """Does a shard; gives the failure, or an empty string, and the result."""
        ray, reason = _ray(), "its worker died each time"
        while True:
            name, attempt = ray.get(self._ledger.begin.remote(number))
            if attempt > SHARD_ATTEMPTS:
                return _failure(name, f"was tried {SHARD_ATTEMPTS} times: {reason}", {}), b""
            try:
                _check_version(__version__, self._version)
                if self._worker is None:
                    self._worker = self._start(ray.get(ray.get(self._ledger.setup.remote())[0]))
                return "", self._worker(payload)
            except RankerError as error:  # which another attempt would not mend
                return _failure(name, str(error).rstrip("."), vars(error)), b""
            except Exception as error:  # whatever it is, the job is told
                reason = f"{type(error).__name__}: {error}"


def _failure(name: str, reason: str, cause: Mapping[str, object]) -> str:
    """Writes a failure as JSON, with what of its cause JSON can hold."""
    attributes = {}
    for key, value in cause.items():
        with suppress(TypeError):
            json.dumps(value)
            attributes[key] = value
    return json.dumps({"name": name, "reason": " ".join(reason.split()), "cause": attributes})
