"""Datasets as they are found: records without words, judgments of what is not there or none, queries as passages."""

import json
from pathlib import Path

import ir_datasets
import pytest
from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
from ir_datasets.util import LocalDownload

from ranker.data.trec import read_run

PASSAGES = [
    {"_id": "d0", "title": None, "text": "the river of paris"},
    {"_id": "d1", "title": "", "text": ""},
    {"_id": "d2", "title": "", "text": "the capital of egypt is cairo"},
    {"_id": 3, "title": "", "text": "the old stone of london"},
    {"_id": "d4", "title": "", "text": " \u3000"},
    {"_id": "d5", "title": "", "text": "the city of rome lies by the water"},
]
QUERIES = [
    {"_id": "q0", "text": "which river is in paris"},
    {"_id": "q1", "text": " "},
    {"_id": "q2", "text": "what is the capital of egypt"},
]
JUDGED = ["q0\td0\t1", "q1\td2\t1", "q2\td2\t1", "q2\tgone\t1", "q9\td5\t1"]
OF_PASSAGES = (
    "2 passages without words left out, 1 null read as an empty text, 1 number read as an id, 1 blank line passed"
)
OF_ALL = (
    "2 passages without words left out, 1 query without words left out, 1 judged query without a text left out, "
    "1 positive that is not in the collection, 1 null read as an empty text, 1 number read as an id, "
    "1 blank line passed over; ranker validate lists them."
)


def written(folder: Path, passages=(), queries=(), judged=()) -> Path:
    folder.mkdir(parents=True)
    for name, records in (("corpus", passages), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    if judged:
        (folder / "qrels").mkdir()
        for split in ("train", "test"):
            (folder / "qrels" / f"{split}.tsv").write_text("\n".join(("query-id\tcorpus-id\tscore", *judged, "")))
    return folder


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = written(tmp_path_factory.mktemp("odd") / "odd", PASSAGES, QUERIES, JUDGED)
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write("\n")
    return folder


@pytest.fixture(scope="module")
def in_collection(tmp_path_factory):
    """Queries that are passages too, as in ArguAna and Quora."""
    queries = [query for query in QUERIES if query["_id"] != "q1"]
    return written(tmp_path_factory.mktemp("own") / "own", [*PASSAGES, *queries], queries, ["q0\td0\t1", "q2\td2\t1"])


@pytest.fixture(scope="module")
def unjudged(tmp_path_factory):
    return written(tmp_path_factory.mktemp("unjudged") / "unjudged", PASSAGES, QUERIES)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "own.run"
    path.write_text("q0 Q0 q0 1 9 x\nq0 Q0 d0 2 8 x\nq0 Q0 d5 3 7 x\nq2 Q0 q0 1 9 x\nq2 Q0 d2 2 8 x\n")
    return path


def test_all_indexes_agree_about_the_passages_that_are_left_out(ranker, odd, tiny, tmp_path):
    dual = ("--model", tiny(), "--precision", "float32")
    for words in ((), ("--kind", "dense", *dual)):
        index, run = tmp_path / f"index{len(words)}", tmp_path / f"{len(words)}.run"
        said = ranker("index", odd, *words, "-o", index)
        assert said.err.count(f"{odd}: {OF_PASSAGES}") == 1, said.err
        assert json.loads((index / "manifest.json").read_text())["passages"] == 4
        said = ranker("retrieve", odd, "--index", index, "-o", run)
        assert (said.status, said.err.count(f"{odd}: {OF_ALL}")) == (0, 1), said.err
    dense = read_run(run)
    assert list(dense) == ["q0", "q2"]
    assert all(set(ranking.doc_ids) == {"d0", "d2", "3", "d5"} for ranking in dense.values())
    again = ranker("rerank", odd, "--run", run, "--mode", "dual", *dual, "-o", tmp_path / "again.run")
    assert again.err.count(f"{odd}: {OF_ALL}") == 1, again.err
    scored = read_run(tmp_path / "again.run")
    for query_id, ranking in dense.items():
        assert ranking.doc_ids == scored[query_id].doc_ids
        assert ranking.scores == pytest.approx(scored[query_id].scores, abs=1e-5)
    assert ranker("index", odd, "--kind", "tokens", "--model", tiny()).err.count("tokens of 4 passages") == 1


def test_what_is_left_out_is_said_where_a_model_is_trained_and_explained(ranker, odd, tiny, tmp_path):
    (tmp_path / "train.run").write_text("q0 Q0 d2 1 2 x\nq0 Q0 d0 2 1 x\nq2 Q0 d2 1 2 x\nq2 Q0 3 2 1 x\n")
    trained = ranker(
        "train", odd, "--mode", "cross", "--model", tiny(), "-o", tmp_path / "cross", "--max-steps", 1,
        "--negatives", 1, "--length", 24, "--query-length", 10, "--leaks", "ignore", "--run", tmp_path / "train.run",
    )  # fmt: skip
    assert (trained.status, trained.err.count(f"{odd}: {OF_ALL}")) == (0, 1), trained.err
    words = ("--mode", "cross", "--model", tmp_path / "cross", "--query-id", "q0", "--doc-id", "3")
    explained = ranker("explain", odd, *words)
    assert (explained.status, explained.err.count(f"{odd}: {OF_ALL}")) == (0, 1), explained.err


def test_validate_lists_what_is_left_out_and_refuses_it_where_it_is_strict(ranker, odd):
    lists = ranker("validate", odd)
    assert lists.status == 0
    assert len(lists.out.splitlines()) == 11
    assert all(line.startswith("mind: ") for line in lists.out.splitlines())
    strict = ranker("validate", odd, "--strict")
    assert (strict.status, strict.out, strict.err) == (1, lists.out, lists.err)
    assert lists.err == f"{odd}: a dataset: 0 errors, 11 to mind.\n"


def test_what_is_listed_of_a_dataset_in_the_cache_goes_by_its_name(ranker, tmp_path):
    parts = []
    for kind, lines in (("docs", "d1\tone\nd2\t\n"), ("queries", "q1\tfirst?\n"), ("qrels", "q1 0 d1 1\n")):
        (tmp_path / kind).write_text(lines)
        parts.append(LocalDownload(str(tmp_path / kind)))
    given = (TsvDocs(parts[0]), TsvQueries(parts[1]), TrecQrels(parts[2], {}))
    ir_datasets.registry.register("ranker-listed", ir_datasets.Dataset(*given))
    said = ranker("validate", "irds:ranker-listed")
    assert said.out == "mind: irds:ranker-listed/corpus.jsonl:2: passage d2 has no words, so it is left out.\n"
    assert said.err == "irds:ranker-listed: a dataset: 0 errors, 1 to mind.\n"


def test_strict_finds_nothing_where_there_is_nothing(ranker, dataset):
    assert ranker("validate", dataset, "--strict").status == 0


def test_an_orderly_dataset_is_not_spoken_of(ranker, dataset, run_of_test, tiny, tmp_path):
    words = ("--mode", "cross", "--model", tiny("bert", labels=1), "--depth", 2, "-o", tmp_path / "x.run")
    assert len(ranker("rerank", dataset, "--run", run_of_test, *words).err.splitlines()) == 1


def test_a_run_of_a_passage_that_is_left_out_is_refused_with_the_reason(ranker, odd, tiny, tmp_path):
    (tmp_path / "other.run").write_text("q0 Q0 d1 1 2 x\n")
    words = ("--mode", "cross", "--model", tiny("bert", labels=1), "-o", tmp_path / "x.run")
    said = ranker("rerank", odd, "--run", tmp_path / "other.run", *words)
    why = "is it a run for another dataset, or is the passage without words, and so left out?"
    assert said.err.endswith(f"Error: run other: passage d1 of query q0 is not in the collection; {why}\n")


# without judgments


def test_all_queries_are_answered_where_there_are_no_judgments(ranker, unjudged, tiny, tmp_path):
    index, run, cross = tmp_path / "index", tmp_path / "bm25.run", tiny("bert", labels=1)
    assert ranker("index", unjudged, "-o", index).status == 0
    said = ranker("retrieve", unjudged, "--index", index, "-o", run)
    assert said.status == 0
    assert f"{unjudged}: has no judgments, so all its queries are taken.\n" in said.err
    assert list(read_run(run)) == ["q0", "q2"]
    words = ("--mode", "cross", "--model", cross)
    assert ranker("rerank", unjudged, "--run", run, *words, "-o", tmp_path / "x.run").status == 0
    manifest = json.loads((tmp_path / "x.run.json").read_text())
    assert manifest["dataset"]["split"] == ""
    assert "qrels" not in manifest["dataset"]
    assert ranker("verify", tmp_path / "x.run").status == 0
    assert ranker("explain", unjudged, *words, "--query-id", "q2", "--doc-id", "d2").status == 0


@pytest.mark.parametrize("split", ["test", "dev"])
def test_a_split_that_is_named_must_be_there(ranker, unjudged, dataset, own_run, tmp_path, split):
    words = ("--run", own_run, "--mode", "cross", "--model", "none", "--split", split, "-o", tmp_path / "x.run")
    said = ranker("rerank", unjudged, *words)
    way = "leave --split out to take all its queries"
    assert (said.status, said.err) == (1, f"Error: {unjudged}: has no judgments, so no split {split!r}; {way}.\n")
    said = ranker("rerank", dataset, *words, "--split", "gone")
    assert said.err == f"Error: {dataset}: has no split 'gone', expected one of dev, test, train.\n"


def test_evaluation_still_needs_judgments(ranker, unjudged, own_run):
    said = ranker("evaluate", unjudged, own_run)
    assert (said.status, said.err) == (1, f"Error: {unjudged}: has no split 'test', nor any other in qrels/.\n")


def test_a_collection_is_imported_without_judgments(ranker, tmp_path):
    (tmp_path / "docs").write_text("<DOC>\n<DOCNO>A-1</DOCNO>\n<TEXT>\nMuscat is a city\n</TEXT>\n</DOC>\n")
    (tmp_path / "topics").write_text("<top>\n<num> Number: 051\n<title> Muscat\n</top>\n")
    sources = (f"collection={tmp_path / 'docs'}", f"topics={tmp_path / 'topics'}")
    assert ranker("import", "trec", *sources, "-o", tmp_path / "set").status == 0
    assert json.loads((tmp_path / "set" / "queries.jsonl").read_text()) == {"_id": "051", "text": "Muscat"}


# queries in the collection


def test_a_query_that_is_found_as_a_passage_is_told_and_left_out_on_demand(ranker, in_collection, tmp_path):
    index, plain, left = tmp_path / "index", tmp_path / "plain.run", tmp_path / "left.run"
    assert ranker("index", in_collection, "-o", index).status == 0
    said = ranker("retrieve", in_collection, "--index", index, "--depth", 1, "-o", plain)
    assert "plain: 2 of 2 rankings hold the passage of the query's own id, as of q0; --leave-out-query of" in said.err
    said = ranker("retrieve", in_collection, "--index", index, "--depth", 1, "--leave-out-query", "-o", left)
    assert "left: the passage of the query's own id is left out of 2 of 2 rankings.\n" in said.err
    before, after = read_run(plain), read_run(left)
    assert {query_id: ranking.doc_ids for query_id, ranking in before.items()} == {"q0": ("q0",), "q2": ("q2",)}
    # one deeper was searched, so that there are as many as were asked for
    assert {query_id: ranking.doc_ids for query_id, ranking in after.items()} == {"q0": ("d0",), "q2": ("d2",)}
    assert json.loads((tmp_path / "left.run.json").read_text())["leave_out_query"] is True


def test_a_query_is_left_out_before_its_ranking_is_cut_and_reranked(ranker, in_collection, own_run, tiny, tmp_path):
    words = ("--run", own_run, "--mode", "cross", "--model", tiny("bert", labels=1), "--depth", 2)
    said = ranker("rerank", in_collection, *words, "-o", tmp_path / "plain.run")
    assert "own: 1 of 2 rankings hold the passage of the query's own id, as of q0" in said.err
    said = ranker("rerank", in_collection, *words, "--leave-out-query", "-o", tmp_path / "left.run")
    assert "own: the passage of the query's own id is left out of 1 of 2 rankings.\n" in said.err
    assert set(read_run(tmp_path / "left.run")["q0"].doc_ids) == {"d0", "d5"}
    assert json.loads((tmp_path / "left.run.json").read_text())["pairs"] == 4
    assert ranker("verify", tmp_path / "left.run").status == 0


def test_a_run_of_the_queries_alone_is_refused_where_they_are_left_out(ranker, in_collection, tmp_path):
    (tmp_path / "alone.run").write_text("q0 Q0 q0 1 1 x\n")
    said = ranker("evaluate", in_collection, tmp_path / "alone.run", "--leave-out-query")
    why = "holds the queries' own passages alone, so --leave-out-query leaves nothing"
    assert (said.status, said.err) == (1, f"Error: run alone: {why}.\n")


def test_evaluation_leaves_the_query_out_as_beir_does(ranker, in_collection, own_run):
    words = (own_run, "-m", "RR@10", "--format", "json")
    plain, left = (ranker("evaluate", in_collection, *words, *more) for more in ((), ("--leave-out-query",)))
    assert "--leave-out-query" in plain.err
    assert "is left out of 1 of 2 rankings" in left.err
    compared = ranker("compare", in_collection, own_run, "--leave-out-query", "-m", "RR@10")
    assert "is left out of 1 of 2 rankings" in compared.err
    assert [json.loads(said.out)["runs"][0]["measures"]["RR@10"] for said in (plain, left)] == [0.5, 0.75]
