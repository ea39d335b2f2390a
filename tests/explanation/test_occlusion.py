"""The importance of a word is the score with it less the score without it."""

import numpy as np
import pytest

from ranker.explanation.occlusion import Occlusion, PairText, WordImportance, occlude, share_for_half
from ranker.explanation.words import Word, without_word, words_of
from ranker.model.config import MODES, RankerConfig
from ranker.model.loading import create_model
from ranker.scoring.scorer import Pairs, Scorer
from ranker.scoring.speed import Speed

PAIR = PairText("what is the capital of france", "paris is the capital of france, by the seine.")
OTHER = PairText("which river", "the nile lies in egypt")


def scorer_of(folder, mode="cross", **settings):
    config = RankerConfig(mode, **{"query_length": 12, "length": 40, **settings})
    return Scorer(create_model(config, str(folder), seed=3), Speed("float32", "cpu"))


def score(scorer, query, passage):
    """One pair on its own."""
    pairs = Pairs(scorer.queries([query]), scorer.passages([passage]), np.array([[0, 0]]))
    return float(scorer.scores(pairs, lambda _: None)[0])


@pytest.mark.parametrize("mode", MODES)
def test_importance_is_what_scoring_with_and_without_the_word_gives(tiny, mode):
    scorer = scorer_of(tiny(), mode)
    (found,) = occlude(scorer, [PAIR])
    whole = score(scorer, *PAIR)
    assert found.score == pytest.approx(whole, abs=1e-5)
    assert [one.word for one in found.of("query")] == words_of(PAIR.query)
    assert [one.word for one in found.of("passage")] == words_of(PAIR.passage)
    for one in found.words:
        texts = PAIR._asdict()
        texts[one.part] = without_word(texts[one.part], one.word)
        assert one.importance == pytest.approx(whole - score(scorer, texts["query"], texts["passage"]), abs=1e-5)


def test_pairs_explained_together_are_as_explained_alone(tiny):
    scorer = scorer_of(tiny())
    together = occlude(scorer, [PAIR, OTHER, PAIR])
    for pair, found in zip((PAIR, OTHER, PAIR), together, strict=True):
        (alone,) = occlude(scorer, [pair])
        assert [one.word for one in found.words] == [one.word for one in alone.words]
        expected = [one.importance for one in alone.words]
        assert [one.importance for one in found.words] == pytest.approx(expected, abs=1e-5)


def test_a_word_that_the_model_does_not_read_has_no_importance(tiny):
    scorer = scorer_of(tiny(), query_length=8, length=12)
    (found,) = occlude(scorer, [PairText("which river", "the nile lies in egypt " + "water " * 20)])
    assert {one.importance for one in found.of("passage")[-5:]} == {0.0}
    assert found.of("passage")[1].importance != 0.0


def test_one_text_alone_can_be_explained(tiny):
    (found,) = occlude(scorer_of(tiny()), [PAIR], parts=("passage",))
    assert {one.part for one in found.words} == {"passage"}


def test_texts_without_words_have_nothing_to_explain(tiny):
    (found,) = occlude(scorer_of(tiny()), [PairText("?", "...")])
    assert found.words == ()
    assert np.isnan(share_for_half(found))


def occlusion(*importances):
    word = Word("x", 0, 1)
    return Occlusion(PAIR, 0.0, tuple(WordImportance("query", word, value) for value in importances))


@pytest.mark.parametrize(
    ("importances", "share"),
    [
        ((5.0, 1.0, 1.0, 1.0), 1 / 4),
        ((-5.0, 1.0, 1.0, 1.0), 1 / 4),
        ((1.0, 1.0, 1.0, 1.0), 2 / 4),
        ((1.0,), 1.0),
        ((0.0, 0.0, 3.0), 1 / 3),
    ],
)
def test_the_share_for_half_counts_the_fewest_words_by_absolute_value(importances, share):
    assert share_for_half(occlusion(*importances)) == pytest.approx(share)


def test_no_word_with_any_importance_leaves_the_share_unknown():
    assert np.isnan(share_for_half(occlusion(0.0, 0.0)))
