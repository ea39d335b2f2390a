"""A backbone that answers in views."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from torch import Tensor, nn

from ranker.model.backbone import FAMILY, has_segments, pool
from ranker.model.batch import PASSAGE, QUERY, TokenBatch
from ranker.model.views import Views
from ranker.settings.model import LAST, Needs


class Encoder(nn.Module):
    """Reads texts, or pairs together, with a Hugging Face backbone; what it answers is float32.

    The backbone may run in bfloat16 (under autocast); the head behind it never does, because eight bits of
    mantissa make ties of scores that differ.
    """

    def __init__(self, backbone: nn.Module, pooling: str, frozen: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.frozen = frozen
        self._segments = has_segments(backbone.config)

    def train(self, mode: bool = True) -> "Encoder":
        """A frozen backbone stays in evaluation mode, without dropout."""
        return super().train(mode and not self.frozen)

    def together(self, batch: TokenBatch, needs: Needs) -> Views:
        """The views of pairs that were put together into one input each."""
        layers = self._layers(batch, needs)
        cls = torch.stack([pool(layer, batch.mask, self.pooling) for layer in layers], dim=1).float()
        if not needs.tokens:
            PAIRS, LAYERS, WIDTH = cls.shape  # noqa: N806  # axes are named in capitals
            no_tokens, no_mask = cls.new_empty(PAIRS, LAYERS, 0, WIDTH), batch.mask.new_empty(PAIRS, 0)
            return Views(no_tokens, no_tokens, no_mask, no_mask, cls)
        tokens = torch.stack(layers, dim=1).float()
        query, query_mask = _part(tokens, batch.parts == QUERY)
        passage, passage_mask = _part(tokens, batch.parts == PASSAGE)
        return Views(query, passage, query_mask, passage_mask, cls)

    def apart(self, batch: TokenBatch) -> Tensor:
        """One vector per text, read alone.

        Shape: (N, H).
        """
        hidden = self._run(batch, LAST).last_hidden_state
        return pool(hidden.float(), batch.mask, self.pooling)

    def attention(self, batch: TokenBatch) -> Tensor:
        """How much each token attends to each, the mean over heads, shallow to deep.

        Shape: (V, N, L, L), from and to, float32.
        """
        backbone: Any = self.backbone
        kept = backbone.config._attn_implementation
        # the fast kernels never hold the weights that are asked for
        backbone.set_attn_implementation("eager")
        try:
            output = backbone(**self._inputs(batch), output_attentions=True)
        finally:
            backbone.set_attn_implementation(kept)
        return torch.stack([layer.float().mean(dim=1) for layer in output.attentions])

    def _layers(self, batch: TokenBatch, needs: Needs) -> tuple[Tensor, ...]:
        """Shape: (P, L, H) each."""
        if needs.layers == "words":
            with self._gradients():
                return (self.backbone.get_input_embeddings()(batch.ids),)  # type: ignore[operator]
        output = self._run(batch, needs)
        return output.hidden_states[1:] if needs.layers == "all" else (output.last_hidden_state,)

    def _run(self, batch: TokenBatch, needs: Needs) -> Any:  # noqa: ANN401
        with self._gradients(), self._last_layer_for(needs):
            return self.backbone(**self._inputs(batch), output_hidden_states=needs.layers == "all")

    def _last_layer_for(self, needs: Needs) -> AbstractContextManager[None]:
        """Inside, the last layer is computed for no more tokens than are read."""
        config: Any = self.backbone.config
        first_alone = config.model_type in FAMILY and self.pooling == "cls" and not needs.tokens
        return _first_token_alone(self.backbone) if first_alone else nullcontext()

    def _inputs(self, batch: TokenBatch) -> dict[str, Tensor]:
        inputs = {"input_ids": batch.ids, "attention_mask": batch.mask.long()}
        return inputs | ({"token_type_ids": batch.segments} if self._segments else {})

    def _gradients(self) -> AbstractContextManager[None]:
        return torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)


@contextmanager
def _first_token_alone(backbone: Any) -> Iterator[None]:  # noqa: ANN401
    """Inside, the last layer of a backbone of BERT's family answers for the first token of each input alone.

    Shape of its hidden states: (N, 1, H).
    """
    last = backbone.encoder.layer[-1]
    # what transformers hands over beside them is for decoders
    last.forward = lambda hidden, mask, *_, **__: _for_first_token(last, hidden, mask)
    try:
        yield
    finally:
        del last.forward


def _for_first_token(layer: Any, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:  # noqa: ANN401
    """A layer whose first token attends to all, and whose other tokens are not computed.

    Shape: hidden (N, L, H), attention_mask (N, 1, 1 or L, L), result (N, 1, H).
    """
    own, first = layer.attention.self, hidden[:, :1]
    query, key, value = (
        mapped.view(len(hidden), -1, own.num_attention_heads, own.attention_head_size).transpose(1, 2)
        for mapped in (own.query(first), own.key(hidden), own.value(hidden))
    )
    attended = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
        dropout_p=own.dropout.p if own.training else 0.0,
        scale=own.scaling,
    )
    joined = attended.transpose(1, 2).reshape(first.shape)
    return layer.feed_forward_chunk(layer.attention.output(joined, first))  # type: ignore[no-any-return]


def _part(tokens: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens of one of the two texts, moved to the front, and the mask of those that are there.

    Shape: tokens (P, V, L, H), where (P, L), results (P, V, Lt, H) and (P, Lt), with Lt at least 1.
    """
    PAIRS, LAYERS, _, WIDTH = tokens.shape  # noqa: N806
    lengths = where.sum(dim=1)
    most = max(1, int(lengths.max()))
    order = where.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    index = order.view(PAIRS, 1, most, 1).expand(PAIRS, LAYERS, most, WIDTH)
    return tokens.gather(2, index), torch.arange(most, device=where.device) < lengths.unsqueeze(1)


def pair_views(query: Tensor, passage: Tensor) -> Views:
    """The views of pairs whose texts were read apart.

    Shape: query (P, H), passage (P, H).
    """
    PAIRS, WIDTH = query.shape  # noqa: N806
    whole = torch.ones(PAIRS, 1, dtype=torch.bool, device=query.device)
    return Views(
        query.view(PAIRS, 1, 1, WIDTH), passage.view(PAIRS, 1, 1, WIDTH), whole, whole, query.new_empty(PAIRS, 0, WIDTH)
    )
