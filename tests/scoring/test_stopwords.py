"""Texts without stopwords."""

import pytest

from ranker.scoring.stopwords import STOPWORDS, without_all, without_some


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is the capital of France?", "capital France?"),
        ("the of and", "the of and"),
        ("", ""),
        ("theme offer isle", "theme offer isle"),
        ("THE capital", "capital"),
        ("x-the-y", "x--y"),
        ("巴黎是法国的首都", "巴黎是法国的首都"),
        ("he\u0301 is a\u0301 cafe\u0301", "he\u0301 a\u0301 cafe\u0301"),
        ("x\u0301a is y", "x\u0301a y"),
    ],
)
def test_whole_words_are_left_out_and_nothing_else(text, expected):
    assert without_all(text) == expected


def test_a_text_of_stopwords_alone_stays_whole_so_that_there_is_something_to_read():
    assert without_all("who is who") == "who is who"


def test_random_removal_takes_so_many_and_always_the_same():
    text = "the cat of the house is in the garden by the river"
    once = without_some(text, 3)
    assert once == without_some(text, 3)
    lost = len(text.split()) - len(once.split())
    assert lost == 3
    assert [word for word in once.split() if word not in STOPWORDS] == ["cat", "house", "garden", "river"]


def test_random_removal_takes_all_where_there_are_fewer():
    assert without_some("the cat", 3) == "cat"


def test_stopwords_are_lower_case_words():
    assert all(word.isalpha() and word == word.lower() for word in STOPWORDS)
    assert {"the", "of", "is", "what"} <= STOPWORDS
    assert not {"capital", "not applicable", ""} & STOPWORDS
