import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.trec import read_qrels, read_run
from ranker.data.validation import kind_of, problems, problems_of_dataset, problems_of_qrels, problems_of_run
from ranker.errors import DataError

MEND = "mend the line or take it out (ranker validate lists all such)."
TWICE = "take one of the two out, or give it another id."
FEW = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
RUN_LINE = st.builds(
    "{} Q0 {} {} {} name".format,
    st.sampled_from(["q1", "q2"]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["1", "2", "x"]),
    st.sampled_from(["1.5", "2", "nan", "1e999", "_1", "zero"]),
)
QRELS_LINE = st.builds(
    "{} 0 {} {}".format,
    st.sampled_from(["q1", "q2"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["0", "1", "-1", "1.0", "99999"]),
)
CORPUS_LINES = [
    '{"_id": "a", "text": "x"}', '{"_id": "a", "text": ""}', '{"_id": 7, "text": "x"}', '{"_id": "7", "title": "y"}',
    '{"_id": "b", "text": null}', '{"_id": "c", "text": NaN}', '{"_id": " ", "text": "x"}', '{"_id": "d"', "", " ",
]  # fmt: skip
ODD = st.sampled_from(["", "q1 Q0 a 1", "q1 Q0 a 1 2 n extra", "q1\x07 Q0 a 1 2 n"])


def told(path: Path) -> list[str]:
    return [f"{'' if one.is_error else 'mind: '}{one.sentence}".replace(f"{path}", "F") for one in problems(path)]


def file(folder: Path, text: str | bytes, name: str = "some.run") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(read, path: Path) -> str | None:
    try:
        read(path)
    except DataError as error:
        return str(error)
    return None


@FEW
@given(lines=st.lists(RUN_LINE | ODD, max_size=8))
def test_a_run_has_errors_just_where_the_reader_refuses_it(tmp_path, lines):
    path = file(tmp_path, "".join(f"{line}\n" for line in lines))
    errors = [one.sentence for one in problems_of_run(path) if one.is_error]
    said = refusal(read_run, path)
    assert bool(errors) == (said is not None)
    assert said is None or said in errors


@settings(FEW, max_examples=60)
@given(lines=st.lists(st.sampled_from(CORPUS_LINES), max_size=6))
def test_a_collection_has_errors_just_where_it_is_refused(tmp_path, lines):
    folder = tmp_path / "set"
    folder.mkdir(exist_ok=True)
    file(folder, '{"_id": "q", "text": "x"}\n', "queries.jsonl")
    path = file(folder, "".join(f"{line}\n" for line in lines), "corpus.jsonl")
    errors = [one.sentence for one in problems_of_dataset(folder) if one.is_error]
    assert bool(errors) == (refusal(Collection.open, path) is not None)


@FEW
@given(lines=st.lists(QRELS_LINE, max_size=8))
def test_qrels_have_errors_just_where_the_reader_refuses_them(tmp_path, lines):
    path = file(tmp_path, "".join(f"{line}\n" for line in lines), "some.qrels")
    errors = [one.sentence for one in problems_of_qrels(path) if one.is_error]
    said = refusal(read_qrels, path)
    assert bool(errors) == (said is not None)
    # the reader says in addition which grades there are
    assert said is None or any(said.startswith(error.rstrip(".")) for error in errors)


def test_every_wrong_line_of_a_run_is_listed(tmp_path):
    text = "q1 Q0 a 1 2.0 n\nq1 Q0 b 2\nq1 Q0 a 3 1.0 n\nq1 Q0 c 4 nan n\nq2 Q0 a 1 5 n\n"
    assert told(file(tmp_path, text)) == [
        "F:2: expected 6 columns (query_id Q0 doc_id rank score name), found 4.",
        "F:3: passage a stands twice for query q1, first in line 1; keep one of the lines.",
        "F:4: the score is 'nan', expected a finite number; take the line out, or write the run again.",
    ]


def test_ranks_against_scores_and_ties_are_to_mind(tmp_path):
    text = "q1 Q0 a 1 1.0 n\nq1 Q0 b 2 2.0 n\nq2 Q0 a 1 3 n\nq2 Q0 b 2 3 n\nq3 Q0 a first 1 n\n"
    assert told(file(tmp_path, text)) == [
        "mind: F:5: the rank is 'first', expected a whole number.",
        "mind: F: the scores of 1 query rise where the ranks do, q1's among them; scores alone decide, the highest "
        "first, so negate distances.",
        "mind: F: equal scores of 1 query stand in another order by their ranks, q2's among them; equal scores go by "
        "doc_id, falling.",
    ]


@FEW
@given(
    lines=st.lists(
        st.tuples(st.sampled_from("pq"), st.sampled_from("1234"), st.sampled_from(["1", "2", "2.00000001", "3"])),
        max_size=12,
    )
)
def test_a_reader_tells_of_ranks_what_validate_does(tmp_path, lines):
    text = "".join(f"{query} Q0 d{n % 5}{n} {rank} {score} x\n" for n, (query, rank, score) in enumerate(lines))
    path = file(tmp_path, text or "q Q0 d 1 1 x\n")
    minded = [one.sentence.removeprefix(f"{path}: ").rstrip(".") for one in problems_of_run(path)]
    heard: list[str] = []
    read_run(path, heard.append)
    assert heard == ([f"{path}: {'; '.join(minded)}."] if minded else [])


def test_a_run_in_another_order_than_its_ranks_is_in_order(tmp_path):
    assert told(file(tmp_path, "q1 Q0 b 2 1.0 n\nq1 Q0 a 1 2.0 n\nq1 Q0 c 3 0.5 n\n")) == []


def test_scores_that_differ_only_beyond_float32_are_equal(tmp_path):
    assert "equal scores" in told(file(tmp_path, "q Q0 a 1 1.00000000002 n\nq Q0 b 2 1.00000000001 n\n"))[0]


def test_every_wrong_judgment_is_listed(tmp_path):
    text = "query-id\tcorpus-id\tscore\nq1\ta\t1\nq1\ta\t0\nq1\tb\tyes\nq1\ta\t1\nq2\ta\n"
    assert told(file(tmp_path, text, "test.tsv")) == [
        "F:3: relevance 0 of passage a for query q1 contradicts the 1 of an earlier line; keep one of the lines.",
        "F:4: the relevance is 'yes', expected a whole number from -32768 to 32768; mend the line or take it out.",
        "mind: F:5: passage a is judged twice for query q1.",
        "F:6: expected 3 columns (query_id doc_id relevance), found 2.",
    ]


@pytest.mark.parametrize("name", ["some.run", "some.run.gz"])
def test_a_file_that_breaks_off_is_listed_after_what_was_read(tmp_path, name):
    text = "q1 Q0 a 1 x n\n" + "".join(f"q1 Q0 d{number} 1 -{number} n\n" for number in range(20_000))
    packed = gzip.compress(text.encode(), mtime=0)
    path = file(tmp_path, packed[: len(packed) // 2] if name.endswith("gz") else text + "q1 Q0 \xff 1 1 n\n", name)
    if not name.endswith("gz"):
        path.write_bytes(path.read_bytes()[:-20] + b"\nq1 Q0 \xff 1 1 n\n")
    found = told(path)
    assert found[0] == "F:1: the score is 'x', expected a finite number; take the line out, or write the run again."
    assert any("is not a whole gzip file" in one or "is not UTF-8" in one for one in found[1:])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "toy"
    (made / "qrels").mkdir(parents=True)
    passages = [{"_id": f"d{number}", "text": f"word{number}"} for number in range(3)]
    file(made, "".join(json.dumps(one) + "\n" for one in passages), "corpus.jsonl")
    file(made, '{"_id": "q1", "text": "one"}\n{"_id": "q2", "text": "two"}\n', "queries.jsonl")
    file(made / "qrels", "query-id\tcorpus-id\tscore\nq1\td1\t1\n", "train.tsv")
    file(made / "qrels", "query-id\tcorpus-id\tscore\nq2\td2\t1\n", "test.tsv")
    return made


def test_a_dataset_that_can_be_read_has_no_problem(folder):
    assert told(folder) == []


def test_all_that_is_wrong_with_a_dataset_is_listed(folder):
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write(
            '{"_id": "d1", "text": "again"}\n{"_id": "d 3", "text": "x"}\nnot json\n{"_id": "d4", "text": " "}\n'
        )
    with (folder / "queries.jsonl").open("a") as queries:
        queries.write('{"_id": "q1", "text": "again"}\n')
    with (folder / "qrels" / "train.tsv").open("a") as train:
        train.write("q2\td9\t1\nq9\td1\t1\n")
    assert told(folder) == [
        f"F/corpus.jsonl:4: id d1 stands twice, first in line 2; {TWICE}",
        f"F/corpus.jsonl:5: '_id' is 'd 3', expected a string of one word without spaces; {MEND}",
        f"F/corpus.jsonl:6: is not JSON: Expecting value: line 1 column 1 (char 0); expected one object a line; {MEND}",
        "mind: F/corpus.jsonl:7: passage d4 has no words, so it is left out.",
        f"F/queries.jsonl:3: id q1 stands twice, first in line 1; {TWICE}",
        "mind: F/queries.jsonl: has no query q9, which F/qrels/train.tsv judges, so it is left out.",
        "mind: F/qrels/train.tsv: 1 query is judged in another split too, q2 in test; expected each in one.",
    ]


def test_judged_ids_that_are_nowhere_are_listed_unless_a_line_that_cannot_be_read_may_hold_them(folder):
    with (folder / "qrels" / "train.tsv").open("a") as train:
        train.write("q1\td9\t1\nq9\td1\t1\nq1\td7\t0\nq1\td8\t2\n")
    lost = [
        "mind: F/queries.jsonl: has no query q9, which F/qrels/train.tsv judges, so it is left out.",
        "mind: F/corpus.jsonl: lacks passage d9, relevant to query q1 by F/qrels/train.tsv; no run can find it.",
        "mind: F/corpus.jsonl: lacks passage d8, relevant to query q1 by F/qrels/train.tsv; no run can find it.",
    ]
    assert told(folder) == lost
    for name in ("queries.jsonl", "corpus.jsonl"):
        with (folder / name).open("a") as records:
            records.write("{\n{\n")  # as many as there are ids that are nowhere
    assert [one.split(": ")[1] for one in told(folder)] == ["is not JSON"] * 4


def test_a_language_that_there_is_not_is_listed(folder):
    (folder / "dataset.json").write_text('{"language": "xx"}')
    (one,) = told(folder)
    assert one.startswith("F/dataset.json: language is 'xx', expected one of en, ar, ")


@pytest.mark.parametrize("header", [True, False])
def test_blank_lines_at_the_beginning_hide_nothing(tmp_path, header):
    lines = "\n \n" + "query-id\tcorpus-id\tscore\n" * header + "q1\td1\t1\n"
    path = file(tmp_path, lines)
    assert told(path) == [f"mind: F:{number}: the line is blank, and passed over." for number in (1, 2)]
    assert kind_of(path).name == "judgments (query_id doc_id relevance)"
    assert read_qrels(path) == {"q1": {"d1": 1}}


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_file_that_breaks_off_brings_no_other_lines_of_its_dataset(folder, name):
    packed = gzip.compress((folder / name).read_bytes() * 50, mtime=0)
    (folder / name).unlink()
    file(folder, packed[: len(packed) // 2], f"{name}.gz")
    assert [one.partition(": ")[0] for one in told(folder)] == [f"F/{name}.gz"]


def test_judgments_of_nothing_but_wrong_lines_are_not_said_to_be_empty_too(tmp_path):
    assert told(file(tmp_path, "q1 0 a yes\nq1 0 b no\n")) == [
        "F:1: the relevance is 'yes', expected a whole number from -32768 to 32768; mend the line or take it out.",
        "F:2: the relevance is 'no', expected a whole number from -32768 to 32768; mend the line or take it out.",
    ]


RANKED = "q1\ta\t1\nq1\tb\t2\nq1\tc\t3\nq2\ta\t1\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("q1 Q0 a 1 2.0 n\n", "a run (query_id Q0 doc_id rank score name)"),
        (RANKED, "a run of MS MARCO (query_id doc_id rank)"),
        ("query-id\tcorpus-id\tscore\n" + RANKED, "judgments (query_id doc_id relevance)"),
        ("q1\ta\t1\nq2\tb\t0\n", "judgments (query_id doc_id relevance)"),
        ("q1 0 a 1\nq2 0 b 0\n", "judgments (query_id 0 doc_id relevance)"),
    ],
)
def test_what_a_file_is_taken_for_goes_by_its_columns_and_what_counts_as_ranks_do(tmp_path, text, kind):
    path = file(tmp_path, text)
    found = kind_of(path)
    assert (found.name, list(found.problems(path))) == (kind, [])


def test_every_wrong_line_of_a_run_of_three_columns_is_listed(tmp_path):
    path = file(tmp_path, RANKED + "q2\ta\t2\nq2\tb\t0\nq2\tc\t1\nq2\n")
    assert [one.sentence.replace(str(path), "F") for one in problems_of_run(path)] == [
        "F:5: passage a stands twice for query q2, first in line 4; keep one of the lines.",
        "F:6: the rank is '0', expected a whole number from 1 to 100000.",
        "F: query q2 has rank 1 twice, expected each rank once (query_id doc_id rank); if these are judgments, they "
        "were given in the place of a run.",
        "F:8: expected 3 columns (query_id doc_id rank), found 1.",
    ]


def test_a_file_of_json_is_not_taken_for_judgments(tmp_path):
    with pytest.raises(DataError, match="holds JSON, expected a run, judgments, or the folder of the dataset"):
        kind_of(file(tmp_path, '{"_id": "a", "text": "b"}\n', "corpus.jsonl"))


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_an_empty_file_of_a_dataset_is_a_problem(folder, name):
    file(folder, "", name)
    assert f"F/{name}: has no lines, expected one JSON object a line." in told(folder)


def test_what_is_left_out_or_read_otherwise_is_to_mind_and_nothing_follows_from_it(folder):
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": 9, "text": "x", "title": null}\n{"_id": "d8", "text": ""}\n\n')
    with (folder / "queries.jsonl").open("a") as queries:
        queries.write('{"_id": "q3", "text": " "}\n')
    with (folder / "qrels" / "train.tsv").open("a") as train:
        train.write("q3\td8\t1\n\n")
    assert told(folder) == [
        "mind: F/corpus.jsonl:4: '_id' is the number 9, and read as a word.",
        "mind: F/corpus.jsonl:4: 'title' is null, and read as an empty text.",
        "mind: F/corpus.jsonl:5: passage d8 has no words, so it is left out.",
        "mind: F/corpus.jsonl:6: the line is blank, and passed over.",
        "mind: F/queries.jsonl:3: query q3 has no words, so it is left out.",
        "mind: F/qrels/train.tsv:4: the line is blank, and passed over.",
    ]
    assert Dataset("toy", folder).queries("train").keys() == {"q1"}


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_file_of_a_dataset_in_which_no_record_has_words_is_a_problem(folder, name):
    file(folder, '{"_id": "a", "text": ""}\n', name)
    assert f"F/{name}: has no words, expected one JSON object a line." in told(folder)


def test_judgments_of_another_dataset_are_a_problem(folder):
    file(folder / "qrels", "query-id\tcorpus-id\tscore\nx1\td1\t1\n", "test.tsv")
    assert "F/qrels/test.tsv: judges no query that F/queries.jsonl has, expected those of one dataset." in told(folder)
    with pytest.raises(DataError, match="none of the queries that split 'test' judges has a text"):
        Dataset("toy", folder).queries("test")


def test_a_dataset_without_judgments_is_to_mind(folder):
    for path in (folder / "qrels").iterdir():
        path.unlink()
    assert told(folder) == ["mind: F: has no judgments in qrels/."]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has no corpus\.jsonl"):
        list(problems(tmp_path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        list(problems(tmp_path / "none.run"))


def test_a_problem_of_a_dataset_stands_where_opening_it_refuses(folder):
    file(folder / "qrels", "query-id\tcorpus-id\tscore\nq1\td1\tone\n", "test.tsv")
    with pytest.raises(DataError) as refused:
        Dataset("toy", folder).qrels("test")
    assert any(str(refused.value).startswith(one.sentence.rstrip(".")) for one in problems(folder))
