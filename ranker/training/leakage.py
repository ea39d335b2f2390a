"""Leakage of tests into a training: questions and passages that are copies, word for word or with a few changed."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final, NamedTuple

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.training.fit import JudgedRun, TrainingData

SAME_QUESTION: Final = 0.9
"""The similarity from which two questions are one: "type 1" and "type 2" of a disease are two."""

SAME_PASSAGE: Final = 0.8
"""The similarity of passages, which are longer: a few words may be changed."""

_EXAMPLES: Final = 20

_WORD: Final = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3400-\u9fff\uf900-\ufaff]+")
"""A Chinese character counts as a word, since no spaces separate words."""

_TOLERANCE: Final = 1e-9


class HeldOut(NamedTuple):
    """A split to be tested on: its questions, and the passages that answer them."""

    name: str
    questions: Mapping[str, str]
    qrels: Qrels
    collection: Collection


class Copy(NamedTuple):
    """A text of ours that copies one of theirs; it is ``exact`` with the same words in the same order."""

    ours: str
    theirs: str
    similarity: float
    exact: bool


@dataclass(frozen=True)
class Leaks:
    """Questions of a training that are a test's, and passages of it that answer one; ``theirs`` names the test."""

    questions: tuple[Copy, ...] = ()
    passages: tuple[Copy, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.questions or self.passages)

    def __str__(self) -> str:
        """Counts, with an example of each; many texts of a training may copy one of a test."""
        kinds = (
            ("question", "of a test's", self.questions),
            ("passage", "of those that answer a test's questions", self.passages),
        )
        return ", ".join(_summary(ours, theirs, copies) for ours, theirs, copies in kinds if copies)

    def record(self) -> dict[str, Any]:
        """Counts and examples for a manifest."""
        return {
            kind: {
                "exact": sum(copy.exact for copy in copies),
                "near": sum(not copy.exact for copy in copies),
                "of_tests": _texts_of_tests(copies),
                "examples": [copy._asdict() for copy in copies[:_EXAMPLES]],
            }
            for kind, copies in (("questions", self.questions), ("passages", self.passages))
        }


def _summary(ours: str, theirs: str, copies: Sequence[Copy]) -> str:
    exact = sum(copy.exact for copy in copies)
    first = max(copies, key=lambda copy: copy.exact)
    count = f"1 {ours} that copies" if len(copies) == 1 else f"{len(copies)} {ours}s that copy"
    return f"{count} {_texts_of_tests(copies)} {theirs}, {exact} word for word ({first.ours} is {first.theirs})"


def _texts_of_tests(copies: Sequence[Copy]) -> int:
    return len({copy.theirs for copy in copies})


def held_out(dataset: Dataset, without: str) -> list[HeldOut]:
    """The splits of a dataset that are tested on: all but ``without``, and ``train``.

    Raises: DataError where one cannot be read.
    """
    splits = []
    for split in dataset.splits:
        if split not in (without, "train"):
            questions = {query_id: query.text for query_id, query in dataset.queries(split).items()}
            splits.append(HeldOut(f"{dataset.name}/{split}", questions, dataset.qrels(split), dataset.collection))
    return splits


def find_leaks(training_data: TrainingData, tests: Sequence[HeldOut]) -> Leaks:
    """The questions and passages of a training that copy those of a test.

    Its passages are those judged relevant and those that negatives are drawn from.
    """
    test_questions: dict[str, str] = {}
    test_answers: dict[str, str] = {}
    for test in tests:
        test_questions |= {f"{test.name} {query_id}": text for query_id, text in test.questions.items()}
        for doc_id in dict.fromkeys(_relevant(test.qrels)):
            if doc_id in test.collection:
                test_answers[f"{test.name} {doc_id}"] = test.collection[doc_id].contents
    questions = ((query_id, query.text) for query_id, query in training_data.training.queries.items())
    collection = training_data.collection
    passages = ((doc_id, collection[doc_id].contents) for doc_id in _passages(training_data) if doc_id in collection)
    return Leaks(
        tuple(find_copies(questions, test_questions, SAME_QUESTION)),
        tuple(find_copies(passages, test_answers, SAME_PASSAGE)),
    )


def without_leaks(training: JudgedRun, leaks: Leaks) -> JudgedRun:
    """A training without the questions and passages that copy a test's."""
    questions, passages = ({copy.ours for copy in copies} for copies in (leaks.questions, leaks.passages))
    kept = [query_id for query_id in training.queries if query_id not in questions]
    rankings = {query_id: training.run[query_id].without(passages) for query_id in kept if query_id in training.run}
    qrels = {}
    for query_id, judged in training.qrels.items():
        if query_id not in questions:
            qrels[query_id] = {doc_id: grade for doc_id, grade in judged.items() if doc_id not in passages}
    return replace(
        training,
        queries={query_id: training.queries[query_id] for query_id in kept},
        qrels=qrels,
        run=Run(training.run.name, {query_id: ranking for query_id, ranking in rankings.items() if len(ranking)}),
    )


def _relevant(qrels: Qrels) -> Iterator[str]:
    return (doc_id for judged in qrels.values() for doc_id, grade in judged.items() if grade > 0)


def _passages(training_data: TrainingData) -> dict[str, None]:
    """The doc_ids that a training may read, each once."""
    training = training_data.training
    doc_ids = dict.fromkeys(_relevant(training.qrels))
    for ranking in training.run.values():
        doc_ids |= dict.fromkeys(ranking.doc_ids[: training_data.negative_depth])
    return doc_ids


def find_copies(ours: Iterable[tuple[str, str]], theirs: Mapping[str, str], least: float) -> list[Copy]:
    """For each of our texts, which are named, the most similar of theirs, if that is at least so similar.

    Similarity is the share of the different words of both texts that they have in common (Jaccard), whatever case and
    punctuation. Two sets as similar as ``least`` share one of their few rarest words, so that only these are looked up
    (prefix filter, Chaudhuri et al. 2006). Only their texts are held in memory.
    """
    their_words = {key: _words(text) for key, text in theirs.items()}
    sets = {key: frozenset(words) for key, words in their_words.items()}
    counts = Counter(word for words in sets.values() for word in words)
    by_word: dict[str, list[str]] = defaultdict(list)
    for key, words in their_words.items():
        for word in _prefix(words, counts, least):
            by_word[word].append(key)
    copies: list[Copy] = []
    for name, text in ours:
        words = _words(text)
        of_text = []
        # a text may share several rare words with ours, but is compared once
        others = dict.fromkeys(key for word in _prefix(words, counts, least) for key in by_word.get(word, ()))
        for key in others:
            similarity = _jaccard(frozenset(words), sets[key])
            if similarity >= least - _TOLERANCE:
                of_text.append(Copy(name, key, similarity, words == their_words[key]))
        if of_text:
            copies.append(max(of_text, key=lambda copy: (copy.exact, copy.similarity)))
    return copies


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _prefix(words: Sequence[str], counts: Mapping[str, int], least: float) -> list[str]:
    """The rarest words of a text, so many that a similar text has at least one of them.

    A text that has a share ``least`` of n words lacks at most n - ceil(least * n) of them.
    """
    different = sorted(set(words), key=lambda word: (counts.get(word, 0), word))
    return different[: len(different) - ceil(least * len(different) - _TOLERANCE) + 1] if different else []


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared)
