"""How a model reads: its mode, lengths, pooling and prompts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from ranker.errors import ModelError
from ranker.limits import MAX_TOKENS, MIN_TOKENS
from ranker.wording import did_you_mean, shortened


class Needs(NamedTuple):
    """The layers and tokens that a head reads; the encoder computes and keeps no more.

    ``layers``: the word embeddings before any layer, the last layer, or all of them; ``tokens``: every token's vector
    beside [CLS].
    """

    layers: Literal["words", "last", "all"]
    tokens: bool = False


class Mode(NamedTuple):
    """A way to score a pair: a line of help, and what its head needs.

    ``apart``: question and passage are read apart, so that passages can be encoded once and indexed.
    """

    help: str
    needs: Needs
    apart: bool = False


LAST: Final = Needs("last")
"""The last layer's [CLS] alone: all that is read of texts that are read apart."""

MODES: Final = {
    "dual": Mode("reads question and passage apart; similarity of their two vectors (BERT-Rep)", LAST, apart=True),
    "cross": Mode("reads question and passage together; linear on the last layer's [CLS] (Last-Int)", LAST),
    "mult-int": Mode("together; the sum over layers of a linear on each layer's [CLS]", Needs("all")),
    "term-trans": Mode(
        "together; by layer the mean cosine of projected words, then linear over layers", Needs("all", tokens=True)
    ),
    "token-pool": Mode("together; linear on the mean of the last layer's words", Needs("last", tokens=True)),
    "layer-mean": Mode("together; linear on the mean of all layers' [CLS]", Needs("all")),
    "layer-attention": Mode("together; linear on the layers' [CLS] by attention of several heads", Needs("all")),
    "knrm": Mode("kernels on the cosines of word embeddings (K-NRM)", Needs("words", tokens=True)),
    "conv-knrm": Mode("kernels on the cosines of n-grams of word embeddings (Conv-KNRM)", Needs("words", tokens=True)),
    "cedr-knrm": Mode(
        "together; kernels on every layer's words beside the last [CLS] (CEDR-KNRM)", Needs("all", tokens=True)
    ),
}
"""Every mode by its name; ``ranker.model.heads.HEADS`` has the head of each."""

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

_CHOICES: Final[dict[str, Mapping[str, Any]]] = {
    "mode": MODES,
    "similarity": CHOSEN_SIMILARITIES,
    "stopwords": STOPWORDS,
}


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
        return MODES[self.mode].apart

    @property
    def needs(self) -> Needs:
        """The layers and tokens that the mode's head reads."""
        return MODES[self.mode].needs


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


def _check_choice(key: str, value: object, names: Mapping[str, Any]) -> None:
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
