import pytest

from ranker.wording import counted, did_you_mean, plural


@pytest.mark.parametrize(
    ("number", "noun", "words"),
    [
        (0, "query", "0 queries"),
        (1, "query", "1 query"),
        (2, "query", "2 queries"),
        (1, "passage", "1 passage"),
        (3, "judged query", "3 judged queries"),
        (2, "day", "2 days"),
        (2, "index", "2 indexes"),
        (2, "pass", "2 passes"),
        (2, "batch", "2 batches"),
        (1, "word", "1 word"),
    ],
)
def test_a_noun_goes_with_its_number(number, noun, words):
    assert counted(number, noun) == words


@pytest.mark.parametrize(
    ("number", "form", "words"),
    [
        (0.96, ".0f", "1 minute"),
        (1.04, ".1f", "1.0 minutes"),
        (0.4, ".0f", "0 minutes"),
        (12345, ",", "12,345 minutes"),
    ],
)
def test_the_number_as_it_is_written_decides(number, form, words):
    assert counted(number, "minute", form) == words


def test_a_plural_of_several_words_is_that_of_the_last():
    assert plural("judged query") == "judged queries"


@pytest.mark.parametrize(
    ("word", "question"),
    [
        ("crss", " Did you mean 'cross'?"),
        ("CROSS", " Did you mean 'cross'?"),
        ("cross-encoder", " Did you mean 'cross'?"),
        ("mult_int", " Did you mean 'mult-int'?"),
        ("term-int", " Did you mean 'term-trans' or 'mult-int'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_a_misspelt_name_is_asked_about_where_one_is_near(word, question):
    assert did_you_mean(word, ("cross", "mult-int", "term-trans", "dual")) == question
