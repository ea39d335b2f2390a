"""Attention with a fast backward pass on CPUs, for training."""

import contextlib
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from ranker.model.device import running_in


@contextlib.contextmanager
def learning_in(precision: str, device: torch.device) -> Iterator[None]:
    """Runs backbones in a precision, in a forward pass that a backward pass follows; CPUs use ``PlainAttention``."""
    with PlainAttention() if device.type == "cpu" else contextlib.nullcontext(), running_in(precision, device):
        yield


class PlainAttention(TorchFunctionMode):
    """Replaces ``scaled_dot_product_attention`` by a product, a softmax and a product, with its own backward pass.

    The backward pass of torch's fused kernel takes longer on a CPU than all the rest of a step. That of torch's plain
    one (``SDPBackend.MATH``) computes the softmax in float32, looks for rows without a token, and reads the scores
    eight times; this one stays in the precision of its inputs and reads them twice.
    """

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls ``_attend`` for the attention that it can compute, and torch's own function for all else."""
        kwargs = kwargs or {}
        if func is not scaled_dot_product_attention or kwargs.get("is_causal") or kwargs.get("enable_gqa"):
            return func(*args, **kwargs)
        return _attend(*args, **{key: value for key, value in kwargs.items() if key not in ("is_causal", "enable_gqa")})


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    scale: float | None = None,
) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        # finite, since the softmax of a row of -inf, a padded query without any key, would be NaN
        lowest = torch.finfo(query.dtype).min
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, lowest)
    with torch.autocast(query.device.type, enabled=False):
        attended = _Attention.apply(query * scale, key, value, attn_mask, dropout_p)  # type: ignore[no-untyped-call]
    return cast(Tensor, attended)


class _Attention(torch.autograd.Function):
    """Attention of a scaled query, with a mask that is added to the scores.

    Shape: query, key, value and result (N, heads, L, width); mask (N, heads, L, L).
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        dropout: float,
    ) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        scores = query @ key.transpose(-1, -2)
        if mask is not None:
            scores += mask
        weights = torch.softmax(scores, dim=-1)  # (N, heads, L, L)
        dropped = _dropout_mask(weights, dropout) if dropout else None
        result = (weights if dropped is None else weights * dropped) @ value
        ctx.save_for_backward(query, key, value, weights, dropped, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, weights, dropped, result = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        used = weights if dropped is None else weights * dropped
        to_value = used.transpose(-1, -2) @ gradient
        to_scores = gradient @ value.transpose(-1, -2)
        if dropped is not None:
            to_scores *= dropped
        # of the softmax: weight * (gradient - mean), where mean = sum(weight * gradient) = result · gradient
        mean = (gradient.float() * result.float()).sum(dim=-1, keepdim=True)
        to_scores.sub_(mean.to(to_scores.dtype)).mul_(weights)
        return to_scores @ key, to_scores.transpose(-1, -2) @ query, to_value, None, None


def _dropout_mask(weights: Tensor, dropout: float) -> Tensor:
    """0 where dropout removes a weight, and 1 / (1 - dropout) elsewhere, which keeps the mean."""
    return torch.empty_like(weights).bernoulli_(1.0 - dropout).div_(1.0 - dropout)
