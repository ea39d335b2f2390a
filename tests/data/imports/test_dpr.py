import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ranker.data.beir import parse_passage, write_dataset
from ranker.data.dataset import Dataset
from ranker.data.imports.formats import FORMATS
from ranker.data.imports.sources import Imported
from ranker.data.records import Judgment, Passage, Query
from ranker.errors import DataError
from ranker.files.lines import read_text_lines


def context(
    doc_id: object, text: str = "Some words.", title: str | None = "Title", key: str = "passage_id"
) -> dict[str, Any]:
    return {"title": title, "text": text, "score": 12.5, key: doc_id}


def record(
    text: str,
    positive: list[dict[str, Any]],
    hard: list[dict[str, Any]] | None = None,
    negative: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    lists = {"positive_ctxs": positive, "hard_negative_ctxs": hard or [], "negative_ctxs": negative or []}
    return {"dataset": "nq", "question": text, "answers": ["x"], **lists}


def written(path: Path, *records: object) -> Path:
    path.write_text(json.dumps(records, indent=4))
    return path


def imported(*words: object) -> Imported:
    return FORMATS["dpr"].read(FORMATS["dpr"].sources(map(str, words)))


def passages_in(folder: Path) -> dict[str, Passage]:
    path = folder / "corpus.jsonl"
    found = [parse_passage(line, path, number) for number, line in read_text_lines(path)]
    assert len({passage.doc_id for passage in found}) == len(found)
    return {passage.doc_id: passage for passage in found}


def refusal(path: Path, content: str) -> str:
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        list(imported(path).passages)
    return str(caught.value).removeprefix(str(path))


def test_positives_are_judged_and_negatives_only_enter_the_collection(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.json",
        record("who?", [context("1", "One."), context("2", "Two.")], [context("3", "Three.")], [context("4", "Four.")]),
    )
    streams = imported(f"train={path}")
    assert list(streams.passages) == [
        Passage("1", "Title", "One."),
        Passage("2", "Title", "Two."),
        Passage("3", "Title", "Three."),
        Passage("4", "Title", "Four."),
    ]
    assert streams.queries == [Query("train-0", "who?", ("x",))]
    assert streams.judgments == [Judgment("train", "train-0", "1", 1), Judgment("train", "train-0", "2", 1)]
    assert streams.skipped == Counter()


def test_a_passage_of_several_questions_comes_once_as_it_came_first(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.json",
        record("a?", [context("1", "first")], [context("2")]),
        record("b?", [context("2"), context("2")], [context("1", "second")]),
    )
    streams = imported(path)
    assert [passage[::2] for passage in streams.passages] == [("1", "first"), ("2", "Some words.")]
    assert streams.judgments == [Judgment("test", "test-0", "1", 1), Judgment("test", "test-1", "2", 1)]


@pytest.mark.parametrize("key", ["passage_id", "psg_id"])
@pytest.mark.parametrize("doc_id", ["17", 17])
def test_an_id_is_read_under_either_name_as_text_or_number(tmp_path: Path, key: str, doc_id: object) -> None:
    streams = imported(written(tmp_path / "a.json", record("a?", [context(doc_id, key=key)])))
    assert [passage.doc_id for passage in streams.passages] == ["17"]


def test_a_question_without_a_positive_is_counted_and_its_number_is_not_given_to_another(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", record("a?", [], [context("1")]), record("b?", [context("2")]))
    streams = imported(path)
    assert [passage.doc_id for passage in streams.passages] == ["1", "2"]
    assert streams.queries == [Query("test-1", "b?", ("x",))]
    assert streams.skipped == {"questions without a positive passage": 1}


def test_a_passage_without_text_is_counted_and_judges_nothing(tmp_path: Path) -> None:
    streams = imported(written(tmp_path / "a.json", record("a?", [context("1", " "), context("2")])))
    assert [passage.doc_id for passage in streams.passages] == ["2"]
    assert streams.judgments == [Judgment("test", "test-0", "2", 1)]
    assert streams.skipped == {"passages without text": 1}


def test_nulls_are_read_as_empty_and_questions_without_text_are_left_out_and_keep_their_number(tmp_path: Path) -> None:
    wordless = {**context("1"), "text": None}
    records = (record(" ", [context("1")]), record("", []), record("who?", [wordless, context("2", title=None)]))
    path = written(tmp_path / "a.json", {**records[0], "question": None}, *records)
    streams = imported(f"train={path}")
    assert list(streams.passages) == [Passage("1", "Title", "Some words."), Passage("2", "", "Some words.")]
    assert streams.queries == [Query("train-3", "who?", ("x",))]
    assert streams.judgments == [Judgment("train", "train-3", "2", 1)]
    assert streams.skipped == {"questions without text": 3, "passages without text": 1}


def test_numbers_run_on_over_the_files_of_one_split(tmp_path: Path) -> None:
    one = written(tmp_path / "a.json", record("a?", [context("1")]))
    two = written(tmp_path / "b.json", record("b?", [context("2")]))
    streams = imported(f"dev={one}", f"train={one}", f"dev={two}")
    assert [passage.doc_id for passage in streams.passages] == ["1", "2"]
    assert [query.query_id for query in streams.queries] == ["dev-0", "train-0", "dev-1"]


def test_a_list_or_a_title_may_be_absent(tmp_path: Path) -> None:
    bare = {"question": "a?", "positive_ctxs": [{"text": "x", "psg_id": "1"}, context("2", title=None)]}
    assert list(imported(written(tmp_path / "a.json", bare)).passages) == [
        Passage("1", "", "x"),
        Passage("2", "", "Some words."),
    ]


def test_what_is_imported_opens_as_a_dataset(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", record("wer?", [context("1", "Jörg.")], [context("2")]))
    write_dataset(imported(f"dev={path}"), tmp_path / "nq")
    dataset = Dataset("nq", tmp_path / "nq")
    assert dataset.splits == ("dev",)
    assert dataset.qrels("dev") == {"dev-0": {"1": 1}}
    assert dataset.queries("dev")["dev-0"].text == "wer?"
    assert passages_in(dataset.folder)["1"].text == "Jörg."


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", ": cannot be read as JSON after 0 records: found '', expected '['."),
        ("[]", ": has no records, expected a list of objects."),
        ('{"question": "a"}', ": cannot be read as JSON after 0 records: found '{', expected '['."),
        ('[{"question": "a"}\n{"question"', ": cannot be read as JSON after 1 records: found '{', expected ','."),
        ('[["a"]]', ": record 1: is ['a'], expected an object."),
        ("[{}]", ": record 1: 'question' is None, expected a string."),
        (
            '[{"question": "a", "positive_ctxs": null}]',
            ": record 1: 'positive_ctxs' is None, expected a list.",
        ),
        (
            '[{"question": "a", "negative_ctxs": [{"text": "b"}]}]',
            ": record 1, negative_ctxs 1: has no id, expected passage_id or psg_id.",
        ),
        (
            '[{"question": "a", "positive_ctxs": [{"text": "b", "psg_id": "1 2"}]}]',
            ": record 1, positive_ctxs 1: the passage id is '1 2', expected one word without spaces.",
        ),
        (
            '[{"question": "a", "positive_ctxs": [{"psg_id": "1", "text": 5}]}]',
            ": record 1, positive_ctxs 1: 'text' is 5, expected a string.",
        ),
        (
            '[{"question": "a", "positive_ctxs": [{"psg_id": "1", "text": "b", "title": ["c"]}]}]',
            ": record 1, positive_ctxs 1: 'title' is ['c'], expected a string.",
        ),
        ('[{"question": "a", "x": 1' + "0" * 5000 + "}]", ": cannot be read as JSON after 0 records: "),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path: Path, content: str, problem: str) -> None:
    said = refusal(tmp_path / "a.json", content)
    assert said.startswith(problem)
    assert said.endswith(".")
    assert "\n" not in said


def test_a_large_file_passes_through_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("w") as file:
        for number in range(400):
            contexts = [context(str(number * 100 + i), "word " * 100) for i in range(60)]
            file.write(
                ("[" if not number else ",") + json.dumps(record(f"question {number}", contexts[:1], contexts[1:]))
            )
        file.write("]")
    assert path.stat().st_size > 13 * 2**20
    tracemalloc.start()
    try:
        streams = imported(path)
        assert sum(1 for _ in streams.passages) == 24_000
        assert tracemalloc.get_traced_memory()[1] < 9 * 2**20
    finally:
        tracemalloc.stop()
    assert len(list(streams.queries)) == 400


@pytest.mark.parametrize("answers", ["x", [1], {"x": 1}])
def test_answers_that_are_no_strings_are_one_sentence_with_their_place(tmp_path: Path, answers: object) -> None:
    path = written(tmp_path / "a.json", record("who?", [context("1")]) | {"answers": answers})
    with pytest.raises(DataError, match="'answers' are no list of strings"):
        list(imported(path).passages)
