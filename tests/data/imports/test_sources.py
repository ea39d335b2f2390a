import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ranker.cli.data import import_command
from ranker.data.imports.formats import FORMATS, SOURCES_HELP
from ranker.data.imports.sources import Source, checked_id
from ranker.errors import DataError


def said(name: str, *words: str) -> str:
    with pytest.raises(DataError) as caught:
        FORMATS[name].sources(words)
    return str(caught.value)


def test_the_formats_are_these() -> None:
    assert list(FORMATS) == ["squad", "msmarco", "dpr", "trec", "trec-html"]


def test_each_format_says_how_its_sources_are_written() -> None:
    assert {name: format_.usage for name, format_ in FORMATS.items()} == {
        "squad": "[SPLIT=]PATH...",
        "msmarco": "collection=PATH queries=PATH [qrels[:SPLIT]=PATH]",
        "dpr": "[SPLIT=]PATH...",
        "trec": "collection=PATH topics=PATH [qrels[:SPLIT]=PATH]",
        "trec-html": "collection=PATH topics=PATH [qrels[:SPLIT]=PATH]",
    }


def test_a_source_has_a_role_a_split_and_a_path() -> None:
    words = ["collection=a/c.tsv", "queries=q.tsv", "qrels:dev=d.tsv", "qrels=t.tsv"]
    assert FORMATS["msmarco"].sources(words).all == (
        Source("collection", "test", Path("a/c.tsv")),
        Source("queries", "test", Path("q.tsv")),
        Source("qrels", "dev", Path("d.tsv")),
        Source("qrels", "test", Path("t.tsv")),
    )


def test_a_role_may_be_given_several_times_and_keeps_its_order() -> None:
    sources = FORMATS["msmarco"].sources(
        ["queries=b", "collection=c", "queries=a", "qrels:train=x", "qrels:dev=y", "qrels:train=z"]
    )
    assert sources.paths("queries") == (Path("b"), Path("a"))
    assert sources.by_split("qrels") == (("train", Path("x")), ("dev", Path("y")), ("train", Path("z")))


def test_a_format_of_one_role_takes_a_path_or_a_split_and_a_path() -> None:
    sources = FORMATS["squad"].sources(["train=train-v1.1.json", "dev-v1.1.json", "dev-2=b.json"])
    assert sources.by_split("file") == (
        ("train", Path("train-v1.1.json")),
        ("test", Path("dev-v1.1.json")),
        ("dev-2", Path("b.json")),
    )


@pytest.mark.parametrize("path", ["./a=b.json", "/data/a=b.json", "data/a=b.json"])
def test_an_equals_sign_inside_a_path_is_no_split(path: str) -> None:
    assert FORMATS["dpr"].sources([path]).by_split("file") == (("test", Path(path)),)


def test_a_path_after_its_role_may_hold_equals_signs_and_colons() -> None:
    words = ["collection=s3:x=1/c", "topics=t", "qrels:a.b=q=r"]
    sources = FORMATS["trec"].sources(words)
    assert sources.paths("collection") == (Path("s3:x=1/c"),)
    assert sources.by_split("qrels") == (("a.b", Path("q=r")),)


@pytest.mark.parametrize("split", ["../up", ".hidden", "a/b", "", "a b"])
def test_a_split_that_could_not_name_a_file_is_no_split(split: str) -> None:
    assert said("msmarco", f"qrels:{split}=x") == (
        f"qrels:{split}=x: does not say what it is for, expected collection=PATH queries=PATH [qrels[:SPLIT]=PATH]."
    )


def test_a_path_without_a_role_is_refused_where_there_are_several() -> None:
    assert said("msmarco", "collection.tsv") == (
        "collection.tsv: does not say what it is for, expected collection=PATH queries=PATH [qrels[:SPLIT]=PATH]."
    )


def test_an_unknown_role_is_refused() -> None:
    assert said("trec", "corpus=x") == (
        "corpus=x: the role corpus is unknown, expected collection=PATH topics=PATH [qrels[:SPLIT]=PATH]."
    )


def test_a_split_for_a_role_without_splits_is_refused() -> None:
    assert (
        said("msmarco", "queries:dev=x") == "queries:dev=x: the role queries goes by no split, expected queries=PATH."
    )


def test_a_missing_role_is_refused() -> None:
    assert said("msmarco", "collection=c") == (
        "no source is given for queries (queries: lines of id, tab, text), "
        "expected collection=PATH queries=PATH [qrels[:SPLIT]=PATH]."
    )
    assert said("squad") == "no source is given for file (a JSON file of SQuAD), expected [SPLIT=]PATH...."


def test_a_source_given_twice_is_refused() -> None:
    assert said("squad", "a.json", "test=a.json") == "a.json: is given twice as file, expected each source once."


def test_reading_begins_only_when_the_streams_are_read() -> None:
    for name, words in {
        "squad": ["/nowhere/a"],
        "dpr": ["/nowhere/a"],
        "msmarco": ["collection=/nowhere/a", "queries=/nowhere/b", "qrels=/nowhere/c"],
        "trec": ["collection=/nowhere/a", "topics=/nowhere/b", "qrels=/nowhere/c"],
        "trec-html": ["collection=/nowhere/a", "topics=/nowhere/b", "qrels=/nowhere/c"],
    }.items():
        streams = FORMATS[name].read(FORMATS[name].sources(words))
        with pytest.raises(DataError, match=r"^/nowhere/a: cannot be read: No such file or directory\.$"):
            list(streams.passages)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("a b", "is 'a b', expected one word without spaces."),
        ("", "is '', expected one word without spaces."),
        (" a", "is ' a', expected one word without spaces."),
        ("a\x00", "is 'a\\x00', expected one word without spaces."),
        (None, "is None, expected one word without spaces."),
        (7.0, "is 7.0, expected one word without spaces."),
        (True, "is True, expected one word without spaces."),
        ("é" * 600, f"is '{'é' * 12}...{'é' * 13}', expected at most 1024 bytes."),
    ],
)
def test_an_id_that_no_dataset_may_hold_is_refused(value: object, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        checked_id(value, "f:1", "query id")
    assert str(caught.value) == f"f:1: the query id {problem}"


def test_a_whole_number_is_an_id_as_a_word() -> None:
    assert checked_id(7, "f:1", "query id") == "7"


def test_judgments_may_be_left_out() -> None:
    for name, asked in (("msmarco", "queries"), ("trec", "topics"), ("trec-html", "topics")):
        sources = FORMATS[name].sources(["collection=c", f"{asked}=q"])
        assert sources.by_split("qrels") == ()


def test_the_help_on_sources_names_each_way_to_write_one() -> None:
    for way in ("ROLE=PATH", "ROLE:SPLIT=PATH", "SPLIT=PATH"):
        assert way in SOURCES_HELP


def test_listing_the_formats_loads_no_heavy_library() -> None:
    code = "import sys; import ranker.data.imports.formats; print({'numpy', 'torch', 'jnius'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_help_of_import_lists_every_format_with_its_sources() -> None:
    shown = CliRunner().invoke(import_command, ["--help"]).output
    assert SOURCES_HELP in " ".join(shown.split())
    for name, form in FORMATS.items():
        assert f"{name} {form.usage} " in " ".join(shown.split())
