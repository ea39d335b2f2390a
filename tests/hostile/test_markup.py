"""Markup that never ends, or ends everywhere, costs no more time than any other of its length."""

import html
import random
from collections import Counter
from pathlib import Path

import pytest

from ranker.data.imports.formats import FORMATS
from ranker.data.imports.markup import page_words, tagged_words
from ranker.data.imports.queries import QueryFilter, match_numbers
from ranker.data.imports.trec import read_topics
from ranker.errors import DataError

ENDLESS = [
    "<a",
    "</a",
    "<!--",
    "<!a",
    "<![if",
    "<?",
    "</",
    "<a ='",
    '<a ">"',
    "<a =\">' ",
    "<script>",
    "</script",
    "<",
    "&#",
]


@pytest.mark.parametrize("read", [page_words, tagged_words])
@pytest.mark.parametrize("piece", ENDLESS)
def test_a_piece_of_markup_again_and_again_is_read_in_seconds(read, piece, seconds) -> None:
    seconds(1.5)
    for end in ("", ">", '"', "-->"):
        read(piece * 20_000 + end)


@pytest.mark.parametrize(
    "block",
    ["<DOCNO>" + " " * 20_000, "<DOCNO>" * 20_000, "<DOCNO>1</DOCNO>" + "<TEXT>" * 20_000, "<TEXT><HL></TEXT>" * 9_000],
    ids=["blanks", "ids", "texts", "nested"],
)
def test_a_tagged_document_is_read_in_seconds(block, seconds, tmp_path) -> None:
    paths = [tmp_path / name for name in ("collection", "topics", "qrels")]
    paths[0].write_text(f"<DOC>\n{block}\n</DOC>\n")
    format_ = FORMATS["trec"]
    seconds(1.5)
    words = [f"{role.name}={path}" for role, path in zip(format_.roles, paths, strict=True)]
    try:
        list(format_.read(format_.sources(words)).passages)
    except DataError as error:
        assert str(error).startswith(f"{paths[0]}:1: ")  # noqa: PT017


@pytest.mark.parametrize(
    "block",
    ["<top><num>" + " " * 9_000, "<top></top><num>1<title>" + " " * 9_000, "<doc></doc><DOCNO>1" + "</DOCNO>" * 9_000],
    ids=["number", "title", "doc"],
)
def test_a_topic_is_read_in_seconds(block: str, seconds, tmp_path: Path) -> None:
    path = tmp_path / "topics"
    path.write_text(f"{block}\n</top>\n")
    seconds(1.5)
    with pytest.raises(DataError, match=r"topics:1: the topic that starts here has no (id|question), expected .+\.$"):
        list(read_topics(path))


def test_a_topic_that_never_ends_is_refused_before_it_fills_memory(answer, tmp_path: Path) -> None:
    path = tmp_path / "topics"
    path.write_text("<top>\n" + f"{chr(119) * 999}\n" * 80_000)
    read = "list(read_topics(path))"
    imports = "from ranker.data.imports.trec import *"
    assert answer(imports, read, path) == f"{path}:1: the topic is larger than the {64 * 2**20} bytes allowed."


@pytest.mark.parametrize("number", ["0" * 5_000 + "7", "9" * 5_000], ids=["zeros", "nines"])
def test_a_topic_with_a_number_of_thousands_of_digits_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "topics"
    path.write_text(f"<top>\n<num> {number}\n<title> a\n</top>\n")
    (topic,) = read_topics(path)
    assert match_numbers([topic.query_id], ["7"]) == ({number: "7"} if number.endswith("7") else {})
    with pytest.raises(DataError, match=r"topics:1: the query id is '.+[79]', expected at most 1024 bytes\.$"):
        QueryFilter(Counter()).query(topic.query_id, topic.text, topic.location)


@pytest.mark.parametrize("read", [lambda text: page_words(text)[1], tagged_words])
def test_a_character_of_thousands_of_digits_is_none(read) -> None:
    assert read(f"a &#{'9' * 5_000}; b &#65;") == "a \ufffd b A"


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("a<b title='x > y'>c</b>", "ac"),
        ('a<b title="don\'t">c</b>', "ac"),
        ("a<p don't>c<p isn't>d", "a c d"),
        ("a<b title='x>c", "ac"),
        ("a<!-->b<!--->c<!-- -- >d-->e", "abce"),
        ("a<!-- b", "a"),
        ("a<!DOCTYPE html>b<?php x?>c</3>d", "abcd"),
        ("a<b", "a<b"),
        ("a<script>if (a</b) '</p>' </SCRIPT >b", "a b"),
        ("a<script>b", "a"),
        ("a<title>b</title >c", "a c"),
        ("a<IMG/>b<script/>c", "a b c"),
    ],
)
def test_malformed_markup_loses_no_word_that_a_browser_shows(markup: str, words: str) -> None:
    assert page_words(markup)[1] == words


def test_random_pages_give_the_words_they_were_made_of() -> None:
    chance = random.Random(3)
    for _ in range(200):
        words = ["".join(chance.choices("ab&<>'\"=/!-", k=4)) for _ in range(9)]
        tags = chance.choices(["<p>", "</p>", "<hr/>", "<p a='>'>", "<!-- x -->\n", "<style>p</style>", "<?x>\n"], k=9)
        page = "".join(html.escape(word) + tag for word, tag in zip(words, tags, strict=True))
        assert page_words(page) == ("", " ".join(words))
