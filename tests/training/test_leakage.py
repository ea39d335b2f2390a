"""What a training has read of the tests is found, told, and left out."""

import json

import pytest

from ranker.data.dataset import Dataset
from ranker.data.run import Ranking, Run
from ranker.training.fit import TrainingData, training_split
from ranker.training.leakage import find_leaks, held_out, without_leaks

PASSAGES = {
    "oman": "Muscat is the capital of Oman, by the sea.",
    "peru": "Lima is the capital of Peru, by the sea.",
    "copy": "muscat is the capital of oman by the sea",
    "near": "Muscat is the capital of Oman, by the wide sea.",
    "else": "A river runs from the hills into the plain.",
    "chad": "N'Djamena lies where two rivers meet.",
}
QUESTIONS = {
    "a": "What is the capital of Peru?",
    "b": "what is the capital of OMAN",
    "c": "Where does the river run?",
    "t": "What is the capital of Oman?",
    "d": "Where does the river run to?",
}
QRELS = {"train": "a\tperu\t1\nb\tcopy\t1\nc\telse\t1\n", "test": "t\toman\t2\nt\tchad\t0\n", "dev": "d\tchad\t1\n"}


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": key, "title": "", "text": text}) + "\n" for key, text in PASSAGES.items())
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in QUESTIONS.items())
    )
    for split, lines in QRELS.items():
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{lines}")
    return Dataset("toy", folder)


@pytest.fixture
def training_data(dataset):
    order = ("near", "else", "peru", "copy")
    run = Run("bm25", {key: Ranking.ordered(order, range(4, 0, -1)) for key in "abc"})
    return TrainingData(dataset.collection, training_split(dataset, "train", run), None, 4)


def test_the_other_splits_are_what_is_held_out(dataset):
    assert [one.name for one in held_out(dataset, "train")] == ["toy/dev", "toy/test"]
    assert [one.name for one in held_out(dataset, "dev")] == ["toy/test"]


def test_questions_and_passages_of_a_test_are_found_in_the_training(dataset, training_data):
    leaks = find_leaks(training_data, held_out(dataset, "train"))
    assert [(copy.ours, copy.theirs, copy.exact) for copy in leaks.questions] == [("b", "toy/test t", True)]
    assert [(copy.ours, copy.theirs, copy.exact) for copy in leaks.passages] == [
        ("copy", "toy/test oman", True),
        ("near", "toy/test oman", False),
    ]
    assert str(leaks) == (
        "1 question that copies 1 of a test's, 1 word for word (b is toy/test t), "
        "2 passages that copy 1 of those that answer a test's questions, 1 word for word (copy is toy/test oman)"
    )
    found = leaks.record()["passages"]
    assert (found["exact"], found["near"], found["of_tests"]) == (1, 1, 1)


def test_passages_below_the_depth_of_negatives_are_not_read(dataset, training_data):
    shallow = TrainingData(training_data.collection, training_data.training, None, 1)
    assert {copy.ours for copy in find_leaks(shallow, held_out(dataset, "train")).passages} == {"copy", "near"}
    bare = TrainingData(training_data.collection, training_data.training, None, 0)
    assert {copy.ours for copy in find_leaks(bare, held_out(dataset, "train")).passages} == {"copy"}


def test_a_training_without_leaks_reads_nothing_of_a_test(dataset, training_data):
    leaks = find_leaks(training_data, held_out(dataset, "train"))
    clean = without_leaks(training_data.training, leaks)
    assert list(clean.queries) == list(clean.qrels) == list(clean.run) == ["a", "c"]
    assert clean.run["a"].doc_ids == ("else", "peru")
    assert not find_leaks(TrainingData(training_data.collection, clean, None, 4), held_out(dataset, "train"))


def test_nothing_found_is_nothing_told(dataset, training_data):
    leaks = find_leaks(training_data, [])
    assert not leaks
    assert without_leaks(training_data.training, leaks) == training_data.training
    assert leaks.record() == {
        "questions": {"exact": 0, "near": 0, "of_tests": 0, "examples": []},
        "passages": {"exact": 0, "near": 0, "of_tests": 0, "examples": []},
    }
