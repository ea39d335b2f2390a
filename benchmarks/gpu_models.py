"""Models of published shapes with random weights, and made-up pairs of known lengths that they read."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

Lengths = NDArray[np.int64]

MARKERS: Final = 3
"""[CLS] before the query, [SEP] between query and passage and behind the passage."""

PAIRS_PER_QUERY: Final = 64
"""Passages that are scored for one query, as a reranker is given them."""

SPECIAL: Final = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class ModelShape(NamedTuple):
    """A ``model_type`` of transformers, and where its sizes differ from that type's defaults."""

    model_type: str
    sizes: dict[str, int]


SHAPES: Final = {
    "MiniLM-L6": ModelShape(
        "bert",
        {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1_536},
    ),
    "BERT-base": ModelShape("bert", {}),
    "ModernBERT-base": ModelShape("modernbert", {}),
}

_TINY: Final = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "vocab_size": 512,
}

_SPECIAL_IDS: Final = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}


class Workload(NamedTuple):
    """Pairs to score: texts, and which query goes with each passage.

    Shape: queries (Q,), passages (P,), query_of (P,), lengths (P,): tokens of each pair, markers included.
    """

    queries: tuple[str, ...]
    passages: tuple[str, ...]
    query_of: NDArray[np.int64]
    lengths: Lengths

    @property
    def texts(self) -> list[tuple[str, str]]:
        """Each pair as its two texts."""
        return [(self.queries[row], passage) for row, passage in zip(self.query_of, self.passages, strict=True)]

    def head(self, pairs: int) -> "Workload":
        """The first pairs alone."""
        return Workload(self.queries, self.passages[:pairs], self.query_of[:pairs], self.lengths[:pairs])


def save_random_model(name: str, tiny: bool, folder: Path) -> None:
    """Writes a sequence classifier of one output, of a shape in ``SHAPES`` or with its sizes made ``tiny``."""
    shape = SHAPES[name]
    sizes = shape.sizes | (_TINY if tiny else {})
    ids = _SPECIAL_IDS if shape.model_type == "modernbert" else {}
    config: Any = AutoConfig.for_model(shape.model_type, num_labels=1, **sizes, **ids)
    torch.manual_seed(1)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    longest = min(512, int(config.max_position_embeddings))
    _tokenizer(int(config.vocab_size), shape.model_type == "bert", longest).save_pretrained(folder)


def _tokenizer(vocabulary: int, segments: bool, longest: int) -> PreTrainedTokenizerFast:
    """One token for each word ``w5``, ``w6`` and so on, which stand for the ids of their numbers."""
    words = [*SPECIAL, *(f"w{number}" for number in range(len(SPECIAL), vocabulary))]
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = WhitespaceSplit()
    second = ":1" if segments else ""
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair=f"[CLS] $A [SEP] $B{second} [SEP]{second}",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=longest,
        model_input_names=names,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@lru_cache(maxsize=8)
def made_up_workload(shortest: int, longest: int, tokens: int, vocabulary: int) -> Workload:
    """About so many tokens of pairs whose lengths are spread evenly from ``shortest`` to ``longest``."""
    draw = np.random.default_rng(longest)
    lengths = draw.integers(shortest, longest + 1, max(1, 2 * tokens // (shortest + longest)))
    words = np.array([f"w{number}" for number in range(len(SPECIAL), vocabulary)])
    of_query = max(2, min(12, shortest // 4))
    query_of = np.arange(len(lengths)) // PAIRS_PER_QUERY
    queries = tuple(" ".join(words[draw.integers(0, len(words), of_query)]) for _ in range(int(query_of[-1]) + 1))
    passages = tuple(" ".join(words[draw.integers(0, len(words), n - MARKERS - of_query)]) for n in lengths)
    return Workload(queries, passages, query_of, lengths)


def arithmetic(config: Any, lengths: Lengths) -> float:
    """Floating-point operations of a model's matrix products, every layer computed for every token.

    An engine that computes the last layer for [CLS] alone does fewer. Shape: lengths (P,).
    """
    width, inner = config.hidden_size, config.intermediate_size
    matrices = 3 if config.model_type == "modernbert" else 2  # ModernBERT's feed-forward block is gated
    linear = lengths * (4 * width**2 + matrices * width * inner)
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    near = np.minimum(lengths, getattr(config, "local_attention", 0) + 1)
    total = 0.0
    for kind in kinds:
        attended = near if kind == "sliding_attention" else lengths
        total += 2.0 * float((linear + 2 * lengths * attended * width).sum())
    return total
