"""``ranker.json``: what a model directory says beside its Hugging Face files."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from ranker.errors import ModelError
from ranker.limits import MAX_TOKENS, MIN_TOKENS

CONFIG_NAME: Final = "ranker.json"
_FORMAT: Final = 1

MODES: Final = {
    "dual": "reads question and passage apart; similarity of their two vectors (BERT-Rep)",
    "cross": "reads question and passage together; linear on the last layer's [CLS] (Last-Int)",
}
"""Every mode, and what it does in one line."""

POOLINGS: Final = {
    "cls": "the vector of the first token",
    "mean": "the mean over all tokens, as sentence-transformers' backbones are trained",
}

SIMILARITIES: Final = {
    "cosine": "inner product of the vectors at length one",
    "dot": "inner product of the vectors as they are",
}


@dataclass(frozen=True)
class RankerConfig:
    """How a model reads and scores.

    ``query_length`` and ``length`` are in tokens; ``length`` counts the whole pair and its markers for modes that read
    together, and the passage with its markers for ``dual``. Raises: ModelError for a value that is not allowed.
    """

    mode: str
    pooling: str = "cls"
    similarity: str = "cosine"
    query_length: int = 64
    length: int = 256
    frozen: bool = False

    def __post_init__(self) -> None:
        """Refuses values that no model has."""
        for key, allowed in (("mode", MODES), ("pooling", POOLINGS), ("similarity", SIMILARITIES)):
            if getattr(self, key) not in allowed:
                raise ModelError(f"{key} is {getattr(self, key)!r}, expected one of {', '.join(allowed)}.")
        for key in ("query_length", "length"):
            value = getattr(self, key)
            if type(value) is not int or not MIN_TOKENS <= value <= MAX_TOKENS:
                raise ModelError(f"{key} is {value!r}, expected {MIN_TOKENS} to {MAX_TOKENS} tokens.")
        if type(self.frozen) is not bool:
            raise ModelError(f"frozen is {self.frozen!r}, expected true or false.")
        if self.query_length >= self.length:
            raise ModelError(f"query_length is {self.query_length}, expected less than the length of {self.length}.")

    @property
    def apart(self) -> bool:
        """Whether question and passage are read apart, so that passages can be encoded once and indexed."""
        return self.mode == "dual"


def write_config(config: RankerConfig, folder: Path) -> None:
    """Writes ``ranker.json`` into a model directory."""
    (folder / CONFIG_NAME).write_text(json.dumps({"format": _FORMAT, **asdict(config)}, indent=2) + "\n")


def read_config(folder: Path) -> RankerConfig:
    """The ``ranker.json`` of a model directory.

    Raises: ModelError for broken JSON, unknown or missing keys, and values that are not allowed.
    """
    path = folder / CONFIG_NAME
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON: {error}.") from error
    names = [field.name for field in fields(RankerConfig)]
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ModelError(f"{path}: expected an object with 'format' {_FORMAT}, which this version reads.")
    unknown = [key for key in record if key not in (*names, "format")]
    if unknown:
        raise ModelError(f"{path}: has the unknown key {unknown[0]!r}; allowed are format, {', '.join(names)}.")
    missing = [name for name in names if name not in record]
    if missing:
        raise ModelError(f"{path}: lacks the key {missing[0]!r}.")
    try:
        return RankerConfig(**{name: record[name] for name in names})
    except (ModelError, TypeError) as error:
        raise ModelError(f"{path}: {error}") from error
