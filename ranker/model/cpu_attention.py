"""The attention that a CPU learns with."""

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
    """Backbones called inside compute in that precision, in a forward pass that gradients will follow.

    On the CPU they use ``PlainAttention``.
    """
    with PlainAttention() if device.type == "cpu" else contextlib.nullcontext(), running_in(precision, device):
        yield


class PlainAttention(TorchFunctionMode):
    """Inside, ``scaled_dot_product_attention`` is a product, a softmax and a product, with a backward pass of its own.

    torch's fused kernel is made for the GPU: its backward pass on a CPU takes longer than all the rest of a step.
    torch's own plain one (``SDPBackend.MATH``) computes the softmax in float32, looks for rows without a token, and
    passes over the scores eight times on the way back; this one stays in the precision of its inputs and passes twice.
    """

    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401  # the signature is torch's
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Answers for torch."""
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
        # finite, so that a row of padding without any token to look at stays a number
        lowest = torch.finfo(query.dtype).min
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(~attn_mask, lowest)
    with torch.autocast(query.device.type, enabled=False):
        attended = _Attention.apply(query * scale, key, value, attn_mask, dropout_p)  # type: ignore[no-untyped-call]
    return cast(Tensor, attended)


class _Attention(torch.autograd.Function):
    """Shape: query (scaled), key, value and result (N, heads, L, width); mask, which is added, (N, heads, L, L)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's own is annotated as if nothing could be None
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
        shares = torch.softmax(scores, dim=-1)
        kept = _keep(shares, dropout) if dropout else None
        result = (shares if kept is None else shares * kept) @ value
        ctx.save_for_backward(query, key, value, shares, kept, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        query, key, value, shares, kept, result = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        used = shares if kept is None else shares * kept
        to_value = used.transpose(-1, -2) @ gradient
        to_scores = gradient @ value.transpose(-1, -2)
        if kept is not None:
            to_scores *= kept
        # of the softmax: each share times how far its gradient lies above the mean, which is result · gradient
        mean = (gradient.float() * result.float()).sum(dim=-1, keepdim=True)
        to_scores.sub_(mean.to(to_scores.dtype)).mul_(shares)
        return to_scores @ key, to_scores.transpose(-1, -2) @ query, to_value, None, None


def _keep(shares: Tensor, dropout: float) -> Tensor:
    """0 where dropout takes a share away, and elsewhere what makes up for it."""
    return torch.empty_like(shares).bernoulli_(1.0 - dropout).div_(1.0 - dropout)
