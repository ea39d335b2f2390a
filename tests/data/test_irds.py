import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import ir_datasets
import pytest
from ir_datasets.datasets.beir import BeirTitleDoc
from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
from ir_datasets.util import Download, LocalDownload, RequestsDownload

from ranker.data.catalogue import irds, open_dataset
from ranker.data.dataset import ALL
from ranker.data.records import Judgment, Passage, Query, describe_oddities
from ranker.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def local(path: Path, content: str) -> Any:
    path.write_text(content, encoding="utf-8")
    return LocalDownload(str(path))


def registered(name: str, *parts: Any) -> str:
    """A dataset of ir_datasets' own classes, from files of this test."""
    ir_datasets.registry._registered.pop(name, None)
    ir_datasets.registry.register(name, ir_datasets.Dataset(*parts))
    return name


@pytest.fixture
def plain(tmp_path: Path) -> str:
    docs = TsvDocs(local(tmp_path / "docs.tsv", "d1\tone ü\nd2\ttwo\n"))
    queries = TsvQueries(local(tmp_path / "queries.tsv", "q1\tfirst?\nq2\tsecond?\n"))
    qrels = TrecQrels(local(tmp_path / "qrels", "q1 0 d1 1\nq1 0 d2 0\n"), {})
    return registered("ranker-plain", docs, queries, qrels)


def refused(message: str) -> pytest.RaisesExc[DataError]:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


def test_passages_queries_and_judgments_of_an_id_become_material(plain: str) -> None:
    streams = irds(plain)
    assert list(streams.passages) == [Passage("d1", "", "one ü"), Passage("d2", "", "two")]
    assert list(streams.queries) == [Query("q1", "first?"), Query("q2", "second?")]
    assert list(streams.judgments) == [Judgment("test", "q1", "d1", 1), Judgment("test", "q1", "d2", 0)]


def test_a_title_stands_apart_and_not_again_in_the_text(tmp_path: Path) -> None:
    content = "d1\tsome words\tTitle\nd2\twords alone\t\nd3\tTitle again\tTitle\n"
    docs = TsvDocs(local(tmp_path / "docs.tsv", content), doc_cls=BeirTitleDoc)
    queries = TsvQueries(local(tmp_path / "queries.tsv", "q1\tfirst?\n"))
    name = registered("ranker-titled", docs, queries, TrecQrels(local(tmp_path / "qrels", "q1 0 d1 1\n"), {}))
    assert list(irds(name).passages) == [
        Passage("d1", "Title", "some words"),
        Passage("d2", "", "words alone"),
        Passage("d3", "Title", "Title again"),
    ]


def test_an_id_is_opened_as_a_dataset_and_kept(plain: str, cache: Path, tmp_path: Path) -> None:
    dataset = open_dataset(f"irds:{plain}")
    assert dataset.name == f"irds:{plain}"
    assert dataset.splits == ("test",)
    assert dataset.collection["d1"].text == "one ü"
    assert dataset.qrels("test") == {"q1": {"d1": 1, "d2": 0}}
    assert list(dataset.queries("test")) == ["q1"]
    (tmp_path / "docs.tsv").unlink()
    assert len(open_dataset(f"irds:{plain}").collection) == 2
    assert len(list((cache / "datasets").iterdir())) == 1


@pytest.mark.parametrize("name", ["no/such-id", ""])
def test_an_unknown_id_is_refused(name: str) -> None:
    with refused(f"irds:{name}: is unknown to ir_datasets; its catalogue lists the ids."):
        open_dataset(f"irds:{name}")


def test_an_id_without_queries_is_refused(tmp_path: Path) -> None:
    name = registered("ranker-passages", TsvDocs(local(tmp_path / "docs.tsv", "d1\tone\n")))
    with refused(f"irds:{name}: has no queries, expected an id with docs and queries."):
        irds(name)


def test_an_id_without_judgments_is_a_dataset_without(tmp_path: Path) -> None:
    queries = TsvQueries(local(tmp_path / "queries.tsv", "q1\tfirst?\n"))
    name = registered("ranker-unjudged", TsvDocs(local(tmp_path / "docs.tsv", "d1\tone\n")), queries)
    dataset = open_dataset(f"irds:{name}")
    assert dataset.splits == ()
    assert dataset.queries(ALL) == {"q1": Query("q1", "first?")}


def test_passages_and_queries_of_an_id_that_have_no_words_are_left_out(tmp_path: Path) -> None:
    docs = TsvDocs(local(tmp_path / "docs.tsv", "d1\tone\nd2\t \n"))
    queries = TsvQueries(local(tmp_path / "queries.tsv", "q1\tfirst?\nq2\t\n"))
    qrels = TrecQrels(local(tmp_path / "qrels", "q1 0 d1 1\nq2 0 d1 1\nq3 0 d2 1\n"), {})
    dataset = open_dataset(f"irds:{registered('ranker-gaps', docs, queries, qrels)}")
    assert [passage.doc_id for passage in dataset.collection] == ["d1"]
    assert list(dataset.queries("test")) == ["q1"]
    assert describe_oddities(dataset.oddities) == (
        "1 passage without words left out, 1 query without words left out, "
        "1 judged query without a text left out, 1 positive that is not in the collection"
    )


def test_what_an_id_may_not_hold_is_refused_by_its_name_and_with_a_way_out(tmp_path: Path, cache: Path) -> None:
    docs = TsvDocs(local(tmp_path / "docs.tsv", "d1\tone\nd1\ttwo\n"))
    queries = TsvQueries(local(tmp_path / "queries.tsv", "q1\tfirst?\n"))
    qrels = TrecQrels(local(tmp_path / "qrels", "q1 0 d1 1\n"), {})
    name = f"irds:{registered('ranker-twice', docs, queries, qrels)}"
    dataset = open_dataset(name)
    twice = "id d1 stands twice, first in line 1; take one of the two out, or give it another id"
    copy = f"mend a copy of its folder, {dataset.folder}, and give that as the DATASET"
    with refused(f"{name}: corpus.jsonl:2: {twice}; {copy}."):
        len(dataset.collection)


def test_a_download_that_fails_is_refused_and_nothing_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IR_DATASETS_HOME", str(tmp_path / "home"))
    nowhere = RequestsDownload("http://127.0.0.1:9/docs.tsv", tries=1)
    queries = TsvQueries(local(tmp_path / "queries.tsv", "q1\tfirst?\n"))
    qrels = TrecQrels(local(tmp_path / "qrels", "q1 0 d1 1\n"), {})
    for sources, reason in (([nowhere], "HTTPConnectionPool"), ([nowhere, nowhere], "All download sources failed.")):
        docs = TsvDocs(Download(sources, cache_path=str(tmp_path / "docs.tsv")))
        name = registered("ranker-distant", docs, queries, qrels)
        with pytest.raises(DataError, match=f"^irds:{name}: cannot be fetched: {reason}"):
            open_dataset(f"irds:{name}")
    assert list((cache / "datasets").iterdir()) == []


def test_without_ir_datasets_one_sentence_says_what_to_install() -> None:
    script = (
        "import sys\nsys.modules['ir_datasets'] = None\n"
        "from ranker.data.catalogue import irds\nfrom ranker.errors import SetupError\n"
        "try: irds('vaswani')\nexcept SetupError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "irds: datasets need ir-datasets; install it with: pip install 'ranker[irds]'.\n"
