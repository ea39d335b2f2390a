"""Training groups: a question, one passage that answers it, and passages that do not, drawn from a run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ranker.data.collection import Collection
from ranker.data.records import Qrels, Query
from ranker.data.run import Run
from ranker.errors import TrainingError


@dataclass(frozen=True)
class Candidates:
    """For one query, the positives and the negatives that groups are drawn from, as doc_ids."""

    query_id: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]


def find_candidates(
    run: Run, queries: Mapping[str, Query], qrels: Qrels, collection: Collection, depth: int
) -> list[Candidates]:
    """Each query's judged positives, and the passages among the run's first ``depth`` that may serve as negatives.

    A negative is never a judged positive, nor a passage with a positive's text under another id.
    Raises: TrainingError where no query has both.
    """
    words = Words(collection)
    found = [
        one
        for query_id in queries
        if query_id in run
        for one in [_candidates(query_id, run[query_id].doc_ids[:depth], qrels[query_id], words)]
        if one.positives and one.negatives
    ]
    if not found:
        raise TrainingError(
            f"run {run.name}: gives no training group; "
            "no query of the split has a judged positive and a negative in it."
        )
    return found


def _candidates(query_id: str, doc_ids: tuple[str, ...], judged: Mapping[str, int], words: "Words") -> Candidates:
    positives = tuple(doc_id for doc_id, relevance in judged.items() if relevance > 0)
    texts = {words[doc_id] for doc_id in positives}
    negatives = (doc_id for doc_id in doc_ids if judged.get(doc_id, 0) <= 0 and words[doc_id] not in texts)
    return Candidates(query_id, positives, tuple(negatives))


@dataclass(frozen=True)
class Group:
    """A query and its passages, the positive first."""

    query_id: str
    doc_ids: tuple[str, ...]


def draw_groups(candidates: list[Candidates], negatives: int, rng: np.random.Generator) -> list[Group]:
    """One group for each query, in random order; negatives repeat only where there are too few."""
    groups = []
    for number in rng.permutation(len(candidates)):
        chosen = candidates[number]
        positive = chosen.positives[rng.integers(len(chosen.positives))]
        enough = len(chosen.negatives) >= negatives
        drawn = rng.choice(len(chosen.negatives), negatives, replace=not enough)
        groups.append(Group(chosen.query_id, (positive, *(chosen.negatives[i] for i in drawn))))
    return groups


class Words(dict[str, bytes]):
    """A digest of each passage's words without case and spacing, so that a copy is known as one."""

    def __init__(self, collection: Collection) -> None:
        super().__init__()
        self._collection = collection

    def __missing__(self, doc_id: str) -> bytes:
        """A run names the same passages for many queries; each is read once."""
        if doc_id not in self._collection:
            raise TrainingError(f"passage {doc_id} is judged relevant, but the collection has no such passage.")
        words = " ".join(self._collection[doc_id].contents.lower().split())
        self[doc_id] = digest = hashlib.blake2b(words.encode(), digest_size=16).digest()
        return digest
