"""A packed BERT answers what the padded one does: every family, pooling and layer, whatever lies beside an input."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.model.device import kernels
from ranker.model.encoder import FAMILY, layers_of
from ranker.model.inputs import Input, Packed, pad
from ranker.model.linear import Plain, Prepacked, Quantized
from ranker.model.loading import create_model
from ranker.model.packed import Group, PackedBatch, PackedEncoder, groups_of
from ranker.scoring.backend import PackedRunner, PaddedRunner, TokenCounts, packs, runner_for
from ranker.settings.model import Needs, RankerConfig

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.inference_mode():
        yield


MAKERS = [Plain(torch.float32), Prepacked(torch.float32)]


@pytest.fixture(scope="module")
def encoder(tiny):
    """A tiny backbone of a family, in evaluation mode."""
    made = {}

    def get(family="bert", pooling="cls"):
        if (family, pooling) not in made:
            config = RankerConfig("dual", pooling=pooling, query_length=8, length=40)
            made[family, pooling] = create_model(config, str(tiny(family)), seed=3).eval().encoder
        return made[family, pooling]

    return get


def inputs_of(lengths, seed=5):
    """Random inputs with two segments each, no id of which is the padding's."""
    draw = np.random.default_rng(seed)
    return [
        Input(*(np.asarray(c, dtype=np.int32) for c in (draw.integers(5, 40, n), np.arange(n) > n // 2, np.ones(n))))
        for n in lengths
    ]


def packed(inputs):
    columns = (np.concatenate(column) for column in zip(*inputs, strict=True))
    return Packed(*columns, np.concatenate(([0], np.cumsum([len(one.ids) for one in inputs]))))


def expected(encoder, inputs, every_layer=False):
    needs = Needs("all" if every_layer else "last")
    with torch.inference_mode():
        if encoder.pooling == "mean":
            return encoder.apart(pad(inputs, 0)).unsqueeze(1)
        return encoder.together(pad(inputs, int(encoder.backbone.config.pad_token_id or 0)), needs).cls


@pytest.mark.parametrize("linear", MAKERS, ids=["plain", "prepacked"])
@pytest.mark.parametrize("family", FAMILY)
@pytest.mark.parametrize("every_layer", [False, True], ids=["last", "all"])
def test_a_packed_backbone_answers_what_the_padded_one_does(encoder, family, linear, every_layer):
    own, inputs = encoder(family), inputs_of([31, 31, 18, 18, 18, 7, 3])
    found = PackedEncoder(own.backbone, "cls", linear).summaries(PackedBatch.of(packed(inputs), CPU), every_layer)
    assert found.shape[1] == (layers_of(own.backbone) if every_layer else 1)
    assert torch.allclose(found, expected(own, inputs, every_layer), atol=1e-5)


@pytest.mark.parametrize("family", FAMILY)
def test_a_mean_is_over_each_inputs_own_tokens(encoder, family):
    own, inputs = encoder(family, "mean"), inputs_of([12, 12, 5, 1])
    found = PackedEncoder(own.backbone, "mean", MAKERS[1]).summaries(PackedBatch.of(packed(inputs), CPU), False)
    assert torch.allclose(found, expected(own, inputs), atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 99))
def test_an_input_is_read_as_if_it_were_alone(encoder, lengths, seed):
    inputs = inputs_of(lengths, seed)
    reader = PackedEncoder(encoder().backbone, "cls", MAKERS[1])
    together = reader.summaries(PackedBatch.of(packed(inputs), CPU), True)
    alone = torch.cat([reader.summaries(PackedBatch.of(packed([one]), CPU), True) for one in inputs])
    assert torch.allclose(together, alone, atol=1e-5)


def exact_bits():
    """Of int8's weights, as many as this machine adds up exactly."""
    return kernels("int8", "cpu").weight_bits


@pytest.mark.parametrize(
    ("linear", "tolerance"),
    [
        (lambda: Plain(torch.bfloat16), 0.05),
        pytest.param(lambda: Prepacked(torch.bfloat16), 0.05, marks=pytest.mark.computes("bf16")),
        *(
            pytest.param(lambda dtype=dtype: Quantized(dtype, exact_bits()), 0.1, marks=pytest.mark.computes("int8"))
            for dtype in (torch.bfloat16, torch.float32)
        ),
    ],
)
def test_a_coarser_precision_stays_near(encoder, linear, tolerance):
    linear = linear()
    own, inputs = encoder(), inputs_of([33, 33, 20, 9])
    found = PackedEncoder(own.backbone, "cls", linear).summaries(PackedBatch.of(packed(inputs), CPU), False)
    truth = expected(own, inputs)
    assert found.dtype == torch.float32
    difference = (found - truth).norm() / truth.norm()
    assert 0 < difference < tolerance


def test_the_weights_are_those_at_the_time(tiny):
    model = create_model(RankerConfig("cross", query_length=8, length=40), str(tiny()), seed=3).eval()
    inputs, needs = packed(inputs_of([9, 4])), Needs("last")
    before = runner_for(model.encoder, needs, 0, CPU, "float32", TokenCounts())
    first = before.views(inputs, needs).cls
    with torch.inference_mode(False), torch.no_grad():
        next(model.encoder.backbone.encoder.layer[0].output.dense.parameters()).add_(0.5)
    assert torch.equal(before.views(inputs, needs).cls, first)
    assert not torch.allclose(
        runner_for(model.encoder, needs, 0, CPU, "float32", TokenCounts()).views(inputs, needs).cls, first
    )


@pytest.mark.parametrize(
    ("family", "needs", "kind"),
    [
        ("bert", Needs("last"), PackedRunner),
        ("electra", Needs("all"), PackedRunner),
        ("bert", Needs("last", tokens=True), PaddedRunner),
        ("bert", Needs("words", tokens=True), PaddedRunner),
        ("distilbert", Needs("last"), PaddedRunner),
        ("modernbert", Needs("last"), PaddedRunner),
    ],
)
def test_what_cannot_be_packed_is_padded(encoder, family, needs, kind):
    assert isinstance(runner_for(encoder(family), needs, 0, CPU, "float32", TokenCounts()), kind)
    assert packs(encoder(family), needs) is (kind is PackedRunner)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_both_readers_give_the_same_views(encoder, family):
    own, needs = encoder(family), Needs("all")
    inputs = packed(inputs_of([14, 14, 6]))
    with torch.inference_mode():
        found = runner_for(own, needs, 0, CPU, "float32", TokenCounts()).views(inputs, needs)
        padded = PaddedRunner(own, 0, CPU, "float32", TokenCounts()).views(inputs, needs)
    assert torch.allclose(found.cls, padded.cls, atol=1e-5)
    for name in ("query", "passage", "query_mask", "passage_mask"):
        assert getattr(found, name).shape == getattr(padded, name).shape


@pytest.mark.parametrize(("family", "computed", "padding"), [("bert", 128, 94), ("distilbert", 42, 8)])
def test_padding_is_tallied_where_there_is_any(encoder, family, computed, padding):
    token_counts = TokenCounts()
    with torch.inference_mode():
        runner_for(encoder(family), Needs("last"), 0, CPU, "float32", token_counts).views(
            packed(inputs_of([14, 14, 6])), Needs("last")
        )
    assert (token_counts.tokens, token_counts.padding, token_counts.share) == (computed, padding, padding / computed)


@pytest.mark.parametrize("lengths", [[14], [14, 14, 6], [1] * 128, [15, *[1] * 112, 1], [9] * 300])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_rows_that_belong_to_no_input_change_nothing(encoder, lengths, pooling):
    """Of a batch alone in its matrices, and of one with as many rows for tokens as for inputs."""
    own, inputs = encoder("bert", pooling), inputs_of(lengths)
    batch = PackedBatch.of(packed(inputs), CPU)
    found = PackedEncoder(own.backbone, pooling, MAKERS[1]).summaries(batch, False)
    assert torch.allclose(found, expected(own, inputs), atol=1e-5)
    assert (len(batch.ids) % 128, len(batch.firsts) % 16, batch.size) == (0, 0, len(lengths))


def test_nothing_computed_is_no_padding():
    assert TokenCounts().share == 0


@given(st.lists(st.integers(1, 9), max_size=30))
def test_groups_are_neighbours_of_one_length(lengths):
    found = list(groups_of(lengths))
    assert [group.length for group in found for _ in range(group.inputs)] == lengths
    assert [group.first for group in found] == [sum(g.inputs * g.length for g in found[:n]) for n in range(len(found))]
    assert all(a.length != b.length for a, b in pairwise(found))
    assert Group(4, 2, 3).tokens == slice(4, 10)


@pytest.mark.gpu
@pytest.mark.parametrize("every_layer", [False, True])
def test_packed_attention_on_a_gpu_is_the_padded_one(encoder, every_layer):
    own, inputs = encoder(), inputs_of([31, 31, 18, 7, 3])
    truth = expected(own, inputs, every_layer)
    cuda = torch.device("cuda")
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        backbone = own.backbone.to(cuda)
        found = PackedEncoder(backbone, "cls", Plain(dtype)).summaries(
            PackedBatch.of(packed(inputs), cuda), every_layer
        )
        assert (found.cpu() - truth).norm() / truth.norm() < tolerance
    own.backbone.to(CPU)
