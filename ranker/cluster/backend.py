"""A model whose computing is done by the workers of a cluster."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np

from ranker.cluster.engine import Cluster, Failure, Shard
from ranker.cluster.worker import ScoringWorker, look, received, sent_model, sent_pairs, sent_texts
from ranker.model.reranker import Reranker
from ranker.scoring.backend import PaddedReader, Reader, check_precision
from ranker.scoring.batching import Order
from ranker.scoring.pairs import Pairs
from ranker.scoring.scorer import Advance, Matrix, Scorer
from ranker.scoring.survival import InputError, TooLargeError
from ranker.scoring.text import Texts
from ranker.settings.compute import CUT, Compute, Overflow
from ranker.settings.model import Needs

_LEAST: Final = 2**13
_MOST: Final = 2**18
"""Tokens of a shard: of few, each worker has several, so that none waits long for the last; of many, little is lost."""

_SHARDS_EACH: Final = 8

_PARTS_AT_ONCE: Final = 512
"""Parts of a collection that lie in the cluster's memory, or on its disks, at once."""


class ShardError(InputError):
    """Shards that no worker could do: the first of them, by the number of its first input, and how many others."""

    def __init__(self, number: int, inputs: int, failures: Sequence[Failure], name: str = "") -> None:
        self.number, self._inputs, self._failures = number, inputs, failures
        first, others = failures[0], len(failures) - 1
        whose = f"whose {inputs} inputs begin with" if inputs > 1 else "whose only input is"
        also = f", and {others} other shard{'s' if others > 1 else ''} failed" if others else ""
        super().__init__(
            f"{first.name}, {whose} {name or f'input {number}'}: {first.reason}{also}; "
            "what the others gave is kept for the same command."
        )

    def of(self, number: int, name: str = "") -> "ShardError":
        """The same by another number, or by name."""
        return ShardError(number, self._inputs, self._failures, name)


class RemoteScorer(Scorer):
    """A scorer that computes nothing itself: it cuts the work into shards, and the workers of a cluster do them."""

    def __init__(
        self,
        model: Reranker,
        compute: Compute,
        cluster: Cluster,
        overflow: Overflow = CUT,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(model, Compute("float32", "cpu", compute.tokens_per_batch), overflow)
        device = cluster.device if compute.device == "auto" else compute.device
        self._cluster = cluster
        self._place = cluster.ask(look, device, compute.precision)
        self.precision = self._place.precision
        check_precision(self.model.encoder, self.model.config.needs, self.precision)
        self.shared = {"cluster": cluster.record()}
        there = Compute(self._place.precision, self._place.device, compute.tokens_per_batch)
        self._setup = sent_model(model, there, trust_remote_code)

    @property
    def device_type(self) -> str:
        """The workers'."""
        return self._place.device

    @property
    def device_name(self) -> str:
        """The workers'."""
        return self._place.name

    @property
    def kernels(self) -> str:
        """The workers'."""
        return self._place.kernels

    def reader(self, needs: Needs) -> Reader:  # noqa: ARG002  # it lays out no weights for any
        """One that could work here too, in float32, as the backbone comes: the workers lay their weights out."""
        self.model.eval()
        return PaddedReader(self.model.encoder, self.template.pad_id, self.device, "float32", self.token_counts)

    def budget(self, reader: Reader, needs: Needs, work: int) -> int:  # noqa: ARG002  # the workers have their own
        """The tokens of a shard; a worker learns by itself how many of them it takes at once."""
        return min(_MOST, max(_LEAST, work // (_SHARDS_EACH * self._cluster.workers)))

    def encoded(self, reader: Reader, texts: Texts, cuts: Sequence[Order]) -> Iterator[tuple[int, Matrix]]:  # noqa: ARG002
        """As ``Scorer`` says, a shard for each batch. Raises: ShardError after all shards that can be done."""
        return self._results((sent_texts(texts.only(cut)) for cut in cuts), cuts)

    def logits(self, reader: Reader, pairs: Pairs, cuts: Sequence[Order]) -> Iterator[tuple[int, Matrix]]:  # noqa: ARG002
        """As ``Scorer`` says, a shard for each batch. Raises: ShardError after all shards that can be done."""
        return self._results((sent_pairs(pairs.only(cut)) for cut in cuts), cuts)

    def vectors_of(self, parts: Iterable[Texts], advance: Advance) -> Iterator[tuple[int, Matrix]]:
        """As ``Scorer`` says, a shard for each part."""
        remaining, rows = iter(parts), list[Order]()

        def payloads() -> Iterator[bytes]:
            for texts in islice(remaining, _PARTS_AT_ONCE):
                start = int(rows[-1][-1]) + 1 if rows else 0
                rows.append(np.arange(start, start + len(texts)))
                yield sent_texts(texts)

        more = True
        while more:
            before = len(rows)
            for place, vectors in self._results(payloads(), rows, before):
                yield place, vectors
                advance(len(vectors))
            more = len(rows) == before + _PARTS_AT_ONCE

    def _results(
        self, payloads: Iterable[bytes], numbers: Sequence[Order], before: int = 0
    ) -> Iterator[tuple[int, Matrix]]:
        """The values of each shard as they are there, with its place; ``numbers`` are those of its inputs.

        ``before`` is the place of the first. Raises: TooLargeError or ShardError, after all that can be done.
        """
        failures: list[tuple[int, Failure]] = []
        shards = (Shard(f"shard {place + 1}", payload) for place, payload in enumerate(payloads, before))
        for number, found in self._cluster.map(ScoringWorker, self._setup, shards):
            place = before + number
            if isinstance(found, Failure):
                failures.append((place, found))
                continue
            result = received(found)
            self.token_counts.tokens += result.tokens
            self.token_counts.padding += result.padding
            self.splitter.failures += result.failures
            yield place, result.values
        if failures:
            raise _error(numbers[failures[0][0]], [failure for _, failure in failures])


def _error(numbers: Order, failures: Sequence[Failure]) -> InputError:
    """What is wrong with the first of some shards, whose inputs have these numbers."""
    cause = failures[0].cause
    if {"number", "tokens"} <= cause.keys():
        return TooLargeError(int(numbers[cause["number"]]), cause["tokens"])
    return ShardError(int(numbers[0]), len(numbers), failures)
