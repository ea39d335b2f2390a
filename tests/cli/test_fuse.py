"""``ranker fuse`` as typed."""

import json
from pathlib import Path

import pytest

from ranker.data.trec import read_run
from ranker.files.digests import content_digest

FIRST = "q1 Q0 b 1 2.0 x\nq1 Q0 a 2 1.0 x\nq2 Q0 c 1 5.0 x\nq2 Q0 d 2 4.0 x\n"
SECOND = "q1 Q0 a 1 9.0 y\nq1 Q0 c 2 8.0 y\nq2 Q0 c 1 5.0 y\n"
QRELS = "q1 0 a 1\nq2 0 c 1\n"


@pytest.fixture
def files(tmp_path):
    for name, text in {"test.qrels": QRELS, "first.run": FIRST, "second.run": SECOND}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def tunable(files):
    """Twelve judged queries of dev: what the run of the dense system has on top is right in two of three."""
    lexical, dense, qrels = "", "", ""
    for number in range(12):
        lexical += f"d{number} Q0 a 1 3 x\nd{number} Q0 b 2 2 x\n"
        dense += f"d{number} Q0 b 1 3 x\nd{number} Q0 a 2 2 x\n"
        qrels += f"d{number} 0 {'a' if number % 3 == 0 else 'b'} 1\n"
    for name, text in {"dev.first.run": lexical, "dev.second.run": dense, "dev.qrels": qrels}.items():
        (files / name).write_text(text)
    return files


def runs(folder):
    return folder / "first.run", folder / "second.run"


def tuning(folder):
    return (
        "--tune", folder / "dev.qrels", "--tune-run", folder / "dev.first.run", "--tune-run", folder / "dev.second.run",
    )  # fmt: skip


def manifest_of(path: Path):
    return json.loads(Path(f"{path}.json").read_text())


def test_two_runs_become_one_by_their_ranks(ranker, files):
    output = files / "hybrid.run"
    said = ranker("fuse", *runs(files), "--output", output)
    assert said == (0, "", f"{output}: 2 queries by rrf, 1 first and 1 second.\n")
    assert {query_id: ranking.doc_ids for query_id, ranking in read_run(output).items()} == {
        "q1": ("a", "b", "c"),
        "q2": ("c", "d"),
    }
    assert read_run(output).name == "hybrid"


def test_weights_go_with_the_runs_in_their_order(ranker, files):
    words = ("--method", "interpolation", "--weight", "0.7", "--weight", "0.3")
    for name, given, first in (("one", runs(files), "b"), ("two", runs(files)[::-1], "a")):
        output = files / f"{name}.run"
        assert ranker("fuse", *given, *words, "--output", output).status == 0
        assert read_run(output)["q1"].doc_ids[0] == first
    assert read_run(files / "one.run")["q1"].scores.tolist() == pytest.approx([0.7, 0.3, 0.0], abs=1e-6)


def test_the_manifest_tells_what_was_fused_and_how(ranker, files):
    output = files / "hybrid.run"
    assert ranker("fuse", *runs(files), "--k", "10", "--weight", "1", "--weight", "2", "-o", output).status == 0
    manifest = manifest_of(output)
    assert manifest["fusion"] == {"method": "rrf", "weights": [1.0, 2.0], "k": 10, "depth": 100_000}
    assert manifest["runs"] == [
        {"name": path.stem, "path": str(path), "sha256": content_digest(path)} for path in runs(files)
    ]
    assert manifest["sha256"] == content_digest(output)
    assert manifest["command"].startswith("ranker fuse ")
    assert "tuned" not in manifest


def test_a_query_that_a_run_lacks_is_fused_and_told(ranker, files):
    (files / "half.run").write_text("q2 Q0 d 1 1 x\n")
    output = files / "hybrid.run"
    said = ranker("fuse", files / "first.run", files / "half.run", "--output", output)
    assert said.err.endswith(": 2 queries by rrf, 1 first and 1 half; half lacks 1.\n")
    assert manifest_of(output)["unanswered"] == {"first": 0, "half": 1}
    assert read_run(output)["q1"].doc_ids == ("b", "a")


def test_a_depth_is_as_deep_as_the_run_that_is_written(ranker, files):
    output = files / "hybrid.run"
    assert ranker("fuse", *runs(files), "--depth", "1", "--output", output).status == 0
    assert [ranking.doc_ids for ranking in read_run(output).values()] == [("a",), ("c",)]


# reranked runs


@pytest.fixture
def reranked(ranker, dataset, run_of_test, tiny, tmp_path):
    """A run of five passages a query, reranked to depth 3 by the command."""
    output = tmp_path / "cross.run"
    words = ("--run", run_of_test, "--mode", "cross", "--model", tiny("bert", labels=1), "--depth", "3", "-o", output)
    assert ranker("rerank", dataset, *words).status == 0
    return output


BLEND = ("--method", "interpolation", "--weight", "0.3", "--weight", "0.7")


def test_a_reranked_run_blends_with_its_first_stage_as_deep_as_it_was_reranked(ranker, run_of_test, reranked):
    output = reranked.parent / "blend.run"
    assert ranker("fuse", run_of_test, reranked, *BLEND, "-o", output).status == 0
    assert "scored" not in manifest_of(output)["runs"][0]
    assert manifest_of(output)["runs"][1]["scored"] == 3
    for query_id, ranking in read_run(output).items():
        first, cross = read_run(run_of_test)[query_id], read_run(reranked)[query_id]
        low, high = float(cross.scores[2]), float(cross.scores[0])
        scores = dict(zip(cross.doc_ids[:3], cross.scores.tolist(), strict=False))
        expected = {
            doc_id: 0.3 * (4 - place) / 4 + 0.7 * (scores.get(doc_id, low) - low) / (high - low)
            for place, doc_id in enumerate(first.doc_ids)
        }
        assert dict(zip(ranking.doc_ids, ranking.scores.tolist(), strict=True)) == pytest.approx(expected, abs=1e-6)
        assert ranking.doc_ids[3:] == first.doc_ids[3:]


def test_a_reranked_run_that_is_no_longer_its_manifests_is_refused(ranker, run_of_test, reranked):
    reranked.write_text(reranked.read_text() + "q9 Q0 d1 1 1 x\n")
    output = reranked.parent / "blend.run"
    said = ranker("fuse", run_of_test, reranked, *BLEND, "-o", output)
    assert said.status == 1
    assert said.err == (
        f"Error: {reranked}: has changed since {reranked}.json was written, which tells how deep it was reranked; "
        "expected the run as it was, or none of its manifest.\n"
    )
    assert not output.exists()
    Path(f"{reranked}.json").unlink()
    assert ranker("fuse", run_of_test, reranked, *BLEND, "-o", output).status == 0


def test_a_reranking_that_ran_out_of_time_is_read_as_deep_as_all_queries_were_scored(ranker, run_of_test, reranked):
    path = Path(f"{reranked}.json")
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "budget": {"ranks_scored": {"least": 2, "median": 3, "most": 3}}}))
    assert ranker("fuse", run_of_test, reranked, "-o", reranked.parent / "blend.run").status == 0
    assert manifest_of(reranked.parent / "blend.run")["runs"][1]["scored"] == 2
    path.write_text(json.dumps({**told, "budget": {"ranks_scored": {"least": 0, "median": 3, "most": 3}}}))
    said = ranker("fuse", run_of_test, reranked, "-o", reranked.parent / "other.run")
    assert (
        said.err == f"Error: {reranked}: its manifest says depth 0; expected 1 or more, to have scores of the model.\n"
    )


# tuning


def test_weights_are_chosen_on_other_queries_and_told_with_their_value(ranker, tunable):
    output = tunable / "hybrid.run"
    words = (*tuning(tunable), "--measure", "RR@10", "--folds", "4", "--seed", "2")
    said = ranker("fuse", *runs(tunable), "--method", "interpolation", *words, "--output", output)
    assert said.status == 0
    assert said.err == (
        f"{output}: 2 queries by interpolation, 0.5 first and 0.5 second; "
        "RR@10 0.8333 out of fold on 12 queries, dev.first alone 0.6667, dev.second alone 0.8333.\n"
    )
    tuned = manifest_of(output)["tuned"]
    assert manifest_of(output)["fusion"]["weights"] == tuned["weights"]
    assert tuned["qrels"] == {"path": str(tunable / "dev.qrels"), "sha256": content_digest(tunable / "dev.qrels")}
    assert [run["name"] for run in tuned["runs"]] == ["dev.first", "dev.second"]
    assert (tuned["measure"], tuned["queries"], tuned["folds"], tuned["seed"]) == ("RR@10", 12, 4, 2)
    assert (len(tuned["fold_weights"]), tuned["tried"], tuned["fused_too"]) == (4, 21, 0)
    assert tuned["out_of_fold"] == pytest.approx(5 / 6)


def test_the_run_is_that_of_the_weights_chosen(ranker, tunable):
    # dev's judgments turned round: a is right on top of the first
    text = (tunable / "dev.qrels").read_text()
    (tunable / "dev.qrels").write_text("".join(f"{line.split()[0]} 0 a 1\n" for line in text.splitlines()))
    words = ("fuse", *runs(tunable), "--method", "interpolation")
    assert ranker(*words, *tuning(tunable), "-o", tunable / "tuned.run").status == 0
    weights = manifest_of(tunable / "tuned.run")["fusion"]["weights"]
    assert weights[0] > weights[1]
    typed = [word for weight in weights for word in ("--weight", weight)]
    assert ranker(*words, *typed, "-o", tunable / "typed.run").status == 0
    assert read_run(tunable / "tuned.run").digest == read_run(tunable / "typed.run").digest


def test_the_judgments_may_be_a_split_of_a_dataset(ranker, dataset, first_run, tmp_path):
    lines = first_run.read_text().splitlines()
    (tmp_path / "second.run").write_text("\n".join(line.replace(" 9 ", " 1 ") for line in lines) + "\n")
    words = ("--tune", dataset, "--tune-run", first_run, "--tune-run", tmp_path / "second.run", "-m", "R@1")
    output = tmp_path / "hybrid.run"
    said = ranker("fuse", first_run, tmp_path / "second.run", *words, "-o", output)
    assert said.status == 0
    assert manifest_of(output)["tuned"]["qrels"]["path"] == str(dataset / "qrels" / "dev.tsv")
    assert said.err.endswith("; 8 queries that chose the weights are fused too.\n")
    assert (
        ranker("fuse", first_run, tmp_path / "second.run", *words, "--split", "nor", "-o", tmp_path / "x").status == 1
    )


# what is refused


def test_an_output_that_exists_is_kept_unless_told(ranker, files):
    words = ("fuse", *runs(files), "--output", files / "first.run")
    assert ranker(*words).err == (
        f"Error: {files / 'first.run'}: exists already; give --force to replace it, or another --output.\n"
    )
    assert (files / "first.run").read_text() == FIRST
    assert ranker(*words, "--force").status == 0
    assert read_run(files / "first.run")["q1"].doc_ids == ("a", "b", "c")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--weight", "nan", "--weight", "1"), "a run's weight is nan, expected a finite number of at least 0."),
        (("--weight", "-1", "--weight", "1"), "a run's weight is -1.0, expected a finite number of at least 0."),
        (("--weight", "0", "--weight", "0"), "all 2 weights are 0, expected one above 0."),
    ],
)
def test_weights_that_give_no_order_are_one_sentence(ranker, files, words, sentence):
    assert ranker("fuse", *runs(files), *words, "-o", files / "x.run") == (1, "", f"Error: {sentence}\n")
    assert not (files / "x.run").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--weight", "1"), "--weight is given for 1 of 2 runs, expected one for each."),
        (("--folds", "3"), "--folds goes with --tune, which names the QRELS to choose weights by."),
        (("--tune-run", "x"), "--tune-run goes with --tune, which names the QRELS to choose weights by."),
        (("--tune", "q"), "--tune-run is given for 0 of 2 runs, expected one for each."),
        (("--tune", "q", "--weight", "1", "--weight", "2"), "--weight gives the weights that --tune is to choose;"),
        (
            ("--tune", "q", "--tune-run", "dev/second.run", "--tune-run", "dev/first.run"),
            "--tune-run names second, first; expected the order of the runs, first, second.",
        ),
        (("--method", "z-score"), "'z-score' is not one of 'rrf', 'interpolation'"),
        (("--k", "-1"), "-1 is not in the range 0<=x<=100000"),
    ],
)
def test_options_that_do_not_go_together_are_usage(ranker, files, words, sentence):
    said = ranker("fuse", *runs(files), *words, "-o", files / "x.run")
    assert said.status == 2
    assert sentence in said.err


def test_one_run_is_usage(ranker, files):
    said = ranker("fuse", files / "first.run", "-o", files / "x.run")
    assert said.status == 2
    assert "needs two runs or more, to make one of them." in said.err


def test_a_run_given_twice_under_two_names_is_refused(ranker, files):
    (files / "copy.run").write_text(FIRST.replace("x\n", "copy\n"))
    said = ranker("fuse", *runs(files), files / "copy.run", "-o", files / "x.run")
    assert said.status == 1
    assert said.err == (
        f"Error: {files / 'copy.run'}: is the run {files / 'first.run'} again; expected each once, "
        "and a --weight where it counts more.\n"
    )


def test_runs_of_other_queries_are_refused(ranker, tunable):
    said = ranker("fuse", tunable / "first.run", tunable / "dev.first.run", "-o", tunable / "x.run")
    assert said.status == 1
    assert (
        "run first: shares no query with any other run; its first is 'q1', that of run dev.first is 'd0'." in said.err
    )
    other = ("--tune", tunable / "test.qrels", *tuning(tunable)[2:])
    said = ranker("fuse", *runs(tunable), *other, "-o", tunable / "x.run")
    assert said.status == 1
    assert "run dev.first: answers none of the 2 queries that weights are tuned on; its first is 'd0'" in said.err


def test_more_folds_than_queries_are_refused(ranker, tunable):
    said = ranker("fuse", *runs(tunable), *tuning(tunable), "--folds", "13", "-o", tunable / "x.run")
    assert said == (1, "", "Error: 13 folds of 12 judged queries, expected 2 to as many as queries.\n")


# real runs


def test_a_lexical_and_a_dense_run_are_together_better_than_each(ranker, shared_data, tmp_path):
    folder = shared_data / "trec-dl"
    year = {year: [folder / "runs" / f"{year}.{name}.run" for name in ("bm25", "tas-b")] for year in ("dl19", "dl20")}
    words = [word for path in year["dl20"] for word in ("--tune-run", path)]
    output = tmp_path / "hybrid.run"
    said = ranker(
        "fuse",
        *year["dl19"],
        "--method",
        "interpolation",
        "--tune",
        folder / "qrels" / "dl20.tsv",
        *words,
        "-o",
        output,
    )
    assert said.status == 0, said.err
    found = ranker(
        "evaluate", folder / "qrels" / "dl19.tsv", output, *year["dl19"], "-m", "nDCG@10", "--format", "json"
    )
    hybrid, bm25, dense = (run["measures"]["nDCG@10"] for run in json.loads(found.out)["runs"])
    assert bm25 == pytest.approx(0.5058, abs=1e-4)
    assert hybrid > dense > bm25
