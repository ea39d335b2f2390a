"""What a model has computed is not computed again, and a job that was stopped goes on where it was."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ranker.errors import OutputError
from ranker.files.atomic import atomic_file, cache_folder
from ranker.files.digests import read_sealed, write_sealed
from ranker.scoring.store import Keys, Rows, Store, Values, pair_keys, text_keys
from ranker.version import __version__

if TYPE_CHECKING:
    from ranker.scoring.pairs import Pairs
    from ranker.scoring.scorer import Scorer


@dataclass(frozen=True)
class Task:
    """How numbered things are computed: ``batches`` gives places in the numbers it is given, batch by batch.

    ``compute`` gives the values of batches of numbers as they are there, each with its batch's place among them.
    Shape: values (numbers of a batch, width).
    """

    width: int
    batches: Callable[[Rows], Iterable[Rows]]
    compute: Callable[[list[Rows]], Iterable[tuple[int, Values]]]


class ScoreSource(Protocol):
    """Values of numbered things, from somewhere."""

    def __call__(self, side: int, numbers: Rows, task: Task, advance: Callable[[int], object]) -> Values:
        """The values of these numbers; ``side`` says of which things, where there are several kinds.

        Shape: (numbers, width).
        """
        ...


def computed(side: int, numbers: Rows, task: Task, advance: Callable[[int], object]) -> Values:
    """Computes all, and keeps nothing."""
    del side
    found = np.empty((len(numbers), task.width), dtype=np.float32)
    batches = list(task.batches(numbers))
    for place, values in task.compute([numbers[batch] for batch in batches]):
        found[batches[place]] = values
        advance(len(values))
    return found


@dataclass(frozen=True)
class Memory:
    """What was known before a job first began, and what attempts at it that were stopped have left.

    What is left to do is computed in the batches in which it would have been computed, so that a job that was stopped
    ends with the same scores to the bit.
    """

    store: Store
    known_before: int
    keys: tuple[Keys, ...]

    @cached_property
    def share(self) -> float:
        """How much of the job was known when this attempt at it began, 0 to 1."""
        found = sum(int((self.store.find(keys) >= 0).sum()) for keys in self.keys)
        return found / max(1, sum(map(len, self.keys)))

    def __call__(self, side: int, numbers: Rows, task: Task, advance: Callable[[int], object]) -> Values:
        """As ``ScoreSource`` says; what has one key is computed once."""
        first, place = distinct(self.keys[side][numbers])
        advance(len(numbers) - len(first))
        return self._distinct(side, numbers[first], task, advance)[place]

    def _distinct(self, side: int, numbers: Rows, task: Task, advance: Callable[[int], object]) -> Values:
        keys = self.keys[side][numbers]
        now = self.store.find(keys)
        found = np.empty((len(numbers), task.width), dtype=np.float32)
        found[now >= 0] = self.store.values(now[now >= 0])
        missing = np.flatnonzero(self.store.find(keys, self.known_before) < 0)
        batches = [missing[batch] for batch in task.batches(numbers[missing])]
        left = [batch for batch in batches if (now[batch] < 0).any()]
        advance(len(numbers) - sum(map(len, left)))
        for place, values in task.compute([numbers[batch] for batch in left]):
            found[left[place]] = values
            self.store.add(keys[left[place]], values)
            advance(len(values))
        return found


@contextmanager
def remembering(scorer: "Scorer", pairs: "Pairs") -> Iterator[Memory]:
    """A memory for the scoring of these pairs; what is left of it if it is stopped inside serves its next attempt."""
    folder = cache_folder() / "scores" / fingerprint(scorer)
    sides = (text_keys(pairs.queries), text_keys(pairs.passages))
    apart = scorer.model.config.apart
    keys = sides if apart else (pair_keys(sides[0][pairs.rows[:, 0]], sides[1][pairs.rows[:, 1]]),)
    width = scorer.model.width if apart else 1
    job = hashlib.sha256(f"{scorer.tokens_per_batch}|{pairs.rows.tolist() if apart else ''}|".encode())
    job.update(b"".join(side.tobytes() for side in keys))
    journal = folder / "jobs" / f"{job.hexdigest()[:24]}.json"
    store = Store(folder / "records", width)
    yield Memory(store, _known_before(journal, store.count), keys)
    with suppress(OSError):
        journal.unlink()


def distinct(keys: Keys) -> tuple[Rows, Rows]:
    """Where each key stands first, in order, and for every key its place among these.

    Shape: keys (N, 2), result (DISTINCT,) and (N,).
    """
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    begins = np.ones(len(keys), dtype=bool)
    begins[1:] = (keys[order][1:] != keys[order][:-1]).any(axis=1)
    first = order[begins]
    in_order = np.argsort(first)
    place = np.empty(len(keys), dtype=np.int64)
    place[order] = np.argsort(in_order)[np.cumsum(begins) - 1]
    return first[in_order], place


def fingerprint(scorer: "Scorer") -> str:
    """Names all that a score depends on, beside the texts."""
    facts = (
        __version__,
        scorer.model.digest(),
        scorer.reading.digest,
        scorer.precision,
        scorer.device_type,
        scorer.kernels,
        *map(metadata.version, ("torch", "transformers")),
    )
    return hashlib.sha256("|".join(facts).encode()).hexdigest()[:24]


def _known_before(journal: Path, count: int) -> int:
    """How many records there were when the job first began, which is now unless it was stopped."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        return min(int(read_sealed(journal)["records"]), count)
    with suppress(OSError, OutputError):
        journal.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(journal, force=True) as beside:
            write_sealed(beside, {"records": count})
    return count
