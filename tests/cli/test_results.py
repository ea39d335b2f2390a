"""``ranker evaluate`` and ``ranker compare`` as typed."""

import json

import pytest

QRELS = "q1 0 a 1\nq1 0 b 0\nq2 0 c 1\n"
FIRST = "q1 Q0 b 1 2.0 x\nq1 Q0 a 2 1.0 x\nq2 Q0 c 1 5.0 x\n"
SECOND = "q1 Q0 a 1 2.0 x\nq1 Q0 b 2 1.0 x\nq2 Q0 c 1 5.0 x\n"


@pytest.fixture
def files(tmp_path):
    for name, text in {"test.qrels": QRELS, "first.run": FIRST, "second.run": SECOND}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_evaluate_prints_a_row_for_each_run_called_by_its_file(ranker, files):
    said = ranker("evaluate", files / "test.qrels", files / "first.run", files / "second.run", "-m", "RR@10")
    rows = [line.split() for line in said.out.splitlines()[:4]]
    assert said.status == 0
    assert rows[0] == ["run", "RR@10"]
    assert ["first", "0.7500"] in rows
    assert ["second", "1.0000"] in rows


def test_evaluate_takes_the_judgments_of_a_dataset(ranker, dataset, first_run):
    said = ranker("evaluate", dataset, first_run, "--split", "dev", "--format", "json", "-m", "R@100")
    assert said.status == 0
    assert json.loads(said.out)["runs"][0]["measures"]["R@100"] == 1.0


def test_evaluate_prints_each_query_when_asked(ranker, files):
    said = ranker(
        "evaluate", files / "test.qrels", files / "first.run", "-m", "RR@10", "--per-query", "--format", "csv"
    )
    assert said.status == 0
    assert [line for line in said.out.splitlines() if line.startswith("first,q1")] == ["first,q1,RR@10,0.5"]


def test_a_query_that_the_run_lacks_counts_nothing_and_is_said(ranker, files):
    (files / "half.run").write_text(FIRST.splitlines()[2] + "\n")
    said = ranker("evaluate", files / "test.qrels", files / "half.run", "-m", "RR@10")
    assert "0.5000" in said.out
    assert "q1" in said.out


def test_compare_says_by_how_much_and_with_what_chance(ranker, files):
    said = ranker(
        "compare", files / "test.qrels", files / "first.run", files / "second.run", "-m", "RR@10", "--format", "json"
    )
    assert said.status == 0
    (difference,) = json.loads(said.out)["differences"]
    assert difference["difference"] == pytest.approx(0.25)
    assert difference["p_randomisation"] == pytest.approx(1.0)


@pytest.mark.parametrize("baseline", ["second", "somewhere/second.run"])
def test_the_baseline_is_named_by_its_file(ranker, files, baseline):
    said = ranker(
        "compare", files / "test.qrels", files / "first.run", files / "second.run",
        "-m", "RR@10", "--baseline", baseline, "--format", "json",
    )  # fmt: skip
    assert json.loads(said.out)["baseline"] == "second"


def test_compare_refuses_a_run_that_lacks_queries_unless_told(ranker, files):
    (files / "half.run").write_text(FIRST.splitlines()[2] + "\n")
    words = ("compare", files / "test.qrels", files / "first.run", files / "half.run", "-m", "RR@10")
    refused = ranker(*words)
    assert refused.status == 1
    assert refused.err.count("\n") == 1
    assert "half" in refused.err
    assert ranker(*words, "--missing", "zero").status == 0


def test_two_files_of_one_name_are_refused(ranker, files):
    (files / "other").mkdir()
    (files / "other" / "first.run").write_text(SECOND)
    said = ranker("evaluate", files / "test.qrels", files / "first.run", files / "other" / "first.run")
    assert said == (1, "", "Error: first: two run files are called so; expected files of different names.\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("q1 Q0 a 1 2.0\n", "1: expected 6 columns (query_id Q0 doc_id rank score name), found 5."),
        (
            "q1 Q0 a 1 nan x\n",
            "1: the score is 'nan', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 a 1 2 x\nq1 Q0 b 2 inf x\n",
            "2: the score is 'inf', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 a 1 2 x\nq1 Q0 a 2 1 x\n",
            "2: passage a stands twice for query q1, first in line 1; keep one of the lines.",
        ),
    ],
)
def test_a_malformed_run_is_one_sentence_with_file_and_line(ranker, files, text, sentence):
    (files / "bad.run").write_text(text)
    said = ranker("evaluate", files / "test.qrels", files / "bad.run")
    assert said == (1, "", f"Error: {files / 'bad.run'}:{sentence}\n")


def test_a_missing_run_is_one_sentence(ranker, files):
    said = ranker("evaluate", files / "test.qrels", files / "none.run")
    assert said == (1, "", f"Error: {files / 'none.run'}: cannot be read: No such file or directory.\n")


def test_missing_judgments_are_one_sentence(ranker, files):
    said = ranker("evaluate", files / "none.qrels", files / "first.run")
    assert said.status == 1
    assert said.err.startswith(f"Error: {files / 'none.qrels'}: is no dataset; expected ")


def test_an_unknown_measure_is_one_sentence(ranker, files):
    said = ranker("evaluate", files / "test.qrels", files / "first.run", "-m", "nDGC@10")
    assert said.status == 1
    assert "nDGC@10" in said.err
    assert "nDCG" in said.err


SWAPPED = "were the two given in each other's place?"


@pytest.mark.parametrize("command", ["evaluate", "compare", "depth"])
def test_a_run_in_the_place_of_qrels_is_called_one(ranker, files, command):
    said = ranker(command, files / "first.run", files / "test.qrels")
    if command != "depth":
        assert said.err.startswith(f"Error: {files / 'first.run'}: is a run (query_id Q0 doc_id rank score name), exp")
    assert (said.status, said.out, said.err.count("\n")) == (1, "", 1)
    assert said.err.endswith(f"{SWAPPED}\n")


@pytest.mark.parametrize(
    "words",
    [("evaluate", "up.run"), ("compare", "up.run", "first.run"), ("fuse", "up.run", "first.run", "-o", "f.run")],
)
def test_every_command_says_of_a_run_what_validate_finds(ranker, files, monkeypatch, words):
    (files / "up.run").write_text("q1 Q0 a 1 0.1 x\nq1 Q0 b 2 0.2 x\nq2 Q0 c 1 0.3 x\n")
    monkeypatch.chdir(files)
    command, *rest = words
    said = ranker(command, *(() if command == "fuse" else ("test.qrels",)), *rest)
    assert said.status == 0
    assert said.err.startswith("up.run: the scores of 1 query rise where the ranks do, q1's among them; ")
    sentence = said.err.splitlines()[0]
    assert ranker("validate", "up.run").out == f"mind: {sentence}\n"


def test_a_run_of_three_columns_is_evaluated_and_called_so(ranker, files):
    (files / "ms.tsv").write_text("q1\tb\t1\nq1\ta\t2\nq2\tc\t1\n")
    said = ranker("evaluate", files / "test.qrels", files / "ms.tsv", "-m", "RR@10")
    assert ["ms", "0.7500"] in [line.split() for line in said.out.splitlines()]
    assert said.err.startswith(f"{files / 'ms.tsv'}: read as a run of MS MARCO (query_id doc_id rank), whose scores")


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_a_relevance_that_nobody_gave_is_told_for_each_measure(ranker, files, command):
    measures = ("-m", "AP(rel=99)", "-m", "P(rel=2)@5", "-m", "AP", "-m", "nDCG@10", "-m", "NumRet")
    said = ranker(command, files / "test.qrels", files / "first.run", files / "second.run", *measures)
    assert said.status == 0
    assert said.err.splitlines() == [
        "AP(rel=99): no passage is judged 99 or higher, the highest relevance is 1; so every run has 0.",
        "P(rel=2)@5: no passage is judged 2 or higher, the highest relevance is 1; so every run has 0.",
    ]


def test_weights_are_not_tuned_by_what_is_always_0_without_a_word(ranker, files):
    runs = (files / "first.run", files / "second.run")
    words = ("--tune-run", runs[0], "--tune-run", runs[1], "--tune", files / "test.qrels", "--folds", 2)
    said = ranker("fuse", *runs, *words, "-m", "P(rel=2)@5", "-o", files / "fused.run")
    assert said.err.splitlines()[0].startswith("P(rel=2)@5: no passage is judged 2 or higher")


def test_judgments_of_nothing_relevant_are_told(ranker, files):
    (files / "none.qrels").write_text("q1 0 a 0\nq2 0 c -1\n")
    said = ranker("evaluate", files / "none.qrels", files / "first.run", "-m", "RR@10")
    assert said.err == "RR@10: no passage is judged 1 or higher, the highest relevance is 0; so every run has 0.\n"


def test_wrong_usage_exits_with_two(ranker, files):
    assert ranker("evaluate", files / "test.qrels").status == 2
    assert ranker("nonsense").status == 2


def test_what_equal_scores_leave_open_is_told(ranker, files):
    (files / "tied.run").write_text(FIRST.replace("2.0", "1.0"))
    words = ("evaluate", files / "test.qrels", files / "tied.run", "-m", "RR@10")
    open_range = "tied: equal scores in 1 query leave open RR@10 0.7500 to 1.0000, 0.8750 expected\n"
    assert ranker(*words).out.endswith(open_range)
    assert ranker(*words, "--format", "csv").err.endswith(open_range)
    record = json.loads(ranker(*words, "--format", "json").out)["runs"][0]["ties"]
    assert record == {
        "queries": ["q1"],
        "exact": True,
        "measures": {"RR@10": {"least": 0.75, "expected": 0.875, "greatest": 1.0}},
    }


def test_nothing_is_told_of_ties_that_decide_nothing(ranker, files):
    (files / "tied.run").write_text(FIRST.replace("2.0", "1.0"))
    said = ranker("evaluate", files / "test.qrels", files / "tied.run", "-m", "R@100")
    assert "equal scores" not in said.out
