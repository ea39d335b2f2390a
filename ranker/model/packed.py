"""BERT's layers for inference on inputs that lie end to end: no padding, and no token of the last layer in vain."""

import copy
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from numpy.typing import NDArray
from torch import Tensor, nn

from ranker.model.encoder import BACKBONES, pool
from ranker.model.inputs import Packed, positions_in_groups

_ROWS: Final = 128
"""Matrices with a row per token have a multiple of so many rows on a CPU: oneDNN compiles a kernel for each new size,
which costs milliseconds and stays in memory."""

_FEW_ROWS: Final = 16
"""The multiple for matrices with a row per input."""


class Linear(Protocol):
    """A linear map, followed by an activation if it was made with one.

    Shape: (tokens, in) to (tokens, out).
    """

    def __call__(self, inputs: Tensor) -> Tensor:
        """Applies the map."""
        ...

    def onto(self, inputs: Tensor, residual: Tensor) -> Tensor:
        """Applies the map and adds the residual, of shape (tokens, out)."""
        ...


class MakeLinear(Protocol):
    """Makes linear maps, with weights laid out for a machine and a precision."""

    dtype: torch.dtype
    """The type of the maps' inputs and outputs."""

    def __call__(self, weight: Tensor, bias: Tensor, activation: str) -> Linear:
        """Shape: weight (out, in), bias (out,)."""
        ...


class Group(NamedTuple):
    """Adjacent inputs of one length, as a range of tokens."""

    first: int
    inputs: int
    length: int

    @property
    def tokens(self) -> slice:
        """The range of their tokens."""
        return slice(self.first, self.first + self.inputs * self.length)


class PackedBatch(NamedTuple):
    """N inputs end to end on a device; attention is fastest where inputs of one length are adjacent.

    ``ends`` are cumulative lengths, which start with 0 (``cu_seqlens``), and ``firsts`` the row of each input's first
    token. On a CPU zero rows follow: ROWS and FIRSTS are the tokens and N, rounded up.
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
        """Adds the positions and groups that attention needs, and copies all to the device."""
        rows = _ROWS if device.type == "cpu" else 1
        starts, lengths = packed.offsets[:-1], np.diff(packed.offsets)
        columns = (
            _rounded(packed.ids, rows),
            _rounded(packed.segments, rows),
            _rounded(positions_in_groups(np.diff(packed.offsets)), rows),
            packed.offsets.astype(np.int32),
            _rounded(starts, min(rows, _FEW_ROWS)),
        )
        ids, segments, positions, ends, firsts = (
            torch.from_numpy(column).to(device, non_blocking=True) for column in columns
        )
        return cls(ids, segments, positions, ends, firsts, tuple(groups_of(lengths.tolist())))

    @property
    def size(self) -> int:
        """The number of inputs."""
        return len(self.ends) - 1

    @property
    def longest(self) -> int:
        """The length of the longest input in tokens."""
        return max(group.length for group in self.groups)


def _rounded(column: NDArray[np.integer[Any]], multiple: int) -> NDArray[np.integer[Any]]:
    """Appends zeros up to a multiple of so many rows."""
    return np.pad(column, (0, -len(column) % multiple))


def groups_of(lengths: Sequence[int]) -> Iterator[Group]:
    """Yields the runs of inputs of equal length."""
    first = 0
    for length, run in groupby(lengths):
        count = sum(1 for _ in run)
        yield Group(first, count, length)
        first += count * length


class _Layer(NamedTuple):
    """The maps of one layer. ``query`` and ``key_value`` are for a last layer of which only [CLS] is computed."""

    qkv: Linear
    query: Linear
    key_value: Linear
    attention_output: Linear
    attention_norm: nn.LayerNorm
    feed_forward_in: Linear
    feed_forward_out: Linear
    output_norm: nn.LayerNorm


class PackedEncoder:
    """A BERT for inference alone, with a copy of its weights.

    Vaswani et al. 2017, section 3; Devlin et al. 2019, section 3.
    """

    def __init__(self, backbone: Any, pooling: str, linear: MakeLinear) -> None:
        config = backbone.config
        self._embeddings = backbone.embeddings
        self._project = getattr(backbone, "embeddings_project", nn.Identity())
        self._pooling = pooling
        self._dtype = linear.dtype
        self._heads = int(config.num_attention_heads)
        # RoBERTa's relatives count positions from behind the padding id
        self._first_position = int(config.pad_token_id) + 1 if BACKBONES[config.model_type].shift else 0
        self._layers = [_copy_layer(layer, config.hidden_act, linear) for layer in backbone.encoder.layer]

    def summaries(self, batch: PackedBatch, every_layer: bool) -> Tensor:
        """Returns one pooled vector per input, of every layer from the lowest up or of the last alone.

        Shape: (N, V, H times the poolings), float32.
        """
        hidden = self._embed(batch)  # (ROWS, H)
        vectors = []
        for index, layer in enumerate(self._layers):
            if index == len(self._layers) - 1 and self._pooling == "cls":
                vectors.append(self._first_tokens(layer, hidden, batch))
                break
            hidden = self._all_tokens(layer, hidden, batch)
            vectors.append(self._pool(hidden, batch))
        # the rows that round up FIRSTS are cut off
        return torch.stack(vectors if every_layer else vectors[-1:], dim=1)[: batch.size].float()

    def _embed(self, batch: PackedBatch) -> Tensor:
        """Shape: (ROWS, H)."""
        own = self._embeddings
        kinds = own.token_type_embeddings
        segments = batch.segments if kinds.num_embeddings > 1 else torch.zeros_like(batch.segments)
        positions = own.position_embeddings(batch.positions + self._first_position)
        embedded = own.LayerNorm(own.word_embeddings(batch.ids) + kinds(segments) + positions)
        return self._project(embedded).to(self._dtype)  # type: ignore[no-any-return]

    def _all_tokens(self, layer: _Layer, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """Computes a layer for every token.

        Shape: (ROWS, H) to the same.
        """
        query, key, value = layer.qkv(hidden).view(len(hidden), 3, self._heads, -1).unbind(1)
        return _after_attention(layer, _attend(query, key, value, batch), hidden)

    def _first_tokens(self, layer: _Layer, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """Computes a layer for the first token of each input, which attends to all tokens of it.

        Shape: (ROWS, H) to (FIRSTS, H).
        """
        first = hidden[batch.firsts]
        query = layer.query(first).view(len(first), self._heads, -1)
        key, value = layer.key_value(hidden).view(len(hidden), 2, self._heads, -1).unbind(1)
        return _after_attention(layer, _attend(query, key, value, batch, one_query=True), first)

    def _pool(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """Shape: (ROWS, H) to (FIRSTS, H) for [CLS], else to (N, H times the poolings)."""
        if self._pooling == "cls":
            return hidden[batch.firsts]
        vectors = []
        for group in batch.groups:
            tokens = hidden[group.tokens].view(group.inputs, group.length, hidden.shape[-1]).float()
            if self._pooling == "mean":
                vectors.append(tokens.mean(dim=1))
            else:
                mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
                vectors.append(pool(tokens, mask, self._pooling))
        return torch.cat(vectors)


def _attend(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, one_query: bool = False) -> Tensor:
    """Attends within each input, from all its tokens, or with ``one_query`` from its first.

    Shape: query (ROWS or FIRSTS, heads, H / heads), key and value (ROWS, heads, H / heads), result (ROWS or FIRSTS, H),
    zero in the rows behind the last input.
    """
    if query.is_cuda and query.dtype != torch.float32:
        from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415  # takes seconds to import

        # with one query per input, input i has the query row i
        ends = torch.arange(len(batch.ends), dtype=torch.int32, device=query.device) if one_query else batch.ends
        most = 1 if one_query else batch.longest
        joined: Any = varlen_attn(query, key, value, ends, batch.ends, most, batch.longest)
        return joined.flatten(1)  # type: ignore[no-any-return]
    result = query.new_zeros(query.shape)
    start = 0
    for group in batch.groups:
        # the group's rows of query and result; those of key and value are group.tokens
        queries = 1 if one_query else group.length
        rows = slice(start, start + group.inputs * queries)
        start = rows.stop
        # (inputs, heads, tokens, H / heads), as attention takes it
        q, k, v = (
            part.view(group.inputs, -1, *part.shape[1:]).transpose(1, 2)
            for part in (query[rows], key[group.tokens], value[group.tokens])
        )
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        result[rows].view(group.inputs, queries, *query.shape[1:]).copy_(attended)
    return result.flatten(1)


def _after_attention(layer: _Layer, attended: Tensor, hidden: Tensor) -> Tensor:
    """Computes the rest of a layer: the output of attention, the feed-forward block, residuals and norms.

    Shape: (rows, H) both, and the result.
    """
    hidden = layer.attention_norm(layer.attention_output.onto(attended, hidden))
    return layer.output_norm(layer.feed_forward_out.onto(layer.feed_forward_in(hidden), hidden))  # type: ignore[no-any-return]


def _copy_layer(layer: Any, activation: str, linear: MakeLinear) -> _Layer:
    own = layer.attention.self
    return _Layer(
        qkv=_joined(linear, own.query, own.key, own.value),
        query=_joined(linear, own.query),
        key_value=_joined(linear, own.key, own.value),
        attention_output=_joined(linear, layer.attention.output.dense),
        attention_norm=_copy_norm(layer.attention.output.LayerNorm, linear.dtype),
        feed_forward_in=_joined(linear, layer.intermediate.dense, activation=activation),
        feed_forward_out=_joined(linear, layer.output.dense),
        output_norm=_copy_norm(layer.output.LayerNorm, linear.dtype),
    )


def _joined(linear: MakeLinear, *modules: nn.Linear, activation: str = "") -> Linear:
    """Joins maps of one input to one map, whose outputs lie end to end."""
    weight = torch.cat([module.weight.detach() for module in modules])
    return linear(weight, torch.cat([module.bias.detach() for module in modules]), activation)


def _copy_norm(norm: nn.LayerNorm, dtype: torch.dtype) -> nn.LayerNorm:
    return copy.deepcopy(norm).to(dtype)
