"""Linear maps as a machine computes them fastest, in each precision."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers.activations import ACT2FN

from ranker.model.packed import Linear


class Plain:
    """torch's own, for any device."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """A map in ``dtype``."""
        return _Plain(weight.to(self.dtype), bias.to(self.dtype), _activation(activation))


class Prepacked:
    """oneDNN's, its weights laid out once, with bias, GELU and residual in the same pass. On CPUs alone."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """A map in ``dtype``."""
        return _Prepacked(weight.to(self.dtype), bias.to(self.dtype), activation)


class Quantized:
    """oneDNN's in int8: each row of the weights has a scale of its own, and so has each token. On CPUs alone."""

    def __init__(self, dtype: torch.dtype, weight_bits: int) -> None:
        self.dtype, self._weight_bits = dtype, weight_bits
        self.scratch = _Scratch()

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """A map from and to ``dtype``, bfloat16 or float32."""
        return _Quantized(weight.float(), bias.float(), activation, self)

    def quantized(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A matrix in so many bits, and the scale of each row.

        Shape: (out, in) to (out, in), int8, and (out,), float32.
        """
        scales = weight.abs().amax(dim=1).clamp_min(1e-12) / (2 ** (self._weight_bits - 1) - 1)
        return (weight / scales.unsqueeze(1)).round().to(torch.int8), scales


class _Scratch:
    """Room that maps use in turn: allocated anew for each, the system's work for new pages exceeds the arithmetic."""

    def __init__(self) -> None:
        self._rooms: dict[torch.dtype, Tensor] = {}

    def __call__(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Whatever was left there.

        Shape: that of ``like``.
        """
        room = self._rooms.get(dtype)
        if room is None or len(room) < like.numel():
            room = self._rooms[dtype] = torch.empty(like.numel(), dtype=dtype)
        return room[: like.numel()].view(like.shape)


class _Plain:
    def __init__(self, weight: Tensor, bias: Tensor, activation: Callable[[Tensor], Tensor]) -> None:
        self._weight, self._bias, self._activation = weight, bias, activation

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._activation(F.linear(inputs, self._weight, self._bias))

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        return self(inputs) + residual


class _Prepacked:
    def __init__(self, weight: Tensor, bias: Tensor, activation: str) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_TOKENS)
        self._bias = bias
        self._fused = _FUSED.get(activation)
        self._activation = _activation("" if self._fused else activation)

    def __call__(self, inputs: Tensor) -> Tensor:
        name, algorithm = self._fused or ("none", "")
        made = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, name, [], algorithm)
        return self._activation(made)

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        made: Tensor = torch.ops.mkldnn._linear_pointwise.binary(inputs, residual, self._weight, self._bias, "add")
        return made


class _Quantized:
    def __init__(self, weight: Tensor, bias: Tensor, activation: str, shared: Quantized) -> None:
        whole, scales = shared.quantized(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(whole, [_TYPICAL_TOKENS, weight.shape[1]])
        self._scales, self._zeros = scales, torch.zeros(len(scales), dtype=torch.int64)
        self._bias = bias
        self._activation = _IN_PLACE.get(activation) or _activation(activation)
        self._shared = shared

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._activation(self._product(inputs).add_(self._bias)).to(self._shared.dtype)

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        return self._product(inputs).add_(self._bias).add_(residual).to(self._shared.dtype)

    def _product(self, inputs: Tensor) -> Tensor:
        """In float32; a token's scale is its own, so that nothing depends on what stands beside it."""
        scratch = self._shared.scratch
        scales = self._largest(inputs).clamp_min_(1e-12).div_(127.0)
        signed = scratch(inputs, torch.int8)
        signed.copy_(scratch(inputs, torch.float32).copy_(inputs).mul_(scales.reciprocal()).round_())
        # flips the highest bit: the unsigned byte that is 128 more
        unsigned = signed.bitwise_xor_(-_ZERO).view(torch.uint8)
        made: Tensor = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, _ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return made.mul_(scales)

    def _largest(self, inputs: Tensor) -> Tensor:
        """Of each token, without its sign: floating-point numbers of one sign have the order of their bits.

        Shape: (tokens, 1), float32.
        """
        whole, unsigned = _BITS[inputs.dtype]
        bits = self._shared.scratch(inputs, whole)
        torch.bitwise_and(inputs.view(whole), unsigned, out=bits)
        return bits.amax(dim=1, keepdim=True).view(inputs.dtype).float()


_BITS = {torch.bfloat16: (torch.int16, 0x7FFF), torch.float32: (torch.int32, 0x7FFF_FFFF)}
"""A whole number as wide as a floating-point one, and its bits beside the sign."""

_ZERO = 128
"""What 0 is among unsigned bytes: oneDNN's products of signed ones are not the fast ones."""

_TYPICAL_TOKENS = 2_048
"""Rows that weights are laid out for: a batch's, on a CPU."""

_FUSED = {"gelu": ("gelu", "none"), "gelu_new": ("gelu", "tanh"), "relu": ("relu", "")}


_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {"gelu": torch.ops.aten.gelu_.default, "relu": torch.relu_}


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    return ACT2FN[name] if name else _same


def _same(values: Tensor) -> Tensor:
    return values
