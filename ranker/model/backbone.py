"""BERT-like backbones: which there are, what each lacks, and its own way from [CLS] to a class."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from ranker.errors import ModelError

Classify = Callable[[Any, Tensor], Tensor]


class Traits(NamedTuple):
    """``classify`` takes the stock classifier and (P, H) to (P, labels); ``shift`` positions are never usable."""

    classify: Classify
    shift: int = 0


def _pooled(model: Any, cls: Tensor) -> Tensor:  # noqa: ANN401  # transformers' classes share no annotated base
    return model.classifier(model.dropout(model.base_model.pooler(cls.unsqueeze(1))))  # type: ignore[no-any-return]


def _own_pooler(model: Any, cls: Tensor) -> Tensor:  # noqa: ANN401
    return model.classifier(model.dropout(model.pooler(cls.unsqueeze(1))))  # type: ignore[no-any-return]


def _whole_head(model: Any, cls: Tensor) -> Tensor:  # noqa: ANN401
    return model.classifier(cls.unsqueeze(1))  # type: ignore[no-any-return]


def _distilbert(model: Any, cls: Tensor) -> Tensor:  # noqa: ANN401
    return model.classifier(model.dropout(torch.relu(model.pre_classifier(cls))))  # type: ignore[no-any-return]


def _modernbert(model: Any, cls: Tensor) -> Tensor:  # noqa: ANN401
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
"""Supported ``model_type``s. RoBERTa's relatives start counting positions behind the padding id."""

FAMILY: Final = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
"""Backbones that are BERT's layers behind embeddings of their own."""


def traits(config: Any, source: str) -> Traits:  # noqa: ANN401
    """The traits of a backbone by its Hugging Face configuration.

    Raises: ModelError for a ``model_type`` that is not supported.
    """
    if config.model_type not in BACKBONES:
        raise ModelError(f"{source}: is a {config.model_type!r} model; supported are {', '.join(BACKBONES)}.")
    return BACKBONES[config.model_type]


def longest_input(config: Any, source: str) -> int:  # noqa: ANN401
    """The tokens, markers included, that the backbone has positions for."""
    return int(config.max_position_embeddings) - traits(config, source).shift


def has_segments(config: Any) -> bool:  # noqa: ANN401
    """Whether the backbone tells the two texts of a pair apart by segment embeddings."""
    return getattr(config, "type_vocab_size", 0) > 1


def summary_pooling(config: Any) -> str:  # noqa: ANN401
    """How the stock classifier sums up the tokens: ModernBERT's may take their mean, all others take [CLS]."""
    return str(getattr(config, "classifier_pooling", "cls"))


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """One vector per text from all its token vectors; those of several poolings, joined by ``+``, end to end.

    Shape: hidden (N, L, H), mask (N, L), result (N, H times the poolings).
    """
    vectors = [_POOLED[part](hidden, mask) for part in pooling.split("+")]
    return vectors[0] if len(vectors) == 1 else torch.cat(vectors, dim=-1)


def _sum(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(~mask.unsqueeze(-1), 0.0).sum(dim=1)


def _count(mask: Tensor) -> Tensor:
    """Shape: (N, L) to (N, 1)."""
    return mask.sum(dim=1, keepdim=True)


def _weighted_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = torch.arange(1, hidden.shape[1] + 1, device=hidden.device, dtype=hidden.dtype) * mask
    return _sum(hidden * weights.unsqueeze(-1), mask) / weights.sum(dim=1, keepdim=True)


_POOLED: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "cls": lambda hidden, _: hidden[:, 0],
    "mean": lambda hidden, mask: _sum(hidden, mask) / _count(mask),
    "max": lambda hidden, mask: hidden.masked_fill(~mask.unsqueeze(-1), float("-inf")).amax(dim=1),
    "mean-sqrt-len": lambda hidden, mask: _sum(hidden, mask) / _count(mask).sqrt(),
    "weighted-mean": _weighted_mean,
    "last": lambda hidden, mask: hidden[torch.arange(len(hidden), device=hidden.device), mask.sum(dim=1) - 1],
}
"""Each of ``config.POOLINGS``. Shape: hidden (N, L, H), mask (N, L), result (N, H)."""


def freeze(module: nn.Module) -> None:
    """Takes a module out of training: no gradients, no dropout."""
    module.requires_grad_(False)
    module.eval()


def layers_of(backbone: Any) -> int:  # noqa: ANN401
    """How many transformer layers it has."""
    return int(backbone.config.num_hidden_layers)


def lowest_layers(backbone: Any, number: int) -> list[nn.Module]:  # noqa: ANN401
    """The first layers as hidden states are counted: the embeddings, then the transformer's own.

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
