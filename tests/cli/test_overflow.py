"""``ranker rerank --overflow`` as typed: what was cut, refused or read in windows, and what is written of it."""

import json
import shutil

import pytest

from ranker.data.trec import read_run
from ranker.model.loading import create_model
from ranker.settings.model import RankerConfig


@pytest.fixture(scope="module")
def short(tiny, tmp_path_factory):
    """A model that reads but the half of a passage beside its question."""
    folder = tmp_path_factory.mktemp("short") / "model"
    folder.mkdir()
    create_model(RankerConfig("cross", query_length=8, length=14), str(tiny()), seed=2).save(folder)
    return folder


@pytest.fixture
def rerank(ranker, dataset, run_of_test, short, tmp_path):
    def call(*words):
        fixed = ("--run", run_of_test, "--mode", "cross", "--model", short, "--precision", "float32")
        return ranker("rerank", dataset, *fixed, *words, "-o", tmp_path / "a.run")

    return call


def manifest(folder):
    return json.loads((folder / "a.run.json").read_text())


def test_what_was_cut_is_said(rerank, tmp_path):
    said = rerank()
    assert said.status == 0
    assert "40 passages cut, " in said.err
    assert manifest(tmp_path)["pairs_cut"] == 40
    assert not (tmp_path / "a.run.windows.tsv").exists()


def test_a_passage_that_would_be_cut_is_refused_and_nothing_is_written(rerank, tmp_path):
    said = rerank("--overflow", "fail")
    assert said.status == 1
    assert said.err.startswith("Error: passage d0: has ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "a.run").exists()


def test_windows_are_told_beside_the_run_and_hold_when_it_is_verified(rerank, ranker, tmp_path):
    said = rerank("--overflow", "windows")
    assert said.status == 0, said.err
    assert "cut" not in said.err
    told = manifest(tmp_path)
    assert (told["overflow"], told["stride"], told["in_windows"], told["pairs_cut"]) == ("windows", 0, 40, 0)
    header, *rows = [line.split("\t") for line in (tmp_path / "a.run.windows.tsv").read_text().splitlines()]
    assert header == ["query_id", "doc_id", "window", "windows", "first", "last"]
    run = read_run(tmp_path / "a.run")
    assert {(row[0], row[1]) for row in rows} == {(q, d) for q, ranking in run.items() for d in ranking.doc_ids}
    assert all(1 <= int(row[2]) <= int(row[3]) and int(row[4]) <= int(row[5]) for row in rows)
    verified = ranker("verify", tmp_path / "a.run")
    assert verified.status == 0, verified.out


def test_a_run_without_windows_takes_the_file_of_windows_away(rerank, tmp_path):
    assert rerank("--overflow", "windows").status == 0
    assert rerank("--force").status == 0
    assert not (tmp_path / "a.run.windows.tsv").exists()


def test_windows_take_away_the_same_scores_when_it_is_done_again(rerank, tmp_path):
    assert rerank("--overflow", "windows", "--fresh").status == 0
    before = (tmp_path / "a.run").read_bytes(), (tmp_path / "a.run.windows.tsv").read_bytes()
    assert rerank("--overflow", "windows", "--force").status == 0
    assert rerank("--overflow", "windows", "--force").status == 0
    assert manifest(tmp_path)["remembered"] == 1.0
    assert ((tmp_path / "a.run").read_bytes(), (tmp_path / "a.run.windows.tsv").read_bytes()) == before


@pytest.mark.parametrize("words", [("--stride", "8"), ("--overflow", "windows", "--stride", "3")])
def test_a_stride_that_is_none_is_one_sentence(rerank, words):
    said = rerank(*words)
    assert said.status == 1
    assert said.err.startswith("Error: stride is ")


def test_answers_that_were_cut_away_are_said(ranker, dataset, run_of_test, short, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "answered")
    records = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    for record in records:
        record["metadata"] = {"answers": ["the old capital"]}
    (folder / "queries.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    words = ("--run", run_of_test, "--mode", "cross", "--model", short, "--precision", "float32")
    said = ranker("rerank", folder, *words, "-o", tmp_path / "a.run")
    assert said.status == 0, said.err
    # each question has one passage that ends in these words
    assert "tokens lost, and 8 answers with them" in said.err
    assert manifest(tmp_path)["answers_cut"] == 8
