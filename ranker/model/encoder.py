"""A backbone that answers in views."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from ranker.model.backbone import has_segments, pool
from ranker.model.batch import PASSAGE, QUERY, TokenBatch
from ranker.model.views import Reads, Views


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

    def together(self, batch: TokenBatch, reads: Reads) -> Views:
        """The views of pairs that were put together into one input each."""
        layers = self._layers(batch, reads)
        cls = torch.stack([pool(layer, batch.mask, self.pooling) for layer in layers], dim=1).float()
        if not reads.tokens:
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
        return pool(self._run(batch, every_layer=False).last_hidden_state.float(), batch.mask, self.pooling)

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

    def _layers(self, batch: TokenBatch, reads: Reads) -> tuple[Tensor, ...]:
        """Shape: (P, L, H) each."""
        if reads.layers == "words":
            with self._gradients():
                return (self.backbone.get_input_embeddings()(batch.ids),)  # type: ignore[operator]
        output = self._run(batch, every_layer=reads.layers == "all")
        return output.hidden_states[1:] if reads.layers == "all" else (output.last_hidden_state,)

    def _run(self, batch: TokenBatch, every_layer: bool) -> Any:  # noqa: ANN401
        with self._gradients():
            return self.backbone(**self._inputs(batch), output_hidden_states=every_layer)

    def _inputs(self, batch: TokenBatch) -> dict[str, Tensor]:
        inputs = {"input_ids": batch.ids, "attention_mask": batch.mask.long()}
        return inputs | ({"token_type_ids": batch.segments} if self._segments else {})

    def _gradients(self) -> AbstractContextManager[None]:
        return torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)


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
