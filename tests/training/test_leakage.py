"""Copies of a test's texts in a training are found as a slow comparison of all with all finds them, and left out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.data.dataset import Dataset
from ranker.data.run import Ranking, Run
from ranker.training.fit import TrainingData, training_split
from ranker.training.leakage import Copy, find_copies, find_leaks, held_out, without_leaks

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


# copies


WORDS = st.sampled_from(("a", "the", "red", "blue", "stone", "river", "of", "Oman", "月", "光"))
TEXTS = st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=8)


def slow(ours, theirs, least):
    """The greatest likeness to any of theirs, where it is great enough; letters of Chinese are words."""
    found = {}
    for name, text in ours.items():
        mine = set(text.casefold().split())
        for other in theirs.values():
            yours = set(other.casefold().split())
            share = len(mine & yours) / len(mine | yours) if mine and yours else 0.0
            if share >= least - 1e-9:
                found[name] = max(found.get(name, 0.0), share)
    return found


@given(ours=TEXTS, theirs=TEXTS, least=st.sampled_from((0.3, 0.5, 0.8, 0.9, 1.0)))
def test_the_likest_are_those_that_a_comparison_of_all_with_all_finds(ours, theirs, least):
    left, right = (
        {f"{side}{number}": text for number, text in enumerate(texts)} for side, texts in (("o", ours), ("t", theirs))
    )
    found = find_copies(left.items(), right, least)
    assert {copy.ours: copy.similarity for copy in found} == pytest.approx(slow(left, right, least))
    assert all(copy.exact == (left[copy.ours].lower().split() == right[copy.theirs].lower().split()) for copy in found)


@pytest.mark.parametrize(
    ("ours", "theirs", "exact"),
    [
        ("What is the capital of Oman?", "what is  the capital of OMAN", True),
        ("What is the capital of Oman?", "The capital of Oman is what?", False),
        ("阿曼的首都是什么?", "阿曼的首都是什么", True),
    ],
)
def test_case_punctuation_and_order_do_not_hide_a_copy(ours, theirs, exact):
    assert find_copies([("a", ours)], {"b": theirs}, 0.9) == [Copy("a", "b", 1.0, exact)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            "What are the symptoms of glycogen storage disease type 1?",
            "What are the symptoms of glycogen storage disease type 2?",
        ),
        ("What is the capital of Oman?", "What is the capital of Peru?"),
        ("", ""),
        ("?!", "?!"),
        ("阿曼的首都是什么", "秘鲁的首都是什么"),
    ],
)
def test_questions_about_different_things_are_no_copies(ours, theirs):
    assert find_copies([("a", ours)], {"b": theirs}, 0.9) == []


def test_an_exact_copy_is_named_before_one_in_another_order():
    theirs = {"first": "Oman of capital the", "second": "The capital of Oman", "third": "the capital of Oman"}
    assert find_copies([("a", "the capital of Oman")], theirs, 0.8)[0].theirs == "second"


def test_a_passage_with_a_few_words_changed_is_a_copy():
    words = [f"word{number}" for number in range(50)]
    changed = [*words[:45], *(f"other{number}" for number in range(5))]
    assert find_copies([("a", " ".join(words))], {"b": " ".join(changed)}, 0.8) == [
        Copy("a", "b", pytest.approx(45 / 55), False)
    ]
