"""``ranker.json``: what a model directory says beside its Hugging Face files."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from ranker.data.objects import read_object, shortened
from ranker.errors import ModelError
from ranker.limits import MAX_TOKENS, MIN_TOKENS
from ranker.wording import did_you_mean

CONFIG_NAME: Final = "ranker.json"
_FORMAT: Final = 1

MODES: Final = {
    "dual": "reads question and passage apart; similarity of their two vectors (BERT-Rep)",
    "cross": "reads question and passage together; linear on the last layer's [CLS] (Last-Int)",
    "mult-int": "together; the sum over layers of a linear on each layer's [CLS]",
    "term-trans": "together; by layer the mean cosine of projected words, then linear over layers",
    "token-pool": "together; linear on the mean of the last layer's words",
    "layer-mean": "together; linear on the mean of all layers' [CLS]",
    "layer-attention": "together; linear on the layers' [CLS] by attention of several heads",
    "knrm": "kernels on the cosines of word embeddings (K-NRM)",
    "conv-knrm": "kernels on the cosines of n-grams of word embeddings (Conv-KNRM)",
    "cedr-knrm": "together; kernels on every layer's words beside the last [CLS] (CEDR-KNRM)",
}
"""Every mode, and what it does in one line."""

POOLINGS: Final = {
    "cls": "the vector of the first token",
    "mean": "the mean over all tokens, as sentence-transformers' backbones are trained",
}

PLAIN_POOLINGS: Final = {"auto": "as a model was trained, of a plain encoder the first token's", **POOLINGS}

STOPWORDS: Final = {
    "keep": "every word is read",
    "drop": "none of them is read",
    "random": "as many of them are left out, at random, as a pair has markers",
}
"""What becomes of stopwords: the ablations of Qiao et al. 2019, section 4."""

SIMILARITIES: Final = {
    "cosine": "inner product of the vectors at length one",
    "dot": "inner product of the vectors as they are",
}


_CHOICES: Final = {"mode": MODES, "pooling": POOLINGS, "similarity": SIMILARITIES, "stopwords": STOPWORDS}


@dataclass(frozen=True)
class RankerConfig:
    """How a model reads and scores.

    ``query_length`` and ``length`` are in tokens; ``length`` counts the whole pair and its markers for modes that read
    together, and the passage with its markers for ``dual``.
    Without ``markers`` no [CLS] or [SEP] is put in. Raises: ModelError for a value that is not allowed.
    """

    mode: str
    pooling: str = "cls"
    similarity: str = "cosine"
    query_length: int = 64
    length: int = 256
    frozen: bool = False
    markers: bool = True
    stopwords: str = "keep"

    def __post_init__(self) -> None:
        """Refuses values that no model has."""
        for key, allowed in _CHOICES.items():
            value = getattr(self, key)
            if not isinstance(value, str) or value not in allowed:
                meant = did_you_mean(str(value), allowed)
                raise ModelError(f"{key} is {shortened(value)}, expected one of {', '.join(allowed)}.{meant}")
        for key in ("query_length", "length"):
            value = getattr(self, key)
            if type(value) is not int or not MIN_TOKENS <= value <= MAX_TOKENS:
                raise ModelError(f"{key} is {shortened(value)}, expected {MIN_TOKENS} to {MAX_TOKENS} tokens.")
        for key in ("frozen", "markers"):
            if type(getattr(self, key)) is not bool:
                raise ModelError(f"{key} is {shortened(getattr(self, key))}, expected true or false.")
        if self.query_length >= self.length:
            raise ModelError(f"query_length is {self.query_length}, expected less than the length of {self.length}.")

    @property
    def apart(self) -> bool:
        """Whether question and passage are read apart, so that passages can be encoded once and indexed."""
        return self.mode == "dual"


@dataclass(frozen=True)
class PlainConfig:
    """How a model is read that does not say it itself: a plain encoder, or as for ``length`` a stock classifier.

    The ``pooling`` is of a plain encoder, "auto" its first token's vector; a model that says its own has no other.
    A ``length`` of 0 is 512 tokens, as rerankers are published, or what the backbone has positions for. Half of it, or
    64 where that is less, are for the query.
    Raises: ModelError for a value that is not allowed.
    """

    pooling: str = "auto"
    length: int = 0

    def __post_init__(self) -> None:
        """Refuses values that no model has."""
        if self.pooling not in PLAIN_POOLINGS:
            raise ModelError(f"pooling is {shortened(self.pooling)}, expected one of {', '.join(PLAIN_POOLINGS)}.")
        if type(self.length) is not int or (self.length and not 2 * MIN_TOKENS <= self.length <= MAX_TOKENS):
            allowed = f"{2 * MIN_TOKENS} to {MAX_TOKENS} tokens, or 0 for as many as it reads"
            raise ModelError(f"length is {shortened(self.length)}, expected {allowed}.")


_LATER: Final = ("markers", "stopwords")
"""Keys that a model lacks which was saved before they were there; it reads as their defaults say."""


def write_config(config: RankerConfig, folder: Path) -> None:
    """Writes ``ranker.json`` into a model directory."""
    (folder / CONFIG_NAME).write_text(json.dumps({"format": _FORMAT, **asdict(config)}, indent=2) + "\n")


def read_config(folder: Path) -> RankerConfig:
    """The ``ranker.json`` of a model directory.

    Raises: ModelError for broken JSON, unknown or missing keys, and values that are not allowed.
    """
    path = folder / CONFIG_NAME
    record = read_object(path, ModelError)
    names = [field.name for field in fields(RankerConfig)]
    if record.get("format") != _FORMAT:
        raise ModelError(f"{path}: expected an object with 'format' {_FORMAT}, which this version reads.")
    unknown = [key for key in record if key not in (*names, "format")]
    if unknown:
        raise ModelError(
            f"{path}: has the unknown key {shortened(unknown[0])}; allowed are format, {', '.join(names)}."
        )
    missing = [name for name in names if name not in record and name not in _LATER]
    if missing:
        raise ModelError(f"{path}: lacks the key {missing[0]!r}.")
    try:
        return RankerConfig(**{name: record[name] for name in names if name in record})
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
