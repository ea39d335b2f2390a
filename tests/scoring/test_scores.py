"""A score, slowly: one pair at a time, from its two texts, by transformers alone and the head's equation."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.errors import ModelError, SetupError
from ranker.model.device import choose_device, choose_precision, running_in
from ranker.model.inputs import Views
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer, scores_of_heads
from ranker.scoring.tokens import Pairs, Truncation
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig

TOGETHER = sorted(set(MODES) - {"dual"})
QUERIES = ["what is the capital of france", "river", "how old is the large red stone in the city by the water"]
PASSAGES = [
    "paris is the capital of france",
    "the nile lies in egypt and the thames in england and the tiber in italy",
    "rome",
    "stone water river city " * 20,
    "paris is the capital of france",
]
EVERY_PAIR = [(query, passage) for query in range(len(QUERIES)) for passage in range(len(PASSAGES))]


def model_of(folder, mode="cross", **settings_):
    return create_model(RankerConfig(mode, **{"query_length": 8, "length": 24, **settings_}), str(folder), seed=3)


def scorer_of(model, tokens=0, precision="float32"):
    return Scorer(model, Compute(precision, "cpu", tokens))


def pairs_of(scorer, rows=EVERY_PAIR, queries=QUERIES, passages=PASSAGES):
    return Pairs(scorer.queries(queries), scorer.passages(passages), np.array(rows, np.int64).reshape(-1, 2))


def scores(scorer, rows=EVERY_PAIR, queries=QUERIES, passages=PASSAGES):
    return scorer.scores(pairs_of(scorer, rows, queries, passages), lambda _: None)


@pytest.fixture(scope="module")
def model(tiny):
    """The one model of a mode."""
    return cache(lambda mode: model_of(tiny(), mode))


def slow_score(model, query, passage):
    """Words are tokens each, so that the query is cut by words; transformers cuts the passage."""
    left = model.config.length - 3 - len(passage.split())
    cut = " ".join(query.split()[: max(model.config.query_length, left)])
    tokens = model.tokenizer(
        cut, passage, truncation="only_second", max_length=model.config.length, return_tensors="pt",
        return_token_type_ids=True,
    )  # fmt: skip
    owners = tokens.sequence_ids(0)
    backbone, needs = model.encoder.backbone, model.config.needs
    inputs = {"input_ids": tokens["input_ids"]}
    if getattr(backbone.config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = tokens["token_type_ids"]
    with torch.inference_mode():
        hidden = backbone(**inputs, output_hidden_states=True).hidden_states
        words = backbone.get_input_embeddings()(tokens["input_ids"])
        layers = torch.stack({"words": [words], "last": hidden[-1:], "all": hidden[1:]}[needs.layers], dim=1)
        sides = [layers[:, :, [place for place, owner in enumerate(owners) if owner == side]] for side in (0, 1)]
        masks = [torch.ones(1, side.shape[2], dtype=torch.bool) for side in sides]
        return model.head(Views(*sides, *masks, layers[:, :, 0])).item()


@pytest.mark.parametrize("mode", TOGETHER)
def test_every_mode_scores_as_the_slow_way_does(model, mode):
    expected = [slow_score(model(mode), QUERIES[query], PASSAGES[passage]) for query, passage in EVERY_PAIR]
    assert scores(scorer_of(model(mode))) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("model_type", "mode"), [("roberta", "cedr-knrm"), ("electra", "term-trans"), ("mpnet", "mult-int")]
)
def test_other_backbones_score_as_the_slow_way_does(tiny, model_type, mode):
    model = model_of(tiny(model_type), mode)
    expected = [slow_score(model, QUERIES[query], PASSAGES[passage]) for query, passage in EVERY_PAIR]
    assert scores(scorer_of(model)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mode", ["cross", "dual", "conv-knrm"])
@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.sampled_from(EVERY_PAIR), max_size=20), tokens=st.sampled_from([1, 30, 64, 2_048]))
def test_a_score_depends_on_its_pair_alone(model, mode, rows, tokens):
    """Neither on its copies, nor on the other pairs, their order or their number."""
    alone = dict(zip(EVERY_PAIR, scores(scorer_of(model(mode), 1)).tolist(), strict=True))
    assert scores(scorer_of(model(mode), tokens), rows) == pytest.approx([alone[row] for row in rows], abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_copies_of_a_passage_score_alike(model, mode):
    found = scores(scorer_of(model(mode))).reshape(len(QUERIES), -1)
    assert found[:, 4] == pytest.approx(found[:, 0], abs=1e-6)
    assert abs(found[:, 1] - found[:, 0]).max() > 1e-4


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_scoring_again_gives_the_same_bits(model, mode):
    assert scores(scorer_of(model(mode))).tobytes() == scores(scorer_of(model(mode))).tobytes()


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_scoring_is_without_dropout_whatever_the_model_did_before(model, mode):
    still = scores(scorer_of(model(mode)))
    model(mode).train()
    assert scores(scorer_of(model(mode))).tobytes() == still.tobytes()
    assert not model(mode).training


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_no_pairs_have_no_scores(model, mode):
    assert scores(scorer_of(model(mode)), []).shape == (0,)
    assert scores(scorer_of(model(mode)), [], [], []).shape == (0,)


@pytest.mark.parametrize("mode", ["cross", "dual"])
@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 15), min_size=1, max_size=3),
    others=st.lists(st.integers(0, 40), min_size=1, max_size=4),
)
def test_what_is_lost_is_counted_as_by_hand(model, mode, lengths, others):
    scorer = scorer_of(model(mode))
    rows = [(query, passage) for query in range(len(lengths)) for passage in range(len(others))]
    found = scorer.encoding.truncation(pairs_of(scorer, rows, ["x " * n for n in lengths], ["y " * n for n in others]))
    if mode == "dual":
        lost = [max(others[passage] - 22, 0) for _, passage in rows]
        cut = {query for query, _ in rows if lengths[query] > 8 - 2}
    else:
        kept = [min(lengths[query], max(8, 21 - others[passage])) for query, passage in rows]
        lost = [max(others[passage] - (21 - most), 0) for (_, passage), most in zip(rows, kept, strict=True)]
        cut = {query for (query, _), most in zip(rows, kept, strict=True) if lengths[query] > most}
    assert found == Truncation(len(cut), sum(n > 0 for n in lost), sum(lost))


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.sampled_from(EVERY_PAIR), max_size=20), tokens=st.integers(1, 200))
def test_batches_hold_every_pair_once_as_it_is_and_keep_to_the_tokens(model, rows, tokens):
    scorer = scorer_of(model("cross"), tokens)
    pairs, seen = pairs_of(scorer, rows), []
    for numbers, batch in scorer.encoding.pair_batches(pairs, tokens):
        assert batch.ids.numel() <= tokens or len(numbers) == 1
        for row, number in enumerate(numbers):
            query, passage = rows[number]
            expected = scorer.encoding.pair(pairs.queries[query], pairs.passages[passage])
            assert batch.ids[row, batch.mask[row]].tolist() == expected.ids.tolist()
            seen.append(number)
    assert sorted(seen) == list(range(len(rows)))


def test_no_pair_is_longer_than_the_model_reads(model):
    scorer = scorer_of(model("cross"))
    longest = max(batch.ids.shape[1] for _, batch in scorer.encoding.pair_batches(pairs_of(scorer), 2_048))
    assert longest == model("cross").config.length == 24


@settings(max_examples=15, deadline=None)
@given(rows=st.lists(st.sampled_from(range(len(PASSAGES))), max_size=8), tokens=st.sampled_from([1, 40, 2_048]))
def test_the_vector_of_a_text_is_its_own(model, rows, tokens):
    alone = scorer_of(model("dual"), 1)
    expected = alone.vectors(alone.passages(PASSAGES), lambda _: None)
    scorer = scorer_of(model("dual"), tokens)
    found = scorer.vectors(scorer.passages([PASSAGES[row] for row in rows]), lambda _: None)
    assert found == pytest.approx(expected[rows], abs=1e-5)
    assert found.dtype == np.float32


def test_a_dual_score_is_the_inner_product_of_the_vectors_that_are_indexed(model):
    scorer = scorer_of(model("dual"))
    queries, passages = (
        scorer.vectors(texts, lambda _: None) for texts in (scorer.queries(QUERIES), scorer.passages(PASSAGES))
    )
    assert scores(scorer) == pytest.approx((queries @ passages.T).flatten(), abs=1e-5)


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_progress_says_every_pair_once(model, mode):
    counts = []
    scorer = scorer_of(model(mode), 48)
    scorer.scores(pairs_of(scorer), counts.append)
    assert sum(counts) == len(EVERY_PAIR)
    texts, counts = scorer.passages(PASSAGES), []
    if mode == "dual":
        scorer.vectors(texts, counts.append)
        assert sum(counts) == len(PASSAGES)


def test_without_stopwords_a_pair_scores_as_its_other_words_do(tiny):
    keep, drop = (model_of(tiny(), stopwords=what) for what in ("keep", "drop"))
    stripped = {"what is the capital of france": "capital france", "the nile lies in egypt": "nile lies egypt"}
    query, passage = stripped
    found = scores(scorer_of(drop), [(0, 0)], [query], [passage])
    assert (
        found.tobytes()
        == scores(scorer_of(keep), [(0, 0)], list(stripped.values())[:1], list(stripped.values())[1:]).tobytes()
    )
    assert found.tolist() != scores(scorer_of(keep), [(0, 0)], [query], [passage]).tolist()


def test_without_markers_no_input_has_any(tiny):
    scorer = scorer_of(model_of(tiny(), markers=False))
    markers = {scorer.model.tokenizer.cls_token_id, scorer.model.tokenizer.sep_token_id}
    for _, batch in scorer.encoding.pair_batches(pairs_of(scorer), 2_048):
        assert not markers & set(batch.ids[batch.mask].tolist())
        assert batch.ids.shape[1] <= 24
    assert np.isfinite(scores(scorer)).all()


def test_without_markers_a_pair_has_room_for_three_more_words(tiny):
    with_markers, without = (scorer_of(model_of(tiny(), markers=markers)) for markers in (True, False))
    one, other = (scorer.encoding.truncation(pairs_of(scorer, [(0, 3)])) for scorer in (with_markers, without))
    assert one.tokens == other.tokens + 3


@pytest.mark.parametrize("modes", [["cross"], ["layer-mean", "cross"], ["cedr-knrm", "mult-int", "token-pool"]])
def test_a_panel_of_models_scores_as_each_alone(tiny, modes):
    scorers = [scorer_of(model_of(tiny(), mode, frozen=True), 64) for mode in modes]
    found = scores_of_heads(scorers, pairs_of(scorers[0]), lambda _: None)
    assert found.shape == (len(modes), len(EVERY_PAIR))
    for row, scorer in zip(found, scorers, strict=True):
        assert row == pytest.approx(scores(scorer), abs=1e-5)


def test_a_panel_takes_no_model_that_reads_apart(tiny):
    scorer = scorer_of(model_of(tiny(), "dual", frozen=True))
    with pytest.raises(ModelError) as error:
        scores_of_heads([scorer], pairs_of(scorer), lambda _: None)
    assert str(error.value) == "mode 'dual' cannot share a backbone, expected frozen modes that read together."


def test_a_precision_that_is_named_is_taken_and_the_cpu_is_where_it_is_asked_for():
    cpu = choose_device("cpu")
    assert cpu == torch.device("cpu")
    assert choose_precision("float32", cpu) == "float32"


@pytest.mark.parametrize("precision", [pytest.param(one, marks=pytest.mark.computes(one)) for one in ("bf16", "int8")])
def test_a_coarser_precision_that_the_machine_computes_is_taken_where_it_is_named(precision):
    assert choose_precision(precision, torch.device("cpu")) == precision


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bf16", torch.bfloat16)])
def test_matrices_multiply_in_the_precision_and_outside_it_as_ever(precision, dtype):
    one = torch.ones(2, 2)
    with running_in(precision, torch.device("cpu")):
        assert (one @ one).dtype == dtype
    assert (one @ one).dtype == torch.float32


@pytest.mark.computes("int8")
def test_int8_moves_a_score_little(model):
    exact, coarse = (scorer_of(model("cross"), precision=name) for name in ("float32", "int8"))
    truth, found = (scorer.scores(pairs_of(scorer), lambda _: None) for scorer in (exact, coarse))
    assert 0 < np.abs(found - truth).max() < 0.25 * truth.std() + 0.05


def test_a_precision_is_refused_where_it_is_not_computed_in():
    with pytest.raises(SetupError, match=r"^--precision fp16: is for cuda devices alone, but this one is cpu.$"):
        choose_precision("fp16", torch.device("cpu"))
    with pytest.raises(SetupError, match=r"^--precision int8: is for cpu devices alone, but this one is cuda.$"):
        choose_precision("int8", torch.device("cuda"))


@pytest.mark.computes("int8")
def test_int8_is_refused_where_nothing_is_packed(model):
    with pytest.raises(ModelError, match="--precision int8: is for BERT's family and heads that read"):
        scorer_of(model("term-trans"), precision="int8")


@pytest.mark.computes("int8")
@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "gelu_pytorch_tanh", "silu", "tanh", "relu"])
def test_int8_knows_every_activation(tiny, activation):
    model = model_of(tiny("bert", hidden_act=activation))
    plain, quantized = scores(scorer_of(model)), scores(scorer_of(model, precision="int8"))
    assert np.abs(plain - quantized).max() < 0.25 * plain.std() + 0.02


@pytest.mark.computes("int8")
def test_int8_scores_a_pair_alike_whatever_stands_beside_it(tiny):
    scorer = scorer_of(model_of(tiny()), precision="int8")
    alone = [float(scores(scorer, [row])[0]) for row in EVERY_PAIR]
    assert scores(scorer) == pytest.approx(alone, abs=2e-2)


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_texts_without_any_token_are_scored(tiny, mode):
    scorer = scorer_of(model_of(tiny(), mode, markers=False))
    found = scores(scorer, [(0, 0), (1, 1), (0, 1)], ["paris", ""], ["the nile", ""])
    assert found.shape == (3,)


@pytest.mark.computes("int8")
def test_int8_is_refused_before_anything_is_scored(tiny):
    with pytest.raises(ModelError, match="--precision int8: is for BERT's family"):
        scorer_of(model_of(tiny("distilbert")), precision="int8")
