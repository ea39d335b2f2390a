"""``rerank``: what it takes beforehand, as much as time allows, and one model behind another."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from ranker.data.trec import read_run


@pytest.fixture(scope="module")
def cross(tiny):
    return tiny("bert", labels=1)


@pytest.fixture(scope="module")
def dual(tiny):
    return tiny()


@pytest.fixture
def rerank(ranker, dataset, run_of_test):
    def call(*words):
        return ranker("rerank", dataset, "--run", run_of_test, "--precision", "float32", *words)

    return call


def test_a_plan_is_printed_and_nothing_is_written(rerank, cross, tmp_path):
    before = sorted(tmp_path.iterdir())
    said = rerank("--mode", "cross", "--model", cross, "--plan", "--depth", 3)
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("cross to depth 3 in float32: 8 queries, 24 pairs;")
    assert lines[1].startswith("24 inputs of ")
    assert " tokens  " in lines[2]
    assert lines[-1].endswith("MiB at most.")
    assert sorted(tmp_path.iterdir()) == before


def test_with_a_long_budget_the_run_is_what_it_would_be_without(rerank, cross, tmp_path):
    words = ("--mode", "cross", "--model", cross, "--depth", 4)
    assert rerank(*words, "-o", tmp_path / "a.run").status == 0
    said = rerank(*words, "--budget", "1h", "-o", tmp_path / "b.run")
    assert (said.status, said.err.count("\n")) == (0, 1), said.err
    columns = [[line.split()[:4] for line in (tmp_path / name).read_text().splitlines()] for name in ("a.run", "b.run")]
    assert columns[0] == columns[1]
    told = json.loads((tmp_path / "b.run.json").read_text())["budget"]
    assert told == {"seconds": 3600.0, "stopped": "", "ranks_scored": {"least": 4, "median": 4, "most": 4}}


def test_a_budget_that_is_over_at_once_leaves_the_run_in_its_order(rerank, cross, run_of_test, tmp_path):
    said = rerank("--mode", "cross", "--model", cross, "--budget", "0.000001s", "-o", tmp_path / "a.run")
    assert said.status == 0
    assert "stopped by time: of a query, the first 0 to 0 ranks were scored" in said.err
    before, after = read_run(run_of_test), read_run(tmp_path / "a.run")
    assert {q: r.doc_ids for q, r in after.items()} == {q: r.doc_ids for q, r in before.items()}
    manifest = json.loads((tmp_path / "a.run.json").read_text())
    assert (manifest["budget"]["stopped"], manifest["pairs"]) == ("time", 0)


def test_a_cascade_is_one_model_on_what_the_other_made(rerank, ranker, dataset, cross, dual, tmp_path):
    models = ("--model", f"dual={dual}", "--model", f"cross={cross}")
    said = rerank("--cascade", "dual:5,cross:2", *models, "-o", tmp_path / "both.run")
    assert said.status == 0, said.err
    assert rerank("--mode", "dual", "--model", dual, "--depth", 5, "-o", tmp_path / "first.run").status == 0
    second = ranker(
        "rerank", dataset, "--run", tmp_path / "first.run", "--mode", "cross", "--model", cross, "--depth", 2,
        "--precision", "float32", "-o", tmp_path / "second.run",
    )  # fmt: skip
    assert second.status == 0
    assert {q: r.doc_ids for q, r in read_run(tmp_path / "both.run").items()} == {
        q: r.doc_ids for q, r in read_run(tmp_path / "second.run").items()
    }
    manifest = json.loads((tmp_path / "both.run.json").read_text())
    assert [(one["model"]["mode"], one["depth"]) for one in (*manifest["earlier"], manifest)] == [
        ("dual", 5),
        ("cross", 2),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "needs either --mode, or --cascade"),
        (("--mode", "cross", "--cascade", "dual:3"), "needs either --mode, or --cascade"),
        (("--cascade", "dual:3", "--depth", 5, "--plan"), "--depth goes with --mode"),
        (("--mode", "cross"), "needs --output, the run to write, or --plan"),
        (("--cascade", "dual:3,cross:2", "--plan"), "expected MODE=MODEL for each stage: dual, cross"),
        (("--cascade", "dual:3,cross:5", "--plan"), "'dual:3,cross:5' goes deeper again"),
        (("--cascade", "dual:3,dual:2", "--plan"), "'dual:3,dual:2' has a mode twice"),
        (("--cascade", "dual", "--plan"), "'dual' is no stage, expected MODE:DEPTH"),
        (("--cascade", "dual:0", "--plan"), "'dual:0' is no stage"),
        (("--cascade", "big:3", "--plan"), "'big:3' is no stage"),
        (("--mode", "cross", "--budget", "10", "-o", "a"), "'10' is no time, expected a number above 0 and s, m or h"),
        (("--mode", "cross", "--budget", "0s", "-o", "a"), "'0s' is no time"),
        (("--mode", "cross", "--budget", "1m", "--plan"), "--budget goes with one model and without --plan"),
    ],
)
def test_what_cannot_be_meant_is_a_matter_of_usage(rerank, words, sentence):
    said = rerank("--model", "m", *words)
    assert (said.status, said.out) == (2, "")
    assert sentence in said.err


def test_tokens_are_made_once_by_name_and_used_by_reranking(ranker, rerank, dataset, cross, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    said = ranker("index", dataset, "--kind", "tokens", "--model", cross)
    assert (said.status, said.out) == (0, ""), said.err
    (folder,) = (tmp_path / "cache" / "tokens").iterdir()
    assert said.err.startswith(f"{folder}: tokens of 40 passages in ")
    made = (folder / "meta.json").stat().st_mtime_ns
    words = ("--mode", "cross", "--model", cross, "--depth", 4, "-o")
    assert rerank(*words, tmp_path / "with.run").status == 0
    assert (folder / "meta.json").stat().st_mtime_ns == made
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "other"))
    assert rerank(*words, tmp_path / "without.run").status == 0
    assert read_run(tmp_path / "with.run").rankings == read_run(tmp_path / "without.run").rankings


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--kind", "tokens"), "--kind tokens needs --model"),
        (("--kind", "dense", "-o", "x"), "--kind dense needs --model"),
        (("--kind", "bm25"), "--kind bm25 needs --output"),
    ],
)
def test_an_index_says_what_it_needs(ranker, dataset, words, sentence):
    said = ranker("index", dataset, *words)
    assert (said.status, said.out) == (2, "")
    assert sentence in said.err


def test_two_models_without_a_cascade_are_a_mistake(rerank, cross, dual, tmp_path):
    said = rerank("--mode", "cross", "--model", cross, "--model", dual, "-o", tmp_path / "a.run")
    assert said.status == 2
    assert "expected one, or a --cascade of them" in said.err


def test_a_cascade_says_what_each_of_its_models_scored_and_cut(rerank, cross, dual, tmp_path):
    words = ("--cascade", "dual:5,cross:2", "--model", f"dual={dual}", "--model", f"cross={cross}")
    assert rerank(*words, "-o", tmp_path / "a.run").status == 0
    manifest = json.loads((tmp_path / "a.run.json").read_text())
    assert (manifest["earlier"][0]["pairs"], manifest["pairs"]) == (40, 16)
    assert {"queries_cut", "pairs_cut", "tokens_cut"} <= set(manifest["earlier"][0])


def test_the_pooling_of_a_cascade_is_of_the_model_that_reads_apart(rerank, cross, dual, tmp_path):
    words = ("--cascade", "dual:5,cross:2", "--model", f"dual={dual}", "--model", f"cross={cross}")
    assert rerank(*words, "--pooling", "mean", "-o", tmp_path / "a.run").status == 0
    manifest = json.loads((tmp_path / "a.run.json").read_text())
    assert manifest["earlier"][0]["model"]["pooling"] == "mean"


def test_a_pooling_is_not_passed_over_where_a_model_has_none(rerank, cross, tmp_path):
    said = rerank("--mode", "cross", "--model", cross, "--pooling", "mean", "-o", tmp_path / "a.run")
    assert (said.status, said.out) == (1, "")
    assert f"{cross}: reads question and passage together, and has no pooling mean" in said.err
    assert not (tmp_path / "a.run").exists()


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(rerank, cross, tmp_path, monkeypatch):
    (tmp_path / "cache" / "tokens").parent.mkdir()
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    for name in ("tokens", "scores", "budgets"):
        (tmp_path / "cache" / name).write_text("a file where a folder is to be")
    assert rerank("--mode", "cross", "--model", cross, "-o", tmp_path / "a.run").status == 0


@pytest.mark.parametrize("time", ["٣s", "9" * 400 + "s", "1" * 10 + "h"])
def test_a_time_out_of_bounds_is_refused(rerank, cross, tmp_path, time):
    said = rerank("--mode", "cross", "--model", cross, "-o", tmp_path / "a.run", "--budget", time)
    assert said.status == 2


def test_a_model_that_gives_one_score_is_found_out_and_keeps_the_order(rerank, cross, run_of_test, tmp_path):
    constant = shutil.copytree(cross, tmp_path / "constant")
    weights = load_file(constant / "model.safetensors")
    weights["classifier.weight"].zero_()
    save_file(weights, constant / "model.safetensors", metadata={"format": "pt"})
    said = rerank("--mode", "cross", "--model", constant, "-o", tmp_path / "a.run")
    assert said.status == 0
    assert said.err.splitlines()[-1] == (
        "100.0% of the passages have the score of another that reads otherwise, and keep the order in which they came; "
        "the model does not tell them apart."
    )
    before, after = read_run(run_of_test), read_run(tmp_path / "a.run")
    assert {q: r.doc_ids for q, r in after.items()} == {q: r.doc_ids for q, r in before.items()}
    manifest = json.loads((tmp_path / "a.run.json").read_text())
    assert manifest["ties"] == manifest["pairs"]
