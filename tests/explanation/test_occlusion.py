"""The importance of a word is the score with it less the score without it."""

from contextlib import contextmanager

import numpy as np
import pytest

from ranker.errors import ModelError
from ranker.explanation.occlusion import Occlusion, PairText, WordImportance, occlude, share_for_half
from ranker.explanation.words import Word, without_word, words_of
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig

PAIR = PairText("what is the capital of france", "paris is the capital of france, by the seine.")
OTHER = PairText("which river", "the nile lies in egypt")


def scorer_of(folder, mode="cross", **settings):
    config = RankerConfig(mode, **{"query_length": 12, "length": 40, **settings})
    return Scorer(create_model(config, str(folder), seed=3), Compute("float32", "cpu"))


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


class Bar:
    """What a progress bar is told."""

    def __init__(self):
        self.totals, self.steps = [], []

    @contextmanager
    def watch(self, total):
        self.totals.append(total)
        yield self.steps.append


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stopwords", ["keep", "drop"])
def test_a_long_passage_takes_no_more_pairs_than_the_model_reads_words(tiny, mode, stopwords):
    scorer, bar = scorer_of(tiny(), mode, query_length=8, length=24, stopwords=stopwords), Bar()
    pair = PairText("which river", "the nile lies in egypt and the seine in france " * 100)
    (found,) = occlude(scorer, [pair], watch=bar.watch)
    assert len(found.of("passage")) == 1000
    assert bar.totals[0] <= 1 + 2 + 24 * (2 if stopwords == "drop" else 1)
    assert sum(bar.steps) == bar.totals[0]
    read = [place for place, one in enumerate(found.words) if one.importance]
    assert read
    assert max(read) < 60
    for one in found.words[:60]:
        texts = pair._asdict()
        texts[one.part] = without_word(texts[one.part], one.word)
        expected = found.score - score(scorer, texts["query"], texts["passage"])
        assert one.importance == pytest.approx(expected, abs=1e-5)


def test_a_long_question_is_occluded_as_far_as_it_is_read(tiny):
    scorer, bar = scorer_of(tiny(), query_length=8, length=24), Bar()
    (found,) = occlude(scorer, [PairText("which river is in egypt " * 50, "the nile " * 20)], watch=bar.watch)
    assert bar.totals[0] <= 1 + 8 + 13
    assert all(one.importance for one in found.of("query")[:5])
    assert {one.importance for one in found.of("query")[8:]} == {0.0}


def test_a_model_that_reads_apart_tells_how_far_it_is_before_the_end(tiny):
    bar = Bar()
    occlude(scorer_of(tiny(), "dual", length=60), [PairText("which river", "nile egypt seine " * 15)], watch=bar.watch)
    assert len(bar.steps) > 1
    assert sum(bar.steps) == bar.totals[0]


def test_a_stopword_that_the_model_leaves_out_anyway_has_no_importance(tiny):
    (found,) = occlude(scorer_of(tiny(), stopwords="drop"), [PAIR])
    for one in found.words:
        assert (one.importance == 0.0) == (one.word.kind == "stopword")


def test_a_model_that_draws_its_stopwords_by_the_text_is_refused(tiny):
    """Left out are others of them, once any word is: the change would not be that word's."""
    with pytest.raises(
        ModelError, match=r": draws by the whole text .* expected a model whose stopwords are 'keep' or"
    ):
        occlude(scorer_of(tiny(), stopwords="random"), [PAIR])


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
