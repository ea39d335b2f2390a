"""Linear maps as a machine computes them fastest, in each precision."""

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers.activations import ACT2FN

from ranker.model.packed import Linear

_TYPICAL_TOKENS = 2_048
"""The rows of inputs that weights are laid out for: those of a batch on a CPU."""

_FUSED = {"gelu": ("gelu", "none"), "gelu_new": ("gelu", "tanh"), "relu": ("relu", "")}
"""The activations that oneDNN computes together with a product, and their algorithms."""

_IN_PLACE: dict[str, Callable[[Tensor], Tensor]] = {"gelu": torch.ops.aten.gelu_.default, "relu": torch.relu_}

_BITS = {torch.bfloat16: (torch.int16, 0x7FFF), torch.float32: (torch.int32, 0x7FFF_FFFF)}
"""The integer type as wide as a floating-point one, and all its bits but the sign."""

_ZERO = 128
"""The unsigned byte that stands for 0: oneDNN has no fast products of signed bytes with signed bytes."""


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    return ACT2FN[name] if name else _identity


def _identity(values: Tensor) -> Tensor:
    return values


class Plain:
    """Makes torch's own linear maps, for any device."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """Makes a map in ``dtype``."""
        return _Plain(weight.to(self.dtype), bias.to(self.dtype), _activation(activation))


class _Plain:
    def __init__(self, weight: Tensor, bias: Tensor, activation: Callable[[Tensor], Tensor]) -> None:
        self._weight, self._bias, self._activation = weight, bias, activation

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._activation(F.linear(inputs, self._weight, self._bias))

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        return self(inputs) + residual


class Prepacked:
    """Makes oneDNN's maps, for CPUs: weights laid out once; bias, GELU and residual in the same pass."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """Makes a map in ``dtype``."""
        return _Prepacked(weight.to(self.dtype), bias.to(self.dtype), activation)


class _Prepacked:
    def __init__(self, weight: Tensor, bias: Tensor, activation: str) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_TOKENS)
        self._bias = bias
        self._fused = _FUSED.get(activation)
        self._activation = _activation("" if self._fused else activation)

    def __call__(self, inputs: Tensor) -> Tensor:
        name, algorithm = self._fused or ("none", "")
        product = torch.ops.mkldnn._linear_pointwise(inputs, self._weight, self._bias, name, [], algorithm)
        return self._activation(product)

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise.binary(inputs, residual, self._weight, self._bias, "add")
        return product


class Quantized:
    """Makes oneDNN's maps in int8, for CPUs: each row of the weights has its own scale, and so has each token."""

    def __init__(self, dtype: torch.dtype, weight_bits: int) -> None:
        self.dtype, self._weight_bits = dtype, weight_bits
        self.scratch = _Scratch()

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """Makes a map from and to ``dtype``, bfloat16 or float32."""
        return _Quantized(weight.float(), bias.float(), activation, self)

    def quantized(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Rounds a matrix to integers of ``weight_bits``, and returns them with the scale of each row.

        Shape: (out, in) to (out, in), int8, and (out,), float32.
        """
        scales = weight.abs().amax(dim=1).clamp_min(1e-12) / (2 ** (self._weight_bits - 1) - 1)
        return (weight / scales.unsqueeze(1)).round().to(torch.int8), scales


class _Scratch:
    """Memory that maps share: allocated anew for each, the system's work for new pages exceeds the arithmetic."""

    def __init__(self) -> None:
        self._buffers: dict[torch.dtype, Tensor] = {}

    def __call__(self, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns a tensor with undefined content, valid until the next call for the same type.

        Shape: that of ``like``.
        """
        buffer = self._buffers.get(dtype)
        if buffer is None or len(buffer) < like.numel():
            buffer = self._buffers[dtype] = torch.empty(like.numel(), dtype=dtype)
        return buffer[: like.numel()].view(like.shape)


class _Quantized:
    def __init__(self, weight: Tensor, bias: Tensor, activation: str, shared: Quantized) -> None:
        integers, self._scales = shared.quantized(weight)
        self._weight = torch.ops.onednn.qlinear_prepack(integers, [_TYPICAL_TOKENS, weight.shape[1]])
        self._zeros = torch.zeros(len(self._scales), dtype=torch.int64)
        self._bias = bias
        self._activation = _IN_PLACE.get(activation) or _activation(activation)
        self._shared = shared

    def __call__(self, inputs: Tensor) -> Tensor:
        return self._activation(self._product(inputs).add_(self._bias)).to(self._shared.dtype)

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        return self._product(inputs).add_(self._bias).add_(residual).to(self._shared.dtype)

    def _product(self, inputs: Tensor) -> Tensor:
        """Multiplies in int8; a token's scale depends on that token alone, so its score does not depend on the batch.

        Shape: (tokens, in) to (tokens, out), float32.
        """
        scratch = self._shared.scratch
        scales = self._largest(inputs).clamp_min_(1e-12).div_(127.0)  # (tokens, 1)
        signed = scratch(inputs, torch.int8)
        signed.copy_(scratch(inputs, torch.float32).copy_(inputs).mul_(scales.reciprocal()).round_())
        # flipping the highest bit of a signed byte gives the unsigned byte that is 128 more
        unsigned = signed.bitwise_xor_(-_ZERO).view(torch.uint8)
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            unsigned, 1.0, _ZERO, self._weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return product.mul_(scales)

    def _largest(self, inputs: Tensor) -> Tensor:
        """Returns the largest absolute value of each token.

        Shape: (tokens, in) to (tokens, 1), float32.
        """
        # without their signs, floating-point numbers have the order of their bits read as integers
        integer, unsigned = _BITS[inputs.dtype]
        bits = self._shared.scratch(inputs, integer)
        torch.bitwise_and(inputs.view(integer), unsigned, out=bits)
        return bits.amax(dim=1, keepdim=True).view(inputs.dtype).float()
