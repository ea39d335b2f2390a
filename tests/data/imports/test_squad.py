import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ranker.data.beir import parse_passage, write_dataset
from ranker.data.dataset import Dataset
from ranker.data.imports.formats import FORMATS
from ranker.data.imports.sources import Imported
from ranker.data.imports.squad import UNANSWERABLE
from ranker.data.records import Judgment, Passage, Query
from ranker.errors import DataError
from ranker.files.lines import read_text_lines

ANSWER = [{"text": "x", "answer_start": 0}]


def question(query_id: str, text: str, **more: object) -> dict[str, Any]:
    return {"id": query_id, "question": text, "answers": ANSWER} | more


def asked(query_id: str, text: str) -> Query:
    return Query(query_id, text, tuple(answer["text"] for answer in ANSWER))


def article(title: str, *paragraphs: tuple[str, list[dict[str, Any]]]) -> dict[str, Any]:
    return {"title": title, "paragraphs": [{"context": text, "qas": questions} for text, questions in paragraphs]}


def written(path: Path, *articles: object) -> Path:
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    return path


def imported(*words: object) -> Imported:
    return FORMATS["squad"].read(FORMATS["squad"].sources(map(str, words)))


def passages_in(folder: Path) -> dict[str, Passage]:
    path = folder / "corpus.jsonl"
    found = [parse_passage(line, path, number) for number, line in read_text_lines(path)]
    assert len({passage.doc_id for passage in found}) == len(found)
    return {passage.doc_id: passage for passage in found}


def refusal(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        list(imported(path).passages)
    return str(caught.value)


def test_paragraphs_become_passages_and_questions_are_judged_on_their_own(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.json",
        article("Super_Bowl_50", ("One.", [question("q1", "Who won?"), question("q2", "Where?")]), ("Two.", [])),
        article("Beyonc%C3%A9", ("Three.", [question("q3", "When?")])),
    )
    streams = imported(f"dev={path}")
    assert list(streams.passages) == [
        Passage("Super_Bowl_50/0", "Super Bowl 50", "One."),
        Passage("Super_Bowl_50/1", "Super Bowl 50", "Two."),
        Passage("Beyonc%C3%A9/0", "Beyoncé", "Three."),
    ]
    assert streams.queries == [asked("q1", "Who won?"), asked("q2", "Where?"), asked("q3", "When?")]
    assert streams.judgments == [
        Judgment("dev", "q1", "Super_Bowl_50/0", 1),
        Judgment("dev", "q2", "Super_Bowl_50/0", 1),
        Judgment("dev", "q3", "Beyonc%C3%A9/0", 1),
    ]
    assert streams.skipped == Counter()


def test_questions_without_an_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    impossible = question("q2", "Why?", is_impossible=True, plausible_answers=ANSWER)
    path = written(tmp_path / "a.json", article("T", ("One.", [question("q1", "Who?"), impossible])))
    streams = imported(path)
    assert len(list(streams.passages)) == 1
    assert streams.queries == [asked("q1", "Who?")]
    assert streams.judgments == [Judgment("test", "q1", "T/0", 1)]
    assert streams.skipped == {UNANSWERABLE: 1}


def test_a_question_with_no_answers_at_all_is_left_out_too(tmp_path: Path) -> None:
    streams = imported(written(tmp_path / "a.json", article("T", ("One.", [question("q", "Who?", answers=[])]))))
    assert list(streams.passages) == [Passage("T/0", "T", "One.")]
    assert streams.queries == []
    assert streams.skipped == {"questions without an answer": 1}


def test_ids_stay_what_they_are_whatever_else_is_imported(tmp_path: Path) -> None:
    one = written(tmp_path / "one.json", article("A", ("a0", []), ("a1", [])))
    two = written(tmp_path / "two.json", article("B", ("b0", [])))
    apart = [passage.doc_id for path in (one, two) for passage in imported(path).passages]
    together = [passage.doc_id for passage in imported(f"train={two}", one).passages]
    assert sorted(apart) == sorted(together) == ["A/0", "A/1", "B/0"]


def test_articles_of_one_title_share_one_numbering(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", article("Ab c", ("x", [])), article("Ab_c", ("y", [])), article(" ", ("z", [])))
    assert [passage.doc_id for passage in imported(path).passages] == ["Ab_c/0", "Ab_c/1", "untitled/0"]


def test_a_blank_paragraph_keeps_its_number_and_is_counted(tmp_path: Path) -> None:
    streams = imported(written(tmp_path / "a.json", article("T", (" ", []), ("y", []))))
    assert [passage.doc_id for passage in streams.passages] == ["T/1"]
    assert streams.skipped == {"paragraphs without text": 1}


def test_two_files_go_into_two_splits_of_one_dataset(tmp_path: Path) -> None:
    train = written(tmp_path / "train.json", article("A", ("Alpha.", [question("q1", "What?")])))
    dev = written(tmp_path / "dev.json", article("B", ("Beta.", [question("q2", "Who?")])))
    write_dataset(imported(f"train={train}", f"dev={dev}"), tmp_path / "squad")
    dataset = Dataset("squad", tmp_path / "squad")
    assert dataset.splits == ("dev", "train")
    assert dataset.qrels("train") == {"q1": {"A/0": 1}}
    assert dataset.queries("dev") == {"q2": asked("q2", "Who?")}
    assert passages_in(dataset.folder)["B/0"] == Passage("B/0", "B", "Beta.")


def test_a_question_id_given_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", article("A", ("a", [question("q", "1?")]), ("b", [question("q", "2?")])))
    with pytest.raises(DataError) as caught:
        list(imported(path).passages)
    assert str(caught.value) == (
        f"{path}: record 1, paragraphs 2, qas 1: query id q stands twice; "
        "take one of the two out, or give it another id."
    )


def test_null_titles_numbers_as_ids_and_questions_without_text_are_read_or_left_out(tmp_path: Path) -> None:
    asked_ = [{**question("q", "Who?"), "id": 7}, question("empty", " ")]
    streams = imported(written(tmp_path / "a.json", {**article("A", ("Beta.", asked_)), "title": None}))
    assert list(streams.passages) == [Passage("untitled/0", "", "Beta.")]
    assert [query.query_id for query in streams.queries] == ["7"]
    assert streams.skipped == {"questions without text": 1}


def test_a_paragraph_that_is_null_is_one_without_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", article("A", ("a", [])))
    path.write_text(path.read_text().replace('"context": "a"', '"context": null'))
    streams = imported(path)
    assert list(streams.passages) == []
    assert streams.skipped == {"paragraphs without text": 1}


def test_a_gzip_file_is_read_as_the_plain_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", article("A", ("a", [])))
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert list(imported(tmp_path / "a.json.gz").passages) == list(imported(path).passages)


def test_a_byte_order_mark_and_other_keys_around_the_articles_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    text = json.dumps({"meta": {"data": [1, 2]}, "data": [article("A", ("a", []))], "version": "1.1"}, indent=1)
    path.write_text(text, encoding="utf-8-sig")
    assert [passage.doc_id for passage in imported(path).passages] == ["A/0"]


def test_articles_longer_than_what_is_read_at_once_come_whole(tmp_path: Path) -> None:
    texts = [f"{number} " + "wörter " * 200_000 for number in range(3)]
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps({"data": [article(f"T{n}", (text, [])) for n, text in enumerate(texts)]}, ensure_ascii=False)
    )
    assert [passage.text for passage in imported(path).passages] == texts


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", ": cannot be read as JSON after 0 records: found '', expected '{'."),
        ("[]", ": cannot be read as JSON after 0 records: found '[', expected '{'."),
        ("{}", ": has no records, expected a list of objects at 'data'."),
        ('{"data": []}', ": has no records, expected a list of objects at 'data'."),
        ('{"data": 3}', ": cannot be read as JSON after 0 records: found '3', expected '['."),
        ('{"data": [3]}', ": record 1: is 3, expected an object."),
        ('{"data": [{}]}', ": record 1: 'title' is None, expected a string."),
        ('{"data": [{"title": 3}]}', ": record 1: 'title' is 3, expected a string."),
        ('{"data": [{"title": null}]}', ": record 1: 'paragraphs' is None, expected a list."),
        ('{"data": [{"title": "A"}]}', ": record 1: 'paragraphs' is None, expected a list."),
        ('{"data": [{"title": "A", "paragraphs": [7]}]}', ": record 1, paragraphs 1: is 7, expected an object."),
        (
            '{"data": [{"title": "A", "paragraphs": [{"context": "a"}]}]}',
            ": record 1, paragraphs 1: 'qas' is None, expected a list.",
        ),
        (
            '{"data": [{"title": "A", "paragraphs": [{"context": "a", "qas": [{"id": true, "question": "?"}]}]}]}',
            ": record 1, paragraphs 1, qas 1: the query id is True, expected one word without spaces.",
        ),
        (
            '{"data": [{"title": "A", "paragraphs": [{"context": "\\ud800", "qas": []}]}]}',
            ": record 1, paragraphs 1: 'context' holds half a surrogate pair, expected Unicode text.",
        ),
        (
            '{"data": [{"title": "A", "paragraphs": []}, {"title": ',
            ": cannot be read as JSON after 1 records: Expecting value.",
        ),
        (
            '{"data": [{"title": "A", "paragraphs": []} 1]}',
            ": cannot be read as JSON after 1 records: found '1', expected ','.",
        ),
        (
            b'{"data": ["\xff"]}',
            ": cannot be read as JSON after 0 records: 'utf-8' codec can't decode byte 0xff in position 11: "
            "invalid start byte.",
        ),
        (
            '{"data": ' + "[" * 100_000,
            ": cannot be read as JSON after 0 records: maximum recursion depth exceeded while decoding a JSON array "
            "from a unicode string.",
        ),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path: Path, content: str | bytes, problem: str) -> None:
    path = tmp_path / "a.json"
    assert refusal(path, content) == f"{path}{problem}"


def test_a_gzip_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    plain = written(tmp_path / "a.json", article("A", *((f"text {n}", []) for n in range(1000))))
    assert refusal(tmp_path / "b.json.gz", gzip.compress(plain.read_bytes())[:-20]) == (
        f"{tmp_path}/b.json.gz: cannot be read as JSON after 0 records: "
        "Compressed file ended before the end-of-stream marker was reached."
    )


def test_a_list_at_data_inside_another_value_is_not_taken_for_the_articles(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.json", '{"x": {"data": [{}]}}').endswith(
        "has no records, expected a list of objects at 'data'."
    )


@pytest.fixture(scope="module")
def squad_json(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SQuAD 1.1 dev in its own shape again, from the folder in BEIR layout."""
    squad = Dataset("squad", shared_data / "squad")
    asked: dict[str, list[dict[str, Any]]] = {}
    queries = squad.queries("test")
    for query_id, judged in squad.qrels("test").items():
        asked.setdefault(next(iter(judged)), []).append(question(query_id, queries[query_id].text))
    articles: dict[str, list[tuple[str, list[dict[str, Any]]]]] = {}
    for passage in passages_in(squad.folder).values():
        articles.setdefault(passage.title, []).append((passage.text, asked.get(passage.doc_id, [])))
    path = tmp_path_factory.mktemp("squad") / "dev-v1.1.json"
    return written(path, *(article(title.replace(" ", "_"), *rest) for title, rest in articles.items()))


def test_squad_dev_comes_back_whole(squad_json: Path, shared_data: Path) -> None:
    streams = imported(squad_json)
    passages = list(streams.passages)
    original = Dataset("squad", shared_data / "squad")
    answers = passages_in(original.folder)
    assert [len(passages), len(list(streams.queries)), len(list(streams.judgments))] == [2067, 10570, 10570]
    assert sorted(text for _, _, text in passages) == sorted(passage.text for passage in answers.values())
    texts = {passage.doc_id: passage.text for passage in passages}
    theirs = {query_id: answers[next(iter(judged))].text for query_id, judged in original.qrels("test").items()}
    assert {judgment.query_id: texts[judgment.doc_id] for judgment in streams.judgments} == theirs


def test_articles_are_read_one_at_a_time(squad_json: Path) -> None:
    def first(passages: Iterator[Passage]) -> Passage:
        return next(passages)

    streams = imported(squad_json)
    assert first(iter(streams.passages)).doc_id.endswith("/0")
    assert len(list(streams.queries)) < 100


def test_each_answer_is_kept_once(tmp_path: Path) -> None:
    answers = [{"text": text, "answer_start": 0} for text in ("Rome", "in Rome", "Rome")]
    streams = imported(
        written(tmp_path / "a.json", article("T", ("Rome.", [question("q", "Where?", answers=answers)])))
    )
    assert len(list(streams.passages)) == 1
    assert streams.queries == [Query("q", "Where?", ("Rome", "in Rome"))]


def test_an_answer_without_text_is_one_sentence_with_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", article("T", ("Rome.", [question("q", "Where?", answers=[{"text": 3}])])))
    with pytest.raises(DataError, match=r"'text' is 3, expected a string"):
        list(imported(path).passages)
