"""BERT-like backbones, poolings, and the encoder that turns a batch of tokens into views."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  # torch's own name for it
from torch import Tensor, nn

from ranker.errors import ModelError
from ranker.model.inputs import PASSAGE, QUERY, TokenBatch, Views
from ranker.settings.model import LAST, Needs

Classify = Callable[[Any, Tensor], Tensor]


class Traits(NamedTuple):
    """How a backbone differs from others: its path from [CLS] to classes, and its unusable positions.

    ``classify`` takes the stock classifier and (P, H) to (P, labels); the first ``shift`` positions are never used.
    """

    classify: Classify
    shift: int = 0


def _pooled(model: Any, cls: Tensor) -> Tensor:
    return model.classifier(model.dropout(model.base_model.pooler(cls.unsqueeze(1))))  # type: ignore[no-any-return]


def _own_pooler(model: Any, cls: Tensor) -> Tensor:
    return model.classifier(model.dropout(model.pooler(cls.unsqueeze(1))))  # type: ignore[no-any-return]


def _whole_head(model: Any, cls: Tensor) -> Tensor:
    return model.classifier(cls.unsqueeze(1))  # type: ignore[no-any-return]


def _distilbert(model: Any, cls: Tensor) -> Tensor:
    return model.classifier(model.dropout(torch.relu(model.pre_classifier(cls))))  # type: ignore[no-any-return]


def _modernbert(model: Any, cls: Tensor) -> Tensor:
    return model.classifier(model.drop(model.head(cls)))  # type: ignore[no-any-return]


BACKBONES: dict[str, Traits] = {
    "bert": Traits(_pooled),
    "roberta": Traits(_whole_head, shift=2),
    "xlm-roberta": Traits(_whole_head, shift=2),
    "camembert": Traits(_whole_head, shift=2),
    "mpnet": Traits(_whole_head, shift=2),
    "electra": Traits(_whole_head),
    "distilbert": Traits(_distilbert),
    "deberta-v2": Traits(_own_pooler),
    "modernbert": Traits(_modernbert),
}
"""The supported backbones by ``model_type``. RoBERTa's relatives count positions from behind the padding id."""

FAMILY: Final = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
"""Backbones made of BERT's own layers; only their embeddings differ."""


def traits(config: Any, source: str) -> Traits:
    """Returns the traits of a backbone, given its Hugging Face configuration.

    Raises: ModelError for a ``model_type`` that is not supported.
    """
    if config.model_type not in BACKBONES:
        raise ModelError(f"{source}: is a {config.model_type!r} model; supported are {', '.join(BACKBONES)}.")
    return BACKBONES[config.model_type]


def longest_input(config: Any, source: str) -> int:
    """Returns the number of tokens, [CLS] and [SEP] included, that the backbone has positions for.

    Raises: ModelError as ``traits``.
    """
    return int(config.max_position_embeddings) - traits(config, source).shift


def has_segments(config: Any) -> bool:
    """Tells whether the backbone distinguishes the two texts of a pair by segment embeddings."""
    return getattr(config, "type_vocab_size", 0) > 1


def summary_pooling(config: Any) -> str:
    """Returns the pooling of the stock classifier: [CLS], or the mean where a ModernBERT is configured so."""
    return str(getattr(config, "classifier_pooling", "cls"))


def layers_of(backbone: Any) -> int:
    """Returns the number of transformer layers."""
    return int(backbone.config.num_hidden_layers)


def lowest_layers(backbone: Any, number: int) -> list[nn.Module]:
    """Returns the lowest layers, where the embeddings are the first.

    Raises: ModelError where the backbone has fewer.
    """
    own = layers_of(backbone)
    if number > own + 1:
        raise ModelError(
            f"{number} layers to freeze, but the backbone has {own} and the embeddings: at most {own + 1}."
        )
    stacks = (module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) == own)
    embeddings = nn.ModuleList(
        module for name, module in backbone.named_children() if name in ("embeddings", "embeddings_project")
    )
    return [embeddings, *next(stacks)][:number]


def freeze(module: nn.Module) -> None:
    """Excludes a module from training: no gradients, no dropout."""
    module.requires_grad_(False)
    module.eval()


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pools the token vectors of each text into one; the vectors of several poolings, joined by ``+``, lie end to end.

    Shape: hidden (N, L, H), mask (N, L), result (N, H times the poolings).
    """
    vectors = [_POOLINGS[name](hidden, mask) for name in pooling.split("+")]
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)


def _sum(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1)


def _count(mask: Tensor) -> Tensor:
    """Shape: (N, L) to (N, 1)."""
    return mask.sum(dim=1, keepdim=True)


def _weighted_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype) * mask  # (N, L)
    return _sum(hidden * weights.unsqueeze(-1), mask) / weights.sum(dim=1, keepdim=True)


_POOLINGS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "cls": lambda hidden, _: hidden[:, 0],
    "mean": lambda hidden, mask: _sum(hidden, mask) / _count(mask),
    "max": lambda hidden, mask: hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1),
    "mean-sqrt-len": lambda hidden, mask: _sum(hidden, mask) / _count(mask).sqrt(),
    "weighted-mean": _weighted_mean,
    "last": lambda hidden, mask: hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1],
}
"""The poolings that ``settings.model.POOLINGS`` names. Shape: hidden (N, L, H), mask (N, L), result (N, H)."""


class Encoder(nn.Module):
    """Encodes texts, or pairs put together, by a Hugging Face backbone, and returns float32.

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
        """Sets the training mode; a frozen backbone stays in evaluation mode, without dropout."""
        return super().train(mode and not self.frozen)

    def together(self, batch: TokenBatch, needs: Needs) -> Views:
        """Returns the views of pairs that were put together into one input each."""
        layers = self._layers(batch, needs)
        cls = torch.stack([pool(layer, batch.mask, self.pooling) for layer in layers], dim=1).float()  # (P, V, H)
        if not needs.tokens:
            PAIRS, LAYERS, WIDTH = cls.shape  # noqa: N806  # axes are named in capitals
            no_tokens, no_mask = cls.new_empty(PAIRS, LAYERS, 0, WIDTH), batch.mask.new_empty(PAIRS, 0)
            return Views(no_tokens, no_tokens, no_mask, no_mask, cls)
        tokens = torch.stack(layers, dim=1).float()  # (P, V, L, H)
        query, query_mask = _select(tokens, batch.parts == QUERY)
        passage, passage_mask = _select(tokens, batch.parts == PASSAGE)
        return Views(query, passage, query_mask, passage_mask, cls)

    def apart(self, batch: TokenBatch) -> Tensor:
        """Returns one pooled vector per text, each encoded alone.

        Shape: (N, H times the poolings).
        """
        hidden = self._run(batch, LAST).last_hidden_state
        return pool(hidden.float(), batch.mask, self.pooling)

    def attention(self, batch: TokenBatch) -> Tensor:
        """Returns the attention weights between all tokens, averaged over heads, from the lowest layer up.

        Shape: (V, N, L, L), from and to, float32.
        """
        backbone: Any = self.backbone
        implementation = backbone.config._attn_implementation
        # only the eager kernel keeps the weights
        backbone.set_attn_implementation("eager")
        try:
            output = backbone(**self._inputs(batch), output_attentions=True)
        finally:
            backbone.set_attn_implementation(implementation)
        return torch.stack([layer.float().mean(dim=1) for layer in output.attentions])

    def _layers(self, batch: TokenBatch, needs: Needs) -> tuple[Tensor, ...]:
        """Shape: (P, L, H) each, or (P, 1, H) where only the first token was computed."""
        if needs.layers == "words":
            with self._gradients():
                return (self.backbone.get_input_embeddings()(batch.ids),)  # type: ignore[operator]
        output = self._run(batch, needs)
        # transformers counts the embeddings as the first hidden state
        return output.hidden_states[1:] if needs.layers == "all" else (output.last_hidden_state,)

    def _run(self, batch: TokenBatch, needs: Needs) -> Any:
        config: Any = self.backbone.config
        only_cls = config.model_type in FAMILY and self.pooling == "cls" and not needs.tokens
        with self._gradients(), _last_layer_for_first_token(self.backbone) if only_cls else nullcontext():
            return self.backbone(**self._inputs(batch), output_hidden_states=needs.layers == "all")

    def _inputs(self, batch: TokenBatch) -> dict[str, Tensor]:
        inputs = {"input_ids": batch.ids, "attention_mask": batch.mask.long()}
        return inputs | ({"token_type_ids": batch.segments} if self._segments else {})

    def _gradients(self) -> AbstractContextManager[None]:
        return torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen)


@contextmanager
def _last_layer_for_first_token(backbone: Any) -> Iterator[None]:
    """Makes the last layer of a backbone of BERT's family compute the first token of each input alone.

    Shape of its hidden states: (N, 1, H).
    """
    last = backbone.encoder.layer[-1]
    # the further arguments that transformers passes are for decoders
    last.forward = lambda hidden, mask, *_, **__: _first_token(last, hidden, mask)
    try:
        yield
    finally:
        del last.forward


def _first_token(layer: Any, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Computes a layer for the first token, which attends to all tokens.

    Shape: hidden (N, L, H), attention_mask (N, 1, 1 or L, L), result (N, 1, H).
    """
    own, first = layer.attention.self, hidden[:, :1]
    # query (N, heads, 1, H / heads), key and value (N, heads, L, H / heads)
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


def _select(tokens: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the tokens of one of the two texts, moved to the front, and their mask.

    Shape: tokens (P, V, L, H), selected (P, L), results (P, V, Lt, H) and (P, Lt), with Lt at least 1.
    """
    PAIRS, LAYERS, _, WIDTH = tokens.shape  # noqa: N806
    lengths = selected.sum(dim=1)
    most = max(1, int(lengths.max()))
    # a stable sort puts the selected positions first and keeps their order
    order = selected.int().argsort(dim=1, descending=True, stable=True)[:, :most]  # (P, Lt)
    index = order.view(PAIRS, 1, most, 1).expand(PAIRS, LAYERS, most, WIDTH)
    return tokens.gather(2, index), torch.arange(most, device=selected.device) < lengths.unsqueeze(1)
