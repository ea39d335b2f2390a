"""``ranker.json``: what a model directory says beside its Hugging Face files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

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

AUTO: Final = "auto"
"""What a setting says that is left to the model."""

POOLINGS: Final = {
    "cls": "the vector of the first token",
    "mean": "the mean over all tokens",
    "max": "the maximum over all tokens, number by number",
    "mean-sqrt-len": "the sum over all tokens by the square root of their number",
    "weighted-mean": "the mean over all tokens, each weighted by its position from 1",
    "last": "the vector of the last token",
}

CHOSEN_POOLINGS: Final = {AUTO: "as the model says; one that says nothing has cls", **POOLINGS}

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

CHOSEN_SIMILARITIES: Final = {AUTO: "as the model says; one that says nothing has cosine", **SIMILARITIES}

_CHOICES: Final = {"mode": MODES, "similarity": CHOSEN_SIMILARITIES, "stopwords": STOPWORDS}


@dataclass(frozen=True)
class RankerConfig:
    """How a model reads and scores.

    ``query_length`` and ``length`` are in tokens; ``length`` counts the whole pair and its markers for modes that read
    together, and the passage with its markers for ``dual``. A query read together with a passage has ``query_length``
    tokens, and more where the passage leaves room; one that is read apart has no more, its markers included.
    Several poolings, joined by ``+``, have their vectors end to end. Prompts stand before every query and passage.
    ``label`` is the class whose log-odds are the score, empty where the model has one output. Without ``markers`` no
    [CLS] or [SEP] is put in. What is "auto" is decided by the backbone when a model is made.
    Raises: ModelError for a value that is not allowed.
    """

    mode: str
    pooling: str = AUTO
    similarity: str = AUTO
    query_length: int = 64
    length: int = 256
    frozen: bool = False
    markers: bool = True
    stopwords: str = "keep"
    query_prompt: str = AUTO
    passage_prompt: str = AUTO
    label: str = ""

    def __post_init__(self) -> None:
        """Refuses values that no model has."""
        for key, names in _CHOICES.items():
            _check_choice(key, getattr(self, key), names)
        _check_pooling(self.pooling)
        for key in ("query_prompt", "passage_prompt", "label"):
            _check_text(key, getattr(self, key))
        for key in ("query_length", "length"):
            value = getattr(self, key)
            if type(value) is not int or not MIN_TOKENS <= value <= MAX_TOKENS:
                raise ModelError(f"{key} is {shortened(value)}, expected {MIN_TOKENS} to {MAX_TOKENS} tokens.")
        for key in ("frozen", "markers"):
            if type(getattr(self, key)) is not bool:
                raise ModelError(f"{key} is {shortened(getattr(self, key))}, expected true or false.")
        if self.label and self.apart:
            raise ModelError(f"label is {shortened(self.label)}, expected none: mode {self.mode} has no classes.")
        if self.query_length > self.length - (not self.apart):
            allowed = f"{'at most' if self.apart else 'less than'} the length of {self.length}"
            raise ModelError(f"query_length is {self.query_length}, expected {allowed}.")

    @property
    def apart(self) -> bool:
        """Whether question and passage are read apart, so that passages can be encoded once and indexed."""
        return self.mode == "dual"


@dataclass(frozen=True)
class PlainConfig:
    """How a model is read otherwise than it says itself, or than a model is read that says nothing.

    "auto" and a length of 0 leave it to the model. One that says no ``length`` reads 512 tokens, as rerankers are
    published, or as many as its backbone or tokenizer has; one that says no ``query_length`` leaves half of that, or 64
    where that is less, to a query beside a passage that needs the rest, and all of it to a query read apart.
    Raises: ModelError for a value that is not allowed.
    """

    pooling: str = AUTO
    length: int = 0
    query_length: int = 0
    similarity: str = AUTO
    query_prompt: str = AUTO
    passage_prompt: str = AUTO

    def __post_init__(self) -> None:
        """Refuses values that no model has."""
        _check_pooling(self.pooling)
        _check_choice("similarity", self.similarity, CHOSEN_SIMILARITIES)
        for key in ("query_prompt", "passage_prompt"):
            _check_text(key, getattr(self, key))
        for key in ("length", "query_length"):
            value = getattr(self, key)
            if type(value) is not int or (value and not MIN_TOKENS <= value <= MAX_TOKENS):
                allowed = f"{MIN_TOKENS} to {MAX_TOKENS} tokens, or 0 for as many as the model says"
                raise ModelError(f"{key} is {shortened(value)}, expected {allowed}.")


def _check_choice(key: str, value: object, names: Mapping[str, str]) -> None:
    if not isinstance(value, str) or value not in names:
        meant = did_you_mean(str(value), names)
        raise ModelError(f"{key} is {shortened(value)}, expected one of {', '.join(names)}.{meant}")


def _check_pooling(value: object) -> None:
    """Refuses what is not one pooling, or several joined by ``+``."""
    parts = value.split("+") if isinstance(value, str) else []
    if value != AUTO and (not parts or any(part not in POOLINGS for part in parts) or len(set(parts)) < len(parts)):
        raise ModelError(f"pooling is {shortened(value)}, expected one of {', '.join(CHOSEN_POOLINGS)}.")


def _check_text(key: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > _MAX_PROMPT:
        raise ModelError(f"{key} is {shortened(value)}, expected a text of at most {_MAX_PROMPT} characters.")


_MAX_PROMPT: Final = 4_096
"""Characters of a prompt: instructions of published models have some hundred."""

_LATER: Final[dict[str, Any]] = {
    "markers": True,
    "stopwords": "keep",
    "query_prompt": "",
    "passage_prompt": "",
    "label": "",
}
"""How a model reads that was saved before these keys were there."""


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
    del record["format"]
    undecided = next((name for name in ("pooling", "similarity") if record[name] == AUTO), None)
    if undecided is not None:
        raise ModelError(f"{path}: {undecided} is 'auto', expected what the model has.")
    try:
        return RankerConfig(**({name: _LATER[name] for name in names if name in _LATER} | record))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
