"""How a model reads: its mode, lengths, pooling and prompts."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ranker.errors import ModelError
from ranker.limits import MAX_PROMPT, MAX_TOKENS, MIN_TOKENS
from ranker.settings.fields import check, check_choice, in_a_line, setting
from ranker.wording import shortened


class Needs(NamedTuple):
    """The layers and tokens that a head reads; the encoder computes and keeps no more.

    ``layers`` are the word embeddings before any layer, the last layer, or all layers; with ``tokens`` the head reads
    the vector of every token, else that of [CLS] alone.
    """

    layers: Literal["words", "last", "all"]
    tokens: bool = False


class Mode(NamedTuple):
    """A way to score a pair: a line of help, and the layers and tokens that its head reads.

    With ``apart``, question and passage are read apart, so that passages can be encoded once and indexed.
    """

    help: str
    needs: Needs
    apart: bool = False


LAST: Final = Needs("last")
"""The last layer's [CLS] alone."""

MODES: Final = {
    "dual": Mode("reads question and passage apart; similarity of their two vectors (BERT-Rep)", LAST, apart=True),
    "cross": Mode("reads question and passage together; linear on the last layer's [CLS] (Last-Int)", LAST),
    "mult-int": Mode("together; the sum over layers of a linear on each layer's [CLS]", Needs("all")),
    "term-trans": Mode(
        "together; the mean cosine of projected token vectors in each layer, and a linear over layers",
        Needs("all", tokens=True),
    ),
    "token-pool": Mode("together; linear on the mean of the last layer's token vectors", Needs("last", tokens=True)),
    "layer-mean": Mode("together; linear on the mean of all layers' [CLS]", Needs("all")),
    "layer-attention": Mode("together; linear on the layers' [CLS], weighted by multi-head attention", Needs("all")),
    "knrm": Mode("kernels on the cosines of word embeddings (K-NRM)", Needs("words", tokens=True)),
    "conv-knrm": Mode("kernels on the cosines of n-grams of word embeddings (Conv-KNRM)", Needs("words", tokens=True)),
    "cedr-knrm": Mode(
        "together; kernels on every layer's token vectors, and the last [CLS] (CEDR-KNRM)", Needs("all", tokens=True)
    ),
}
"""Every mode by its name; ``ranker.model.heads.HEADS`` has the head of each."""

AUTO: Final = "auto"
"""The value of a setting that is left to the model."""

POOLINGS: Final = {
    "cls": "the vector of the first token",
    "mean": "the mean over all tokens",
    "max": "the maximum over all tokens in each dimension",
    "mean-sqrt-len": "the sum over all tokens, divided by the square root of their number",
    "weighted-mean": "the mean over all tokens, each weighted by its position from 1",
    "last": "the vector of the last token",
}

CHOSEN_POOLINGS: Final = {AUTO: "as the model says; one that says nothing has cls", **POOLINGS}

STOPWORDS: Final = {
    "keep": "every word is read",
    "drop": "stopwords are left out",
    "random": "as many stopwords are left out, at random, as a pair has markers",
}
"""The ways to handle stopwords: the ablations of Qiao et al. 2019, section 4."""

SIMILARITIES: Final = {
    "cosine": "inner product of the vectors, scaled to length one",
    "dot": "inner product of the vectors as they are",
}

CHOSEN_SIMILARITIES: Final = {AUTO: "as the model says; one that says nothing has cosine", **SIMILARITIES}

_LENGTHS: Final = f"{MIN_TOKENS} to {MAX_TOKENS} tokens"
_LENGTHS_OR_0: Final = f"{_LENGTHS}, or 0 for as many as the model says"
_ONE_POOLING: Final = f"one of {', '.join(CHOSEN_POOLINGS)}"
_POOLING_HELP: Final = (
    f"How a model that reads apart makes a vector of a text; several are joined by +. {in_a_line(CHOSEN_POOLINGS)}"
)
_SIMILARITY_HELP: Final = f"How a model that reads apart compares two vectors. {in_a_line(CHOSEN_SIMILARITIES)}"
_QUERY_PROMPT_HELP: Final = "Text before every query, as in 'query: '; auto: as the model says"
_PASSAGE_PROMPT_HELP: Final = "Text before every passage; auto: as the model says"
_QUERY_LENGTH_HELP: Final = "Tokens of a query read apart, or together with a passage that needs all the rest"
_LENGTH_HELP: Final = "Tokens of a pair, or of a passage read apart, markers included"


@dataclass(frozen=True)
class RankerConfig:
    """How a model reads and scores.

    ``query_length`` and ``length`` are in tokens; ``length`` counts the whole pair and its markers for modes that read
    together, and the passage with its markers for modes that read apart. A query read together with a passage has
    ``query_length`` tokens, and more where the passage leaves room; one that is read apart has no more, its markers
    included. The vectors of several poolings, joined by ``+``, are concatenated. Prompts stand before every query and
    passage. ``label`` is the class whose log-odds are the score, empty where the model has one output. Without
    ``markers`` no [CLS] or [SEP] is put in. The backbone decides what is "auto" when a model is made.
    Raises: ModelError for a value that is not allowed.
    """

    mode: str
    pooling: str = setting(AUTO, _POOLING_HELP, expected=_ONE_POOLING)
    similarity: str = setting(AUTO, _SIMILARITY_HELP, choices=CHOSEN_SIMILARITIES)
    query_length: int = setting(64, _QUERY_LENGTH_HELP, least=MIN_TOKENS, most=MAX_TOKENS, expected=_LENGTHS)
    length: int = setting(256, _LENGTH_HELP, least=MIN_TOKENS, most=MAX_TOKENS, expected=_LENGTHS)
    frozen: bool = setting(False, "Leave the backbone as it is and train the head alone")
    markers: bool = setting(True, "Put [CLS] and [SEP] in, as the backbone was trained")
    stopwords: str = setting("keep", in_a_line(STOPWORDS), choices=STOPWORDS)
    query_prompt: str = setting(AUTO, _QUERY_PROMPT_HELP, most=MAX_PROMPT)
    passage_prompt: str = setting(AUTO, _PASSAGE_PROMPT_HELP, most=MAX_PROMPT)
    label: str = setting("", most=MAX_PROMPT)

    def __post_init__(self) -> None:
        """Refuses values that no model has, and those that do not fit each other."""
        check_choice("mode", self.mode, MODES, ModelError)
        check(self, ModelError, suggest=True)
        _check_pooling(self.pooling)
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
    """How a published model is read, where it does not say so itself or shall be read otherwise.

    "auto" and a length of 0 leave it to the model. A model that says no ``length`` reads 512 tokens, as rerankers are
    published, or as many as its backbone or tokenizer has. A model that says no ``query_length`` gives a query read
    apart all of that, and one read together with a passage half of it, but at most 64.
    Raises: ModelError for a value that is not allowed.
    """

    pooling: str = setting(AUTO, _POOLING_HELP, expected=_ONE_POOLING)
    length: int = setting(
        0,
        f"{_LENGTH_HELP}, for a model that was not trained here; 0: as the model says, else 512, or as many as it has "
        "positions for",
        least=MIN_TOKENS,
        most=MAX_TOKENS,
        zero=True,
        expected=_LENGTHS_OR_0,
    )
    query_length: int = setting(
        0,
        f"{_QUERY_LENGTH_HELP}; 0: as the model says, else 64, or the whole length where it is read apart",
        least=MIN_TOKENS,
        most=MAX_TOKENS,
        zero=True,
        expected=_LENGTHS_OR_0,
    )
    similarity: str = setting(AUTO, _SIMILARITY_HELP, choices=CHOSEN_SIMILARITIES)
    query_prompt: str = setting(AUTO, _QUERY_PROMPT_HELP, most=MAX_PROMPT)
    passage_prompt: str = setting(AUTO, _PASSAGE_PROMPT_HELP, most=MAX_PROMPT)

    def __post_init__(self) -> None:
        """Refuses values that no model has."""
        check(self, ModelError, suggest=True)
        _check_pooling(self.pooling)


def _check_pooling(pooling: str) -> None:
    """Refuses a text that is not one pooling, or several different ones joined by ``+``."""
    parts = pooling.split("+")
    if pooling != AUTO and (any(part not in POOLINGS for part in parts) or len(set(parts)) < len(parts)):
        raise ModelError(f"pooling is {shortened(pooling)}, expected {_ONE_POOLING}.")
