"""Runs: for each query, passages and scores, best first; no other module decides the order of a ranking."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranker.errors import DataError
from ranker.limits import MAX_DEPTH
from ranker.wording import counted

Scores = NDArray[np.float32]

_QUERIES_AT_ONCE: Final = 256
"""Queries whose doc_ids are gathered together: a few hundred stay in a processor's cache until they are rankings."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The passages found for one query, best first, in trec_eval's order: score falling, then doc_id falling.

    Shape: scores (PASSAGES,), float32.
    Raises: DataError for NaN, an infinite score, a passage that stands twice, or another order.
    """

    doc_ids: tuple[str, ...]
    scores: Scores

    def __post_init__(self) -> None:
        if len(self.doc_ids) != len(self.scores):
            raise DataError(
                f"a ranking has {counted(len(self.doc_ids), 'passage')} but {counted(len(self.scores), 'score')}."
            )
        check_finite(self.doc_ids, self.scores)
        if len(self.doc_ids) > MAX_DEPTH:
            raise DataError(f"a ranking has {len(self.doc_ids)} passages, at most {MAX_DEPTH} are allowed.")
        if len(set(self.doc_ids)) != len(self.doc_ids):
            raise DataError(f"passage {_first_repeated(self.doc_ids)!r} stands twice in one ranking.")
        if not _is_ordered(self.doc_ids, self.scores):
            raise DataError("a ranking is not in order: scores must fall, and equal scores be by doc_id falling.")

    def __len__(self) -> int:
        """Returns the number of passages."""
        return len(self.doc_ids)

    def __eq__(self, other: object) -> bool:
        """Returns whether passages and scores are equal, to the bit."""
        if not isinstance(other, Ranking):
            return NotImplemented
        return self.doc_ids == other.doc_ids and self.scores.tobytes() == other.scores.tobytes()

    __hash__ = None  # type: ignore[assignment]  # the scores are an array

    @classmethod
    def ordered(cls, doc_ids: Sequence[str], scores: ArrayLike) -> "Ranking":
        """Sorts passages into a ranking.

        Scores become float32 first, so scores that float32 cannot tell apart are ties.
        Raises: DataError as the class.
        """
        ids, values = tuple(doc_ids), to_float32(scores)
        if len(ids) != len(values) or _is_ordered(ids, values):
            return cls(ids, values)
        order = _order(ids, values)
        return cls(tuple(ids[i] for i in order), values[order])

    def head(self, depth: int) -> "Ranking":
        """Returns the best ``depth`` passages."""
        return Ranking(self.doc_ids[:depth], self.scores[:depth])

    def distinct(self) -> "Ranking":
        """Returns the same order with scores of which no two are equal, so that it holds under any rule for ties."""
        if (self.scores[:-1] > self.scores[1:]).all():
            return self
        return Ranking(self.doc_ids, strictly_falling(self.scores))

    def without(self, doc_ids: AbstractSet[str]) -> "Ranking":
        """Returns the ranking without these passages."""
        kept = [index for index, doc_id in enumerate(self.doc_ids) if doc_id not in doc_ids]
        return Ranking(tuple(self.doc_ids[index] for index in kept), self.scores[kept])


@dataclass(frozen=True, eq=False)
class Run(Mapping[str, Ranking]):
    """A ranking for each query_id, under the name of the system that made it.

    Raises: DataError for a name that is not one word, as the last column of a run file must be.
    """

    name: str
    rankings: Mapping[str, Ranking]

    def __post_init__(self) -> None:
        if not self.name or len(self.name.split()) != 1 or self.name.strip() != self.name:
            raise DataError(f"a run is named {self.name!r}, expected one word without spaces.")

    def __getitem__(self, query_id: str) -> Ranking:
        """Returns the ranking of a query."""
        return self.rankings[query_id]

    def __iter__(self) -> Iterator[str]:
        """Yields the query_ids, in the order of the run."""
        return iter(self.rankings)

    def __len__(self) -> int:
        """Returns the number of queries."""
        return len(self.rankings)

    def distinct(self) -> "Run":
        """Returns the run with scores of which no two of a query are equal."""
        return Run(self.name, {query_id: ranking.distinct() for query_id, ranking in self.rankings.items()})

    @property
    def queries_found(self) -> tuple[str, ...]:
        """The queries whose ranking holds a passage of their own id, as where the collection holds the queries."""
        return tuple(query_id for query_id, ranking in self.rankings.items() if query_id in ranking.doc_ids)

    def without_queries(self) -> "Run":
        """Returns the run without the passage of each query's own id; a query with no other passage is left out."""
        changed = {query_id: self.rankings[query_id].without({query_id}) for query_id in self.queries_found}
        rankings = {query_id: changed.get(query_id, ranking) for query_id, ranking in self.rankings.items()}
        return Run(self.name, {query_id: ranking for query_id, ranking in rankings.items() if len(ranking)})

    def head(self, depth: int) -> "Run":
        """Returns the best ``depth`` passages of each query."""
        heads = {
            query_id: ranking.head(depth) if len(ranking) > depth else ranking
            for query_id, ranking in self.rankings.items()
        }
        return Run(self.name, heads)

    @property
    def hits(self) -> int:
        """The number of passages over all queries."""
        return sum(len(ranking) for ranking in self.rankings.values())

    @property
    def digest(self) -> str:
        """The SHA-256 of queries, passages and scores to the bit, without the name and the order of the queries."""
        total = hashlib.sha256()
        for query_id in sorted(self.rankings):
            ranking = self.rankings[query_id]
            total.update(json.dumps([query_id, *ranking.doc_ids]).encode())
            total.update(ranking.scores.tobytes())
        return total.hexdigest()


def rankings_from_rows(doc_ids: NDArray[np.object_], rows: NDArray[np.int64], scores: Scores) -> list[Ranking]:
    """Makes the rankings of many queries at once; one ``Ranking.ordered`` for each takes as long as the search.

    ``doc_ids`` are distinct; a row of -1 stands for no passage.
    Shape: doc_ids (PASSAGES,); rows and scores (QUERIES, DEPTH).
    """
    rankings: list[Ranking] = []
    for start in range(0, len(rows), _QUERIES_AT_ONCE):
        part_rows, part_scores = rows[start : start + _QUERIES_AT_ONCE], scores[start : start + _QUERIES_AT_ONCE]
        part = list(map(_unchecked, map(tuple, doc_ids[part_rows].tolist()), part_scores))
        for query in np.flatnonzero(~_are_ranked(part_rows, part_scores)):
            present = part_rows[query] >= 0
            ids = doc_ids[part_rows[query, present]].tolist()
            part[query] = Ranking.ordered(ids, part_scores[query, present])
        rankings += part
    return rankings


def to_float32(scores: ArrayLike) -> Scores:
    """Converts scores to float32, as trec_eval holds them; values out of its range become infinite."""
    values = np.asarray(scores)
    if values.dtype == np.float32:
        return np.ascontiguousarray(values)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)


def check_finite(doc_ids: Sequence[str], scores: Scores) -> None:
    """Refuses NaN and infinite scores.

    Raises: DataError that names the first passage that has one.
    """
    finite = np.isfinite(scores)
    if not finite.all():
        index = int(np.argmin(finite))
        raise DataError(f"passage {doc_ids[index]!r} has the score {scores[index]}, expected a finite number.")


def strictly_falling(scores: Scores) -> Scores:
    """Lowers each of finite scores that do not rise by as few steps of float32 as make it less than the one before.

    Shape: (N,) to (N,).
    """
    bits = scores.view(np.int32).astype(np.int64)
    # the bits of positive floats count up with their value, those of negative ones down: consecutive, both zeros 0
    ordinals = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    # strictly falling by one step or more is not rising once the position is added
    positions = np.arange(len(scores))
    lowered = np.minimum.accumulate(ordinals + positions) - positions
    return np.where(lowered < 0, -lowered | 0x80000000, lowered).astype(np.uint32).view(np.float32)


def _are_ranked(rows: NDArray[np.int64], scores: Scores) -> NDArray[np.bool_]:
    """Returns which queries have strictly falling finite scores, and each passage once.

    Shape: (QUERIES, DEPTH) to (QUERIES,).
    """
    if not 1 <= rows.shape[1] <= MAX_DEPTH:
        return np.zeros(len(rows), dtype=np.bool_)
    # NaN falls nowhere, so all of falling scores are finite where the first and the last are
    falling = (scores[:, :-1] > scores[:, 1:]).all(axis=1) & np.isfinite(scores[:, [0, -1]]).all(axis=1)
    rising = np.sort(rows, axis=1)
    once: NDArray[np.bool_] = (rising[:, 0] >= 0) & (rising[:, 1:] != rising[:, :-1]).all(axis=1)
    return once & falling


def _unchecked(doc_ids: tuple[str, ...], scores: Scores) -> Ranking:
    """Makes a ranking of what has been checked already; checking again takes four times as long as the rest."""
    ranking = object.__new__(Ranking)
    object.__setattr__(ranking, "doc_ids", doc_ids)
    object.__setattr__(ranking, "scores", scores)
    return ranking


def _is_ordered(doc_ids: tuple[str, ...], scores: Scores) -> bool:
    upper, lower = scores[:-1], scores[1:]
    if (upper > lower).all():
        return True
    return not (lower > upper).any() and all(doc_ids[i] >= doc_ids[i + 1] for i in np.flatnonzero(lower == upper))


def _order(doc_ids: tuple[str, ...], scores: Scores) -> list[int]:
    """Returns the indices of the passages, best first."""
    # Python orders strings by code point, which for UTF-8 is the order of bytes that trec_eval's strcmp has
    by_id = sorted(range(len(doc_ids)), key=doc_ids.__getitem__, reverse=True)
    falling = np.argsort(-scores[by_id], kind="stable")
    return [by_id[i] for i in falling]


def _first_repeated(doc_ids: tuple[str, ...]) -> str:
    seen: set[str] = set()
    for doc_id in doc_ids:
        if doc_id in seen:
            return doc_id
        seen.add(doc_id)
    raise ValueError("no passage repeats")


# ranks that contradict the scores


class _Line(NamedTuple):
    rank: float
    score: float
    doc_id: str


class RankCheck:
    """Compares the ranks of a run file with its scores as its lines are read; a rank that is NaN is passed over."""

    def __init__(self) -> None:
        self._last: dict[str, _Line] = {}
        self._rising: set[str] = set()
        self._tied: set[str] = set()

    def add(self, query_id: str, doc_id: str, rank: float, score: float) -> None:
        """Takes a line of a query; the score is a float32."""
        line, last = _Line(rank, score, doc_id), self._last.get(query_id)
        if last is not None:
            self._compare(query_id, last, line)
        self._last[query_id] = line

    def add_lines(
        self,
        query_ids: Sequence[str],
        edges: Sequence[int],
        doc_ids: Sequence[str],
        ranks: NDArray[np.float64],
        scores: Scores,
    ) -> None:
        """Takes many lines in the order of the file; those of ``query_ids[n]`` are ``edges[n]`` to ``edges[n + 1]``.

        Shape: doc_ids, ranks and scores (LINES,).
        """
        if not len(ranks):
            return
        ranks = np.where(np.isfinite(ranks), ranks, np.nan)
        rank_steps, score_steps = _directions(ranks), _directions(scores)
        within = np.ones(len(rank_steps), dtype=bool)
        within[np.asarray(edges[1:-1], dtype=np.int64) - 1] = False  # steps from one query's last line to the next's
        owners = np.repeat(np.arange(len(query_ids)), np.diff(edges))
        rising = owners[:-1][within & (rank_steps * score_steps > 0)]
        self._rising |= {query_ids[owner] for owner in np.unique(rising).tolist()}
        for line in np.flatnonzero(within & (score_steps == 0) & (rank_steps != 0)).tolist():
            query_id = query_ids[owners[line]]
            if query_id not in self._tied:
                first, second = (_Line(ranks[n], scores[n], doc_ids[n]) for n in (line, line + 1))
                self._compare(query_id, first, second)
        # a query may go on in lines that come later: its first line here follows its last line before
        for query_id, (start, end) in zip(query_ids, pairwise(edges), strict=True):
            self.add(query_id, doc_ids[start], ranks[start], scores[start])
            self._last[query_id] = _Line(ranks[end - 1], scores[end - 1], doc_ids[end - 1])

    def notes(self) -> Iterator[str]:
        """Yields a clause for each kind of contradiction."""
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

    def _compare(self, query_id: str, first: _Line, second: _Line) -> None:
        rank_step, score_step = _sign(second.rank, first.rank), _sign(second.score, first.score)
        if rank_step * score_step > 0:
            self._rising.add(query_id)
        elif not score_step and rank_step * _sign(second.doc_id, first.doc_id) > 0:
            self._tied.add(query_id)


def _sign(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _directions(values: NDArray[Any]) -> NDArray[np.int8]:
    """Returns 1 where a value is greater than the one before it, -1 where it is less, else 0, as next to NaN.

    Shape: (N,) to (N - 1,).
    """
    above, below = values[1:] > values[:-1], values[1:] < values[:-1]
    return above.astype(np.int8) - below.astype(np.int8)
