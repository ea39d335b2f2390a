"""Words and the tokens that they are made of."""

import pytest

from ranker.explanation.words import KINDS, kinds_of, without_word, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What is it?", ["What", "is", "it"]),
        ("don't stop", ["don't", "stop"]),
        ("it\u2019s 3.5 km", ["it\u2019s", "3", "5", "km"]),
        ("snake_case", ["snake", "case"]),
        ("東京 is big", ["東", "京", "is", "big"]),
        ("ひらがな", ["ひ", "ら", "が", "な"]),
        ("서울은 크다", ["서울은", "크다"]),
        ("Ärger über Öl", ["Ärger", "über", "Öl"]),
        ("हिन्दी की किताब", ["हिन्दी", "की", "किताब"]),
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("क्\u200dष is one", ["क्\u200dष", "is", "one"]),
        ("می\u200cرویم", ["می\u200cرویم"]),
        ("Cafe\u0301 noir", ["Cafe\u0301", "noir"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("ที่นี่ 2 km", ["ที่", "นี่", "2", "km"]),
        ("น้ำ", ["น้", "ำ"]),
        ("ພາສາ", ["ພ", "າ", "ສ", "າ"]),
        ("ភាសា", ["ភា", "សា"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("ガラス・が", ["ガ", "ラ", "ス", "が"]),
        ("か\u3099", ["か\u3099"]),
        ("\U00020000\U00020001", ["\U00020000", "\U00020001"]),
        ("\u2764\ufe0f", []),
        ("... !", []),
        ("", []),
    ],
)
def test_words_are_what_a_reader_would_count(text, words):
    assert [word.text for word in words_of(text)] == words
    assert all(text[word.start : word.end] == word.text for word in words_of(text))


@pytest.mark.parametrize(
    ("text", "number", "rest"),
    [
        ("the red stone", 0, "red stone"),
        ("the red stone", 1, "the stone"),
        ("the red stone", 2, "the red "),
        ("(red) stone", 0, "() stone"),
        ("東京都", 1, "東都"),
        ("stone", 0, ""),
    ],
)
def test_a_word_is_left_out_with_the_space_behind_it(text, number, rest):
    assert without_word(text, words_of(text)[number]) == rest


def test_words_are_stopwords_whatever_their_case():
    assert [word.kind for word in words_of("The capital Of it")] == ["stopword", "content", "stopword", "stopword"]


def test_pieces_of_a_word_are_of_its_kind_and_marks_are_punctuation():
    text = "The embeddings, of it."
    spans = [(0, 3), (4, 7), (7, 14), (14, 15), (16, 18), (19, 21), (21, 22)]
    assert kinds_of(spans, words_of(text)) == [
        "stopword", "content", "content", "punctuation", "stopword", "stopword", "punctuation",
    ]  # fmt: skip


def test_a_token_with_the_space_before_its_word_is_of_that_word():
    """Byte-level and sentencepiece tokenizers may count the space in."""
    assert kinds_of([(0, 3), (3, 11)], words_of("the capital")) == ["stopword", "content"]


@pytest.mark.parametrize("text", ["हिन्दी", "ที่", "বাংলা", "မြန်မာ"])
def test_vowel_signs_and_tone_marks_are_no_punctuation(text):
    spans = [(place, place + 1) for place in range(len(text))]
    assert set(kinds_of(spans, words_of(text))) == {"content"}


def test_every_kind_is_named_once():
    assert KINDS == ("marker", "stopword", "content", "punctuation")
