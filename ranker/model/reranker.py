"""A model that scores pairs: a tokenizer, an encoder, a head, and the directory they live in."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ranker.errors import ModelError
from ranker.files.atomic import set_default_modes
from ranker.model.backbone import freeze, layers_of, summary_pooling, traits
from ranker.model.batch import TokenBatch
from ranker.model.encoder import Encoder, pair_views
from ranker.model.head import Parts, Shape
from ranker.model.heads import HEADS, DualHead
from ranker.model.quiet import quiet
from ranker.model.saving import failing_as_files_do, write_config
from ranker.model.sentence_transformers import width_behind, write_pipeline
from ranker.model.views import Views
from ranker.settings.model import RankerConfig

_NAMES: Final = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache")
"""Keys of a backbone's configuration that change no score."""

_READING: Final = ("model_input_names", "pad_token_id", "truncation_side")
"""How a tokenizer is read, beside its own file."""

HEAD_NAME: Final = "head.safetensors"
"""What a model directory holds beside a Hugging Face one, where the head has weights of its own."""


class Reranker(nn.Module):
    """Scores question-passage pairs in one mode.

    ``source`` names where the weights came from, ``width`` is the size of the vector of a text that is read apart, and
    ``notes`` are sentences about how the model is read.
    """

    def __init__(
        self,
        config: RankerConfig,
        stock: nn.Module,
        tokenizer: Any,  # noqa: ANN401
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
        shape = Shape(int(backbone.config.hidden_size), layers_of(backbone))
        projection = nn.Sequential() if projection is None else projection
        self.width = width_behind(projection, shape.width * len(pooling.split("+")))
        classify = traits(backbone.config, source).classify
        self.head = HEADS[config.mode](Parts(config, shape, stock, classify, projection))
        if config.frozen:
            freeze(backbone)
            for parameter in self.head_parameters():
                parameter.requires_grad_(True)

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """What learns even where the backbone is frozen."""
        backbone = {id(parameter) for parameter in self.encoder.backbone.parameters()}
        pooler = getattr(self.encoder.backbone, "pooler", None)
        if pooler is not None and self.head.classifies:
            backbone -= {id(parameter) for parameter in pooler.parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in backbone)

    def score(self, pairs: TokenBatch) -> Tensor:
        """The logits of pairs that are read together.

        Shape: (P,), float32.
        """
        return self.from_views(self.encoder.together(pairs, self.config.needs))

    def vectors(self, texts: TokenBatch) -> Tensor:
        """The vectors of texts that are read apart; the inner product of two is their score.

        Shape: (N, ``width``), float32.
        """
        pooled = self.encoder.apart(texts)
        return self.head.vectors(pooled)

    def similarities(self, queries: Tensor, passages: Tensor) -> Tensor:
        """The scores of pairs of vectors.

        Shape: (P, ``width``) and (P, ``width``) to (P,).
        """
        return self.from_views(pair_views(queries, passages))

    def from_views(self, views: Views) -> Tensor:
        """The head on its own, in float32 whatever the precision around it."""
        with torch.autocast(views.cls.device.type, enabled=False):
            scores: Tensor = self.head(views)
        return scores

    def digest(self) -> str:
        """SHA-256 of all that decides a score: how texts are read, tokenizer, configuration, weights in float32."""
        backbone: Any = self.encoder.backbone
        settings = {name: value for name, value in backbone.config.to_diff_dict().items() if name not in _NAMES}
        reading = [str(getattr(self.tokenizer, name)) for name in _READING]
        facts = [asdict(self.config), settings, repr(self.head), reading]
        total = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
        total.update(self.tokenizer.backend_tokenizer.to_str().encode())
        for name, tensor in sorted((self.stock.state_dict() | self.head.state_dict(prefix="head.")).items()):
            total.update(name.encode())
            total.update(tensor.detach().float().cpu().contiguous().numpy())
        return total.hexdigest()

    def save(self, folder: Path) -> None:
        """Writes a Hugging Face directory with ``ranker.json``; a ``cross`` loads as a stock sequence classifier.

        A ``dual`` loads in sentence-transformers, unless it reads without markers or stopwords, which that cannot. Any
        other head that has weights of its own has them in ``head.safetensors``.
        Raises: OSError where it cannot be written.
        """
        with quiet(), failing_as_files_do():
            self.stock.save_pretrained(folder)  # type: ignore[operator]
            self.tokenizer.save_pretrained(folder)
            if isinstance(self.head, DualHead):
                self._write_pipeline(folder, self.head.projection)
            elif self.head.state_dict():
                save_file(self.head.state_dict(), folder / HEAD_NAME)
        write_config(self.config, folder)
        set_default_modes(folder)

    def _write_pipeline(self, folder: Path, projection: nn.Sequential) -> None:
        if len(projection) or (self.config.markers and self.config.stopwords == "keep"):
            backbone: Any = self.encoder.backbone
            write_pipeline(folder, self.config, int(backbone.config.hidden_size), projection)

    def load_head(self, folder: Path) -> None:
        """Takes the head's own weights, where it has any, from a directory that ``save`` wrote.

        Raises: ModelError where they are not there or do not fit.
        """
        if isinstance(self.head, DualHead) or not self.head.state_dict():
            return
        try:
            self.head.load_state_dict(load_file(folder / HEAD_NAME))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(f"{folder / HEAD_NAME}: gives no head of mode {self.config.mode!r}: {reason}.") from error
