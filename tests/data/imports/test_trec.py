import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from ranker.data.beir import parse_passage, write_dataset
from ranker.data.dataset import Dataset
from ranker.data.imports import archive, trec
from ranker.data.imports.formats import FORMATS
from ranker.data.imports.markup import page_words, tagged_words
from ranker.data.imports.queries import match_numbers
from ranker.data.imports.sources import Imported
from ranker.data.imports.trec import read_topics
from ranker.data.records import Passage, Query
from ranker.errors import DataError
from ranker.files.lines import read_text_lines

AP = """<DOC>
<DOCNO> AP880212-0001 </DOCNO>
<FILEID>AP-NR-02-12-88 2344EST</FILEID>
<HEAD>Reports Former Saigon Officials</HEAD>
<TEXT>
   More than 150 officers &amp; <PERSON>officials</PERSON>
were released.
</TEXT>
</DOC>
<DOC>
<DOCNO>AP880212-0002</DOCNO>
<HEAD>Only a headline</HEAD>
</DOC>
<DOC>
<DOCNO>AP880212-0003</DOCNO>
<BYLINE>Nobody</BYLINE>
</DOC>
"""

TOP = """<top>
<head> Tipster Topic Description
<num> Number: 051
<title> Topic:  Airbus
  Subsidies
<desc> Description:
Not this.
</top>

<top lang="en">
<num>302</num>
<title>Poliomyelitis &amp; Post-Polio</title>
<desc>Not this either.</desc>
</top>
"""


def sources(folder: Path, collection: Path, topics: str = "1\tairbus\n", qrels: str = "1 0 A 1\n") -> list[str]:
    (folder / "topics").write_text(topics)
    (folder / "qrels").write_text(qrels)
    return [f"collection={collection}", f"topics={folder / 'topics'}", f"qrels={folder / 'qrels'}"]


def imported(name: str, words: list[str]) -> Imported:
    return FORMATS[name].read(FORMATS[name].sources(words))


def passages(name: str, folder: Path, collection: Path) -> list[Passage]:
    return list(imported(name, sources(folder, collection)).passages)


def passages_in(folder: Path) -> dict[str, Passage]:
    path = folder / "corpus.jsonl"
    found = [parse_passage(line, path, number) for number, line in read_text_lines(path)]
    assert len({passage.doc_id for passage in found}) == len(found)
    return {passage.doc_id: passage for passage in found}


def refusal(name: str, folder: Path, collection: Path) -> str:
    with pytest.raises(DataError) as caught:
        passages(name, folder, collection)
    return str(caught.value)


def topics(folder: Path, text: str) -> list[Query]:
    path = folder / "topics.txt"
    path.write_text(text)
    return [Query(query_id, words) for _, query_id, words in read_topics(path)]


def topics_refusal(folder: Path, text: str) -> str:
    with pytest.raises(DataError) as caught:
        topics(folder, text)
    return str(caught.value).removeprefix(str(folder / "topics.txt"))


def tarred(path: Path, *files: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in {".gz", ".tgz"} else "w") as archive_:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive_.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture(scope="module")
def cacm(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source, folder = shared_data / "cacm", tmp_path_factory.mktemp("cacm") / "cacm"
    roles = {"collection": "cacm.tar.gz", "topics": "topics.cacm.txt", "qrels": "qrels.cacm.txt"}
    streams = imported("trec-html", [f"{role}={source / name}" for role, name in roles.items()])
    write_dataset(streams, folder)
    assert not streams.skipped
    return Dataset("cacm", folder)


@pytest.fixture(scope="module")
def cacm_passages(cacm: Dataset) -> dict[str, Passage]:
    return passages_in(cacm.folder)


def test_cacm_has_3204_passages_64_topics_and_796_judgments(cacm: Dataset, cacm_passages: dict[str, Passage]) -> None:
    assert len(cacm_passages) == 3204
    assert len((cacm.folder / "queries.jsonl").read_text().splitlines()) == 64
    assert len(cacm.queries("test")) == 52
    assert sum(map(len, cacm.qrels("test").values())) == 796


@pytest.mark.parametrize(
    ("doc_id", "start", "end"),
    [
        (
            "CACM-0001",
            "Preliminary Report-International Algebraic Language CACM December, 1958 Perlis, A. J. Samelson,K. "
            "CA581203 JB March 22, 1978 8:28 PM 100 5 1 123 5 1",
            "43 6 1 53 6 1 91 6 1 410 6 1 3184 6 1",
        ),
        (
            "CACM-1410",
            "Interarrival Statistics for Time Sharing Systems The optimization of time-shared system performance",
            "1751 6 1410 1810 6 1410 1951 6 1410 2374 6 1410",
        ),
        (
            "CACM-3204",
            "An On-Line Program for Non-Numerical Algebra The goal of this program is to make a step toward te design",
            "3202 6 3204 3203 6 3204 3204 6 3204 561 6 3204 730 6 3204",
        ),
    ],
)
def test_three_passages_of_cacm_are_these(cacm_passages: dict[str, Passage], doc_id: str, start: str, end: str) -> None:
    passage = cacm_passages[doc_id]
    assert passage.title == ""
    assert passage.text.startswith(start)
    assert passage.text.endswith(end)


def test_the_passages_of_cacm_come_in_the_order_of_the_archive(cacm_passages: dict[str, Passage]) -> None:
    assert list(cacm_passages) == [f"CACM-{number:04}" for number in range(1, 3205)]


def test_a_less_than_sign_in_a_page_of_cacm_starts_no_tag(cacm_passages: dict[str, Passage]) -> None:
    texts = [passage.text for passage in cacm_passages.values()]
    assert any("(1 <= m <= n)" in text for text in texts)
    assert any("Fishman's method for 1 < a < 2 and" in text for text in texts)
    assert not any(tag in text for text in texts for tag in ("<pre>", "</pre>", "<html>", "</html>"))


def test_the_topics_of_cacm_are_all_words_of_their_blocks(cacm: Dataset) -> None:
    queries = cacm.queries("test")
    assert queries["1"].text == (
        "What articles exist which deal with TSS (Time Sharing System), an operating system for IBM computers?"
    )
    assert queries["2"].text == "I am interested in articles written either by Prieve or Udo Pooch Prieve, B. Pooch, U."


def test_the_unpacked_folder_of_cacm_gives_the_same_passages(
    cacm_passages: dict[str, Passage], shared_data: Path, tmp_path: Path
) -> None:
    with tarfile.open(shared_data / "cacm" / "cacm.tar.gz") as packed:
        packed.extractall(tmp_path / "pages", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    assert passages("trec-html", tmp_path, tmp_path / "pages") == list(cacm_passages.values())


def test_a_page_gives_its_title_and_its_words() -> None:
    head = "<head><title>A &amp; B</title><style>p {}</style></head>"
    body = "<p>one<br>two<b>s</b><script>x()</script></p>&eacute;"
    assert page_words(f"<html>{head}{body}") == ("A & B", "one twos é")


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("<p>a</p><p>b</p>", "a b"),
        ("<i>a</i>b", "ab"),
        ("a<!-- not this -->b", "ab"),
        ("1 < 2 and 3>2", "1 < 2 and 3>2"),
        ("<pre>a\n\n  b</pre>", "a b"),
        ("AT&T &lt;x&gt; &#233;", "AT&T <x> é"),
        ("<img src='x'/>a<hr/>b", "a b"),
        ("<template>no</template>yes", "yes"),
    ],
)
def test_the_words_of_a_page(markup: str, words: str) -> None:
    assert page_words(markup)[1] == words


def test_tagged_text_keeps_words_apart_where_a_tag_was() -> None:
    assert tagged_words("<P>a</P><P>1 < 2 &amp; b</P>") == "a 1 < 2 & b"


def test_a_tagged_document_gives_the_elements_that_anserini_indexes(tmp_path: Path) -> None:
    (tmp_path / "ap").write_text(AP)
    streams = imported("trec", sources(tmp_path, tmp_path / "ap"))
    assert list(streams.passages) == [
        Passage(
            "AP880212-0001",
            "Reports Former Saigon Officials",
            "More than 150 officers & officials were released.",
        ),
        Passage("AP880212-0002", "", "Only a headline"),
    ]
    assert streams.skipped == {"passages without text": 1}


@pytest.mark.parametrize("ending", ["", ".gz", ".tar.gz", ".tgz", ".tar"])
def test_a_tagged_collection_is_a_file_or_an_archive(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"ap{ending}"
    if "t" in ending:
        tarred(path, ("disk1/ap01", AP.encode()))
    else:
        path.write_bytes(gzip.compress(AP.encode()) if ending else AP.encode())
    assert [passage.doc_id for passage in passages("trec", tmp_path, path)] == ["AP880212-0001", "AP880212-0002"]


def test_the_files_of_a_folder_come_in_the_order_of_their_paths(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    for name in ("b/2", "a/10.gz", "a/1", "README", ".hidden"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = f"<DOC>\n<DOCNO>{path.stem}</DOCNO>\n<TEXT>x</TEXT>\n</DOC>\n" if name != "README" else "Read me."
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    (folder / "link").symlink_to(tmp_path)
    streams = imported("trec", sources(tmp_path, folder))
    assert [passage.doc_id for passage in streams.passages] == ["1", "10", "2"]
    assert streams.skipped == {"files without <DOC>": 1, "links": 1}


def test_bytes_that_are_not_utf8_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(b"<DOC>\n<DOCNO>1</DOCNO>\n<TEXT>caf\xe9</TEXT>\n</DOC>")
    assert passages("trec", tmp_path, tmp_path / "d") == [Passage("1", "", "caf\ufffd")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": has no <DOC>, expected TREC text; pages of HTML are imported as trec-html."),
        ("<html>page</html>", ": has no <DOC>, expected TREC text; pages of HTML are imported as trec-html."),
        ("\n<DOC>\n<DOCNO>1</DOCNO>", ":2: the <DOC> that starts here does not end, expected </DOC>."),
        ("<DOC>\n<TEXT>x</TEXT>\n</DOC>", ":1: the <DOC> that starts here has no id, expected <DOCNO>."),
        (
            "<DOC>\n<DOCNO>1 2</DOCNO>\n<TEXT>x</TEXT></DOC>",
            ":1: the passage id is '1 2', expected one word without spaces.",
        ),
    ],
)
def test_malformed_tagged_text_is_refused_with_file_and_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "d").write_text(text)
    assert refusal("trec", tmp_path, tmp_path / "d") == f"{tmp_path}/d{problem}"


def test_a_document_above_the_bound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_DOCUMENT_BYTES", 1000)
    monkeypatch.setattr(trec, "MAX_DOCUMENT_BYTES", 1000)
    (tmp_path / "d").write_text("<DOC>\n<DOCNO>1</DOCNO>\n" + "word\n" * 200)
    (tmp_path / "e").write_text("x" * 1001)
    (tmp_path / "f.html").write_text("x" * 1001)
    assert refusal("trec", tmp_path, tmp_path / "d") == (
        f"{tmp_path}/d:1: the <DOC> is larger than the 1000 bytes allowed."
    )
    assert refusal("trec", tmp_path, tmp_path / "e") == f"{tmp_path}/e:1: is longer than the 1000 bytes allowed."
    assert refusal("trec-html", tmp_path, tmp_path / "f.html") == (
        f"{tmp_path}/f.html: is larger than the 1000 bytes allowed for one document."
    )


def test_a_large_file_of_tagged_text_passes_through_in_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "d").open("w") as file:
        for number in range(8_000):
            file.write(f"<DOC>\n<DOCNO>{number}</DOCNO>\n<TEXT>\n{'word ' * 100}\n</TEXT>\n</DOC>\n")
    streams = imported("trec", sources(tmp_path, tmp_path / "d"))
    tracemalloc.start()
    try:
        assert sum(1 for _ in streams.passages) == 8_000
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_only_pages_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.b.html").write_text("<p>one")
    (folder / "c.HTM").write_text("<title>only a title</title>")
    (folder / "d.html").write_text("<p></p>")
    (folder / "readme.txt").write_text("no page")
    streams = imported("trec-html", sources(tmp_path, folder))
    assert list(streams.passages) == [Passage("c", "", "only a title"), Passage("a.b", "", "one")]
    assert streams.skipped == {"files that are no .html": 1, "passages without text": 1}


def test_two_pages_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tarred(tmp_path / "p.tar.gz", ("a/x.html", b"one"), ("b/x.html", b"two"))
    assert refusal("trec-html", tmp_path, path) == (
        f"{path}: b/x.html: has the name of {path}: a/x.html, expected each name once."
    )


def test_a_folder_without_pages_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    assert refusal("trec-html", tmp_path, tmp_path / "pages") == (
        f"{tmp_path}/pages: has no .html files, expected a folder or tar archive of them."
    )


@pytest.mark.parametrize("name", ["../up.html", "a/../../up.html", "/etc/up.html"])
def test_an_archive_that_leads_out_of_itself_is_refused(tmp_path: Path, name: str) -> None:
    path = tarred(tmp_path / "p.tar.gz", ("a.html", b"one"), (name, b"two"))
    assert refusal("trec-html", tmp_path, path) == (
        f"{path}: the member {name!r} leads out of the archive, expected a path within."
    )


def test_nothing_of_an_archive_is_unpacked_and_no_link_or_device_of_it_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "p.tar"
    with tarfile.open(path, "w") as packed:
        for name, kind in [("s.html", tarfile.SYMTYPE), ("h.html", tarfile.LNKTYPE), ("f.html", tarfile.FIFOTYPE)]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            packed.addfile(entry)
        page = tarfile.TarInfo("a.html")
        page.size = 3
        packed.addfile(page, io.BytesIO(b"one"))
    work = tmp_path / "work"
    work.mkdir()
    streams = imported("trec-html", sources(work, path))
    assert list(streams.passages) == [Passage("a", "", "one")]
    assert streams.skipped == {"links": 2}
    assert sorted(path.name for path in work.iterdir()) == ["qrels", "topics"]


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    whole = tarred(tmp_path / "w.tar.gz", ("a.html", os.urandom(5000))).read_bytes()
    path = tmp_path / "p.tar.gz"
    path.write_bytes(whole[:2500])
    assert refusal("trec-html", tmp_path, path).startswith(f"{path}: a.html: cannot be read to its end: ")
    path.write_bytes(b"no archive at all")
    assert refusal("trec-html", tmp_path, path).startswith(f"{path}: cannot be read to its end: ")


def test_topics_are_the_titles_of_their_blocks_with_their_numbers_as_written(tmp_path: Path) -> None:
    assert topics(tmp_path, TOP) == [
        Query("051", "Airbus Subsidies"),
        Query("302", "Poliomyelitis &amp; Post-Polio"),
    ]


def test_topics_may_be_lines_of_id_tab_and_text(tmp_path: Path) -> None:
    assert topics(tmp_path, "051\twhat is it\nq2\tand that\n") == [Query("051", "what is it"), Query("q2", "and that")]


def test_topics_may_be_doc_blocks(tmp_path: Path) -> None:
    text = "\n<DOC>\n<DOCNO> 1 </DOCNO>\n\n a\nb \n</DOC>\n<DOC>\n<DOCNO>x-2</DOCNO> c\n</DOC>\n"
    assert topics(tmp_path, text) == [Query("1", "a b"), Query("x-2", "c")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", ": is empty, expected topics."),
        ("no tab", ":1: expected 2 columns (id text) with a tab between them, found no tab."),
        ("<top>\n<num> 1\n", ":1: the topic that starts here does not end, expected </top>."),
        ("<top>\n<title> a\n</top>", ":1: the topic that starts here has no id, expected <num> and <title>."),
        ("<top>\n<num> 1\n</top>", ":1: the topic that starts here has no question, expected <num> and <title>."),
        ("<DOC>\nwords\n</DOC>", ":1: the topic that starts here has no id, expected <DOCNO> and words after it."),
    ],
)
def test_malformed_topics_are_refused_with_file_and_line(tmp_path: Path, text: str, problem: str) -> None:
    assert topics_refusal(tmp_path, text) == problem


def queries_and_judgments(folder: Path, topics_: str, qrels: str) -> tuple[list[str], list[str], Imported]:
    """The ids of the queries and of the judgments that an import gives."""
    (folder / "d").write_text(AP)
    streams = imported("trec", sources(folder, folder / "d", topics_, qrels))
    asked = [query.query_id for query in streams.queries]
    return asked, [judgment.query_id for judgment in streams.judgments], streams


def top(*numbers: str, title: str = "a") -> str:
    return "".join(f"<top>\n<num> Number: {number}\n<title> {title}\n</top>\n" for number in numbers)


@pytest.mark.parametrize(
    ("asked", "judged", "ids"),
    [
        (["051"], ["051"], ["051"]),
        (["051"], ["51"], ["51"]),
        (["51"], ["051"], ["051"]),
        (["051", "052"], ["51", "052"], ["51", "052"]),
        (["051", "51"], ["51"], ["051", "51"]),  # as it is written first, whatever comes first in the file
        (["051", "51"], ["051", "51"], ["051", "51"]),
        (["0"], ["000"], ["000"]),
        (["051", "9"], ["9"], ["051", "9"]),  # an unjudged topic keeps its number as it is written
    ],
)
def test_numbers_are_matched_as_written_then_without_their_zeros(
    tmp_path: Path, asked: list[str], judged: list[str], ids: list[str]
) -> None:
    qrels = "".join(f"{query_id} 0 A 1\n" for query_id in judged)
    queries, judgments, streams = queries_and_judgments(tmp_path, top(*asked), qrels)
    assert queries == ids
    assert judgments == judged
    assert not streams.skipped


def test_only_numbers_lose_zeros_and_only_where_one_alone_may_be_meant() -> None:
    assert match_numbers(["0x", "q01"], ["x", "q1"]) == {}
    assert match_numbers(["0051"], ["051", "51"]) == {}
    assert match_numbers(["0051", "051"], ["51"]) == {}


def test_a_number_given_twice_is_refused_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        queries_and_judgments(tmp_path, top("051", "051"), "51 0 A 1\n")
    assert str(caught.value) == (
        f"{tmp_path}/topics:5: query id 051 stands twice; take one of the two out, or give it another id."
    )


def test_topics_without_text_and_judged_topics_that_are_not_given_are_left_out_and_counted(tmp_path: Path) -> None:
    text = top("1") + top("3", title=" ") + "<DOC>\n<DOCNO>4</DOCNO>\n</DOC>"
    asked, judged, streams = queries_and_judgments(tmp_path, text, "1 0 A 1\n2 0 A 0\n3 0 A 1\n")
    assert (asked, judged) == (["1"], ["1"])
    assert streams.skipped == {"questions without text": 1, "judged queries without a text": 1}


def test_judgments_of_none_of_the_topics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        queries_and_judgments(tmp_path, top("1"), "2 0 A 1\n")
    assert str(caught.value) == f"{tmp_path}/qrels: judges 2 and none of the queries given, expected their qrels."


def test_a_collection_and_topics_are_a_dataset_without_judgments(tmp_path: Path) -> None:
    (tmp_path / "d").write_text(AP)
    write_dataset(imported("trec", sources(tmp_path, tmp_path / "d", top("051"))[:2]), tmp_path / "set")
    dataset = Dataset("set", tmp_path / "set")
    assert dataset.splits == ()
    assert dataset.queries("") == {"051": Query("051", "a")}
