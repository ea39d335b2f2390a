"""What a training reads of the tests that its model is to be judged by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.records import Qrels
from ranker.data.run import Run
from ranker.training.copies import Copy, find_copies
from ranker.training.fit import JudgedRun, TrainingData

SAME_QUESTION: Final = 0.9
"""Likeness of words from which two questions are one: "type 1" and "type 2" of a disease are two."""

SAME_PASSAGE: Final = 0.8
"""Of passages, which are longer: a few words may be changed."""

_EXAMPLES: Final = 20


class HeldOut(NamedTuple):
    """A split that nothing of should be learned by heart: its questions, and the passages that answer them."""

    name: str
    questions: Mapping[str, str]
    qrels: Qrels
    collection: Collection


@dataclass(frozen=True)
class Leaks:
    """Questions of a training that are a test's, and passages read in it that answer one; ``theirs`` names the test."""

    questions: tuple[Copy, ...] = ()
    passages: tuple[Copy, ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.questions or self.passages)

    def __str__(self) -> str:
        """In numbers, with an example of each; many texts of a training may copy one of a test."""
        kinds = (
            ("question", "of a test's", self.questions),
            ("passage", "of those that answer a test's questions", self.passages),
        )
        return ", ".join(_told(ours, theirs, found) for ours, theirs, found in kinds if found)

    def record(self) -> dict[str, Any]:
        """How many, and some of them, for a manifest."""
        return {
            kind: {
                "exact": sum(copy.exact for copy in found),
                "near": sum(not copy.exact for copy in found),
                "of_tests": _copied(found),
                "examples": [copy._asdict() for copy in found[:_EXAMPLES]],
            }
            for kind, found in (("questions", self.questions), ("passages", self.passages))
        }


def _told(ours: str, theirs: str, found: Sequence[Copy]) -> str:
    exact = sum(copy.exact for copy in found)
    first = max(found, key=lambda copy: copy.exact)
    said = f"1 {ours} that copies" if len(found) == 1 else f"{len(found)} {ours}s that copy"
    return f"{said} {_copied(found)} {theirs}, {exact} word for word ({first.ours} is {first.theirs})"


def _copied(found: Sequence[Copy]) -> int:
    """How many texts of tests."""
    return len({copy.theirs for copy in found})


def held_out(dataset: Dataset, without: str) -> list[HeldOut]:
    """All splits of a dataset but that one, and but ``train``, which no one tests on.

    Raises: DataError where one cannot be read.
    """
    splits = [split for split in dataset.splits if split not in (without, "train")]
    return [held_out_split(f"{dataset.name}/{split}", dataset, split) for split in splits]


def held_out_split(name: str, dataset: Dataset, split: str) -> HeldOut:
    """A split as a test.

    Raises: DataError where it cannot be read.
    """
    questions = {query_id: query.text for query_id, query in dataset.queries(split).items()}
    return HeldOut(name, questions, dataset.qrels(split), dataset.collection)


def find_leaks(training_data: TrainingData, tests: Sequence[HeldOut]) -> Leaks:
    """The training's questions and passages that a test has too, word for word or nearly.

    Its passages are those judged relevant and those that negatives are drawn from.
    """
    asked = {f"{test.name} {query_id}": text for test in tests for query_id, text in test.questions.items()}
    answers = {
        f"{test.name} {doc_id}": test.collection[doc_id].contents
        for test in tests
        for doc_id in dict.fromkeys(_relevant(test.qrels))
        if doc_id in test.collection
    }
    questions = ((query_id, query.text) for query_id, query in training_data.training.queries.items())
    passages = ((doc_id, training_data.collection[doc_id].contents) for doc_id in _read(training_data))
    return Leaks(
        tuple(find_copies(questions, asked, SAME_QUESTION)), tuple(find_copies(passages, answers, SAME_PASSAGE))
    )


def without_leaks(training: JudgedRun, leaks: Leaks) -> JudgedRun:
    """The same training without these questions and passages."""
    questions, passages = ({copy.ours for copy in found} for found in (leaks.questions, leaks.passages))
    kept = [query_id for query_id in training.queries if query_id not in questions]
    rankings = {query_id: training.run[query_id].without(passages) for query_id in kept if query_id in training.run}
    return replace(
        training,
        queries={query_id: training.queries[query_id] for query_id in kept},
        qrels={
            query_id: {doc_id: grade for doc_id, grade in judged.items() if doc_id not in passages}
            for query_id, judged in training.qrels.items()
            if query_id not in questions
        },
        run=Run(training.run.name, {query_id: one for query_id, one in rankings.items() if len(one)}),
    )


def _relevant(qrels: Qrels) -> Iterator[str]:
    return (doc_id for judged in qrels.values() for doc_id, grade in judged.items() if grade > 0)


def _read(training_data: TrainingData) -> Iterator[str]:
    training = training_data.training
    found = (doc_id for ranking in training.run.values() for doc_id in ranking.doc_ids[: training_data.negative_depth])
    every = dict.fromkeys((*_relevant(training.qrels), *found))
    return (doc_id for doc_id in every if doc_id in training_data.collection)
