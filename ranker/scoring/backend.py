"""How a model is run on inputs that were put together: packed where its backbone can be, else padded."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ranker.errors import ModelError
from ranker.model.device import has_bf16_instructions, kernels, running_in
from ranker.model.encoder import FAMILY, Encoder
from ranker.model.inputs import Packed, TokenBatch, Views, padded
from ranker.model.linear import Plain, Prepacked, Quantized
from ranker.model.packed import MakeLinear, PackedBatch, PackedEncoder
from ranker.settings.model import Needs


@dataclass
class TokenCounts:
    """Tokens that readers computed, and how many of these were padding."""

    tokens: int = 0
    padding: int = 0

    @property
    def share(self) -> float:
        """Padding among all that was computed, 0 to 1."""
        return self.padding / max(1, self.tokens)


class Reader(Protocol):
    """An encoder without gradients, in some precision on some device; its weights are those at the time it was made."""

    def views(self, inputs: Packed, needs: Needs) -> Views:
        """The views of pairs that were put together into one input each."""
        ...

    def pooled(self, inputs: Packed) -> Tensor:
        """One vector per text, read alone.

        Shape: (N, H), float32.
        """
        ...


class PaddedReader:
    """A backbone as it comes, its inputs as long as the longest of a batch."""

    def __init__(
        self, encoder: Encoder, pad_id: int, device: torch.device, precision: str, token_counts: TokenCounts
    ) -> None:
        self._encoder, self._pad_id = encoder, pad_id
        self._device, self._precision, self._tally = device, precision, token_counts

    def views(self, inputs: Packed, needs: Needs) -> Views:
        """As ``Reader`` says."""
        with running_in(self._precision, self._device):
            return self._encoder.together(self._padded(inputs), needs)

    def pooled(self, inputs: Packed) -> Tensor:
        """As ``Reader`` says."""
        with running_in(self._precision, self._device):
            return self._encoder.apart(self._padded(inputs))

    def _padded(self, inputs: Packed) -> TokenBatch:
        batch = padded(inputs, self._pad_id)
        self._tally.tokens += batch.ids.numel()
        self._tally.padding += batch.ids.numel() - len(inputs.ids)
        return batch.to(self._device)


class PackedReader:
    """A BERT on inputs end to end; those with an input of no token at all are left to ``otherwise``."""

    def __init__(
        self, encoder: PackedEncoder, device: torch.device, token_counts: TokenCounts, otherwise: PaddedReader
    ) -> None:
        self._encoder, self._device, self._tally, self._otherwise = encoder, device, token_counts, otherwise

    def views(self, inputs: Packed, needs: Needs) -> Views:
        """As ``Reader`` says, for heads that read no tokens."""
        if not np.diff(inputs.offsets).all():
            return self._otherwise.views(inputs, needs)
        cls = self._summaries(inputs, needs.layers == "all")
        PAIRS, LAYERS, WIDTH = cls.shape  # noqa: N806  # axes are named in capitals
        no_tokens = cls.new_empty(PAIRS, LAYERS, 0, WIDTH)
        no_mask = torch.empty(PAIRS, 0, dtype=torch.bool, device=cls.device)
        return Views(no_tokens, no_tokens, no_mask, no_mask, cls)

    def pooled(self, inputs: Packed) -> Tensor:
        """As ``Reader`` says."""
        if not np.diff(inputs.offsets).all():
            return self._otherwise.pooled(inputs)
        return self._summaries(inputs, every_layer=False)[:, 0]

    def _summaries(self, inputs: Packed, every_layer: bool) -> Tensor:
        batch = PackedBatch.of(inputs, self._device)
        self._tally.tokens += len(batch.ids)
        self._tally.padding += len(batch.ids) - len(inputs.ids)
        return self._encoder.summaries(batch, every_layer)


def reader_of(
    encoder: Encoder, needs: Needs, pad_id: int, device: torch.device, precision: str, token_counts: TokenCounts
) -> Reader:
    """The fastest that gives a head what it reads; what it computes is added to the tally.

    Raises: ModelError as ``check_precision``.
    """
    check_precision(encoder, needs, precision)
    by_padding = PaddedReader(encoder, pad_id, device, precision if precision != "int8" else "bf16", token_counts)
    if not packs(encoder, needs):
        return by_padding
    packed = PackedEncoder(encoder.backbone, encoder.pooling, _linear(device, precision))
    return PackedReader(packed, device, token_counts, by_padding)


def check_precision(encoder: Encoder, needs: Needs, precision: str) -> None:
    """Refuses int8 for what cannot be packed.

    Raises: ModelError.
    """
    if precision == "int8" and not packs(encoder, needs):
        raise ModelError(
            "--precision int8: is for BERT's family and heads that read [CLS]; expected another precision."
        )


def packs(encoder: Encoder, needs: Needs) -> bool:
    """Whether the inputs need no padding: a backbone of BERT's family, and a head that reads no tokens."""
    config: Any = encoder.backbone.config
    return config.model_type in FAMILY and not needs.tokens and needs.layers != "words"


def _linear(device: torch.device, precision: str) -> MakeLinear:
    used = kernels(precision, device.type)
    if used.weight_bits:
        # without instructions for bf16, going there and back costs more than the memory it saves
        return Quantized(torch.bfloat16 if has_bf16_instructions() else torch.float32, used.weight_bits)
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return Prepacked(dtype) if used.prepacked else Plain(dtype)
