"""What follows from the heads' equations: symmetries, limits, and how one mode becomes another."""

import math
from itertools import pairwise

import pytest
import torch

from ranker.model.heads import Kernels, linear
from ranker.model.inputs import Views
from ranker.model.loading import create_model
from ranker.settings.model import MODES, RankerConfig

TOGETHER = sorted(set(MODES) - {"dual"})
LAYERS, WIDTH = 3, 32
QUERY, PASSAGE = 4, 6


def model_of(folder, mode, **settings):
    model = create_model(RankerConfig(mode, **{"query_length": 16, "length": 40, **settings}), str(folder), seed=5)
    for parameter in model.head_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)


def views_of(query, passage, cls):
    """Unpadded views of pairs."""
    masks = (torch.ones(side.shape[0], side.shape[2], dtype=torch.bool) for side in (query, passage))
    return Views(query, passage, *masks, cls)


@pytest.fixture
def views():
    generator = torch.Generator().manual_seed(3)
    shapes = ((5, LAYERS, QUERY, WIDTH), (5, LAYERS, PASSAGE, WIDTH), (5, LAYERS, WIDTH))
    return views_of(*(torch.randn(shape, generator=generator) for shape in shapes))


def same(one, other):
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_dual_is_the_similarity_of_two_vectors_number_by_number(tiny, similarity):
    model = model_of(tiny(), "dual", similarity=similarity)
    queries, passages = torch.randn(4, WIDTH), torch.randn(4, WIDTH)
    for found, query, passage in zip(model.similarities(queries, passages), queries, passages, strict=True):
        dot = sum(a * b for a, b in zip(query.tolist(), passage.tolist(), strict=True))
        lengths = [math.sqrt(sum(a * a for a in side.tolist())) for side in (query, passage)]
        assert found.item() == pytest.approx(dot / math.prod(lengths) if similarity == "cosine" else dot, abs=1e-4)


def affine(layer, vector):
    rows = zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
    return [sum(w * x for w, x in zip(row, vector, strict=True)) + bias for row, bias in rows]


@pytest.mark.parametrize(
    ("model_type", "inner", "bend"),
    [
        ("bert", lambda stock: stock.bert.pooler.dense, math.tanh),
        ("roberta", lambda stock: stock.classifier.dense, math.tanh),
        ("distilbert", lambda stock: stock.pre_classifier, lambda x: max(x, 0.0)),
    ],
)
def test_cross_is_the_backbones_own_two_layers_number_by_number(tiny, views, model_type, inner, bend):
    model = model_of(tiny(model_type), "cross")
    outer = getattr(model.stock.classifier, "out_proj", model.stock.classifier)
    expected = [
        affine(outer, [bend(x) for x in affine(inner(model.stock), cls)])[0] for cls in views.cls[:, -1].tolist()
    ]
    assert model.from_views(views).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("mode", ["term-trans", "token-pool", "knrm", "cedr-knrm"])
def test_the_order_of_the_words_is_nothing_to_a_mode_that_counts_them(tiny, views, mode):
    model = model_of(tiny(), mode)
    turned = views_of(views.query.flip(2), views.passage[:, :, torch.randperm(PASSAGE)], views.cls)
    assert same(model.from_views(turned), model.from_views(views))


def test_the_order_of_the_words_is_something_to_a_mode_that_reads_n_grams(tiny, views):
    model = model_of(tiny(), "conv-knrm")
    assert not same(model.from_views(views_of(views.query.flip(2), views.passage, views.cls)), model.from_views(views))


@pytest.mark.parametrize(
    ("mode", "blind"), [("knrm", True), ("cedr-knrm", True), ("term-trans", True), ("token-pool", False)]
)
def test_a_mode_on_cosines_does_not_see_how_long_a_vector_is(tiny, views, mode, blind):
    model = model_of(tiny(), mode)
    scales = torch.linspace(0.5, 3.0, PASSAGE).view(1, 1, PASSAGE, 1)
    longer = views_of(views.query * 7, views.passage * scales, views.cls)
    assert same(model.from_views(longer), model.from_views(views)) is blind


@pytest.mark.parametrize(("mode", "symmetric"), [("term-trans", True), ("token-pool", True), ("knrm", False)])
def test_question_and_passage_change_places_where_the_equation_lets_them(tiny, views, mode, symmetric):
    model = model_of(tiny(), mode)
    assert same(model.from_views(views_of(views.passage, views.query, views.cls)), model.from_views(views)) is symmetric


@pytest.mark.parametrize("mode", TOGETHER)
def test_what_a_head_does_not_declare_it_does_not_read(tiny, views, mode):
    model = model_of(tiny(), mode)
    needs = model.config.needs
    unread = torch.full_like(views.query, math.nan), torch.full_like(views.passage, math.nan)
    query, passage = (views.query, views.passage) if needs.tokens else unread
    if needs.layers != "all":
        query, passage, cls = query[:, -1:], passage[:, -1:], views.cls[:, -1:]
    else:
        cls = views.cls
    assert torch.equal(model.from_views(views_of(query, passage, cls)), model.from_views(views))


@pytest.mark.parametrize(
    ("mode", "layers"),
    [
        ("cross", [2]),
        ("mult-int", [0, 1, 2]),
        ("layer-mean", [0, 1, 2]),
        ("layer-attention", [0, 1, 2]),
        ("cedr-knrm", [2]),
    ],
)
def test_the_score_moves_with_the_cls_of_these_layers_and_no_other(tiny, views, mode, layers):
    model = model_of(tiny(), mode)
    cls = views.cls.clone().requires_grad_()
    model.from_views(views_of(views.query, views.passage, cls)).sum().backward()
    assert [layer for layer in range(LAYERS) if cls.grad[:, layer].abs().max() > 0] == layers


def test_layer_mean_is_mult_int_with_one_vector_for_all_layers(tiny, views):
    mean, several = model_of(tiny(), "layer-mean"), model_of(tiny(), "mult-int")
    for layer in several.head.weights:
        layer.weight.copy_(mean.head.weights.weight / LAYERS)
        layer.bias.copy_(mean.head.weights.bias / LAYERS)
    assert same(several.from_views(views), mean.from_views(views))


def test_layer_attention_that_prefers_nothing_is_the_mean_of_the_values(tiny, views):
    model = model_of(tiny(), "layer-attention")
    model.head.attention.zero_()
    values = sum(model.head.values(views.cls[:, layer]) for layer in range(LAYERS)) / LAYERS
    assert same(model.from_views(views), model.head.weights(values).squeeze(-1))


def test_layer_attention_that_prefers_one_layer_reads_that_layer(tiny, views):
    model = model_of(tiny(), "layer-attention")
    model.head.keys.weight.copy_(torch.eye(WIDTH))
    model.head.keys.bias.zero_()
    model.head.attention.fill_(1.0)
    cls = torch.zeros_like(views.cls)
    cls[:, 1] = 50.0 + views.cls[:, 1]
    only = model.head.weights(model.head.values(cls[:, 1])).squeeze(-1)
    torch.testing.assert_close(model.from_views(views_of(views.query, views.passage, cls)), only, rtol=1e-4, atol=1e-2)


def test_cedr_without_the_other_layers_and_the_cls_is_knrm_on_the_last_layer(tiny, views):
    cedr, knrm = model_of(tiny(), "cedr-knrm"), model_of(tiny(), "knrm")
    count = knrm.head.weights.in_features
    cedr.head.weights.weight.zero_()
    cedr.head.weights.weight[:, (LAYERS - 1) * count : LAYERS * count] = knrm.head.weights.weight
    cedr.head.weights.bias.copy_(knrm.head.weights.bias)
    assert same(cedr.from_views(views), knrm.from_views(views))


def features(query, passage):
    masks = (torch.ones(1, len(side), dtype=torch.bool) for side in (query, passage))
    return Kernels()(query.unsqueeze(0), passage.unsqueeze(0), *masks)[0]


def test_an_equal_word_counts_one_in_the_exact_kernel_and_another_word_none():
    words = torch.eye(4)
    assert features(words[:1], words[:1] * 3)[0].item() == pytest.approx(0.0, abs=1e-6)
    assert features(words[:1], words[1:2])[0].item() == pytest.approx(0.01 * math.log(1e-10))
    assert features(words[:1], words[[0, 0, 0, 1]])[0].item() == pytest.approx(0.01 * math.log(3), abs=1e-6)
    nearly = torch.tensor([[0.99, math.sqrt(1 - 0.99**2), 0.0, 0.0]])
    assert features(words[:1], nearly)[0].item() == pytest.approx(0.01 * math.log(1e-10))


@pytest.mark.parametrize("cosine", [0.9, 0.5, 0.1, -0.3, -0.9])
def test_a_word_falls_most_into_the_kernel_of_its_cosine(cosine):
    query = torch.tensor([[1.0, 0.0]])
    found = features(query, torch.tensor([[cosine, math.sqrt(1 - cosine**2)]]))
    means = (1.0, 0.9, 0.7, 0.5, 0.3, 0.1, -0.1, -0.3, -0.5, -0.7, -0.9)
    assert means[found.argmax()] == cosine
    assert found.max().item() == pytest.approx(0.0, abs=1e-5)


def test_a_passage_said_twice_adds_the_logarithm_of_two_for_each_word_of_the_question():
    generator = torch.Generator().manual_seed(1)
    query, passage = torch.randn(3, 4, generator=generator), torch.randn(9, 4, generator=generator)
    once, twice = features(query, passage), features(query, torch.cat((passage, passage)))
    expected = [3 * 0.01 * math.log(2)] * 10
    assert (twice - once)[1:].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_question_said_twice_counts_twice():
    generator = torch.Generator().manual_seed(1)
    query, passage = torch.randn(3, 4, generator=generator), torch.randn(9, 4, generator=generator)
    assert features(torch.cat((query, query)), passage).tolist() == pytest.approx(
        (2 * features(query, passage)).tolist(), abs=1e-5
    )


def test_a_new_linear_layer_is_drawn_as_bert_draws_its_own():
    torch.manual_seed(0)
    layer = linear(20_000)
    assert layer.bias.tolist() == [0.0]
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.weight.mean().item() == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_head_and_backbone_share_no_weight_and_leave_none_out(tiny, mode):
    model = create_model(RankerConfig(mode, query_length=16, length=40), str(tiny()), seed=5)
    head = [id(weight) for weight in model.head_parameters()]
    pooler = {id(weight) for weight in model.encoder.backbone.pooler.parameters()}
    backbone = {id(weight) for weight in model.encoder.backbone.parameters()}
    assert len(head) == len(set(head))
    assert set(head) & backbone == (pooler if mode == "cross" else set())
    assert set(head) | backbone == {id(weight) for weight in model.parameters()}
    assert bool(head) is (mode != "dual")


def test_the_kernels_stand_in_falling_steps_from_equal_to_opposite():
    kernels = Kernels()
    means = kernels.means.tolist()
    assert means[0] == 1.0
    assert all(one > other for one, other in pairwise(means))
    assert means[1:] == pytest.approx([-mean for mean in reversed(means[1:])])
    assert not kernels.state_dict()
