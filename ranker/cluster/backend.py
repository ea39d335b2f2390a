"""A backend that computes on the workers of a Ray cluster: each batch is a shard that one of them computes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

import torch

from ranker.cluster.engine import Cluster, Failure, Shard
from ranker.cluster.worker import ScoringWorker, inputs_message, model_message, result_from, worker_device
from ranker.model.inputs import Packed
from ranker.model.reranker import Reranker
from ranker.progress import Advance
from ranker.scoring.backend import PaddedRunner, TokenCounts, check_precision
from ranker.scoring.batching import BatchSplitter, InputError, Matrix, TooLargeError
from ranker.scoring.budget import DEFAULT
from ranker.settings.compute import Compute
from ranker.settings.model import Needs

_MIN_TOKENS: Final = 2**13
_MAX_TOKENS: Final = 2**18
"""Tokens of a shard: of few, each worker has several, so that none waits long for the last; of many, little is lost."""

_SHARDS_EACH: Final = 8

_PARTS_AT_ONCE: Final = 512
"""Parts of a collection that lie in the cluster's memory, or on its disks, at once."""


class ShardError(InputError):
    """Shards that no worker could do: told by the first, with the index of its first input, and how many others."""

    def __init__(self, index: int, inputs: int, failures: Sequence[Failure], name: str = "") -> None:
        self.index, self._inputs, self._failures = index, inputs, failures
        first, others = failures[0], len(failures) - 1
        whose = f"whose {inputs} inputs begin with" if inputs > 1 else "whose only input is"
        also = f", and {others} other shard{'s' if others > 1 else ''} failed" if others else ""
        super().__init__(
            f"{first.name}, {whose} {name or f'input {index}'}: {first.reason}{also}; "
            "what the others gave is kept for the same command."
        )

    def renamed(self, index: int, name: str = "") -> "ShardError":
        """Makes the same error with another index, or with a name."""
        return ShardError(index, self._inputs, self._failures, name)


class RayBackend:
    """A model on the workers of a cluster; this process computes nothing itself, and its own copy stays on the CPU."""

    def __init__(self, model: Reranker, compute: Compute, cluster: Cluster, trust_remote_code: bool = False) -> None:
        """Raises: SetupError or ModelError for a device or precision that the workers or the model have not."""
        self._model, self._cluster = model.to(torch.device("cpu")), cluster
        device = cluster.device if compute.device == "auto" else compute.device
        self.device = torch.device("cpu")
        self.device_type, self.precision, self.device_name, self.kernels = cluster.ask(
            worker_device, device, compute.precision
        )
        check_precision(model.encoder, model.config.needs, self.precision)
        self.tokens_per_batch = compute.tokens_per_batch or DEFAULT["cpu"]
        self.token_counts = TokenCounts()
        self.splitter = BatchSplitter()
        self.cluster: Mapping[str, object] = cluster.record()
        workers_compute = Compute(self.precision, self.device_type, compute.tokens_per_batch)
        self._setup = model_message(model, workers_compute, trust_remote_code)

    def runner(self, needs: Needs) -> PaddedRunner:  # noqa: ARG002  # it serves any
        """Makes a runner of the encoder in this process, in float32."""
        self._model.eval()
        pad_id = int(self._model.tokenizer.pad_token_id or 0)
        return PaddedRunner(self._model.encoder, pad_id, self.device, "float32", self.token_counts)

    def prepare(self, needs: Needs) -> "RayModel":  # noqa: ARG002  # the workers prepare theirs
        """Gives the workers' model, which has the weights that it had when the backend was made."""
        return RayModel(self, self._cluster, self._setup)


class RayModel:
    """A model prepared on the workers of a cluster."""

    pads = True

    def __init__(self, backend: RayBackend, cluster: Cluster, setup: bytes) -> None:
        self._backend, self._cluster, self._setup = backend, cluster, setup

    def batch_tokens(self, tokens: int) -> int:
        """Chooses the tokens of a shard; a worker learns by itself how many of them it takes at once."""
        return min(_MAX_TOKENS, max(_MIN_TOKENS, tokens // (_SHARDS_EACH * self._cluster.workers)))

    def logits(self, inputs: Iterable[Packed]) -> Iterator[tuple[int, Matrix]]:
        """Yields the scores of each shard of pairs. Raises: ShardError after all shards that can be done."""
        return self._results(inputs, [])

    def vectors(self, inputs: Iterable[Packed]) -> Iterator[tuple[int, Matrix]]:
        """Yields the vectors of each shard of texts. Raises: ShardError after all shards that can be done."""
        return self._results(inputs, [])

    def vectors_by_part(self, parts: Iterable[Packed], advance: Advance) -> Iterator[tuple[int, Matrix]]:
        """Yields the vectors of each part, which is one shard, some hundred parts in the cluster at once."""
        remaining, sizes, more = iter(parts), list[int](), True
        while more:
            before = len(sizes)
            for index, vectors in self._results(islice(remaining, _PARTS_AT_ONCE), sizes):
                yield index, vectors
                advance(len(vectors))
            more = len(sizes) == before + _PARTS_AT_ONCE

    def _results(self, inputs: Iterable[Packed], sizes: list[int]) -> Iterator[tuple[int, Matrix]]:
        """Yields the values of each shard as they come, with the shard's index.

        ``sizes`` are those of the shards before, and these are added to it.
        Raises: TooLargeError or ShardError, after all that can be done.
        """
        failures: list[tuple[int, Failure]] = []
        before = len(sizes)

        def shards() -> Iterator[Shard]:
            for packed in inputs:
                sizes.append(packed.size)
                yield Shard(f"shard {len(sizes)}", inputs_message(packed))

        for index, sent in self._cluster.map(ScoringWorker, self._setup, shards()):
            if isinstance(sent, Failure):
                failures.append((before + index, sent))
                continue
            result = result_from(sent)
            self._backend.token_counts.tokens += result.tokens
            self._backend.token_counts.padding += result.padding
            self._backend.splitter.failures += result.failures
            yield before + index, result.values
        if failures:
            shard = failures[0][0]
            raise _error(sum(sizes[:shard]), sizes[shard], [failure for _, failure in failures])


def _error(first: int, inputs: int, failures: Sequence[Failure]) -> InputError:
    """Makes the error of the first of some shards, whose ``inputs`` inputs have the indices from ``first`` on."""
    cause = failures[0].cause
    if {"index", "tokens"} <= cause.keys():
        return TooLargeError(first + int(cause["index"]), cause["tokens"])
    return ShardError(first, inputs, failures)
