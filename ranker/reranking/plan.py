"""The cost of a reranking, predicted from a few seconds of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from ranker.model.device import peak_memory
from ranker.scoring.batching import batches
from ranker.scoring.jobs import ScoringJob
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Rows, Truncation
from ranker.scoring.windows import WindowedPairs, unwindowed

_PROBE_SECONDS: Final = 5.0
_HISTOGRAM: Final = (32, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class Plan:
    """The size of a reranking, and the ``seconds`` that it will take by a probe of ``probed`` seconds.

    ``inputs`` are what the model computes: pairs, or texts where it reads apart; ``histogram`` counts them by the least
    bound of tokens that they stay within; ``padding`` is its share of the computed tokens. ``memory`` is the most that
    was taken, in bytes, by the process or on the GPU: the probe begins with the largest batch.
    """

    queries: int
    pairs: int
    inputs: int
    tokens: int
    padding: float
    histogram: dict[int, int]
    truncation: Truncation
    seconds: float
    probed: float
    memory: int


def plan(scorer: Scorer, pairs: WindowedPairs, seconds: float = _PROBE_SECONDS) -> Plan:
    """Scores batches of all lengths for so many seconds, and predicts from them how long all will take."""
    job = scorer.job(unwindowed(pairs.windows))
    inputs = np.flatnonzero(job.lengths)  # pairs whose texts were all encoded for others cost nothing
    lengths = job.lengths[inputs]
    planned = list(batches(lengths, job.tokens_per_batch))
    computed = sum(len(batch) * int(lengths[batch].max()) for batch in planned)
    started = time.monotonic()
    spent: list[float] = []
    for index in _spread(len(planned)):
        if time.monotonic() - started >= seconds:
            break
        spent.append(_seconds(job, inputs[planned[index]]))
    # the first batch pays for what is set up once
    typical = spent[1:] or spent
    return Plan(
        queries=len(pairs.whole.queries),
        pairs=len(pairs),
        inputs=len(inputs),
        tokens=int(lengths.sum()),
        padding=1.0 - float(lengths.sum()) / computed if computed and job.pads else 0.0,
        histogram=histogram(lengths),
        truncation=scorer.encoding.truncation(pairs.whole),
        seconds=sum(typical) / len(typical) * len(planned) if typical else 0.0,
        probed=sum(spent),
        memory=peak_memory(scorer.device),
    )


def histogram(lengths: Rows) -> dict[int, int]:
    """Counts inputs by the least of some bounds that their tokens stay within; the longest has a bound of its own."""
    longest = int(lengths.max(initial=0))
    bounds = [bound for bound in _HISTOGRAM if bound < longest] + [longest]
    bound_of = np.searchsorted(bounds, lengths)
    return {bound: int((bound_of == index).sum()) for index, bound in enumerate(bounds)}


def _seconds(job: ScoringJob, pairs: Rows) -> float:
    started = time.monotonic()
    job.scores(pairs)
    return time.monotonic() - started


def _spread(count: int) -> Iterator[int]:
    """Yields every number below ``count`` once, each as far as can be from those before."""
    order = np.argsort([_mirrored(index) for index in range(count)], kind="stable")
    yield from order.tolist()


def _mirrored(number: int) -> float:
    """Computes a term of the van der Corput sequence in base 2: its first terms lie evenly in [0, 1)."""
    value, weight = 0.0, 0.5
    while number:
        value += weight * (number & 1)
        number, weight = number >> 1, weight / 2
    return value
