"""What a backbone answers, against the same backbone asked about one pair at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModel

from ranker.errors import ModelError
from ranker.model.encoder import BACKBONES, FAMILY, has_segments, longest_input, lowest_layers, pool, summary_pooling
from ranker.model.inputs import MARKER, PASSAGE, QUERY, Input, TokenBatch, joint_needs, pad
from ranker.model.loading import create_model
from ranker.settings.model import MODES, Needs, RankerConfig

LAYERS, WIDTH = 3, 32
TOGETHER = sorted(set(MODES) - {"dual"})
ON_WORDS = ("knrm", "conv-knrm")
WORDS = st.lists(st.integers(5, 47), max_size=6)
PAIRS = [([7, 8, 9], [10, 11, 12, 13]), ([14], [15, 16]), ([17, 18], [19])]


def model_of(folder, mode="cross", **settings_):
    return create_model(RankerConfig(mode, **{"query_length": 16, "length": 40, **settings_}), str(folder), seed=5)


def batch_of(pairs, pad_id=0):
    """[CLS] question [SEP] passage [SEP], from the ids of words."""
    inputs = []
    for query, passage in pairs:
        ids = [2, *query, 3, *passage, 3]
        segments = [0] * (len(query) + 2) + [1] * (len(passage) + 1)
        parts = [MARKER, *[QUERY] * len(query), MARKER, *[PASSAGE] * len(passage), MARKER]
        inputs.append(Input(*(np.array(column, np.int32) for column in (ids, segments, parts))))
    return pad(inputs, pad_id)


def hidden_states(model, pair):
    """Shape: (L, H) of each layer above the embeddings."""
    alone = batch_of([pair])
    with torch.inference_mode():
        output = model.encoder.backbone(
            input_ids=alone.ids, token_type_ids=alone.segments, attention_mask=None, output_hidden_states=True
        )
    return [layer[0] for layer in output.hidden_states[1:]]


@pytest.fixture(scope="module")
def cedr(tiny):
    return model_of(tiny(), "cedr-knrm")


@settings(max_examples=20, deadline=None)
@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_the_views_of_a_batch_are_those_of_each_pair_alone(cedr, pairs):
    with torch.inference_mode():
        views = cedr.encoder.together(batch_of(pairs), cedr.config.needs)
    for row, (query, passage) in enumerate(pairs):
        assert views.query_mask[row].sum() == len(query)
        assert views.passage_mask[row].sum() == len(passage)
        for number, layer in enumerate(hidden_states(cedr, (query, passage))):
            first, last = layer[1 : 1 + len(query)], layer[2 + len(query) : -1]
            torch.testing.assert_close(views.query[row, number, : len(query)], first, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(views.passage[row, number, : len(passage)], last, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(views.cls[row, number], layer[0], rtol=1e-4, atol=1e-5)


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_mean_is_over_the_tokens_and_never_over_padding(lengths, seed):
    hidden = torch.randn(len(lengths), 5, 3, generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    hidden[~mask] = math.nan
    found = pool(hidden, mask, "mean").tolist()
    for row, length in enumerate(lengths):
        assert found[row] == pytest.approx(
            [sum(hidden[row, i, k].item() for i in range(length)) / length for k in range(3)], abs=1e-5
        )


def test_pooling_by_cls_takes_the_first_token():
    hidden = torch.arange(12.0).view(2, 3, 2)
    assert pool(hidden, torch.ones(2, 3, dtype=torch.bool), "cls").tolist() == [[0.0, 1.0], [6.0, 7.0]]


@pytest.mark.parametrize("mode", ON_WORDS)
def test_a_mode_on_words_computes_no_layer(tiny, mode):
    model = model_of(tiny(), mode)
    before = model.score(batch_of(PAIRS))
    for layer in lowest_layers(model.encoder.backbone, 1 + LAYERS)[1:]:
        for weight in layer.parameters():
            weight.data.fill_(math.nan)
    assert torch.equal(model.score(batch_of(PAIRS)), before)


@pytest.mark.parametrize("mode", TOGETHER)
def test_a_frozen_backbone_gets_no_gradient_and_its_head_does(tiny, mode):
    model = model_of(tiny(), mode, frozen=True).train()
    model.score(batch_of(PAIRS)).square().sum().backward()
    head = {id(weight) for weight in model.head_parameters()}
    assert head
    for name, weight in model.named_parameters():
        assert (weight.grad is not None) is (id(weight) in head), name


@pytest.mark.parametrize("mode", sorted(set(TOGETHER) - set(ON_WORDS)))
def test_fine_tuning_gives_every_layer_a_gradient(tiny, mode):
    model = model_of(tiny(), mode)
    model.score(batch_of(PAIRS)).square().sum().backward()
    for height, layer in enumerate(lowest_layers(model.encoder.backbone, 1 + LAYERS)):
        assert max(weight.grad.abs().max() for weight in layer.parameters() if weight.grad is not None) > 0, height


@pytest.mark.parametrize("mode", ON_WORDS)
def test_fine_tuning_a_mode_on_words_moves_the_words_alone(tiny, mode):
    model = model_of(tiny(), mode)
    model.score(batch_of(PAIRS)).square().sum().backward()
    moved = {name for name, weight in model.encoder.backbone.named_parameters() if weight.grad is not None}
    assert moved == {"embeddings.word_embeddings.weight"}


def test_a_frozen_backbone_has_no_dropout_while_its_head_trains(tiny):
    frozen, tuned = model_of(tiny(), frozen=True).train(), model_of(tiny()).train()
    assert frozen.training
    assert not any(module.training for module in frozen.encoder.modules())
    assert all(module.training for module in tuned.encoder.modules())
    assert not any(module.training for module in tuned.eval().encoder.modules())


@pytest.mark.parametrize(("model_type", "differs"), [("bert", True), ("roberta", False), ("deberta-v2", False)])
def test_segments_reach_the_backbones_that_have_them(tiny, model_type, differs):
    model, batch = model_of(tiny(model_type)), batch_of(PAIRS)
    turned = TokenBatch(batch.ids, 1 - batch.segments, batch.parts, batch.mask)
    with torch.inference_mode():
        assert torch.equal(model.score(batch), model.score(turned)) is not differs


@pytest.mark.parametrize("mode", ["cross", "cedr-knrm", "dual"])
def test_in_bfloat16_the_answers_are_still_float32(tiny, mode):
    model = model_of(tiny(), mode)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert model.vectors(batch_of(PAIRS)).dtype == torch.float32
        views = model.encoder.together(batch_of(PAIRS), model.config.needs)
    assert {side.dtype for side in (views.query, views.passage, views.cls)} == {torch.float32}


def test_the_shares_of_attention_are_those_of_the_eager_kernel_over_all_heads(tiny):
    model, batch = model_of(tiny()), batch_of(PAIRS)
    eager = AutoModel.from_pretrained(tiny(), attn_implementation="eager").eval()
    with torch.inference_mode():
        found = model.encoder.attention(batch)
        expected = eager(
            input_ids=batch.ids, token_type_ids=batch.segments, attention_mask=batch.mask.long(), output_attentions=True
        ).attentions
    assert found.shape == (LAYERS, len(PAIRS), batch.ids.shape[1], batch.ids.shape[1])
    for layer, shares in enumerate(expected):
        mean = sum(shares[:, head] for head in range(shares.shape[1])) / shares.shape[1]
        torch.testing.assert_close(found[layer], mean, rtol=1e-4, atol=1e-6)
    assert (found.masked_select(~batch.mask[None, :, None, :].expand_as(found)) == 0).all()


def test_asking_for_attention_leaves_the_fast_kernel_in_place_even_when_it_fails(tiny):
    model, batch = model_of(tiny()), batch_of(PAIRS)
    before = model.encoder.backbone.config._attn_implementation
    scores = model.score(batch)
    model.encoder.attention(batch)
    with pytest.raises(IndexError):
        model.encoder.attention(TokenBatch(batch.ids + 1_000, batch.segments, batch.parts, batch.mask))
    assert model.encoder.backbone.config._attn_implementation == before != "eager"
    assert torch.equal(model.score(batch), scores)


@pytest.mark.parametrize(
    ("several", "together"),
    [
        ([Needs("last")], Needs("last")),
        ([Needs("last"), Needs("all")], Needs("all")),
        ([Needs("all"), Needs("last", tokens=True)], Needs("all", tokens=True)),
        ([Needs("last"), Needs("last", tokens=True)], Needs("last", tokens=True)),
        ([Needs("words", tokens=True)], Needs("words", tokens=True)),
    ],
)
def test_what_heads_read_together_is_the_least_that_holds_each(several, together):
    assert joint_needs(iter(several)) == joint_needs(reversed(several)) == together


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_a_backbone_reads_as_many_tokens_as_it_has_positions_for(tiny, model_type):
    folder = tiny(model_type)
    most = longest_input(AutoConfig.from_pretrained(folder), "x")
    model = create_model(RankerConfig("cross", query_length=16, length=most), str(folder), seed=1)
    with torch.inference_mode():
        score = model.score(batch_of([([7] * 10, [8] * (most - 13))], pad_id=model.tokenizer.pad_token_id))
    assert most == 64
    assert torch.isfinite(score).all()


def test_a_backbone_has_segments_where_it_tells_more_than_one_apart(tiny):
    having = {name for name in BACKBONES if has_segments(AutoConfig.from_pretrained(tiny(name)))}
    assert having == {"bert", "electra"}


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_the_embeddings_are_the_lowest_layer_and_no_weight_is_in_two(tiny, model_type):
    backbone = model_of(tiny(model_type)).encoder.backbone
    layers = lowest_layers(backbone, 1 + LAYERS)
    weights = [id(weight) for layer in layers for weight in layer.parameters()]
    assert len(weights) == len(set(weights))
    assert id(backbone.get_input_embeddings().weight) in {id(weight) for weight in layers[0].parameters()}
    assert [len(lowest_layers(backbone, number)) for number in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ModelError):
        lowest_layers(backbone, 2 + LAYERS)


def test_a_pair_is_summed_up_by_its_cls_but_where_modernbert_says_otherwise(tiny):
    mean = AutoConfig.from_pretrained(tiny("modernbert", classifier_pooling="mean"))
    assert summary_pooling(mean) == "mean"
    assert {summary_pooling(AutoConfig.from_pretrained(tiny(name))) for name in BACKBONES} == {"cls"}


@pytest.mark.parametrize("family", FAMILY)
@pytest.mark.parametrize("mode", ["cross", "mult-int", "dual"])
def test_of_the_last_layer_only_the_first_token_is_computed_with_the_same_answers_and_gradients(tiny, family, mode):
    """Against the backbone as it comes, which computes the last layer for every token."""
    model, batch = model_of(tiny(family), mode).eval(), batch_of(PAIRS)
    every = model.encoder.backbone.config.num_hidden_layers
    whole = model.encoder.backbone(**model.encoder._inputs(batch), output_hidden_states=True).hidden_states[1:]
    if mode == "dual":
        found, expected = model.encoder.apart(batch), whole[-1][:, 0]
    else:
        found = model.encoder.together(batch, model.config.needs).cls
        expected = torch.stack([layer[:, 0] for layer in (whole if mode == "mult-int" else whole[-1:])], dim=1)
    assert len(whole) == every
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    gradients = [
        torch.autograd.grad(cls.square().sum(), _weights(model), allow_unused=True) for cls in (found, expected)
    ]
    assert sum(one is not None for one in gradients[0]) > 20
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def _weights(model):
    return list(model.encoder.backbone.parameters())


def test_the_last_layer_is_whole_again_afterwards_and_where_words_are_read(tiny):
    model, batch = model_of(tiny(), "token-pool").eval(), batch_of(PAIRS)
    with torch.inference_mode():
        assert model.encoder.together(batch, model.config.needs).passage.abs().sum() > 0
        model.encoder.together(batch, Needs("last"))
        last = model.encoder.backbone(**model.encoder._inputs(batch)).last_hidden_state
    assert last.shape == (*batch.ids.shape, WIDTH)
