import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.data.beir import parse_passage, parse_query, read_queries, write_dataset
from ranker.data.records import DatasetStreams, Judgment, Oddities, Oddity, Passage, Query, describe_oddities, has_words
from ranker.errors import DataError, OutputError, RankerError
from ranker.limits import MAX_ID_BYTES

MEND = "mend the line or take it out (ranker validate lists all such)."
PATH = Path("corpus.jsonl")


def refused(message: str, error: type[RankerError] = DataError) -> pytest.RaisesExc[RankerError]:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def streams(passages: object = (), queries: object = (), judgments: object = ()) -> DatasetStreams:
    return DatasetStreams(passages, queries, judgments)  # type: ignore[arg-type]


def test_a_passage_has_an_id_a_text_and_perhaps_a_title() -> None:
    assert parse_passage('{"_id": "d", "text": "x", "title": "T"}', PATH, 1) == Passage("d", "T", "x")
    assert parse_passage('{"_id": "d", "text": "x"}', PATH, 1) == Passage("d", "", "x")
    assert parse_passage('{"_id": "d", "text": "x", "metadata": {"url": 1}}', PATH, 1) == Passage("d", "", "x")


def test_a_passage_may_be_its_title_alone() -> None:
    assert parse_passage('{"_id": "d", "text": "", "title": "T"}', PATH, 1) == Passage("d", "T", "")


@pytest.mark.parametrize(
    ("passage", "contents"),
    [(Passage("d", "T", "x"), "T x"), (Passage("d", "", "x"), "x"), (Passage("d", "T", ""), "T")],
)
def test_contents_are_title_and_text_without_a_space_too_many(passage: Passage, contents: str) -> None:
    assert passage.contents == contents


def test_a_query_has_an_id_and_a_text() -> None:
    assert parse_query('{"_id": "q", "text": " why? "}', PATH, 1) == Query("q", " why? ")


@pytest.mark.parametrize("doc_id", ["a", "é" * (MAX_ID_BYTES // 2), "x" * MAX_ID_BYTES, "<urn:uuid:1>", "文"])
def test_any_printable_word_is_an_id(doc_id: str) -> None:
    assert parse_passage(json.dumps({"_id": doc_id, "text": "x"}), PATH, 1).doc_id == doc_id


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('"q"', "is a JSON str, expected an object with '_id' and 'text'; mend the line or take it out"),
        ("null", "is a JSON NoneType, expected an object with '_id' and 'text'; mend"),
        ('{"_id": true, "text": "x"}', f"'_id' is True, expected a string of one word without spaces; {MEND}"),
        (
            '{"_id": "a\\u00a0b", "text": "x"}',
            f"'_id' is 'a\\xa0b', expected a string of one word without spaces; {MEND}",
        ),
        ('{"_id": "a\\u200bb", "text": "x"}', f"'_id' is 'a\\u200bb', expected at most 1024 printable bytes; {MEND}"),
        ('{"_id": "q", "text": 1e400}', f"'text' is inf, expected a string; {MEND}"),
        ('{"_id": "q", "text": ' + "9" * 5_000 + "}", "is not JSON: "),
    ],
)
def test_a_query_that_is_none_is_refused_with_file_and_line(line: str, reason: str) -> None:
    with pytest.raises(DataError, match=f"^corpus.jsonl:7: {re.escape(reason)}"):
        parse_query(line, PATH, 7)


Odd = list[tuple[Oddity, str]]


def noted(parse: Callable[..., object], line: str) -> tuple[object, Odd]:
    """What a line is read as, and what there was to note."""
    found: Odd = []
    return parse(line, PATH, 1, lambda *odd: found.append(odd)), found


@pytest.mark.parametrize("text", ["", " \t", "\u3000\u2003", "\u0000\u001f\u0085", "\u200b \ufeff\u00ad", None])
def test_a_text_without_words_is_left_out(text: str | None) -> None:
    nulls = [(Oddity.NULL, "text")] if text is None else []
    line = json.dumps({"_id": "a", "text": text})
    assert noted(parse_passage, line) == (None, [*nulls, (Oddity.EMPTY_PASSAGE, "a")])
    assert noted(parse_query, line) == (None, [*nulls, (Oddity.EMPTY_QUERY, "a")])


def test_a_record_without_a_text_is_left_out() -> None:
    assert noted(parse_passage, '{"_id": "a"}') == (None, [(Oddity.EMPTY_PASSAGE, "a")])
    assert noted(parse_query, '{"_id": "q", "title": "T"}') == (None, [(Oddity.EMPTY_QUERY, "q")])


@pytest.mark.parametrize("line", ["", " ", "\t \r"])
def test_a_blank_line_is_passed_over(line: str) -> None:
    assert noted(parse_passage, line) == noted(parse_query, line) == (None, [(Oddity.BLANK_LINE, "")])


def test_a_null_is_an_empty_text() -> None:
    read = noted(parse_passage, '{"_id": "a", "title": null, "text": "x"}')
    assert read == (Passage("a", "", "x"), [(Oddity.NULL, "title")])
    read = noted(parse_passage, '{"_id": "a", "title": "T", "text": null}')
    assert read == (Passage("a", "T", ""), [(Oddity.NULL, "text")])
    assert noted(parse_query, '{"_id": "q", "text": "x", "metadata": {"answers": null}}') == (Query("q", "x"), [])


@pytest.mark.parametrize(("number", "word"), [(7, "7"), (0, "0"), (-3, "-3"), (10**18, "1" + "0" * 18)])
def test_a_whole_number_is_an_id(number: int, word: str) -> None:
    line = json.dumps({"_id": number, "text": "x"})
    assert noted(parse_passage, line) == (Passage(word, "", "x"), [(Oddity.NUMBER, word)])
    assert noted(parse_query, line) == (Query(word, "x"), [(Oddity.NUMBER, word)])


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, ""),
        ({Oddity.NULL: 0, Oddity.EMPTY_QUERY: 1}, "1 query without words left out"),
        (
            {Oddity.BLANK_LINE: 1, Oddity.EMPTY_PASSAGE: 2},
            "2 passages without words left out, 1 blank line passed over",
        ),
    ],
)
def test_oddities_are_told_with_their_numbers(counts: dict[Oddity, int], said: str) -> None:
    assert describe_oddities(Oddities(counts)) == said


def test_queries_without_words_are_left_out_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "b", "text": ""}\n\n{"_id": 5, "text": "y"}\n\n')
    found: Odd = []
    assert list(read_queries(path, lambda *odd: found.append(odd))) == [Query("5", "y")]
    blank = (Oddity.BLANK_LINE, "")
    assert found == [(Oddity.EMPTY_QUERY, "b"), blank, (Oddity.NUMBER, "5"), blank]


def test_a_number_and_a_word_that_are_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "5", "text": "x"}\n{"_id": 5, "text": "y"}\n')
    with pytest.raises(DataError, match=":2: id 5 stands twice, first in line 1; take one of the two out"):
        list(read_queries(path))


def test_a_long_value_is_shown_shortened() -> None:
    shown = "'" + "a " * 28
    with refused(f"corpus.jsonl:1: '_id' is {shown}..., expected a string of one word without spaces; {MEND}"):
        parse_query(json.dumps({"_id": "a " * 500, "text": "x"}), PATH, 1)


def test_queries_come_in_file_order(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('\ufeff{"_id": "b", "text": "x"}\r\n{"_id": "a", "text": "y"}')
    assert list(read_queries(path)) == [Query("b", "x"), Query("a", "y")]


def test_a_query_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "b", "text": "x"}\n{"_id": "a", "text": "y"}\n{"_id": "b", "text": "x"}\n')
    wrong = "id b stands twice, first in line 1; take one of the two out, or give it another id."
    with refused(f"{path}:3: {wrong}"):
        list(read_queries(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=50), st.text().map(lambda text: json.dumps({"_id": text, "text": text}).encode())))
def test_random_bytes_are_never_more_than_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_bytes(content)
    sentence = ""
    try:
        list(read_queries(path))
    except DataError as error:
        sentence = str(error)
    assert not sentence or sentence.startswith(f"{path}:")


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20).filter(has_words)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_what_is_written_is_read_back(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    passages = [Passage(f"d{number}", title, text) for number, (title, text) in enumerate(pairs)]
    answers = [(), ("one",), ("one", "two")]
    queries = [Query(f"q{number}", text, answers[number % 3]) for number, (_, text) in enumerate(pairs)]
    write_dataset(streams(passages, queries), tmp_path / "set", force=True)
    lines = (tmp_path / "set" / "corpus.jsonl").read_bytes().decode().split("\n")[:-1]
    assert [parse_passage(line, PATH, 1) for line in lines] == passages
    assert list(read_queries(tmp_path / "set" / "queries.jsonl")) == queries


def test_a_dataset_is_written_in_beir_layout(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    judgments = [Judgment("dev", "q1", "d1", 1), Judgment("test", "q2", "d1", 0), Judgment("dev", "q1", "d2", 2)]
    write_dataset(streams([Passage("d1", "T", "ü")], [Query("q1", "why")], judgments), folder)
    assert (folder / "corpus.jsonl").read_text(encoding="utf-8") == '{"_id": "d1", "title": "T", "text": "ü"}\n'
    assert (folder / "queries.jsonl").read_text() == '{"_id": "q1", "text": "why"}\n'
    assert (folder / "qrels" / "dev.tsv").read_text() == "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t2\n"
    assert (folder / "qrels" / "test.tsv").read_text() == "query-id\tcorpus-id\tscore\nq2\td1\t0\n"
    assert sorted(path.name for path in folder.iterdir()) == ["corpus.jsonl", "qrels", "queries.jsonl"]


def test_streams_are_read_in_order_so_that_passages_may_tell_judgments(tmp_path: Path) -> None:
    found: list[Judgment] = []

    def passages() -> Iterator[Passage]:
        for number in range(3):
            found.append(Judgment("test", "q", f"d{number}", 1))
            yield Passage(f"d{number}", "", "x")

    write_dataset(streams(passages(), [Query("q", "why")], found), tmp_path / "set")
    assert (tmp_path / "set" / "qrels" / "test.tsv").read_text().count("\n") == 4


def test_half_a_surrogate_pair_is_refused_and_nothing_left(tmp_path: Path) -> None:
    with refused("'d': holds half a surrogate pair, expected Unicode text."):
        write_dataset(streams([Passage("d", "", "\ud800")]), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def passages() -> Iterator[Passage]:
        yield Passage("d", "", "x")
        raise error

    with pytest.raises(error):
        write_dataset(streams(passages()), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_replaced_by_force_only(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    write_dataset(streams([Passage("old", "", "x")]), folder)
    with refused(f"{folder}: exists already; give --force to replace it, or another --output.", OutputError):
        write_dataset(streams(), folder)
    write_dataset(streams([Passage("new", "", "x")]), folder, force=True)
    assert '"new"' in (folder / "corpus.jsonl").read_text()


@pytest.mark.parametrize("metadata", ["{}", "3", '{"answers": []}', '{"url": "x"}'])
def test_metadata_without_answers_is_left_alone(metadata: str) -> None:
    assert parse_query(f'{{"_id": "q", "text": "why", "metadata": {metadata}}}', PATH, 1) == Query("q", "why")


@pytest.mark.parametrize("answers", ['"x"', "[1]", '{"a": 1}', "[null]"])
def test_answers_that_are_no_strings_are_refused(answers: str) -> None:
    way_out = re.escape(MEND)
    with pytest.raises(DataError, match=rf"^{PATH}:1: 'answers' is .*, expected a list of strings; {way_out}$"):
        parse_query(f'{{"_id": "q", "text": "why", "metadata": {{"answers": {answers}}}}}', PATH, 1)
