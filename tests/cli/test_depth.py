import json

import pytest


@pytest.fixture
def deep(ranker, dataset, run_of_test, tiny, tmp_path):
    """A run reranked to depth 4, by the command."""
    output = tmp_path / "deep.run"
    words = ("--run", run_of_test, "--mode", "cross", "--model", tiny("bert", labels=1), "--depth", "4", "-o", output)
    assert ranker("rerank", dataset, *words).status == 0
    return output


def test_a_row_for_each_depth_down_to_that_of_the_reranking(ranker, dataset, deep):
    said = ranker("depth", dataset, deep, "-m", "RR@10", "--format", "csv")
    rows = [line.split(",") for line in said.out.splitlines()]
    assert rows[0] == ["depth", "measure", "value"]
    assert [row[:2] for row in rows[1:]] == [[depth, "RR@10"] for depth in "01234"]


def test_the_ends_are_what_evaluate_says_of_both_runs(ranker, dataset, run_of_test, deep):
    found = json.loads(ranker("depth", dataset, deep, "-m", "nDCG@10", "--format", "json").out)["depths"]
    both = json.loads(ranker("evaluate", dataset, run_of_test, deep, "-m", "nDCG@10", "--format", "json").out)["runs"]
    assert [found[0]["measures"], found[-1]["measures"]] == [one["measures"] for one in both]


def test_it_is_a_table_by_default(ranker, dataset, deep):
    lines = ranker("depth", dataset, deep, "-m", "RR@10").out.splitlines()
    assert lines[0].split() == ["depth", "RR@10"]
    assert [line.split()[0] for line in lines[1:]] == list("01234")


def test_the_first_run_may_be_named_where_there_is_no_manifest(ranker, dataset, run_of_test, deep):
    told = ranker("depth", dataset, deep, "--format", "csv").out
    (deep.parent / "deep.run.json").unlink()
    said = ranker("depth", dataset, deep)
    assert said.status == 1
    assert "deep.run: has no manifest that names the run that it was made from; name it with --first." in said.err
    deeper = ranker("depth", dataset, deep, "--first", run_of_test, "--format", "csv").out
    assert deeper.startswith(told[: told.index("4,")])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.unlink(), "which is not there; name that run with --first."),
        (lambda path: path.write_text(path.read_text() + "q9 Q0 d1 1 1 x\n"), "which has changed since; name that"),
    ],
)
def test_a_first_run_that_is_not_what_it_was_is_refused(ranker, dataset, run_of_test, deep, change, sentence):
    run_of_test.chmod(0o644)
    change(run_of_test)
    said = ranker("depth", dataset, deep)
    assert said.status == 1
    assert sentence in said.err


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_broken_manifest_is_one_sentence(ranker, dataset, deep, text):
    (deep.parent / "deep.run.json").write_text(text)
    said = ranker("depth", dataset, deep)
    assert said.status == 1
    assert "deep.run.json: cannot be read as JSON" in said.err
