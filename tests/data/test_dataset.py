import gzip
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranker.data.beir import write_dataset
from ranker.data.dataset import ALL, Dataset
from ranker.data.records import DatasetStreams, Judgment, Oddity, Passage, Query
from ranker.errors import DataError

NOBODY = 65_534
PASSAGES = [Passage("d1", "", "one"), Passage("d2", "T", "two")]
QUERIES = [Query("q2", "second"), Query("q1", "first"), Query("q3", "unjudged")]
JUDGMENTS = [Judgment("test", "q1", "d1", 1), Judgment("test", "q2", "d2", 0), Judgment("dev", "q2", "d1", 2)]


def refused(message: str) -> pytest.RaisesExc[DataError]:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_dataset(DatasetStreams(PASSAGES, QUERIES, JUDGMENTS), tmp_path / "set")
    return tmp_path / "set"


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """Root may read everything; nobody may not."""
    mode = folder.stat().st_mode
    folder.chmod(0)
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if privileged:
            os.seteuid(0)
        folder.chmod(mode)


@pytest.fixture
def public() -> Iterator[Path]:
    """A dataset in a folder that nobody can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        write_dataset(DatasetStreams(PASSAGES, QUERIES, JUDGMENTS), Path(name, "set"))
        yield Path(name, "set")


def pack(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def test_a_dataset_is_passages_queries_and_judgments_by_split(folder: Path) -> None:
    dataset = Dataset("mine", folder)
    assert dataset.name == "mine"
    assert list(dataset.collection) == PASSAGES
    assert dataset.splits == ("dev", "test")
    assert dataset.qrels("test") == {"q1": {"d1": 1}, "q2": {"d2": 0}}
    assert dataset.qrels("dev") == {"q2": {"d1": 2}}


def test_the_queries_of_a_split_are_those_it_judges_in_file_order(folder: Path) -> None:
    dataset = Dataset("mine", folder)
    assert list(dataset.queries("test").items()) == [("q2", Query("q2", "second")), ("q1", Query("q1", "first"))]
    assert list(dataset.queries("dev")) == ["q2"]


def test_every_file_may_be_compressed(folder: Path) -> None:
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"):
        pack(path)
    dataset = Dataset("mine", folder)
    assert list(dataset.collection) == PASSAGES
    assert dataset.collection["d2"] == PASSAGES[1]
    assert dataset.splits == ("dev", "test")
    assert list(dataset.queries("test")) == ["q2", "q1"]


def test_the_collection_is_opened_once(folder: Path) -> None:
    dataset = Dataset("mine", folder)
    assert dataset.collection is dataset.collection


def test_only_tsv_files_are_splits(folder: Path) -> None:
    for name in ("test.tsv.bak", "notes.txt", "README"):
        (folder / "qrels" / name).write_text("x")
    assert Dataset("mine", folder).splits == ("dev", "test")


def test_a_split_that_is_not_there_is_refused(folder: Path) -> None:
    with refused(f"{folder}: has no split 'train', expected one of dev, test."):
        Dataset("mine", folder).qrels("train")
    with refused(f"{folder}: has no split '../qrels/test', expected one of dev, test."):
        Dataset("mine", folder).queries("../qrels/test")


@pytest.mark.parametrize("kept", [True, False])
def test_a_dataset_without_judgments_can_be_searched_but_not_judged(folder: Path, kept: bool) -> None:
    for path in (folder / "qrels").iterdir():
        path.unlink()
    if not kept:
        (folder / "qrels").rmdir()
    dataset = Dataset("mine", folder)
    assert dataset.splits == ()
    assert len(dataset.collection) == 2
    with refused(f"{folder}: has no split 'test', nor any other in qrels/."):
        dataset.qrels("test")


def test_a_judged_query_without_a_text_is_left_out_and_counted(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "q2", "text": "second"}\n')
    dataset = Dataset("mine", folder)
    assert dataset.queries("test") == {"q2": Query("q2", "second")}
    assert dataset.oddities == {Oddity.UNKNOWN_QUERY: 1}
    (folder / "queries.jsonl").write_text('{"_id": "q9", "text": "of another"}\n')
    none = "none of the queries that split 'test' judges has a text in queries.jsonl"
    with refused(f"{folder}: {none}; expected the qrels and the queries of one dataset."):
        Dataset("mine", folder).queries("test")


def test_a_query_without_words_is_left_out_and_counted_once(folder: Path) -> None:
    (folder / "queries.jsonl").write_text('{"_id": "q2", "text": "second"}\n{"_id": "q1", "text": " "}\n')
    dataset = Dataset("mine", folder)
    assert list(dataset.queries("test")) == ["q2"]
    assert list(dataset.queries("dev")) == ["q2"]
    assert dataset.oddities == {Oddity.EMPTY_QUERY: 1}


def test_positives_that_are_not_in_the_collection_are_counted_with_its_own_oddities(folder: Path) -> None:
    with (folder / "qrels" / "test.tsv").open("a") as judging:
        judging.write("q1\tgone\t1\nq2\tgone\t2\nq2\talso\t1\nq1\tunjudged\t0\n")
    with (folder / "corpus.jsonl").open("a") as passages:
        passages.write('{"_id": "e", "text": ""}\n')
    dataset = Dataset("mine", folder)
    assert dataset.oddities == {}
    dataset.queries("test")
    assert dataset.oddities == {Oddity.LOST_POSITIVE: 2, Oddity.EMPTY_PASSAGE: 1}


def test_without_judgments_all_queries_may_be_had_and_their_digests(folder: Path) -> None:
    digests = Dataset("mine", folder).digests("test")
    del digests["qrels"]
    for path in (folder / "qrels").iterdir():
        path.unlink()
    dataset = Dataset("mine", folder)
    assert list(dataset.queries(ALL)) == ["q2", "q1", "q3"]
    assert dataset.digests(ALL) == digests
    assert dataset.record(ALL) == {"name": "mine", "source": str(folder), "split": "", **digests}
    (folder / "queries.jsonl").write_text("\n")
    with refused(f"{folder}: has no query with words in queries.jsonl, expected at least one."):
        Dataset("mine", folder).queries(ALL)


@pytest.mark.parametrize(
    ("name", "line", "wrong"),
    [
        ("corpus.jsonl", '{"_id": "d1", "text": "x"}', "id d1 stands twice, first in line 1"),
        ("queries.jsonl", '{"_id": "q2", "text": "x"}', "id q2 stands twice, first in line 1"),
        ("corpus.jsonl", "{", "is not JSON"),
        ("qrels/test.tsv", "q1\td1\t5", "relevance 5 of passage d1 for query q1 contradicts the 1 of an earlier line"),
    ],
)
def test_nobody_is_sent_into_the_cache_to_mend_a_file(folder: Path, name: str, line: str, wrong: str) -> None:
    with (folder / name).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError) as caught:
        Dataset("irds:some/set", folder, source="irds:some/set").queries("test")
    assert str(caught.value).startswith(f"irds:some/set: {name}:")
    assert wrong in str(caught.value)
    assert str(caught.value).endswith(f"; mend a copy of its folder, {folder}, and give that as the DATASET.")
    with pytest.raises(DataError, match=f"^{re.escape(str(folder / name))}:"):
        Dataset("mine", folder).queries("test")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_folder_that_lacks_a_file_is_refused_when_it_is_opened(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with refused(f"{folder}: has no {name} or {name}.gz, which a folder in BEIR layout must have."):
        Dataset("mine", folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_folder_that_has_a_file_plain_and_packed_is_refused(folder: Path, name: str) -> None:
    (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    with refused(f"{folder}: has {name} and {name}.gz, of which one would not be read; take one away."):
        Dataset("mine", folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path}: has no corpus.jsonl or corpus.jsonl.gz, which a folder in BEIR layout must have."
    with refused(message):
        Dataset("mine", tmp_path)


def test_an_unreadable_folder_is_refused(public: Path) -> None:
    with unreadable(public), refused(f"{public / 'corpus.jsonl'}: cannot be read: Permission denied."):
        Dataset("mine", public)


def test_an_unreadable_folder_of_judgments_is_refused(public: Path) -> None:
    dataset = Dataset("mine", public)
    with unreadable(public / "qrels"), refused(f"{public / 'qrels'}: cannot be read: Permission denied."):
        dataset.qrels("test")


def test_an_unreadable_file_is_refused(public: Path) -> None:
    dataset = Dataset("mine", public)
    path = public / "qrels" / "test.tsv"
    with unreadable(path), refused(f"{path}: cannot be read: Permission denied."):
        dataset.qrels("test")


def test_digests_are_of_what_a_result_was_made_from(folder: Path) -> None:
    def sha(*names: str) -> str:
        return hashlib.sha256(folder.joinpath(*names).read_bytes()).hexdigest()

    digests = Dataset("mine", folder).digests("test")
    assert digests == {
        "collection": sha("corpus.jsonl"),
        "queries": sha("queries.jsonl"),
        "qrels": sha("qrels", "test.tsv"),
    }
    pack(folder / "queries.jsonl")
    assert Dataset("mine", folder).digests("test") == digests


@pytest.mark.parametrize(
    ("name", "split", "judgments", "passages"),
    [("squad", "test", 10_570, 2_067), ("trec-dl", "dl19", 9_260, 24_884), ("medquad", "dev", 849, 15_809)],
)
def test_real_datasets_are_whole(shared_data: Path, name: str, split: str, judgments: int, passages: int) -> None:
    dataset = Dataset(name, shared_data / name)
    qrels = dataset.qrels(split)
    assert len(dataset.collection) == passages
    assert sum(map(len, qrels.values())) == judgments
    assert dataset.queries(split).keys() == qrels.keys()
