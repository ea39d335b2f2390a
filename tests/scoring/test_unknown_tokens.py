"""What a tokenizer does not know of texts is counted, with words that are an example."""

import numpy as np
import pytest

from ranker.model.loading import load_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import TEXTS_AT_ONCE
from ranker.settings.compute import Compute


@pytest.fixture
def scorer(tiny):
    return Scorer(load_model(str(tiny())), Compute("float32", "cpu"))


def test_unknown_tokens_are_counted_by_side_with_words_of_the_first_text_that_has_some(scorer):
    scorer.queries(["which river", "which 河"])
    scorer.passages(["the nile", "中 国 中 人 民 paris", "more unheard words"])
    queries, passages = scorer.encoding.unknown["queries"], scorer.encoding.unknown["passages"]
    assert (queries.tokens, queries.unknown, queries.words) == (4, 1, ["河"])
    assert (passages.unknown, passages.words) == (5 + 3, ["中", "国", "人"])
    assert queries.share == 0.25


def test_what_is_known_is_no_example(scorer):
    scorer.passages(["the nile lies in egypt"])
    assert (scorer.encoding.unknown["passages"].share, scorer.encoding.unknown["passages"].words) == (0.0, [])
    assert scorer.encoding.unknown["queries"].share == 0.0


def test_texts_that_are_tokenised_in_several_calls_are_counted_once_each(scorer):
    many = ["the nile"] * TEXTS_AT_ONCE + ["中"]
    found = scorer.passages(many)
    assert len(found) == len(many)
    unknown = scorer.encoding.unknown["passages"]
    assert (unknown.tokens, unknown.words) == (2 * TEXTS_AT_ONCE + 1, ["中"])
    assert found[TEXTS_AT_ONCE].tolist() == [scorer.model.tokenizer.unk_token_id]


def test_a_tokenizer_that_knows_every_text_counts_nothing(scorer):
    scorer.encoding.unknown["queries"]._unknown_id = None  # as byte-level ones have none
    scorer.queries(["中"])
    assert scorer.encoding.unknown["queries"].share == 0.0


def test_passages_of_a_token_file_are_counted_as_those_that_are_tokenised_now(scorer, tiny, collection_of):
    from ranker.scoring.token_file import build_token_file, encode_passages

    collection = collection_of({"a": "the nile", "b": "中 国", "c": "rome"})
    build_token_file(scorer.encoding, collection, lambda _: None)
    texts = encode_passages(scorer.encoding, collection, ["c", "b"])
    assert np.array_equal(texts.lengths, [1, 2])
    assert (scorer.encoding.unknown["passages"].unknown, scorer.encoding.unknown["passages"].words) == (2, ["中", "国"])
