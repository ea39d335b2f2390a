"""What a tokenizer says of itself is done: the side that it cuts, the segments that it gives, the side that it pads."""

import json
import shutil

import numpy as np
import pytest
from transformers import AutoTokenizer

from ranker.model.inputs import PASSAGE, QUERY
from ranker.model.loading import create_model, load_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import build_token_file, encode_passages
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

LONG = "paris london rome cairo " * 6 + "the nile lies in egypt by the red stone"
QUERY_TEXT = "which old river lies in egypt"


@pytest.fixture
def told(tiny, tmp_path):
    """A model whose tokenizer says these things."""

    def make(labels=0, **settings):
        folder = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        shutil.copytree(tiny("bert", labels) if labels else tiny(), folder)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
        return folder

    return make


def scorer_of(folder, mode, **settings):
    config = RankerConfig(mode, **{"query_length": 12, "length": 30, **settings})
    return Scorer(create_model(config, str(folder), seed=3), Compute("float32", "cpu"))


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_text_read_alone_is_cut_as_the_tokenizer_cuts_it(told, side):
    scorer = scorer_of(told(truncation_side=side), "dual", query_length=20)
    tokenizer = scorer.model.tokenizer
    for texts, most in ((scorer.passages([LONG]), 30), (scorer.queries([LONG]), 20)):
        expected = tokenizer(LONG, truncation=True, max_length=most)["input_ids"]
        assert scorer.encoding.template.single(texts[0]).ids.tolist() == expected
        assert texts.lost.tolist() == [len(LONG.split()) + 2 - most]


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_a_pair_the_passage_is_cut_on_that_side_in_batches_and_alone(told, side):
    scorer = scorer_of(told(labels=1, truncation_side=side), "cross")
    expected = scorer.model.tokenizer(QUERY_TEXT, LONG, truncation="only_second", max_length=30)["input_ids"]
    pairs = Pairs(scorer.queries([QUERY_TEXT]), scorer.passages([LONG]), np.array([[0, 0]]))
    (packed,) = scorer.encoding.pair_inputs(pairs, [np.array([0])])
    assert packed.ids.tolist() == scorer.encoding.pair(pairs.queries[0], pairs.passages[0]).ids.tolist() == expected


def test_a_query_that_is_too_long_loses_its_beginning_there_too(told):
    scorer = scorer_of(told(labels=1, truncation_side="left"), "cross")
    pairs = Pairs(scorer.queries([LONG]), scorer.passages([LONG]), np.array([[0, 0]]))
    (packed,) = scorer.encoding.pair_inputs(pairs, [np.array([0])])
    ids = scorer.model.tokenizer(LONG, add_special_tokens=False)["input_ids"]
    assert packed.ids[packed.parts == QUERY].tolist() == ids[-12:]
    assert packed.ids[packed.parts == PASSAGE].tolist() == ids[-15:]


def test_a_token_file_gives_the_end_of_a_passage_too(told, collection_of):
    scorer = scorer_of(told(truncation_side="left"), "dual")
    collection = collection_of({"a": LONG, "b": "rome"})
    now = encode_passages(scorer.encoding, collection, ["a", "b"])
    build_token_file(scorer.encoding, collection, lambda _: None)
    kept = encode_passages(scorer.encoding, collection, ["a", "b"])
    assert kept.ids.tolist() == now.ids.tolist()
    assert kept.lost.tolist() == now.lost.tolist()


@pytest.mark.parametrize("gives", [True, False])
def test_segments_are_those_that_the_tokenizer_gives_or_none(told, gives):
    names = ["input_ids", "token_type_ids", "attention_mask"] if gives else ["input_ids", "attention_mask"]
    scorer = scorer_of(told(labels=1, model_input_names=names), "cross")
    made = scorer.encoding.pair(scorer.queries(["which river"])[0], scorer.passages(["the nile"])[0])
    expected = AutoTokenizer.from_pretrained(scorer.model.source)("which river", "the nile")
    assert made.segments.tolist() == expected.get("token_type_ids", [0] * len(made.ids))
    assert made.ids.tolist() == expected["input_ids"]


def test_the_side_that_is_padded_changes_no_score(told):
    scores = []
    for side in ("left", "right"):
        scorer = scorer_of(told(labels=1, padding_side=side), "cross")
        rows = np.array([(0, 0), (0, 1)])
        pairs = Pairs(scorer.queries([QUERY_TEXT]), scorer.passages(["rome", LONG]), rows)
        scores.append(scorer.scores(pairs, lambda _: None).tolist())
    assert scores[0] == scores[1]


@pytest.mark.parametrize(("said", "read"), [(40, 40), (10**30, 64), (100, 64)])
def test_a_model_that_says_no_length_reads_what_its_tokenizer_says(told, said, read):
    assert load_model(str(told(labels=1, model_max_length=said))).config.length == read
    assert load_model(str(told(model_max_length=said))).config.query_length == read


def test_answers_that_are_cut_away_with_a_beginning_are_counted(told):
    from ranker.data.records import Query

    scorer = scorer_of(told(labels=1, truncation_side="left"), "cross")
    text = "england " + LONG
    pairs = Pairs(scorer.queries([QUERY_TEXT]), scorer.passages([text]), np.array([[0, 0]]))
    found = [
        scorer.encoding.answers_lost(pairs, lambda _, answer=answer: (Query("q", QUERY_TEXT, (answer,)), text))
        for answer in ("england", "egypt")
    ]
    assert found == [1, 0]
