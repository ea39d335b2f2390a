"""BERT's layers on inputs that lie end to end: no padding, and of the last layer no more than is read."""

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from ranker.model.backbone import BACKBONES, pool
from ranker.model.batch import Packed

_ROWS: Final = 128
"""On a CPU matrices have a multiple of so many rows: oneDNN writes code for each new size, which costs milliseconds and
stays in memory."""

_FEW_ROWS: Final = 16
"""The same of matrices that have a row for each input."""


class Linear(Protocol):
    """A linear map, an activation behind it if it was made with one.

    Shape: (tokens, in) to (tokens, out).
    """

    def __call__(self, inputs: Tensor) -> Tensor:
        """The map."""
        ...

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        """The map, and what it is added to."""
        ...


class MakeLinear(Protocol):
    """Lays weights out for a machine and a precision."""

    dtype: torch.dtype
    """What maps take and give."""

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """Shape: weight (out, in), bias (out,)."""
        ...


class Group(NamedTuple):
    """Neighbours of one length, as a stretch of tokens."""

    first: int
    inputs: int
    length: int

    @property
    def tokens(self) -> slice:
        """Where their tokens lie."""
        return slice(self.first, self.first + self.inputs * self.length)


class PackedBatch(NamedTuple):
    """N inputs end to end on a device; attention is fastest where those of one length are neighbours.

    On a CPU some rows that belong to no input may follow: ROWS and FIRSTS are ``tokens`` and N, rounded up.
    Shape: ids, segments and positions (ROWS,), ends (N + 1,) int32, firsts (FIRSTS,).
    """

    ids: Tensor
    segments: Tensor
    positions: Tensor
    ends: Tensor
    firsts: Tensor
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, packed: Packed, device: torch.device) -> "PackedBatch":
        """What attention needs beside the tokens."""
        starts, lengths = packed.offsets[:-1], np.diff(packed.offsets)
        positions = np.arange(len(packed.ids)) - np.repeat(starts, lengths)
        rows = _ROWS if device.type == "cpu" else 1
        by_row = (_rounded(column, rows) for column in (packed.ids, packed.segments, positions))
        columns = (*by_row, packed.offsets.astype(np.int32), _rounded(starts, min(rows, _FEW_ROWS)))
        ids, segments, places, ends, firsts = (
            torch.from_numpy(column).to(device, non_blocking=True) for column in columns
        )
        return cls(ids, segments, places, ends, firsts, tuple(groups_of(lengths.tolist())))

    @property
    def size(self) -> int:
        """How many inputs there are."""
        return len(self.ends) - 1

    @property
    def longest(self) -> int:
        """Tokens of the longest input."""
        return max(group.length for group in self.groups)


class _Layer(NamedTuple):
    """One layer's maps: ``queries`` and ``keys_values`` are for a last layer of which only [CLS] is read."""

    all_three: Linear
    queries: Linear
    keys_values: Linear
    attended: Linear
    norm: nn.LayerNorm
    up: Linear
    down: Linear
    last_norm: nn.LayerNorm


class PackedEncoder:
    """A BERT for inference alone, with a copy of its weights.

    Vaswani et al. 2017, section 3; Devlin et al. 2019, section 3.
    """

    def __init__(self, backbone: Any, pooling: str, linear: MakeLinear) -> None:  # noqa: ANN401
        config = backbone.config
        self._embeddings = backbone.embeddings
        self._project = getattr(backbone, "embeddings_project", nn.Identity())
        self._pooling = pooling
        self._dtype = linear.dtype
        self._heads = int(config.num_attention_heads)
        # RoBERTa's relatives count positions from behind the padding id
        self._first_position = int(config.pad_token_id) + 1 if BACKBONES[config.model_type].shift else 0
        self._layers = [_layer(layer, config.hidden_act, linear) for layer in backbone.encoder.layer]

    def summaries(self, batch: PackedBatch, every_layer: bool) -> Tensor:
        """One vector per input and layer, or the last layer, pooled as the encoder says, shallow to deep.

        Shape: (N, V, H times the poolings), float32.
        """
        hidden, every = self._embedded(batch), []
        for number, layer in enumerate(self._layers):
            if number == len(self._layers) - 1 and self._pooling == "cls":
                every.append(self._summary(layer, hidden, batch))
                break
            hidden = self._whole(layer, hidden, batch)
            every.append(self._pool(hidden, batch))
        return torch.stack(every if every_layer else every[-1:], dim=1)[: batch.size].float()

    def _embedded(self, batch: PackedBatch) -> Tensor:
        own = self._embeddings
        kinds = own.token_type_embeddings
        segments = batch.segments if kinds.num_embeddings > 1 else torch.zeros_like(batch.segments)
        positions = own.position_embeddings(batch.positions + self._first_position)
        embedded = own.LayerNorm(own.word_embeddings(batch.ids) + kinds(segments) + positions)
        return self._project(embedded).to(self._dtype)  # type: ignore[no-any-return]

    def _whole(self, layer: _Layer, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """One layer for every token.

        Shape: (ROWS, H) to the same.
        """
        queries, keys, values = layer.all_three(hidden).view(len(hidden), 3, self._heads, -1).unbind(1)
        return _behind_attention(layer, _attended(queries, keys, values, batch), hidden)

    def _summary(self, layer: _Layer, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """One layer for the first token of each input, which attends to all.

        Shape: (ROWS, H) to (FIRSTS, H).
        """
        first = hidden[batch.firsts]
        queries = layer.queries(first).view(len(first), self._heads, -1)
        keys, values = layer.keys_values(hidden).view(len(hidden), 2, self._heads, -1).unbind(1)
        return _behind_attention(layer, _attended(queries, keys, values, batch, alone=True), first)

    def _pool(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """Shape: (ROWS, H) to (FIRSTS, H) or (N, H)."""
        if self._pooling == "cls":
            return hidden[batch.firsts]
        groups = (hidden[g.tokens].view(g.inputs, g.length, hidden.shape[-1]).float() for g in batch.groups)
        return torch.cat([self._pool_group(group) for group in groups])

    def _pool_group(self, hidden: Tensor) -> Tensor:
        """Pools inputs of one length.

        Shape: (inputs, L, H) to (inputs, H times the poolings).
        """
        if self._pooling == "mean":
            return hidden.mean(dim=1)
        return pool(hidden, torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device), self._pooling)


def _rounded(column: NDArray[np.integer[Any]], rows: int) -> NDArray[np.integer[Any]]:
    """With zeros behind it, so that its length is a multiple."""
    return np.pad(column, (0, -len(column) % rows))


def groups_of(lengths: Sequence[int]) -> Iterator[Group]:
    """Neighbours of equal length."""
    first = 0
    for length, same in groupby(lengths):
        count = sum(1 for _ in same)
        yield Group(first, count, length)
        first += count * length


def _attended(queries: Tensor, keys: Tensor, values: Tensor, batch: PackedBatch, alone: bool = False) -> Tensor:
    """What each query token, or ``alone`` the one of each input, takes from its input's tokens.

    Shape: queries (ROWS or FIRSTS, heads, H / heads), keys and values (ROWS, heads, H / heads), result the same as
    queries with all heads end to end, (ROWS or FIRSTS, H); 0 in rows of no input.
    """
    if queries.is_cuda and queries.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  # takes seconds to import

        steps = torch.arange(len(batch.ends), dtype=torch.int32, device=queries.device) if alone else batch.ends
        most = 1 if alone else batch.longest
        joined: Any = varlen_attn(queries, keys, values, steps, batch.ends, most, batch.longest)
        return joined.flatten(1)  # type: ignore[no-any-return]
    found, start = queries.new_zeros(queries.shape), 0
    for group in batch.groups:
        length = 1 if alone else group.length
        own = slice(start, start + group.inputs * length)
        start = own.stop
        query, key, value = (
            part.view(group.inputs, -1, *part.shape[1:]).transpose(1, 2)
            for part in (queries[own], keys[group.tokens], values[group.tokens])
        )
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        found[own].view(group.inputs, length, *queries.shape[1:]).copy_(attended)
    return found.flatten(1)


def _behind_attention(layer: _Layer, attended: Tensor, hidden: Tensor) -> Tensor:
    hidden = layer.norm(layer.attended.onto(attended, hidden))
    return layer.last_norm(layer.down.onto(layer.up(hidden), hidden))  # type: ignore[no-any-return]


def _layer(layer: Any, activation: str, linear: MakeLinear) -> _Layer:  # noqa: ANN401
    own = layer.attention.self
    return _Layer(
        all_three=_joined(linear, own.query, own.key, own.value),
        queries=_joined(linear, own.query),
        keys_values=_joined(linear, own.key, own.value),
        attended=_joined(linear, layer.attention.output.dense),
        norm=_norm(layer.attention.output.LayerNorm, linear.dtype),
        up=_joined(linear, layer.intermediate.dense, activation=activation),
        down=_joined(linear, layer.output.dense),
        last_norm=_norm(layer.output.LayerNorm, linear.dtype),
    )


def _joined(linear: MakeLinear, *modules: nn.Linear, activation: str = "") -> Linear:
    """Maps of one input as one map."""
    weight = torch.cat([module.weight.detach() for module in modules])
    return linear(weight, torch.cat([module.bias.detach() for module in modules]), activation)


def _norm(norm: nn.LayerNorm, dtype: torch.dtype) -> nn.LayerNorm:
    return copy.deepcopy(norm).to(dtype)
