"""Attention by kinds of tokens, against the backbone's own weights summed one by one."""

import pytest
import torch

from ranker.explanation.attention import attention_mass
from ranker.explanation.occlusion import PairText
from ranker.explanation.words import KINDS
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig

PAIR = PairText("what is the capital", "paris lies by the seine.")


def scorer_of(folder, mode="cross", **settings):
    config = RankerConfig(mode, **{"query_length": 12, "length": 40, **settings})
    return Scorer(create_model(config, str(folder), seed=3), Compute("float32", "cpu"))


@pytest.mark.parametrize(
    "model_type", ["bert", "electra", "roberta", "distilbert", "mpnet", "modernbert", "deberta-v2"]
)
def test_every_layer_has_shares_that_add_up_to_one(tiny, model_type):
    found = attention_mass(scorer_of(tiny(model_type)), PAIR)
    assert [one.layer for one in found] == [1, 2, 3]
    for one in found:
        assert set(one.shares) == set(KINDS)
        assert sum(one.shares.values()) == pytest.approx(1.0, abs=1e-5)
        assert all(share >= 0 for share in one.shares.values())


def test_shares_are_those_of_the_stock_model_summed_by_hand(tiny):
    scorer = scorer_of(tiny())
    tokenizer, backbone = scorer.model.tokenizer, scorer.model.encoder.backbone
    backbone.eval().set_attn_implementation("eager")
    encoded = tokenizer(*PAIR, return_tensors="pt", return_token_type_ids=True)
    with torch.inference_mode():
        layers = backbone(**encoded, output_attentions=True).attentions
    words = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    stop = {"what", "is", "the", "by"}
    kinds = ["marker" if word in {"[CLS]", "[SEP]"} else "stopword" if word in stop else "content" for word in words]
    # the tiny vocabulary has no full stop, so that it reads as an unknown word; the place in the text says what it is
    kinds[-2] = "punctuation"
    for layer, found in zip(layers, attention_mass(scorer, PAIR), strict=True):
        received = layer[0].mean(dim=0).mean(dim=0)
        for kind in KINDS:
            expected = sum(float(received[place]) for place, known in enumerate(kinds) if known == kind)
            assert found.shares[kind] == pytest.approx(expected, abs=1e-5)


def test_read_apart_both_texts_count_by_their_tokens(tiny):
    scorer = scorer_of(tiny(), "dual")
    backbone, tokenizer = scorer.model.encoder.backbone, scorer.model.tokenizer
    found = attention_mass(scorer, PAIR)
    backbone.set_attn_implementation("eager")
    markers = tokens = 0.0
    for text in PAIR:
        encoded = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            last = backbone(**encoded, output_attentions=True).attentions[-1]
        length = encoded["input_ids"].shape[1]
        markers += float(last[0].mean(dim=0)[:, [0, length - 1]].sum())
        tokens += length
    assert found[-1].shares["marker"] == pytest.approx(markers / tokens, abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_model_scores_as_before_when_it_has_been_explained(tiny, mode):
    scorer = scorer_of(tiny(), mode)
    before = scorer.model.encoder.backbone.config._attn_implementation
    attention_mass(scorer, PAIR)
    assert scorer.model.encoder.backbone.config._attn_implementation == before


@pytest.mark.parametrize("mode", ["knrm", "conv-knrm"])
def test_a_mode_that_reads_word_embeddings_alone_attends_to_nothing(tiny, mode):
    assert attention_mass(scorer_of(tiny(), mode), PAIR) == []


def test_without_markers_no_attention_falls_on_them(tiny):
    for one in attention_mass(scorer_of(tiny(), markers=False), PAIR):
        assert one.shares["marker"] == 0.0
        assert sum(one.shares.values()) == pytest.approx(1.0, abs=1e-5)


def test_a_passage_that_is_cut_is_explained_as_far_as_it_is_read(tiny):
    scorer = scorer_of(tiny(), query_length=8, length=12)
    for one in attention_mass(scorer, PairText("which river", "the nile, the nile, the nile " * 9)):
        assert sum(one.shares.values()) == pytest.approx(1.0, abs=1e-5)


def test_a_model_that_reads_no_stopwords_pays_them_no_attention(tiny):
    for one in attention_mass(scorer_of(tiny(), stopwords="drop"), PAIR):
        assert one.shares["stopword"] == 0.0
