"""Answers that are known and were cut away are counted, by the characters that a model still reads."""

import numpy as np
import pytest

from ranker.data.records import Query
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute, Overflow
from ranker.settings.model import RankerConfig

ROOM = 16
FILL = "water " * 20


def scorer_of(tiny, mode="cross", overflow="cut", **settings):
    markers = 2 if mode == "dual" else 3
    config = RankerConfig(mode, query_length=8, length=ROOM + markers + (0 if mode == "dual" else 1), **settings)
    return Scorer(create_model(config, str(tiny()), seed=1), Compute("float32", "cpu"), Overflow(overflow))


def cut(scorer, text, *answers):
    """How many answers are lost of a passage of which a one-word query leaves ``ROOM`` tokens."""
    pairs = Pairs(scorer.queries(["rome"]), scorer.passages([text]), np.array([[0, 0]]))
    return scorer.encoding.answers_lost(pairs, lambda _: (Query("q", "rome", answers), text))


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_an_answer_is_cut_where_its_last_word_is(tiny, mode):
    scorer = scorer_of(tiny, mode)
    for place in range(20):
        words = ["water"] * 20
        words[place] = "paris"
        assert cut(scorer, " ".join(words), "paris") == (place >= ROOM)


def test_an_answer_that_is_read_to_its_middle_is_cut(tiny):
    words = ["water"] * 15 + ["red", "stone"] + ["water"] * 4
    assert cut(scorer_of(tiny), " ".join(words), "red stone") == 1
    assert cut(scorer_of(tiny), " ".join(words), "red") == 0


def test_one_place_that_is_read_is_enough(tiny):
    assert cut(scorer_of(tiny), f"paris {FILL} paris", "paris") == 0
    assert cut(scorer_of(tiny), f"rome {FILL} paris", "paris", "rome") == 0


def test_the_case_of_an_answer_does_not_matter(tiny):
    assert cut(scorer_of(tiny), f"{FILL} Paris", "PARIS") == 1


def test_an_answer_that_the_passage_has_not_cannot_be_cut(tiny):
    assert cut(scorer_of(tiny), FILL, "paris") == 0
    assert cut(scorer_of(tiny), f"{FILL} paris") == 0


def test_the_signs_of_patterns_in_an_answer_are_letters(tiny):
    assert cut(scorer_of(tiny), f"{FILL} (paris)", "(paris)") == 1
    assert cut(scorer_of(tiny), f"{FILL} paris", ".*") == 0


def test_in_windows_nothing_is_cut(tiny):
    assert cut(scorer_of(tiny, overflow="windows"), f"{FILL} paris", "paris") == 0


def test_what_is_read_without_stopwords_reaches_further(tiny):
    text = "the of " * 10 + "paris"
    assert cut(scorer_of(tiny), text, "paris") == 1
    assert cut(scorer_of(tiny, stopwords="drop"), text, "paris") == 0
