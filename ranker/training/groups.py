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

    A negative is never a judged positive, nor a passage with a positive's text under another id, nor the query itself,
    which some collections hold, by its id or its text. A positive that the collection lacks is left out.
    Raises: TrainingError where no query has both.
    """
    words = Words(collection)
    found = [
        one
        for query_id, query in queries.items()
        if query_id in run
        for one in [_candidates(query, run[query_id].doc_ids[:depth], qrels[query_id], words)]
        if one.positives and one.negatives
    ]
    if not found:
        raise TrainingError(
            f"run {run.name}: gives no training group; "
            "no query of the split has a judged positive and a negative in it."
        )
    return found


def _candidates(query: Query, doc_ids: tuple[str, ...], judged: Mapping[str, int], words: "Words") -> Candidates:
    relevant = [doc_id for doc_id, relevance in judged.items() if relevance > 0]
    positives = tuple(doc_id for doc_id in relevant if doc_id in words.collection)
    texts, asked = {words[doc_id] for doc_id in positives}, digest_of_words(query.text)
    negatives = (
        doc_id
        for doc_id in doc_ids
        if judged.get(doc_id, 0) <= 0
        and doc_id != query.query_id
        and words[doc_id] not in texts
        and asked not in (words[doc_id], words.without_title(doc_id))
    )
    return Candidates(query.query_id, positives, tuple(negatives))


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
        self.collection = collection
        self._titled: dict[str, bytes] = {}

    def __missing__(self, doc_id: str) -> bytes:
        """A run names the same passages for many queries; each is read once."""
        passage = self.collection[doc_id]
        if passage.title and passage.text:
            self._titled[doc_id] = digest_of_words(passage.text)
        self[doc_id] = digest = digest_of_words(passage.contents)
        return digest

    def without_title(self, doc_id: str) -> bytes:
        """The digest of the passage's text alone, as a question stands in a collection whose passages have titles."""
        whole = self[doc_id]
        return self._titled.get(doc_id, whole)


def digest_of_words(text: str) -> bytes:
    """A digest of a text's words without case and spacing."""
    return hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=16).digest()
