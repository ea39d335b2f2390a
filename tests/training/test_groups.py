"""Groups hold one judged positive, and nothing else that could be one."""

import json

import numpy as np
import pytest

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import TrainingError
from ranker.training.groups import Candidates, draw_groups, find_candidates

TEXTS = {
    "paris": "Paris is the capital of France.",
    "copy": "PARIS is  the capital of france.",
    "rome": "Rome is the capital of Italy.",
    "nile": "The Nile lies in Egypt.",
    "judged": "France has a capital.",
}
QUERIES = {"q1": Query("q1", "What is the capital of France?"), "q2": Query("q2", "Where is the Nile?")}


@pytest.fixture
def collection(tmp_path):
    path = tmp_path / "corpus.jsonl"
    lines = (json.dumps({"_id": doc_id, "title": "", "text": text}) for doc_id, text in TEXTS.items())
    path.write_text("\n".join(lines) + "\n")
    return Collection.open(path)


def run_of(**rankings):
    return Run("bm25", {q: Ranking(tuple(ids), np.arange(len(ids), 0, -1, np.float32)) for q, ids in rankings.items()})


RUN = run_of(q1=["copy", "paris", "judged", "rome", "nile"], q2=["nile"])


def test_a_judged_positive_is_never_a_negative(collection):
    qrels = {"q1": {"paris": 1, "judged": 2}, "q2": {"nile": 1}}
    (found,) = find_candidates(RUN, QUERIES, qrels, collection, 10)
    assert found == Candidates("q1", ("paris", "judged"), ("rome", "nile"))


def test_the_text_of_a_positive_under_another_id_is_never_a_negative(collection):
    (found,) = find_candidates(RUN, QUERIES, {"q1": {"paris": 1}, "q2": {}}, collection, 10)
    assert "copy" not in found.negatives


def test_a_passage_judged_not_relevant_may_be_a_negative(collection):
    (found,) = find_candidates(RUN, QUERIES, {"q1": {"paris": 1, "judged": 0}, "q2": {}}, collection, 10)
    assert found == Candidates("q1", ("paris",), ("judged", "rome", "nile"))


def test_negatives_are_drawn_no_deeper_than_the_depth(collection):
    (found,) = find_candidates(RUN, QUERIES, {"q1": {"paris": 1}, "q2": {}}, collection, 4)
    assert found.negatives == ("judged", "rome")


def test_a_run_without_any_negative_gives_no_training(collection):
    with pytest.raises(TrainingError) as error:
        find_candidates(run_of(q2=["nile"]), QUERIES, {"q1": {"paris": 1}, "q2": {"nile": 1}}, collection, 10)
    assert str(error.value) == (
        "run bm25: gives no training group; no query of the split has a judged positive and a negative in it."
    )


def test_a_positive_that_the_collection_lacks_is_left_out(collection):
    qrels = {"q1": {"gone": 1, "paris": 1}, "q2": {"gone": 1}}
    (found,) = find_candidates(RUN, QUERIES, qrels, collection, 10)
    assert found == Candidates("q1", ("paris",), ("judged", "rome", "nile"))


def test_a_query_that_has_lost_all_its_positives_gives_no_group(collection):
    with pytest.raises(TrainingError, match="no query of the split has a judged positive and a negative"):
        find_candidates(RUN, QUERIES, {"q1": {"gone": 1}, "q2": {}}, collection, 10)


def test_the_query_itself_is_never_a_negative_by_its_id_or_its_text(tmp_path):
    passages = [
        {"_id": "q1", "text": "asked otherwise"},
        {"_id": "same", "text": "What IS  the capital of France?"},
        {"_id": "titled", "title": "Geography", "text": "what is the capital of france?"},
        {"_id": "headed", "title": "What is the capital of France?", "text": "It is in the north."},
        {"_id": "paris", "text": TEXTS["paris"]},
        {"_id": "q2", "text": "What is the capital of Italy?"},
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    run = run_of(q1=[passage["_id"] for passage in passages])
    (found,) = find_candidates(run, QUERIES, {"q1": {"paris": 1}}, Collection.open(path), 10)
    assert found == Candidates("q1", ("paris",), ("headed", "q2"))


CANDIDATES = [
    Candidates(f"q{number}", (f"p{number}", f"r{number}"), tuple(f"n{number}-{i}" for i in range(number + 1)))
    for number in range(20)
]


def test_each_query_gives_one_group_an_epoch_with_its_positive_first():
    groups = draw_groups(CANDIDATES, 4, np.random.default_rng(1))
    assert sorted(group.query_id for group in groups) == sorted(one.query_id for one in CANDIDATES)
    assert all(group.doc_ids[0] in (f"p{group.query_id[1:]}", f"r{group.query_id[1:]}") for group in groups)
    assert all(len(group.doc_ids) == 5 for group in groups)


def test_negatives_repeat_only_where_there_are_too_few():
    for group in draw_groups(CANDIDATES, 4, np.random.default_rng(1)):
        negatives = group.doc_ids[1:]
        assert len(set(negatives)) == 4 or int(group.query_id[1:]) + 1 < 4


def test_the_seed_decides_the_groups_and_their_order():
    one, same, other = (draw_groups(CANDIDATES, 4, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same != other
