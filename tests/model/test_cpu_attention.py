"""The attention that a CPU learns with, against torch's own."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from ranker.model.cpu_attention import PlainAttention, learning_in
from ranker.model.encoder import BACKBONES
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

N, HEADS, LENGTH, WIDTH = 3, 2, 7, 4
CPU = torch.device("cpu")


def texts(seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    shape = (N, LENGTH, HEADS, WIDTH)
    made = [torch.randn(shape, generator=generator).to(dtype).transpose(1, 2) for _ in range(3)]
    return [one.detach().requires_grad_() for one in made]


def padding():
    """The second text has 4 tokens, the third 1. Shape: (N, 1, 1, L)."""
    return (torch.arange(LENGTH) < torch.tensor([[LENGTH], [4], [1]])).view(N, 1, 1, LENGTH)


def gradients(inputs, **settings):
    result = scaled_dot_product_attention(*inputs, **settings)
    weights = torch.linspace(-1, 1, result.numel()).view(result.shape)
    return [result.detach(), *torch.autograd.grad((result * weights).sum(), inputs)]


MASKS = {
    "none": lambda: None,
    "padding": padding,
    "padding for each token": lambda: padding().expand(N, 1, LENGTH, LENGTH),
    "added": lambda: torch.zeros(N, 1, 1, LENGTH).masked_fill(~padding(), -1e9),
    "a window": lambda: ((torch.arange(LENGTH)[:, None] - torch.arange(LENGTH)).abs() < 3).view(1, 1, LENGTH, LENGTH),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scale", [None, 0.3])
def test_results_and_gradients_are_torchs(mask, scale):
    wanted = gradients(texts(), attn_mask=MASKS[mask](), scale=scale)
    with PlainAttention():
        found = gradients(texts(), attn_mask=MASKS[mask](), scale=scale)
    for ours, torchs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, torchs, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_the_slope_with_dropout_too():
    def result(*inputs):
        torch.manual_seed(5)
        with PlainAttention():
            return scaled_dot_product_attention(*inputs, attn_mask=padding(), dropout_p=0.4)

    double = [one.detach().double().requires_grad_() for one in texts()]
    assert torch.autograd.gradcheck(result, double)


def test_dropout_takes_shares_away_and_makes_up_for_it_in_the_mean():
    query, key, _ = (one.detach() for one in texts())
    ones = torch.ones(N, HEADS, LENGTH, WIDTH)
    torch.manual_seed(1)
    with PlainAttention():
        sums = torch.stack([scaled_dot_product_attention(query, key, ones, dropout_p=0.5) for _ in range(400)])
    assert sums.std() > 0.1
    torch.testing.assert_close(sums.mean(), torch.tensor(1.0), rtol=0.02, atol=0.0)


def test_a_row_that_may_look_at_nothing_is_still_a_number():
    nothing = padding() & False
    with PlainAttention():
        found = gradients(texts(), attn_mask=nothing)
    assert all(torch.isfinite(one).all() for one in found)


def test_a_causal_attention_is_left_to_torch():
    wanted = gradients(texts(), is_causal=True)
    with PlainAttention():
        found = gradients(texts(), is_causal=True)
    for ours, torchs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, torchs)


def test_outside_torchs_own_attention_is_used():
    with PlainAttention():
        inside = scaled_dot_product_attention(*texts()).grad_fn.name()
    outside = scaled_dot_product_attention(*texts()).grad_fn.name()
    assert "_Attention" in inside
    assert "_Attention" not in outside


@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16_stays_bfloat16_and_near(autocast):
    wanted = gradients(texts())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast), PlainAttention():
        found = gradients(texts(dtype=torch.bfloat16))
    assert {one.dtype for one in found} == {torch.bfloat16}
    for ours, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours.float(), exact, rtol=0.05, atol=0.05)


def model_gradients(scorer, attention):
    rows = torch.tensor([[0, 0], [0, 1], [1, 1]]).numpy()
    pairs = Pairs(scorer.queries(["which river", "rome"]), scorer.passages(["the nile lies in egypt", "x"]), rows)
    scorer.model.zero_grad()
    [(_, batch)] = scorer.encoding.pair_batches(pairs, scorer.backend.tokens_per_batch)
    scorer.model.eval()
    with attention:
        scorer.model.score(batch).square().sum().backward()
    return torch.cat([one.grad.flatten() for one in scorer.model.parameters() if one.grad is not None])


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
def test_every_backbone_learns_as_with_torchs_attention(tiny, model_type):
    model = create_model(RankerConfig("cross", query_length=16, length=60), str(tiny(model_type)), seed=5)
    scorer = Scorer(model, Compute(precision="float32", device="cpu"))
    wanted = model_gradients(scorer, sdpa_kernel(SDPBackend.MATH))
    found = model_gradients(scorer, learning_in("float32", CPU))
    assert wanted.norm() > 0.01
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_a_cuda_device_keeps_torchs_attention():
    with learning_in("float32", torch.device("cuda")):
        assert "_Attention" not in scaled_dot_product_attention(*texts()).grad_fn.name()
