"""What a reranking will cost, by a few seconds of it, and how to stop one early without losing what was done."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ranker.data.run import Run
from ranker.errors import ModelError
from ranker.model.device import peak_memory
from ranker.reranking.rerank import Reranked, input_name, tied, windows_of, with_tail
from ranker.scoring.batching import batches
from ranker.scoring.cache import ScoreSource, computed
from ranker.scoring.jobs import ScoringJob
from ranker.scoring.pairs import Truncation
from ranker.scoring.scorer import Advance, Matrix, Scorer
from ranker.scoring.survival import named
from ranker.scoring.windows import Inputs

Rows = NDArray[np.int64]

_PROBE_SECONDS: Final = 5.0
_SHALLOWEST: Final = 10
"""Ranks scored first of every query; then as many again, and from there twice as deep each time."""

_SLICE_SECONDS: Final = 2.0
"""Work between two looks at the clock. What a stop loses is less than this."""

_FIRST_SLICE_TOKENS: Final = 8_192
_HISTOGRAM: Final = (32, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True)
class Plan:
    """A reranking before it is done: its size, and the seconds that a probe of ``probed`` seconds makes of it.

    ``inputs`` are what the model computes: pairs, or texts where it reads apart; ``histogram`` counts them by the least
    bound of tokens that they stay within; ``padding`` is the share of computed tokens that are none. ``memory`` is the
    most that was taken, in bytes, by the process or on the GPU: the probe begins with the largest batch.
    """

    queries: int
    pairs: int
    inputs: int
    tokens: int
    padding: float
    histogram: dict[int, int]
    cut: Truncation
    seconds: float
    probed: float
    memory: int


def plan(scorer: Scorer, inputs: Inputs, seconds: float = _PROBE_SECONDS) -> Plan:
    """Scores batches of all lengths for so many seconds, and tells from them how long all will take."""
    work = scorer.work(inputs.read)
    new = np.flatnonzero(work.lengths)
    lengths = work.lengths[new]
    cuts = list(batches(lengths, work.tokens_per_batch))
    total = sum(len(numbers) * int(lengths[numbers].max()) for numbers in cuts)
    started = time.monotonic()
    spent = [_timed(work, new[cuts[place]])[0] for place in _spread(len(cuts)) if time.monotonic() - started < seconds]
    # the first batch pays for what is set up once
    typical = spent[1:] or spent
    return Plan(
        queries=len(inputs.whole.queries),
        pairs=len(inputs),
        inputs=len(new),
        tokens=int(lengths.sum()),
        padding=1.0 - float(lengths.sum()) / total if total and work.pads else 0.0,
        histogram=histogram(lengths),
        cut=scorer.cut(inputs.whole),
        seconds=sum(typical) / len(typical) * len(cuts) if typical else 0.0,
        probed=sum(spent),
        memory=peak_memory(scorer.device),
    )


def histogram(lengths: Rows) -> dict[int, int]:
    """Inputs by the least of some bounds that their tokens stay within; the longest has a bound of its own."""
    longest = int(lengths.max(initial=0))
    bounds = [bound for bound in _HISTOGRAM if bound < longest] + [longest]
    places = np.searchsorted(bounds, lengths)
    return {bound: int((places == place).sum()) for place, bound in enumerate(bounds)}


@dataclass(frozen=True)
class Partial(Reranked):
    """A run of which as much was reranked as time allowed; ``depths`` are the ranks scored of each query.

    ``stopped`` is ``time``, ``Ctrl-C`` or, where all was scored, nothing.
    """

    depths: Rows
    stopped: str

    @property
    def reached(self) -> tuple[int, int, int]:
        """The least, the median and the most ranks scored of a query."""
        least, median, most = (int(ranks) for ranks in np.percentile(self.depths, (0, 50, 100)))
        return least, median, most


@dataclass(frozen=True)
class Progress:
    """Who is told of pairs that are done, who says whether to go on, and who may know of scores from before."""

    advance: Advance
    go_on: Callable[[], bool]
    recall: ScoreSource = computed


def rerank_while(scorer: Scorer, run: Run, inputs: Inputs, depth: int, progress: Progress) -> Partial:
    """Scores shallow ranks of all queries before deeper ones, while ``go_on`` or until Ctrl-C.

    ``inputs`` are those of ``reranking.candidates``. Of each query the ranks down to the first that was not scored are
    reordered; what lies beneath keeps its order.
    """
    counts = np.array([min(depth, len(ranking)) for ranking in run.values()], dtype=np.int64)
    starts = np.cumsum(counts) - counts
    ranks = np.arange(int(counts.sum())) - np.repeat(starts, counts)
    scores = np.full(len(ranks), np.nan, dtype=np.float32)
    work = inputs.work(scorer, progress.recall)
    with named(partial(input_name, run, depth, inputs)):
        stopped = _fill(work, scores, ranks, progress)
    depths = np.array([_leading(scores[a : a + n]) for a, n in zip(starts, counts, strict=True)], dtype=np.int64)
    rankings = {
        query_id: with_tail(ranking, scores[start : start + reached]) if reached else ranking
        for (query_id, ranking), start, reached in zip(run.items(), starts, depths, strict=True)
    }
    scored = np.flatnonzero(~np.isnan(scores))
    done, windows = inputs.whole.only(scored), windows_of(run, depth, inputs, work.best, scored)
    ties = tied(done, scores[scored])
    return Partial(Run(run.name, rankings), len(scored), scorer.cut(done), ties, windows, depths, stopped)


def tiers(ranks: Rows) -> Iterator[Rows]:
    """The numbers of the pairs of each tier of ranks: 0 to 9, 10 to 19, 20 to 39, and so on."""
    start, end = 0, _SHALLOWEST
    while start <= ranks.max(initial=-1):
        yield np.flatnonzero((ranks >= start) & (ranks < end))
        start, end = end, 2 * end


def _fill(work: ScoringJob, scores: Matrix, ranks: Rows, progress: Progress) -> str:
    tokens = float(_FIRST_SLICE_TOKENS)
    try:
        for tier in tiers(ranks):
            remaining = tier[np.argsort(-work.lengths[tier], kind="stable")]
            while len(remaining):
                if not progress.go_on():
                    return "time"
                costs = work.costs(remaining)
                size = 1 + int(np.searchsorted(np.cumsum(costs), tokens))
                numbers, remaining = remaining[:size], remaining[size:]
                spent, found = _timed(work, numbers)
                scores[numbers] = _checked(found)
                progress.advance(len(numbers))
                tokens = max(tokens / 2, float(costs[:size].sum()) * _SLICE_SECONDS / max(spent, 1e-3))
    except KeyboardInterrupt:
        return "Ctrl-C"
    return ""


def _timed(work: ScoringJob, numbers: Rows) -> tuple[float, Matrix]:
    """Seconds that some of the pairs take, and their scores."""
    started = time.monotonic()
    scores = work.scores(numbers, lambda _: None)
    return time.monotonic() - started, scores


def _checked(scores: Matrix) -> Matrix:
    """NaN stands for what was not scored, so a model must not give it."""
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise ModelError(f"the model gives the score {scores[wrong[0]]}, expected finite numbers.")
    return scores


def _leading(scores: Matrix) -> int:
    """How many scores there are before the first that is missing."""
    missing = np.flatnonzero(np.isnan(scores))
    return int(missing[0]) if len(missing) else len(scores)


def _spread(count: int) -> Iterator[int]:
    """Every number below ``count`` once, each as far as can be from those before."""
    order = np.argsort([_mirrored(number) for number in range(count)], kind="stable")
    yield from (int(number) for number in order)


def _mirrored(number: int) -> float:
    """The van der Corput sequence in base 2: its first terms lie evenly in [0, 1)."""
    value, weight = 0.0, 0.5
    while number:
        value += weight * (number & 1)
        number, weight = number >> 1, weight / 2
    return value
