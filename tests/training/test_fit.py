"""What a training may read, and what validates it."""

import json

import pytest

from ranker.data.catalogue import open_dataset
from ranker.data.dataset import Dataset
from ranker.data.run import Ranking, Run
from ranker.errors import TrainingError
from ranker.index.bm25 import bm25_run
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.training.fit import DEV_QUERIES, Validator, judged_run, training_split


@pytest.fixture
def dataset(tmp_path):
    """Five passages: of train, of test, of both, of none, and one that test judges not relevant."""
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    passages = ("train", "test", "both", "none", "refused")
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": name, "title": "", "text": f"the {name} river"}) + "\n" for name in passages)
    )
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "{name}", "text": "river"}}\n' for name in ("a", "b")))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\na\ttrain\t1\na\tboth\t1\n")
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nb\ttest\t1\nb\tboth\t2\nb\trefused\t0\nb\tnone\t0\n"
    )
    return Dataset("toy", folder)


def run_of(*doc_ids):
    return Run("bm25", {name: Ranking.ordered(doc_ids, range(len(doc_ids), 0, -1)) for name in ("a", "b")})


def test_a_passage_that_answers_another_split_alone_is_not_read_in_training(dataset):
    found = training_split(dataset, "train", run_of("test", "train", "none", "both", "refused"))
    assert found.run["a"].doc_ids == ("train", "none", "both", "refused")
    assert found.run["a"].scores.tolist() == [4.0, 3.0, 2.0, 1.0]


def test_a_split_that_is_evaluated_keeps_all_its_candidates(dataset):
    assert judged_run(dataset, "test", run_of("test", "train")).run["b"].doc_ids == ("test", "train")


def test_a_query_that_keeps_no_candidate_is_not_trained_on(dataset):
    assert list(training_split(dataset, "train", run_of("test")).run) == []


def test_no_passage_of_a_test_territory_is_read_in_training_on_the_almanac():
    almanac = open_dataset("almanac:size=400")
    found = training_split(almanac, "train", bm25_run(almanac, ("train",), 30))
    tested = {doc_id for passages in almanac.qrels("test").values() for doc_id in passages}
    assert tested
    assert not tested & {doc_id for ranking in found.run.values() for doc_id in ranking.doc_ids}


def test_validation_draws_queries_evenly_from_dev(tiny, tmp_path):
    folder = tmp_path / "long"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "the river"}\n')
    names = [f"q{number:03}" for number in range(250)]
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "{name}", "text": "river"}}\n' for name in names))
    (folder / "qrels" / "dev.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"{name}\td\t{int(name < 'q100')}\n" for name in names)
    )
    dev = judged_run(
        Dataset("long", folder), "dev", Run("bm25", {name: Ranking.ordered(["d"], [1.0]) for name in names})
    )
    scorer = Scorer(create_model(RankerConfig("cross", query_length=12, length=40), str(tiny()), 1), Compute("float32"))
    # the first hundred queries are answered and the others are not, so the value is their share of those drawn
    assert Validator.of(scorer, Dataset("long", folder).collection, dev)() == pytest.approx(0.4)
    assert DEV_QUERIES == 100


def test_a_run_that_answers_no_query_of_dev_is_refused(tiny, dataset):
    scorer = Scorer(create_model(RankerConfig("cross", query_length=12, length=40), str(tiny()), 1), Compute("float32"))
    with pytest.raises(TrainingError, match="answers no query of dev"):
        Validator.of(scorer, dataset.collection, judged_run(dataset, "test", Run("bm25", {})))
