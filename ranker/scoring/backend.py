"""The model's computation on batches of inputs: packed where its backbone can be, else padded; knows no text."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ranker.errors import ModelError
from ranker.model.device import (
    choose_device,
    choose_precision,
    has_bf16_instructions,
    kernels,
    name_of_device,
    running_in,
)
from ranker.model.encoder import FAMILY, Encoder
from ranker.model.inputs import Packed, TokenBatch, Views, padded
from ranker.model.linear import Plain, Prepacked, Quantized
from ranker.model.packed import MakeLinear, PackedBatch, PackedEncoder
from ranker.model.reranker import Reranker
from ranker.progress import Advance
from ranker.scoring.assembly import take
from ranker.scoring.batching import BatchSplitter, Matrix, batches, indices_of_batches, input_indices
from ranker.scoring.budget import DEFAULT, WORTH_PROBING, Probe, learned_budget
from ranker.settings.compute import Compute
from ranker.settings.model import Needs


@dataclass
class TokenCounts:
    """Counts tokens that were computed, and how many of these were padding."""

    tokens: int = 0
    padding: int = 0

    @property
    def share(self) -> float:
        """Padding as a share of all tokens computed, 0 to 1."""
        return self.padding / max(1, self.tokens)


class PreparedModel(Protocol):
    """A model ready to compute batches, with the weights that it had when it was prepared.

    ``pads`` says whether some of what is computed is padding.
    """

    pads: bool

    def batch_tokens(self, tokens: int) -> int:
        """Chooses the tokens of a batch, for a job of so many tokens."""
        ...

    def logits(self, inputs: Iterable[Packed]) -> Iterator[tuple[int, Matrix]]:
        """Yields the scores of each batch of pairs, in any order, with the batch's index.

        Shape: (pairs of the batch, 1) each. Raises: InputError by the index among the inputs of all batches.
        """
        ...

    def vectors(self, inputs: Iterable[Packed]) -> Iterator[tuple[int, Matrix]]:
        """Yields the vectors of each batch of texts read alone, in any order, with the batch's index.

        Shape: (texts of the batch, H) each. Raises: InputError by the index among the inputs of all batches.
        """
        ...

    def vectors_by_part(self, parts: Iterable[Packed], advance: Advance) -> Iterator[tuple[int, Matrix]]:
        """Yields the vectors of each part, in any order, with the part's index; a part may be many batches.

        Shape: (texts of the part, H) each. Raises: InputError by the index among the inputs of all parts.
        """
        ...


class Backend(Protocol):
    """Where a model computes, and in which precision.

    ``device`` is where the weights of this process's model lie, ``device_type`` and ``device_name`` what computes;
    ``tokens_per_batch`` is what was asked for, or the default of the device; ``cluster`` describes the
    workers, for a manifest.
    """

    device: torch.device
    precision: str
    device_type: str
    device_name: str
    kernels: str
    tokens_per_batch: int
    token_counts: TokenCounts
    splitter: BatchSplitter
    cluster: Mapping[str, object]

    def runner(self, needs: Needs) -> "Runner":
        """Makes a runner of the encoder in this process, with the weights that it has now."""
        ...

    def prepare(self, needs: Needs) -> PreparedModel:
        """Prepares the model to compute what a head needs, with the weights that it has now."""
        ...


class LocalBackend:
    """A model on a device of this process."""

    def __init__(self, model: Reranker, compute: Compute) -> None:
        """Raises: SetupError or ModelError for a device or precision that this machine or model has not."""
        self.device = choose_device(compute.device)
        self.precision = choose_precision(compute.precision, self.device)
        self.model = model.to(self.device)
        check_precision(model.encoder, model.config.needs, self.precision)
        self.device_type, self.device_name = self.device.type, name_of_device(self.device)
        self.kernels = kernels(self.precision, self.device.type).name
        self.tokens_per_batch = compute.tokens_per_batch or DEFAULT[self.device.type]
        self.learns_budget = not compute.tokens_per_batch
        self.token_counts = TokenCounts()
        self.splitter = BatchSplitter()
        self.cluster: Mapping[str, object] = {}

    def runner(self, needs: Needs) -> "Runner":
        """Makes the fastest runner of the encoder that gives a head what it needs, with the weights that it has now."""
        self.model.eval()
        pad_id = int(self.model.tokenizer.pad_token_id or 0)
        return runner_for(self.model.encoder, needs, pad_id, self.device, self.precision, self.token_counts)

    def prepare(self, needs: Needs) -> "LocalModel":
        """Prepares the model to compute what a head needs, with the weights that it has now."""
        return LocalModel(self, needs)


class LocalModel:
    """A model prepared on a device of this process."""

    def __init__(self, backend: LocalBackend, needs: Needs) -> None:
        self._backend, self._model, self._needs = backend, backend.model, needs
        self._runner = backend.runner(needs)
        self.pads = isinstance(self._runner, PaddedRunner)

    def batch_tokens(self, tokens: int) -> int:
        """Chooses the tokens of a batch: as asked for, or measured where a job of so many tokens is worth it."""
        backend = self._backend
        if not backend.learns_budget or tokens < WORTH_PROBING:
            return backend.tokens_per_batch
        config: Any = self._model.encoder.backbone.config
        kind = f"{config.model_type} {config.num_hidden_layers} x {config.hidden_size}, {self._needs}"
        probe = Probe(
            lambda inputs: self._runner.views(inputs, self._needs),
            f"{kind}, {backend.precision}",
            backend.device,
            self._model.config.length,
        )
        return learned_budget(probe)

    def logits(self, inputs: Iterable[Packed]) -> Iterator[tuple[int, Matrix]]:
        """Yields the scores of each batch of pairs, with the batch's index."""
        return self._backend.splitter.run(inputs, self._logits)

    def vectors(self, inputs: Iterable[Packed]) -> Iterator[tuple[int, Matrix]]:
        """Yields the vectors of each batch of texts read alone, with the batch's index."""
        return self._backend.splitter.run(inputs, self._vectors)

    def vectors_by_part(self, parts: Iterable[Packed], advance: Advance) -> Iterator[tuple[int, Matrix]]:
        """Yields the vectors of each part with its index; ``advance`` is called after every batch."""
        first = 0
        for index, part in enumerate(parts):
            with input_indices(lambda within, first=first: first + within):  # type: ignore[misc]
                vectors = self.compute(part, advance)
            yield index, vectors
            first += part.size

    def compute(self, inputs: Packed, advance: Advance) -> Matrix:
        """Computes any number of inputs in batches: the scores of pairs, or the vectors of texts that are read apart.

        Shape: (N, 1) or (N, H). Raises: TooLargeError by the index of the input.
        """
        apart = self._model.config.apart
        order = list(batches(np.diff(inputs.offsets), self.batch_tokens(len(inputs.ids))))
        values = np.empty((inputs.size, self._model.width if apart else 1), dtype=np.float32)
        parts = (take(inputs, batch) for batch in order)
        with input_indices(indices_of_batches(order)):
            for index, computed in self.vectors(parts) if apart else self.logits(parts):
                values[order[index]] = computed
                advance(len(computed))
        return values

    @torch.inference_mode()
    def _logits(self, inputs: Packed) -> Matrix:
        logits: Matrix = self._model.from_views(self._runner.views(inputs, self._needs)).cpu().numpy()
        return logits[:, None]

    @torch.inference_mode()
    def _vectors(self, inputs: Packed) -> Matrix:
        vectors: Matrix = self._model.head.vectors(self._runner.pooled(inputs)).cpu().numpy()
        return vectors


class Runner(Protocol):
    """An encoder without gradients, in some precision on some device; its weights are those at the time it was made."""

    def views(self, inputs: Packed, needs: Needs) -> Views:
        """Computes the views of pairs that were put together into one input each."""
        ...

    def pooled(self, inputs: Packed) -> Tensor:
        """Computes one vector per text, read alone.

        Shape: (N, H), float32.
        """
        ...


class PaddedRunner:
    """A backbone as it comes, its inputs padded to the longest of a batch."""

    def __init__(
        self, encoder: Encoder, pad_id: int, device: torch.device, precision: str, token_counts: TokenCounts
    ) -> None:
        self._encoder, self._pad_id = encoder, pad_id
        self._device, self._precision, self._token_counts = device, precision, token_counts

    def views(self, inputs: Packed, needs: Needs) -> Views:
        """Computes the views of pairs."""
        with running_in(self._precision, self._device):
            return self._encoder.together(self._padded(inputs), needs)

    def pooled(self, inputs: Packed) -> Tensor:
        """Computes one vector per text."""
        with running_in(self._precision, self._device):
            return self._encoder.apart(self._padded(inputs))

    def _padded(self, inputs: Packed) -> TokenBatch:
        batch = padded(inputs, self._pad_id)
        self._token_counts.tokens += batch.ids.numel()
        self._token_counts.padding += batch.ids.numel() - len(inputs.ids)
        return batch.to(self._device)


class PackedRunner:
    """A BERT on inputs end to end, without padding; batches with an input of no token are left to ``fallback``."""

    def __init__(
        self, encoder: PackedEncoder, device: torch.device, token_counts: TokenCounts, fallback: PaddedRunner
    ) -> None:
        self._encoder, self._device, self._token_counts, self._fallback = encoder, device, token_counts, fallback

    def views(self, inputs: Packed, needs: Needs) -> Views:
        """Computes the views of pairs, for heads that need no tokens."""
        if not np.diff(inputs.offsets).all():
            return self._fallback.views(inputs, needs)
        cls = self._cls(inputs, needs.layers == "all")
        PAIRS, LAYERS, WIDTH = cls.shape  # noqa: N806  # axes are named in capitals
        no_tokens = cls.new_empty(PAIRS, LAYERS, 0, WIDTH)
        no_mask = torch.empty(PAIRS, 0, dtype=torch.bool, device=cls.device)
        return Views(no_tokens, no_tokens, no_mask, no_mask, cls)

    def pooled(self, inputs: Packed) -> Tensor:
        """Computes one vector per text."""
        if not np.diff(inputs.offsets).all():
            return self._fallback.pooled(inputs)
        return self._cls(inputs, every_layer=False)[:, 0]

    def _cls(self, inputs: Packed, every_layer: bool) -> Tensor:
        """Shape: (N, V, H)."""
        batch = PackedBatch.of(inputs, self._device)
        self._token_counts.tokens += len(batch.ids)
        self._token_counts.padding += len(batch.ids) - len(inputs.ids)
        return self._encoder.summaries(batch, every_layer)


def runner_for(
    encoder: Encoder, needs: Needs, pad_id: int, device: torch.device, precision: str, token_counts: TokenCounts
) -> Runner:
    """Makes the fastest runner that gives a head what it needs; what it computes is added to the counts.

    Raises: ModelError as ``check_precision``.
    """
    check_precision(encoder, needs, precision)
    padded_runner = PaddedRunner(encoder, pad_id, device, precision if precision != "int8" else "bf16", token_counts)
    if not packs(encoder, needs):
        return padded_runner
    packed = PackedEncoder(encoder.backbone, encoder.pooling, _linear(device, precision))
    return PackedRunner(packed, device, token_counts, padded_runner)


def check_precision(encoder: Encoder, needs: Needs, precision: str) -> None:
    """Refuses int8 for what cannot be packed.

    Raises: ModelError.
    """
    if precision == "int8" and not packs(encoder, needs):
        raise ModelError(
            "--precision int8: is for BERT's family and heads that read [CLS]; expected another precision."
        )


def packs(encoder: Encoder, needs: Needs) -> bool:
    """Whether the inputs need no padding: a backbone of BERT's family, and a head that needs no tokens."""
    config: Any = encoder.backbone.config
    return config.model_type in FAMILY and not needs.tokens and needs.layers != "words"


def _linear(device: torch.device, precision: str) -> MakeLinear:
    chosen = kernels(precision, device.type)
    if chosen.weight_bits:
        # without instructions for bf16, going there and back costs more than the memory it saves
        return Quantized(torch.bfloat16 if has_bf16_instructions() else torch.float32, chosen.weight_bits)
    dtype = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return Prepacked(dtype) if chosen.prepacked else Plain(dtype)
