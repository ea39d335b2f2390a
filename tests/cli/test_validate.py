from pathlib import Path


def test_problems_go_to_stdout_and_their_number_to_stderr(ranker, tmp_path):
    path = tmp_path / "some.run"
    path.write_text("q1 Q0 a 1 nan n\nq1 Q0 b 2\nq1 Q0 c 3 1 n\nq1 Q0 d 4 2 n\n")
    said = ranker("validate", path)
    assert said.status == 1
    assert [line.partition(":")[0] for line in said.out.splitlines()] == [str(path), str(path), "mind"]
    assert said.err == f"{path}: a run (query_id Q0 doc_id rank score name): 2 errors, 1 to mind.\n"


def test_a_dataset_run_and_qrels_without_errors_exit_0(ranker, dataset, first_run):
    said = ranker("validate", dataset, first_run, dataset / "qrels" / "test.tsv", "almanac:size=100")
    assert said.status == 0
    assert [line.rpartition(": ")[2].split(",")[0] for line in said.err.splitlines()] == ["0 errors"] * 4
    assert [line.split(": ")[1] for line in said.err.splitlines()] == [
        "a dataset",
        "a run (query_id Q0 doc_id rank score name)",
        "judgments (query_id doc_id relevance)",
        "a dataset",
    ]


def test_what_only_is_to_mind_exits_0(ranker, tmp_path):
    path = tmp_path / "some.run"
    path.write_text("q1 Q0 a 1 1 n\nq1 Q0 b 2 1 n\n")
    said = ranker("validate", path)
    assert (said.status, said.err) == (
        0,
        f"{path}: a run (query_id Q0 doc_id rank score name): 0 errors, 1 to mind.\n",
    )


def test_problems_beyond_a_thousand_are_counted(ranker, tmp_path):
    path = tmp_path / "some.run"
    path.write_text("q1 Q0 a 1 2\n" * 1_500)
    lines = ranker("validate", path).out.splitlines()
    assert len(lines) == 1_001
    assert lines[-1] == f"{path}: 500 problems more."


def test_what_is_not_there_is_one_sentence(ranker):
    said = ranker("validate", Path("no-such-thing"))
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("Error: no-such-thing: is no dataset; expected")
