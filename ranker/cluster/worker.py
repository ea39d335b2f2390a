"""A worker of a cluster: it is sent a model once, then shards of inputs, and sends back scores or vectors."""

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.errors import ModelError
from ranker.files.atomic import as_output_error
from ranker.model.device import choose_device, choose_precision, kernels, name_of_device
from ranker.model.inputs import Packed
from ranker.model.loading import load_model
from ranker.model.reranker import Reranker
from ranker.progress import no_progress
from ranker.scoring.backend import LocalBackend
from ranker.scoring.batching import Matrix
from ranker.settings.compute import Compute
from ranker.settings.fields import from_json
from ranker.settings.model import LAST

Arrays = dict[str, NDArray[Any]]


class WorkerDevice(NamedTuple):
    """Where workers compute: ``cpu`` or ``cuda``, in which precision, the name of the device, and its kernels."""

    device: str
    precision: str
    name: str
    kernels: str


class Result(NamedTuple):
    """The values of a shard, one row for each input; tokens computed, how many were padding, and batches split.

    Shape: values (inputs, width).
    """

    values: Matrix
    tokens: int
    padding: int
    failures: int


def worker_device(device: str, precision: str) -> WorkerDevice:
    """Says how a worker that is asked for this would compute.

    Raises: SetupError as ``choose_device`` and ``choose_precision``.
    """
    chosen_device = choose_device(device)
    chosen = choose_precision(precision, chosen_device)
    kind = chosen_device.type
    return WorkerDevice(kind, chosen, name_of_device(chosen_device), kernels(chosen, kind).name)


def to_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Writes named arrays in numpy's own format, which runs no code where it is opened."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays, allow_pickle=False)
    return buffer.getvalue()


def from_bytes(sent: bytes) -> Arrays:
    """Reads the arrays that ``to_bytes`` wrote."""
    with np.load(io.BytesIO(sent), allow_pickle=False) as arrays:
        return dict(arrays)


def model_message(model: Reranker, compute: Compute, trust_remote_code: bool) -> bytes:
    """Writes a model and how it is run, so that workers need no folder or hub to find it in.

    Raises: OutputError where there is no room for its files on the way.
    """
    with as_output_error(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save(folder)
        files = {
            f"file {path.relative_to(folder)}": np.frombuffer(path.read_bytes(), dtype=np.uint8)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    facts = {
        "compute": asdict(compute),
        "sha256": model.digest(),
        "trusted": trust_remote_code,
        "source": model.source,
    }
    return to_bytes({**files, "facts": np.array(json.dumps(facts))})


def inputs_message(inputs: Packed) -> bytes:
    """Writes the inputs of a shard; segments and parts are small numbers, so they take a byte each."""
    small = {"segments": inputs.segments.astype(np.int8), "parts": inputs.parts.astype(np.int8)}
    return to_bytes({"ids": inputs.ids, **small, "offsets": inputs.offsets})


def inputs_from(sent: bytes) -> Packed:
    """Reads the inputs that ``inputs_message`` wrote."""
    arrays = from_bytes(sent)
    segments, parts = arrays["segments"].astype(np.int32), arrays["parts"].astype(np.int32)
    return Packed(arrays["ids"], segments, parts, arrays["offsets"])


def result_from(sent: bytes) -> Result:
    """Reads the result that a worker sent."""
    arrays = from_bytes(sent)
    return Result(arrays["values"], *map(int, arrays["counts"]))


class ScoringWorker:
    """A model in a worker's process, in the precision and on the device that all workers have."""

    def __init__(self, setup: bytes) -> None:
        """Raises: ModelError where the model is not, by its digest, the one that was sent."""
        arrays = from_bytes(setup)
        facts = json.loads(str(arrays.pop("facts")))
        with tempfile.TemporaryDirectory() as name:
            for key, content in arrays.items():
                path = Path(name) / key.removeprefix("file ")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.tobytes())
            model = load_model(name, trust_remote_code=facts["trusted"])
        if model.digest() != facts["sha256"]:
            raise ModelError(f"{facts['source']}: a worker reads it as {model.digest()}, expected {facts['sha256']}.")
        self._backend = LocalBackend(model, from_json(Compute, facts["compute"]))
        self._model = self._backend.prepare(LAST if model.config.apart else model.config.needs)

    def __call__(self, payload: bytes) -> bytes:
        """Computes the inputs of a shard: scores of pairs in one column, or vectors of texts."""
        token_counts, splitter = self._backend.token_counts, self._backend.splitter
        before = token_counts.tokens, token_counts.padding, splitter.failures
        values = self._model.compute(inputs_from(payload), no_progress)
        counts = np.array([token_counts.tokens, token_counts.padding, splitter.failures]) - before
        return to_bytes({"values": values, "counts": counts})
