import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from ranker.model.loading import create_model
from ranker.settings.model import RankerConfig


@pytest.fixture
def folder(dataset, tmp_path):
    """The dataset, to be changed."""
    shutil.copytree(dataset, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def make(ranker, folder, run_of_test, tmp_path):
    """A reranked run, made by the command."""

    def run(model, mode="cross", precision="float32", *more):
        output = tmp_path / "reranked.run"
        words = ("--run", run_of_test, "--mode", mode, "--model", model, "--precision", precision, "--depth", 4)
        assert ranker("rerank", folder, *words, *more, "-o", output).status == 0
        return output

    return run


@pytest.fixture(params=["cross", "dual"])
def mode(request):
    return request.param


def model_for(mode, tiny):
    return tiny("bert", labels=1) if mode == "cross" else tiny()


def test_a_run_that_was_not_touched_is_what_its_manifest_says(ranker, make, tiny, mode):
    run = make(model_for(mode, tiny), mode)
    said = ranker("verify", run)
    assert said.status == 0, said.out
    assert said.err == f"{run}: is what its manifest says.\n"
    lines = said.out.splitlines()
    digests = ["run", "collection", "queries", "qrels", "model", "first stage"]
    assert [line.partition(":")[0] for line in lines[:8]] == [*digests, "settings", "counts"]
    assert f"settings: mode '{mode}', pooling " in said.out
    assert "counts: pairs 32, queries_cut 0, pairs_cut 0, tokens_cut 0\n" in said.out
    assert [line.partition(", ")[0] for line in lines[8:]] == ["float32 again", "float32 a pair at a time"]
    assert all(", 32 pairs: a score moves by " in line for line in lines[8:])
    assert all(line.endswith("a rank by 0") for line in lines[8:])


@pytest.mark.computes("bf16")
def test_bf16_is_held_against_float32_too(ranker, make, tiny):
    lines = ranker("verify", make(tiny("bert", labels=1), "cross", "bf16")).out.splitlines()
    assert [line.partition(", ")[0] for line in lines[8:]] == ["bf16 again", "bf16 a pair at a time", "float32"]


def test_queries_are_drawn_at_random_by_the_seed(ranker, make, tiny):
    run = make(tiny("bert", labels=1))
    assert ", 8 pairs: " in ranker("verify", run, "--queries", 2).out


def test_a_score_that_was_changed_is_found_twice(ranker, make, tiny, mode):
    run = make(model_for(mode, tiny), mode)
    first, *rest = run.read_text().splitlines(keepends=True)
    words = first.split()
    words[4] = str(float(words[4]) + 0.5)
    run.write_text(" ".join(words) + "\n" + "".join(rest))
    said = ranker("verify", run)
    assert said.status == 1
    assert said.out.startswith("run: FAIL, the manifest says ")
    assert "float32 again, 32 pairs: a score moves by 0.5 at most, " in said.out
    assert ": FAIL, at most 0.0001 is expected" in said.out
    assert said.err == f"{run}: is not what its manifest says.\n"


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("collection", "the capital of paris lies", "the capital of paris stands"),
        ("queries", "where is the capital of rome", "where was the capital of rome"),
        ("qrels", "q4\td4\t1", "q4\td4\t2"),
    ],
)
def test_a_dataset_that_was_changed_is_found(ranker, make, tiny, part, old, new):
    run = make(tiny("bert", labels=1))
    path = run.parent / "data" / {"collection": "corpus.jsonl", "qrels": "qrels/test.tsv"}.get(part, "queries.jsonl")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    said = ranker("verify", run)
    assert said.status == 1
    assert f"{part}: FAIL, the manifest says " in said.out


@pytest.mark.parametrize(("part", "name"), [("collection", "corpus.jsonl"), ("queries", "queries.jsonl")])
def test_another_version_of_equal_size_and_time_is_found_and_read(ranker, make, folder, tiny, tmp_path, part, name):
    """As ``cp -p`` and archives with fixed times leave it."""
    run, path = make(tiny("bert", labels=1)), folder / name
    state, text = path.stat(), path.read_text()
    first = run.read_text()
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    path.write_text(text.replace("of", "by"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_ino) == (state.st_size, state.st_ino)
    said = ranker("verify", run)
    assert said.status == 1
    assert f"{part}: FAIL, the manifest says " in said.out
    assert said.err == f"{run}: is not what its manifest says.\n"
    assert make(tiny("bert", labels=1), "cross", "float32", "--force").read_text() != first


def test_another_model_in_its_place_is_found(ranker, make, tiny):
    run = make(tiny("bert", labels=1))
    said = ranker("verify", run, "--model", tiny("bert", labels=2))
    assert said.status == 1
    assert "model: FAIL, the manifest says " in said.out


def test_what_was_moved_can_be_named(ranker, make, folder, tiny, tmp_path):
    shutil.copytree(tiny("bert", labels=1), tmp_path / "model")
    run = make(tmp_path / "model")
    (tmp_path / "model").rename(tmp_path / "moved")
    folder.rename(tmp_path / "elsewhere")
    assert "is no dataset" in ranker("verify", run).err
    assert ranker("verify", run, "--dataset", tmp_path / "elsewhere", "--model", tmp_path / "moved").status == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda manifest: manifest.pop("model"), "its manifest does not say 'model', as a reranked run's does."),
        (lambda manifest: manifest.pop("sha256"), "its manifest does not say 'sha256'."),
        (lambda manifest: manifest.update(dataset=3), "its manifest says dataset 3, expected an object."),
        (lambda manifest: manifest.update(depth="4"), "its manifest says depth '4', expected a whole number."),
        (lambda manifest: manifest.update(budget={"ranks_scored": {"least": 0}}), "its manifest says depth 0;"),
    ],
)
def test_a_manifest_that_lacks_something_is_one_sentence(ranker, make, tiny, change, sentence):
    run = make(tiny("bert", labels=1))
    path = run.with_name("reranked.run.json")
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    said = ranker("verify", run)
    assert said.status == 1
    assert sentence in said.err


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "\x00"])
def test_a_broken_manifest_is_one_sentence(ranker, make, tiny, text):
    run = make(tiny("bert", labels=1))
    run.with_name("reranked.run.json").write_text(text)
    said = ranker("verify", run)
    assert said.status == 1
    assert "reranked.run.json: cannot be read as JSON: " in said.err or ": is a JSON list, expected an" in said.err


def test_a_run_of_a_model_that_was_given_a_length_is_scored_again_in_that_length(ranker, make, tiny, mode):
    run = make(model_for(mode, tiny), mode, "float32", "--length", 16)
    said = ranker("verify", run)
    assert said.status == 0, said.out
    assert f"query_length {8 if mode == 'cross' else 16}, length 16" in said.out
    assert json.loads(run.with_name(f"{run.name}.json").read_text())["pairs_cut"] == (32 if mode == "cross" else 0)


def test_a_model_that_is_not_there_is_not_the_manifests_fault(ranker, make, tiny, tmp_path):
    said = ranker("verify", make(tiny("bert", labels=1)), "--model", tmp_path / "none")
    assert said.status == 1
    assert said.err.startswith(f"Error: {tmp_path / 'none'}: is no model; expected a model directory")


@pytest.mark.parametrize("length", [7, "14", None])
def test_a_length_in_a_manifest_that_there_is_not_is_one_sentence(ranker, make, tiny, length):
    run = make(tiny("bert", labels=1))
    changed(run, lambda told: told["model"].update(length=length))
    sentence = f"length is {length!r}, expected 8 to 8192 tokens, or 0 for as many as the model says."
    said = ranker("verify", run)
    assert (said.status, said.err) == (1, f"Error: {run}: its manifest does not fit: {sentence}\n")


def changed(run, change):
    path = run.with_name(f"{run.name}.json")
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda told: told["model"].update(length=16, query_length=8),
            "pairs_cut: FAIL, the manifest says 0, but it is 32",
        ),
        (lambda told: told["model"].update(pooling="mean"), "pooling: FAIL, the manifest says 'mean', but it is 'cls'"),
        (lambda told: told["model"].update(markers=1), "markers: FAIL, the manifest says 1, but it is True"),
        (lambda told: told["model"].update(stopwords="drop"), "stopwords: FAIL, the manifest says 'drop', but it is "),
        (lambda told: told.update(pairs=1), "pairs: FAIL, the manifest says 1, but it is 32"),
        (lambda told: told.update(tokens_cut=7), "tokens_cut: FAIL, the manifest says 7, but it is 0"),
        (lambda told: told.update(depth=1), "pairs: FAIL, the manifest says 32, but it is 8"),
        (
            lambda told: told["run"].update(sha256="0" * 64),
            f"first stage: FAIL, the manifest says {'0' * 64}, but it is ",
        ),
    ],
)
def test_a_manifest_that_tells_something_else_is_found(ranker, make, tiny, change, line):
    run = make(tiny("bert", labels=1))
    changed(run, change)
    said = ranker("verify", run)
    assert (said.status, said.err) == (1, f"{run}: is not what its manifest says.\n")
    assert line in said.out


def test_a_manifest_that_tells_another_length_than_the_model_was_trained_to_read_is_found(ranker, make, tiny, tmp_path):
    create_model(RankerConfig("cross", query_length=16, length=40), str(tiny()), seed=1).save(tmp_path / "model")
    run = make(tmp_path / "model")
    changed(run, lambda told: told["model"].update(length=7))
    said = ranker("verify", run)
    assert (said.status, said.err) == (1, f"{run}: is not what its manifest says.\n")
    assert "length: FAIL, the manifest says 7, but it is 40\n" in said.out


def test_a_first_stage_that_was_changed_is_found_and_one_that_is_gone_is_told(ranker, make, tiny, run_of_test):
    run = make(tiny("bert", labels=1))
    run_of_test.write_text(run_of_test.read_text() + "\n")
    assert "first stage: FAIL, the manifest says " in ranker("verify", run).out
    run_of_test.unlink()
    said = ranker("verify", run)
    assert said.status == 0
    assert "first stage: not looked at, it is not where it was\n" in said.out


def test_what_a_budget_left_out_is_not_counted(ranker, make, tiny):
    run = make(tiny("bert", labels=1), "cross", "float32", "--budget", "60s")
    changed(run, lambda told: told["budget"].update(stopped="the budget of 60 seconds"))
    said = ranker("verify", run)
    assert said.status == 0
    assert "counts" not in said.out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"precision": "zz"}, "its manifest does not fit: precision is 'zz', expected one of "),
        ({"overflow": "boo"}, "its manifest does not fit: overflow is 'boo', expected one of "),
        ({"overflow": ["cut"]}, "its manifest says overflow ['cut'], expected text."),
        ({"stride": "q"}, "its manifest says stride 'q', expected a whole number."),
        ({"stride": 5}, "its manifest does not fit: stride is 5 with overflow 'cut', expected "),
        ({"tokens_cut": "0"}, "its manifest says tokens_cut '0', expected a whole number."),
        ({"run": {"path": 3}}, "its manifest does not say 'run.name'."),
        ({"run": {"name": "a", "path": 3}}, "its manifest says run.path 3, expected text."),
    ],
)
def test_what_a_manifest_cannot_say_is_named_with_the_run(ranker, make, tiny, change, sentence):
    run = make(tiny("bert", labels=1))
    changed(run, lambda told: told.update(change))
    said = ranker("verify", run)
    assert said.status == 1
    assert said.err.startswith(f"Error: {run}: {sentence}")
    assert said.err.count("\n") == 1


def test_a_run_without_a_manifest_is_not_verified(ranker, run_of_test):
    path = run_of_test.with_name("test.run.json")
    assert ranker("verify", run_of_test).err == f"Error: {path}: is not there; the manifest of a run lies beside it.\n"
    path.mkdir()
    assert ranker("verify", run_of_test).err == f"Error: {path}: is a folder; the manifest of a run lies beside it.\n"


def test_a_run_under_a_budget_is_verified_as_deep_as_it_was_scored(ranker, make, tiny):
    run = make(tiny("bert", labels=1), "cross", "float32", "--budget", "60s")
    said = ranker("verify", run)
    assert (said.status, ", 32 pairs: " in said.out) == (0, True)


def test_a_run_that_is_not_there_is_one_sentence(ranker, tmp_path):
    path = tmp_path / "none.run"
    assert ranker("verify", path) == (1, "", f"Error: {path}: cannot be read: No such file or directory.\n")


def test_a_run_in_a_precision_that_this_machine_does_not_compute_is_held_against_float32(make, tiny, tmp_path):
    """A run of float32 that says bf16, read where the libraries have no more than AVX2."""
    run = make(tiny("bert", labels=1))
    path = run.with_name(f"{run.name}.json")
    path.write_text(path.read_text().replace('"precision": "float32"', '"precision": "bf16"'))
    fewer = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-m", "ranker", "verify", str(run)],
        capture_output=True, text=True, env={**os.environ, **fewer}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("bf16: not computed again, but held against float32: --precision bf16: this processor (")
    assert lines[-1].startswith("float32, 32 pairs: a score moves by ")
    assert done.stderr == f"{run}: is what its manifest says.\n"
