"""Runs: for each query, passages and scores, best first. The only place that decides an order."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranker.errors import DataError
from ranker.limits import MAX_DEPTH
from ranker.wording import counted

Scores = NDArray[np.float32]

_ANSWERS_AT_ONCE: Final = 256
"""Answers whose doc_ids are gathered together: a few hundred stay in a processor's cache until they are rankings."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The passages found for one query, best first: score falling, equal scores by doc_id falling, as trec_eval.

    Shape: scores (passages,), float32.
    Raises: DataError for NaN, an infinite score, a passage named twice, or another order.
    """

    doc_ids: tuple[str, ...]
    scores: Scores

    def __post_init__(self) -> None:
        """Holds what every reader of a ranking relies on."""
        if len(self.doc_ids) != len(self.scores):
            raise DataError(
                f"a ranking has {counted(len(self.doc_ids), 'passage')} but {counted(len(self.scores), 'score')}."
            )
        check_finite(self.doc_ids, self.scores)
        if len(self.doc_ids) > MAX_DEPTH:
            raise DataError(f"a ranking has {len(self.doc_ids)} passages, at most {MAX_DEPTH} are allowed.")
        if len(set(self.doc_ids)) != len(self.doc_ids):
            raise DataError(f"passage {_first_repeat(self.doc_ids)!r} stands twice in one ranking.")
        if not _is_ordered(self.doc_ids, self.scores):
            raise DataError("a ranking is not in order: scores must fall, and equal scores be by doc_id falling.")

    def __len__(self) -> int:
        """How many passages were found."""
        return len(self.doc_ids)

    def __eq__(self, other: object) -> bool:
        """Equal where passages and scores are, to the bit."""
        if not isinstance(other, Ranking):
            return NotImplemented
        return self.doc_ids == other.doc_ids and self.scores.tobytes() == other.scores.tobytes()

    __hash__ = None  # type: ignore[assignment]  # the scores are an array

    @classmethod
    def ordered(cls, doc_ids: Sequence[str], scores: ArrayLike) -> "Ranking":
        """The ranking of passages given in any order.

        Scores become float32 first, so what float32 cannot tell apart is a tie. Raises: DataError as the class.
        """
        ids, values = tuple(doc_ids), to_float32(scores)
        if len(ids) != len(values) or _is_ordered(ids, values):
            return cls(ids, values)
        order = _order(ids, values)
        return cls(tuple(ids[i] for i in order), values[order])

    def head(self, depth: int) -> "Ranking":
        """The best ``depth`` passages."""
        return Ranking(self.doc_ids[:depth], self.scores[:depth])

    def distinct(self) -> "Ranking":
        """The same order by scores of which no two are equal, so that no reader's rule for ties decides anything."""
        if (self.scores[:-1] > self.scores[1:]).all():
            return self
        return Ranking(self.doc_ids, strictly_falling(self.scores))

    def without(self, doc_ids: AbstractSet[str]) -> "Ranking":
        """The others in their order."""
        kept = [place for place, doc_id in enumerate(self.doc_ids) if doc_id not in doc_ids]
        return Ranking(tuple(self.doc_ids[place] for place in kept), self.scores[kept])


@dataclass(frozen=True, eq=False)
class Run(Mapping[str, Ranking]):
    """What a system answers: a ranking for each query_id."""

    name: str
    rankings: Mapping[str, Ranking]

    def __post_init__(self) -> None:
        """A name must fit the last column of a run file."""
        if not self.name or len(self.name.split()) != 1 or self.name.strip() != self.name:
            raise DataError(f"a run is named {self.name!r}, expected one word without spaces.")

    def __getitem__(self, query_id: str) -> Ranking:
        """The ranking of one query."""
        return self.rankings[query_id]

    def __iter__(self) -> Iterator[str]:
        """The query_ids, in the order of the run."""
        return iter(self.rankings)

    def __len__(self) -> int:
        """How many queries were answered."""
        return len(self.rankings)

    def distinct(self) -> "Run":
        """The same with scores of which no two of a query are equal."""
        return Run(self.name, {query_id: ranking.distinct() for query_id, ranking in self.rankings.items()})

    @property
    def queries_found(self) -> tuple[str, ...]:
        """The queries whose ranking holds a passage of the query's own id, as where queries stand in the collection."""
        return tuple(query_id for query_id, ranking in self.rankings.items() if query_id in ranking.doc_ids)

    def without_queries(self) -> "Run":
        """The same without the passage of each query's own id; a query that found nothing else is left out."""
        found = {query_id: self.rankings[query_id].without({query_id}) for query_id in self.queries_found}
        rankings = {query_id: found.get(query_id, ranking) for query_id, ranking in self.rankings.items()}
        return Run(self.name, {query_id: ranking for query_id, ranking in rankings.items() if len(ranking)})

    def head(self, depth: int) -> "Run":
        """The best ``depth`` passages of each query."""
        heads = {query_id: one.head(depth) if len(one) > depth else one for query_id, one in self.rankings.items()}
        return Run(self.name, heads)

    @property
    def hits(self) -> int:
        """Passages over all queries."""
        return sum(len(ranking) for ranking in self.rankings.values())

    @property
    def digest(self) -> str:
        """SHA-256 of queries, passages and scores to the bit, whatever the run's name and the order of its queries."""
        total = hashlib.sha256()
        for query_id in sorted(self.rankings):
            ranking = self.rankings[query_id]
            total.update(json.dumps([query_id, *ranking.doc_ids]).encode())
            total.update(ranking.scores.tobytes())
        return total.hexdigest()


def rankings_of(doc_ids: NDArray[np.object_], rows: NDArray[np.int64], scores: Scores) -> list[Ranking]:
    """What ``Ranking.ordered`` makes of many answers, checked all at once: a step of Python for each costs as a search.

    ``doc_ids`` are distinct; a row of -1 is none. Whatever does not simply fall goes through ``Ranking.ordered``.
    Shape: doc_ids (PASSAGES,), rows and scores (QUERIES, DEPTH), float32.
    """
    found: list[Ranking] = []
    for start in range(0, len(rows), _ANSWERS_AT_ONCE):
        part = slice(start, start + _ANSWERS_AT_ONCE)
        found += _rankings(doc_ids, rows[part], scores[part])
    return found


def _rankings(doc_ids: NDArray[np.object_], rows: NDArray[np.int64], scores: Scores) -> list[Ranking]:
    found = list(map(_unchecked, map(tuple, doc_ids[rows].tolist()), scores))
    for place in np.flatnonzero(~_fall_simply(rows, scores)):
        named = rows[place] >= 0
        found[place] = Ranking.ordered(doc_ids[rows[place, named]].tolist(), scores[place, named])
    return found


def to_float32(scores: ArrayLike) -> Scores:
    """Scores as trec_eval holds them; what exceeds float32 becomes infinite, and is refused later."""
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
        place = int(np.argmin(finite))
        raise DataError(f"passage {doc_ids[place]!r} has the score {scores[place]}, expected a finite number.")


def strictly_falling(scores: Scores) -> Scores:
    """Finite scores that do not rise, each lowered by as few steps of float32 as make it less than the one before.

    Shape: (N,) to (N,).
    """
    bits = scores.view(np.int32).astype(np.int64)
    # float32 numbers as their ordinals: consecutive, both zeros 0
    ordinals = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    count = np.arange(len(scores))
    lowered = np.minimum.accumulate(ordinals + count) - count
    return np.where(lowered < 0, -lowered | 0x80000000, lowered).astype(np.uint32).view(np.float32)


def _fall_simply(rows: NDArray[np.int64], scores: Scores) -> NDArray[np.bool_]:
    """Whether each answer has finite scores, no two equal, and passages that stand there once.

    Shape: (QUERIES,). Of scores that fall, which NaN does not, all are finite where the first and the last are.
    """
    if not 1 <= rows.shape[1] <= MAX_DEPTH:
        return np.zeros(len(rows), dtype=np.bool_)
    falling = (scores[:, :-1] > scores[:, 1:]).all(axis=1) & np.isfinite(scores[:, [0, -1]]).all(axis=1)
    rising = np.sort(rows, axis=1)
    once: NDArray[np.bool_] = (rising[:, 0] >= 0) & (rising[:, 1:] != rising[:, :-1]).all(axis=1)
    return once & falling


def _unchecked(doc_ids: tuple[str, ...], scores: Scores) -> Ranking:
    """A ranking of what has been checked already; to check each again takes four times as long as all the rest."""
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
    """Python orders strings by code point, which for UTF-8 is the order of bytes that trec_eval's strcmp has."""
    by_id = sorted(range(len(doc_ids)), key=doc_ids.__getitem__, reverse=True)
    falling = np.argsort(-scores[by_id], kind="stable")
    return [by_id[i] for i in falling]


def _first_repeat(doc_ids: tuple[str, ...]) -> str:
    seen: set[str] = set()
    for doc_id in doc_ids:
        if doc_id in seen:
            return doc_id
        seen.add(doc_id)
    raise ValueError("no passage repeats")
