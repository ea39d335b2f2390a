"""What is known without a model is refused before one is opened: the model given here cannot be, and is not tried."""

import shutil

import pytest


@pytest.fixture
def broken(tiny, tmp_path):
    """A model whose weights are none: who opens it is told of that first."""
    folder = shutil.copytree(tiny("bert", labels=1), tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"none")
    return folder


@pytest.fixture
def foreign(tmp_path):
    path = tmp_path / "foreign.run"
    path.write_text("q4 Q0 elsewhere 1 0.1 x\nq4 Q0 d4 2 0.2 x\nq0 Q0 elsewhere 1 2 x\n")
    return path


def test_a_foreign_run_is_refused_by_rerank_after_what_is_odd_about_it_is_said(ranker, dataset, broken, foreign):
    words = ("--run", foreign, "--mode", "cross", "--model", broken)
    said = ranker("rerank", dataset, *words, "-o", foreign.parent / "a.run")
    first, second = said.err.splitlines()
    assert said.status == 1
    assert first.startswith(f"{foreign}: the scores of 1 query rise where the ranks do, q4's among them; ")
    assert second == (
        "Error: run foreign: passage elsewhere of query q4 is not in the collection; is it a run for another dataset?"
    )


def test_a_foreign_run_is_refused_by_train(ranker, dataset, broken, foreign):
    words = ("--run", foreign, "--mode", "cross", "--model", broken, "--length", 40, "--query-length", 12)
    said = ranker("train", dataset, *words, "-o", foreign.parent / "m")
    assert said.err.splitlines()[0].startswith(f"{foreign}: the scores of 1 query rise where the ranks do")
    assert said.err.splitlines()[-1].startswith("Error: run foreign: passage elsewhere of query q0 is not in the coll")


@pytest.mark.parametrize("command", ["train", "study"])
def test_lengths_that_the_backbone_does_not_have_are_refused_before_bm25(ranker, dataset, broken, tmp_path, command):
    mode = ("--mode", "cross")
    said = ranker(command, dataset, *mode, "--model", broken, "--length", 65, "-o", tmp_path / "out")
    assert said == (1, "", f"Error: {broken}: length is 65, but the backbone reads at most 64 tokens.\n")
    assert not (tmp_path / "out" / "study.settings.json").exists()


@pytest.mark.parametrize("command", ["rerank", "train", "study", "explain"])
@pytest.mark.parametrize(
    ("typed", "meant"), [("crss", "cross"), ("term_trans", "term-trans"), ("cross-encoder", "cross")]
)
def test_a_misspelt_mode_is_asked_about(ranker, command, typed, meant):
    more = {"rerank": ("--run", "r", "--model", "m"), "explain": ("--model", "m")}.get(command, ("-o", "o"))
    said = ranker(command, "data", "--mode", typed, *more)
    assert said.status == 2
    assert said.err.rstrip().endswith(f"'cedr-knrm'. Did you mean '{meant}'?")


def test_a_misspelt_stage_and_format_are_asked_about(ranker, tmp_path):
    said = ranker("rerank", "data", "--run", "r", "--model", "m", "--cascade", "daul:100,cross:20")
    assert (said.status, said.err.rstrip()[-21:]) == (2, " Did you mean 'dual'?")
    said = ranker("import", "squda", "x", "-o", tmp_path / "o")
    assert (said.status, said.err.rstrip()[-22:]) == (2, " Did you mean 'squad'?")
