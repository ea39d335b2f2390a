"""A model that scores pairs: a tokenizer, an encoder, a head, and the directory they are saved in."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from ranker.files.atomic import set_default_modes
from ranker.model.encoder import Encoder, freeze, layers_of, summary_pooling, traits
from ranker.model.files import quiet
from ranker.model.heads import HEADS, Parts
from ranker.model.inputs import TokenBatch, Views, pair_views
from ranker.model.saving import system_errors, write_config
from ranker.model.sentence_transformers import projected_width
from ranker.settings.model import RankerConfig

_NO_SETTINGS: Final = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
"""Keys of a backbone's configuration that change no score."""

_TOKENIZER_SETTINGS: Final = ("model_input_names", "pad_token_id", "truncation_side")
"""Settings of a tokenizer that its own file does not hold."""


class Reranker(nn.Module):
    """Scores question-passage pairs in one mode.

    ``source`` names where the weights came from, ``width`` is the size of the vector of a text encoded apart, and
    ``notes`` are sentences about how the model reads texts.
    """

    def __init__(
        self,
        config: RankerConfig,
        stock: nn.Module,
        tokenizer: Any,
        source: str,
        projection: nn.Sequential | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        backbone: Any = getattr(stock, "base_model", stock)
        pooling = config.pooling if config.apart else summary_pooling(backbone.config)
        self.config = config
        self.tokenizer = tokenizer
        self.source = source
        self.stock = stock
        self.notes = notes
        self.encoder = Encoder(backbone, pooling, config.frozen)
        projection = nn.Sequential() if projection is None else projection
        width, classify = int(backbone.config.hidden_size), traits(backbone.config, source).classify
        self.width = projected_width(projection, width * len(pooling.split("+")))
        self.head = HEADS[config.mode](Parts(config, width, layers_of(backbone), stock, classify, projection))
        if config.frozen:
            freeze(backbone)
            for parameter in self.head_parameters():
                parameter.requires_grad_(True)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """Yields the parameters that are trained even where the backbone is frozen."""
        backbone = {id(parameter) for parameter in self.encoder.backbone.parameters()}
        # a stock classifier's path from [CLS] begins with the backbone's pooler, which is trained with it
        pooler = getattr(self.encoder.backbone, "pooler", None)
        if pooler is not None and self.head.classifies:
            backbone -= {id(parameter) for parameter in pooler.parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in backbone)

    def score(self, pairs: TokenBatch) -> Tensor:
        """Returns the logits of pairs that are encoded together.

        Shape: (P,), float32.
        """
        return self.from_views(self.encoder.together(pairs, self.config.needs))

    def vectors(self, texts: TokenBatch) -> Tensor:
        """Returns the vectors of texts that are encoded apart; the inner product of two is their score.

        Shape: (N, ``width``), float32.
        """
        return self.head.vectors(self.encoder.apart(texts))

    def similarities(self, queries: Tensor, passages: Tensor) -> Tensor:
        """Returns the scores of pairs of vectors.

        Shape: (P, ``width``) and (P, ``width``) to (P,).
        """
        return self.from_views(pair_views(queries, passages))

    def from_views(self, views: Views) -> Tensor:
        """Applies the head alone, in float32 whatever autocast surrounds it.

        Shape: (P,).
        """
        with torch.autocast(views.cls.device.type, enabled=False):
            scores: Tensor = self.head(views)
        return scores

    def digest(self) -> str:
        """Returns the SHA-256 of all that decides a score: settings, tokenizer, configuration, weights in float32."""
        backbone: Any = self.encoder.backbone
        settings = {key: value for key, value in backbone.config.to_diff_dict().items() if key not in _NO_SETTINGS}
        tokenizer_settings = [str(getattr(self.tokenizer, name)) for name in _TOKENIZER_SETTINGS]
        facts = [asdict(self.config), settings, repr(self.head), tokenizer_settings]
        total = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
        total.update(self.tokenizer.backend_tokenizer.to_str().encode())
        # sorted, since the order of registration decides no score
        for name, tensor in sorted((self.stock.state_dict() | self.head.state_dict(prefix="head.")).items()):
            total.update(name.encode())
            total.update(tensor.detach().float().cpu().contiguous().numpy())
        return total.hexdigest()

    def save(self, folder: Path) -> None:
        """Writes a Hugging Face directory with ``ranker.json``.

        A ``cross`` also loads as a stock sequence classifier, and a ``dual`` in sentence-transformers.
        Raises: OSError where it cannot be written.
        """
        with quiet(), system_errors():
            self.stock.save_pretrained(folder)  # type: ignore[operator]
            self.tokenizer.save_pretrained(folder)
            self.head.save(folder)
        write_config(self.config, folder)
        set_default_modes(folder)
