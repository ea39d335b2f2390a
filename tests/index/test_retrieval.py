"""Retrieval gives the run of an index of either kind, with what a manifest says of it."""

import json
import subprocess
import sys
from dataclasses import asdict

import pytest

from ranker.data.catalogue import open_dataset
from ranker.errors import ModelError, SearchIndexError
from ranker.index.bm25 import LexicalIndex, index_bm25
from ranker.index.dense import index_dense, open_dense_index
from ranker.index.retrieval import retrieve
from ranker.model.loading import create_model, load_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.index import DenseConfig, LexicalConfig
from ranker.settings.model import RankerConfig

FLOAT32 = Compute("float32", "cpu")
PASSAGES = {
    "d1": "rome lies by the tiber", "d2": "the nile lies in egypt", "d3": "paris is the capital of france",
    "d4": "london is the capital of england",
}  # fmt: skip
QUERIES = {"q1": "which old river of stone lies in egypt", "q2": "capital of france", "q3": "zebra"}


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "dataset"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", PASSAGES), ("queries", QUERIES)):
        lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    judged = "".join(f"{query_id}\td1\t1\n" for query_id in QUERIES)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return open_dataset(str(folder))


@pytest.fixture
def model(tiny, tmp_path):
    folder = tmp_path / "model"
    create_model(RankerConfig("dual", query_length=8, length=30), str(tiny()), seed=3).save(folder)
    return folder


@pytest.fixture
def dense(dataset, model, tmp_path):
    index_dense(dataset, Scorer(load_model(str(model)), FLOAT32), DenseConfig(), tmp_path / "dense")
    return tmp_path / "dense"


def test_a_bm25_index_gives_its_run_and_settings_in_two_calls(dataset, tmp_path):
    manifest = index_bm25(dataset.collection, LexicalConfig(k1=1.2), tmp_path / "bm25")
    seen = []
    retrieved = retrieve(tmp_path / "bm25", dataset.collection, dataset.queries("test"), 2, advance=seen.append)
    assert dict(retrieved.run) == dict(LexicalIndex.open(tmp_path / "bm25").search(dataset.queries("test"), 2))
    assert (retrieved.run["q1"].doc_ids[0], retrieved.run["q2"].doc_ids[0]) == ("d2", "d3")
    assert "q3" not in retrieved.run
    assert sum(seen) == len(QUERIES)
    expected = {"kind": "bm25", "digest": manifest.digest, **asdict(LexicalConfig(k1=1.2))}
    assert retrieved.index_settings == expected
    assert (retrieved.scorer, retrieved.queries_cut) == (None, 0)


def test_the_manifest_that_indexing_gives_is_the_one_that_it_wrote(dataset, tmp_path):
    manifest = index_bm25(dataset.collection, LexicalConfig(), tmp_path / "bm25")
    assert LexicalIndex.open(tmp_path / "bm25").manifest == manifest
    assert manifest.files


def test_a_dense_index_encodes_its_queries_by_the_model_that_it_remembers(dataset, dense):
    seen = []
    retrieved = retrieve(dense, dataset.collection, dataset.queries("test"), 3, FLOAT32, advance=seen.append)
    index, settings = open_dense_index(dense, dataset.collection)
    scorer, queries = retrieved.scorer, dataset.queries("test")
    vectors = scorer.vectors(scorer.queries(query.text for query in queries.values()), lambda _: None)
    assert dict(retrieved.run) == dict(index.search(queries, vectors, 3))
    assert {len(ranking.doc_ids) for ranking in retrieved.run.values()} == {3}
    assert sum(seen) == len(QUERIES)
    assert retrieved.index_settings == {"kind": "dense", **asdict(settings)}
    assert retrieved.queries_cut == 1  # of eight words, where the model reads six and two markers


def test_the_model_of_a_dense_index_may_have_moved_and_no_other_will_do(dataset, dense, model, tiny, tmp_path):
    model.rename(tmp_path / "moved")
    queries = dataset.queries("test")
    with pytest.raises(ModelError, match="is no model"):
        retrieve(dense, dataset.collection, queries, 3, FLOAT32)
    assert len(retrieve(dense, dataset.collection, queries, 3, FLOAT32, str(tmp_path / "moved")).run) == len(QUERIES)
    with pytest.raises(SearchIndexError, match=r"holds vectors of .* give that model, or build the index again"):
        retrieve(dense, dataset.collection, queries, 3, FLOAT32, str(tiny()))


def test_bm25_loads_neither_torch_nor_faiss():
    code = "import sys, ranker.index.retrieval; sys.exit(sum(name in sys.modules for name in ('torch', 'faiss')))"
    subprocess.run([sys.executable, "-c", code], check=True)
