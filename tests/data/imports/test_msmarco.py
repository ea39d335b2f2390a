import gzip
import tracemalloc
from itertools import islice
from pathlib import Path

import pytest

from ranker.data.beir import parse_passage, write_dataset
from ranker.data.dataset import Dataset
from ranker.data.imports.formats import FORMATS
from ranker.data.imports.sources import Imported
from ranker.data.records import Judgment, Passage, Query
from ranker.errors import DataError
from ranker.files.lines import read_text_lines

MOJIBAKE = "Itâ\x80\x99s the cityâ\x80¦ â\x80\x94  CafÃ©\u2028next\x85line"
"""What a mended text would not keep: C1 controls, two blanks, and separators that str.splitlines cuts at."""


def files(folder: Path, collection: str = "", queries: str = "", qrels: str = "") -> list[str]:
    texts = {
        "collection": collection or f"0\tThe first.\n1\t{MOJIBAKE}\n7\ta\tb \n",
        "queries": queries or "300\twhat is it\n400\t unjudged \n",
        "qrels": qrels or "300\t0\t7\t1\n300\t0\t0\t0\n",
    }
    for name, text in texts.items():
        (folder / f"{name}.tsv").write_bytes(text.encode())
    return [f"{role}={folder / role}.tsv" for role in texts]


def imported(words: list[str]) -> Imported:
    return FORMATS["msmarco"].read(FORMATS["msmarco"].sources(words))


def passages_in(folder: Path) -> dict[str, Passage]:
    path = folder / "corpus.jsonl"
    found = [parse_passage(line, path, number) for number, line in read_text_lines(path)]
    assert len({passage.doc_id for passage in found}) == len(found)
    return {passage.doc_id: passage for passage in found}


def refusal(words: list[str], stream: str) -> str:
    streams = imported(words)
    streams = {"passages": streams.passages, "queries": streams.queries, "judgments": streams.judgments}
    for name, records in streams.items():
        if name == stream:
            break
        list(records)
    with pytest.raises(DataError) as caught:
        list(records)
    return str(caught.value)


def test_ids_and_texts_come_exactly_as_they_are(tmp_path: Path) -> None:
    streams = imported(files(tmp_path))
    assert list(streams.passages) == [
        Passage("0", "", "The first."),
        Passage("1", "", MOJIBAKE),
        Passage("7", "", "a\tb "),
    ]
    assert list(streams.queries) == [Query("300", "what is it"), Query("400", " unjudged ")]
    assert list(streams.judgments) == [Judgment("test", "300", "7", 1), Judgment("test", "300", "0", 0)]


def test_mojibake_survives_to_the_opened_dataset(tmp_path: Path) -> None:
    write_dataset(imported(files(tmp_path)), tmp_path / "msmarco")
    assert passages_in(tmp_path / "msmarco")["1"].text == MOJIBAKE


def test_judgments_go_into_the_splits_they_are_named_for(tmp_path: Path) -> None:
    words = files(tmp_path)
    (tmp_path / "train.tsv").write_text("400 0 1 1\n")
    more = tmp_path / "more.tsv"
    more.write_text("400\t0\t0\t1\n")
    streams = imported(
        [*words[:2], f"qrels:dev={tmp_path}/qrels.tsv", f"qrels:train={tmp_path}/train.tsv", f"qrels:dev={more}"]
    )
    write_dataset(streams, tmp_path / "msmarco")
    dataset = Dataset("msmarco", tmp_path / "msmarco")
    assert dataset.splits == ("dev", "train")
    assert dataset.qrels("train") == {"400": {"1": 1}}
    assert dataset.qrels("dev") == {"300": {"7": 1, "0": 0}, "400": {"0": 1}}
    assert list(dataset.queries("train")) == ["400"]


def test_queries_of_several_files_are_taken_together(tmp_path: Path) -> None:
    words = files(tmp_path)
    (tmp_path / "more.tsv").write_text("500\tmore\n")
    streams = imported([*words, f"queries={tmp_path}/more.tsv"])
    assert [query.query_id for query in streams.queries] == ["300", "400", "500"]


def test_gzip_files_and_windows_line_ends_are_read_as_plain_ones(tmp_path: Path) -> None:
    words = files(tmp_path, collection="0\ta\r\n1\tb\r\n")
    (tmp_path / "c.tsv.gz").write_bytes(gzip.compress((tmp_path / "collection.tsv").read_bytes()))
    streams = imported([f"collection={tmp_path}/c.tsv.gz", *words[1:]])
    assert list(streams.passages) == [Passage("0", "", "a"), Passage("1", "", "b")]


def test_passages_without_text_are_left_out_and_counted(tmp_path: Path) -> None:
    streams = imported(files(tmp_path, collection="0\ta\n1\t\n2\t  \n"))
    assert [passage.doc_id for passage in streams.passages] == ["0"]
    assert streams.skipped == {"passages without text": 2}


def test_queries_without_text_and_their_judgments_are_left_out_and_counted_once(tmp_path: Path) -> None:
    words = files(tmp_path, queries="1\ta\n2\t \n\n", qrels="1\t0\t0\t1\n2\t0\t0\t1\n9\t0\t0\t1\n9\t0\t1\t1\n")
    streams = imported(words)
    assert list(streams.queries) == [Query("1", "a")]
    assert list(streams.judgments) == [Judgment("test", "1", "0", 1)]
    assert streams.skipped == {"questions without text": 1, "judged queries without a text": 1}


def test_without_judgments_there_are_passages_and_queries(tmp_path: Path) -> None:
    streams = imported(files(tmp_path)[:2])
    assert [len(list(stream)) for stream in (streams.passages, streams.queries, streams.judgments)] == [3, 2, 0]


def test_blank_lines_are_passed_over(tmp_path: Path) -> None:
    streams = imported(files(tmp_path, collection="0\ta\n\n1\tb\n \n"))
    assert [passage.doc_id for passage in streams.passages] == ["0", "1"]
    assert not streams.skipped


@pytest.mark.parametrize(
    ("role", "content", "problem"),
    [
        ("collection", "0\ta\n1 b\n", ":2: expected 2 columns (id text) with a tab between them, found no tab."),
        ("collection", "0 1\ta\n", ":1: the passage id is '0 1', expected one word without spaces."),
        (
            "queries",
            "1\ta\n2\tb\n1\tc\n",
            ":3: query id 1 stands twice; take one of the two out, or give it another id.",
        ),
        ("queries", "300\n", ":1: expected 2 columns (id text) with a tab between them, found no tab."),
        ("qrels", "300\t0\t7\n300\t0\t7\t1\n", ":2: expected 3 columns (query_id doc_id relevance), found 4."),
        (
            "qrels",
            "300\t0\t7\tyes\n",
            ":1: the relevance is 'yes', expected a whole number from -32768 to 32768; mend the line or take it out.",
        ),
        ("qrels", "9\t0\t7\t1\n", ": judges 9 and none of the queries given, expected their qrels."),
    ],
)
def test_a_malformed_file_is_refused_with_file_and_line(tmp_path: Path, role: str, content: str, problem: str) -> None:
    words = files(tmp_path, **{role: content})
    stream = {"collection": "passages", "queries": "queries", "qrels": "judgments"}[role]
    assert refusal(words, stream) == f"{tmp_path}/{role}.tsv{problem}"


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    words = files(tmp_path)
    (tmp_path / "collection.tsv").write_bytes(b"0\ta\n1\tcaf\xe9\n")
    assert refusal(words, "passages") == (
        f"{tmp_path}/collection.tsv:2: byte 6 is not UTF-8: found b'\\xe9', expected UTF-8 text."
    )


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """200,000 passages, 30 MB."""
    folder = tmp_path_factory.mktemp("large")
    words = files(folder)
    with (folder / "collection.tsv").open("w") as file:
        file.writelines(f"{number}\t{'sixty words of text '.ljust(150, 'x')}\n" for number in range(200_000))
    return words


def test_the_first_passages_come_before_the_rest_is_read(large: list[str]) -> None:
    streams = imported(large)
    with Path(large[0].partition("=")[2]).open("rb") as file:
        assert file.seek(0, 2) > 30_000_000
    tracemalloc.start()
    try:
        assert [passage.doc_id for passage in islice(streams.passages, 3)] == ["0", "1", "2"]
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_any_number_of_passages_passes_through_in_the_same_memory(large: list[str]) -> None:
    tracemalloc.start()
    try:
        assert sum(1 for _ in imported(large).passages) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
