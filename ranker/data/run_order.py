"""Where the ranks of a run file say another order than its scores, which alone decide."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranker.data.run import Scores
from ranker.wording import counted

Ranks = NDArray[np.float64]


class _Line(NamedTuple):
    rank: float
    score: float
    doc_id: str


class RankCheck:
    """Holds the ranks of a run against its scores as its lines are read; a rank that is no number is passed over."""

    def __init__(self) -> None:
        self._last: dict[str, _Line] = {}
        self._rising: set[str] = set()
        self._tied: set[str] = set()

    def add(self, query_id: str, doc_id: str, rank: float, score: float) -> None:
        """Takes a line of a query, its score as float32 has it."""
        line, before = _Line(rank, score, doc_id), self._last.get(query_id)
        if before is not None:
            self._compare(query_id, before, line)
        self._last[query_id] = line

    def look(
        self, query_ids: Sequence[str], edges: Sequence[int], doc_ids: Sequence[str], ranks: Ranks, scores: Scores
    ) -> None:
        """Takes lines at once, in the order of the file; those of ``query_ids[n]`` go from ``edges[n]`` to the next.

        Shape: ranks and scores (LINES,).
        """
        if not len(ranks):
            return
        ranks = np.where(np.isfinite(ranks), ranks, np.nan)
        steps, lower = _directions(ranks), _directions(scores)
        within = np.ones(len(steps), dtype=bool)
        within[np.asarray(edges[1:-1], dtype=np.int64) - 1] = False  # the last line of a query and the first of another
        owners = np.repeat(np.arange(len(query_ids)), np.diff(edges))
        self._rising |= {query_ids[number] for number in np.unique(owners[:-1][within & (steps * lower > 0)]).tolist()}
        for place in np.flatnonzero(within & (lower == 0) & (steps != 0)).tolist():
            query_id = query_ids[owners[place]]
            if query_id not in self._tied:
                first, second = (_Line(ranks[n], scores[n], doc_ids[n]) for n in (place, place + 1))
                self._compare(query_id, first, second)
        for query_id, (start, end) in zip(query_ids, pairwise(edges), strict=True):
            self.add(query_id, doc_ids[start], ranks[start], scores[start])
            self._last[query_id] = _Line(ranks[end - 1], scores[end - 1], doc_ids[end - 1])

    def _compare(self, query_id: str, first: _Line, second: _Line) -> None:
        step, rise = _sign(second.rank, first.rank), _sign(second.score, first.score)
        if step * rise > 0:
            self._rising.add(query_id)
        elif not rise and step * _sign(second.doc_id, first.doc_id) > 0:
            self._tied.add(query_id)

    def notes(self) -> Iterator[str]:
        """What is odd, a clause each."""
        if self._rising:
            yield (
                f"the scores of {counted(len(self._rising), 'query')} rise where the ranks do, "
                f"{min(self._rising)}'s among them; scores alone decide, the highest first, so negate distances"
            )
        if self._tied:
            yield (
                f"equal scores of {counted(len(self._tied), 'query')} stand in another order by their ranks, "
                f"{min(self._tied)}'s among them; equal scores go by doc_id, falling"
            )


def _sign(left: Any, right: Any) -> int:  # noqa: ANN401
    return int(left > right) - int(left < right)


def _directions(values: NDArray[Any]) -> NDArray[np.int8]:
    """1 where a value is greater than the one before it, -1 where it is less, else 0, as beside NaN.

    Shape: (N,) to (N - 1,).
    """
    above, below = values[1:] > values[:-1], values[1:] < values[:-1]
    return above.astype(np.int8) - below.astype(np.int8)
