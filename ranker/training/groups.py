"""Training groups: a question, one passage that answers it, and negatives that are drawn from a run."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ranker.data.collection import Collection
from ranker.data.records import Qrels, Query
from ranker.data.run import Run
from ranker.errors import TrainingError
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import encode_passages
from ranker.scoring.tokens import Texts


@dataclass(frozen=True)
class Candidates:
    """The doc_ids that a query's groups are drawn from."""

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
    words = WordDigests(collection)
    candidates = []
    for query_id, query in queries.items():
        if query_id in run:
            of_query = _candidates(query, run[query_id].doc_ids[:depth], qrels[query_id], words)
            if of_query.positives and of_query.negatives:
                candidates.append(of_query)
    if not candidates:
        raise TrainingError(
            f"run {run.name}: gives no training group; "
            "no query of the split has a judged positive and a negative in it."
        )
    return candidates


def _candidates(query: Query, doc_ids: tuple[str, ...], judged: Mapping[str, int], words: "WordDigests") -> Candidates:
    relevant = [doc_id for doc_id, relevance in judged.items() if relevance > 0]
    positives = tuple(doc_id for doc_id in relevant if doc_id in words.collection)
    answers, question = {words[doc_id] for doc_id in positives}, digest_of_words(query.text)
    negatives = (
        doc_id
        for doc_id in doc_ids
        if judged.get(doc_id, 0) <= 0
        and doc_id != query.query_id
        and words[doc_id] not in answers
        and question not in (words[doc_id], words.without_title(doc_id))
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
    for index in rng.permutation(len(candidates)):
        of_query = candidates[index]
        positive = of_query.positives[rng.integers(len(of_query.positives))]
        enough = len(of_query.negatives) >= negatives
        drawn = rng.choice(len(of_query.negatives), negatives, replace=not enough)
        groups.append(Group(of_query.query_id, (positive, *(of_query.negatives[i] for i in drawn))))
    return groups


@dataclass(frozen=True)
class TrainingSet:
    """Candidates with all their texts tokenised; the rows say where the text of each id is."""

    candidates: list[Candidates]
    queries: Texts
    passages: Texts
    query_rows: dict[str, int]
    passage_rows: dict[str, int]

    @cached_property
    def texts(self) -> dict[str, int]:
        """A number for the tokens of each passage, which copies under other doc_ids have in common."""
        first_rows: dict[bytes, int] = {}
        return {
            doc_id: first_rows.setdefault(self.passages[row].tobytes(), row)
            for doc_id, row in self.passage_rows.items()
        }

    @cached_property
    def positives(self) -> dict[str, frozenset[int]]:
        """The numbers of the texts of each query's positives."""
        return {
            of_query.query_id: frozenset(self.texts[doc_id] for doc_id in of_query.positives)
            for of_query in self.candidates
        }

    def rows(self, groups: list[Group]) -> NDArray[np.int64]:
        """The rows of the query and the passage of each pair, group by group.

        Shape: (G * (1 + N), 2).
        """
        rows = []
        for group in groups:
            query = self.query_rows[group.query_id]
            rows.extend([(query, self.passage_rows[doc_id]) for doc_id in group.doc_ids])
        return np.array(rows, dtype=np.int64)

    def known_positives(self, groups: list[Group]) -> NDArray[np.bool_]:
        """Which passages of all groups are no negatives of a group: other positives of its query, and their copies.

        Shape: (G, G * (1 + N)).
        """
        texts = [self.texts[doc_id] for group in groups for doc_id in group.doc_ids]
        size = len(groups[0].doc_ids)
        known = np.zeros((len(groups), len(texts)), dtype=np.bool_)
        for row, group in enumerate(groups):
            positives = self.positives[group.query_id]
            known[row] = [text in positives for text in texts]
            # the group's own positive, the first of its passages, is what the loss pulls up
            known[row, row * size] = False
        return known


def training_set(
    scorer: Scorer, candidates: list[Candidates], queries: Mapping[str, Query], collection: Collection
) -> TrainingSet:
    """Tokenises every query and passage of the candidates once."""
    query_ids = [of_query.query_id for of_query in candidates]
    doc_ids: dict[str, None] = {}  # in order of first appearance
    for of_query in candidates:
        doc_ids |= dict.fromkeys((*of_query.positives, *of_query.negatives))
    return TrainingSet(
        candidates,
        scorer.queries(queries[query_id].text for query_id in query_ids),
        encode_passages(scorer.encoding, collection, list(doc_ids)),
        {query_id: row for row, query_id in enumerate(query_ids)},
        {doc_id: row for row, doc_id in enumerate(doc_ids)},
    )


class WordDigests(dict[str, bytes]):
    """A digest of each passage's words without case and spacing, by doc_id; copies have the same."""

    def __init__(self, collection: Collection) -> None:
        super().__init__()
        self.collection = collection
        self._without_title: dict[str, bytes] = {}

    def __missing__(self, doc_id: str) -> bytes:
        """Reads a passage once, although a run names it for many queries."""
        passage = self.collection[doc_id]
        if passage.title and passage.text:
            self._without_title[doc_id] = digest_of_words(passage.text)
        self[doc_id] = digest = digest_of_words(passage.contents)
        return digest

    def without_title(self, doc_id: str) -> bytes:
        """The digest of the passage's text alone: a question that stands in a collection may have a title before it."""
        digest = self[doc_id]
        return self._without_title.get(doc_id, digest)


def digest_of_words(text: str) -> bytes:
    """A digest of a text's words without case and spacing."""
    return hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=16).digest()
