"""What --cluster says before there is one."""

import sys

import pytest


@pytest.fixture
def rerank(ranker, dataset, tiny, first_run, tmp_path):
    def run(*more):
        words = (
            "--run",
            first_run,
            "--split",
            "test",
            "--mode",
            "dual",
            "--model",
            tiny(),
            "--output",
            tmp_path / "new.run",
        )
        said = ranker("rerank", dataset, *words, *more)
        assert not (tmp_path / "new.run").exists()
        return said

    return run


@pytest.mark.parametrize("more", [("--plan",), ("--budget", "5m")])
def test_a_plan_and_a_budget_are_of_one_process(rerank, more):
    said = rerank("--cluster", "local", *more)
    assert said.status == 2
    assert said.err.endswith("Error: --cluster goes without --plan and --budget, which are of one process.\n")


def test_workers_are_of_a_cluster(rerank):
    said = rerank("--workers", 2)
    assert (said.status, said.err) == (1, "Error: --workers is 2, but without --cluster this process does all.\n")


@pytest.mark.parametrize("number", [-1, 5000])
def test_a_number_of_workers_that_cannot_be_is_refused(rerank, number):
    said = rerank("--cluster", "local", "--workers", number)
    assert (said.status, said.err) == (1, f"Error: --workers is {number}, expected 0 to 4096.\n")


@pytest.mark.parametrize("kind", ["bm25", "tokens"])
def test_what_no_model_computes_is_not_shared(ranker, dataset, tmp_path, kind):
    said = ranker("index", dataset, "--kind", kind, "--cluster", "local", "--output", tmp_path / "index")
    assert said.status == 2
    assert said.err.endswith(f"Error: --kind {kind} goes without --cluster, which shares the work of a model.\n")


def test_without_ray_it_says_how_to_get_it(ranker, dataset, tiny, run_of_test, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    said = ranker(
        "rerank", dataset, "--run", run_of_test, "--mode", "dual", "--model", tiny(), "--cluster", "local",
        "--output", tmp_path / "new.run",
    )  # fmt: skip
    assert (said.status, said.err) == (1, "Error: --cluster needs Ray; install it with: pip install 'ranker[ray]'.\n")
    assert not (tmp_path / "new.run").exists()
