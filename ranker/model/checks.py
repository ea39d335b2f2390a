"""Whether the files of a model fit each other: configuration, weights and tokenizer, each held against the others."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from transformers.activations import ACT2FN

from ranker.errors import ModelError
from ranker.files.json_files import read_object
from ranker.limits import MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH
from ranker.model.backbone import has_segments
from ranker.model.files import WEIGHTS, WEIGHTS_INDEX, Weight
from ranker.wording import counted, shortened

_PICKLES: Final = (".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLED_NAMES: Final = ("pytorch_model", "model", "weights", "checkpoint")

_FLOATS: Final = ("F16", "BF16", "F32", "F64")
"""As safetensors calls the types that a weight can be read from without a scale that stands elsewhere."""

_WEIGHTS: Final = ("weight", "bias", "gamma", "beta")
"""How the names of weights end; what else a file holds, as positions and counters, may be of whole numbers."""

_BUFFERS: Final = ("position_ids", "token_type_ids", "inv_freq")
"""What older versions of transformers wrote beside weights, and newer ones compute."""

_LEAST: Final = dict.fromkeys(
    ("hidden_size", "dim", "intermediate_size", "hidden_dim", "embedding_size", "num_attention_heads", "n_heads"), 1
)
"""The smallest size that a key may have, where that is not 0."""

_ACTIVATIONS: Final = ("hidden_act", "hidden_activation", "activation")
_EPSILONS: Final = ("layer_norm_eps", "norm_eps")

_MOST: Final = {
    **dict.fromkeys(("num_hidden_layers", "n_layers"), MAX_LAYERS),
    **dict.fromkeys(("hidden_size", "dim", "intermediate_size", "hidden_dim", "embedding_size"), MAX_WIDTH),
    **dict.fromkeys(("pooler_hidden_size", "type_vocab_size", "num_labels"), MAX_WIDTH),
    **dict.fromkeys(("num_attention_heads", "n_heads"), MAX_WIDTH),
    **dict.fromkeys(("vocab_size", "max_position_embeddings"), MAX_VOCABULARY),
}
"""The largest size that a key of config.json may have: transformers builds whatever is asked for."""


def check_folder(folder: Path) -> None:
    """Holds that a folder has a configuration, and weights that are no pickle.

    Raises: ModelError.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: has no config.json, which a model directory must have.")
    read_object(folder / "config.json", ModelError)
    if any((folder / name).is_file() for name in (WEIGHTS, WEIGHTS_INDEX)):
        return
    names = sorted(path.name for path in folder.iterdir() if path.name.startswith(_PICKLED_NAMES))
    pickle = next((name for name in names if name.endswith(_PICKLES)), None)
    if pickle is not None:
        raise ModelError(
            f"{folder}: has its weights in {pickle}, a pickle, which can run code when it is opened; "
            "expected safetensors: convert it where you trust it, by save_pretrained of a recent transformers."
        )
    raise ModelError(f"{folder}: has no weights, expected {WEIGHTS}.")


def check_sizes(found: Mapping[str, Any], source: str) -> None:
    """Holds that config.json asks for what can be built: sizes, an activation that there is, an epsilon.

    Raises: ModelError.
    """
    for key, most in _MOST.items():
        size, least = found.get(key, most), _LEAST.get(key, 0)
        if type(size) is not int or not least <= size <= most:
            raise ModelError(f"{source}: {key} in config.json is {shortened(size)}, expected {least} to {most}.")
    for key in _ACTIVATIONS:
        if key in found and (not isinstance(found[key], str) or found[key] not in ACT2FN):
            known = ", ".join(sorted(ACT2FN))
            raise ModelError(f"{source}: {key} in config.json is {shortened(found[key])}, expected one of {known}.")
    for key in _EPSILONS:
        if key in found and (type(found[key]) not in (int, float) or not 0 <= found[key] < 1):
            raise ModelError(f"{source}: {key} in config.json is {shortened(found[key])}, expected 0 to below 1.")


def check_kinds(weights: Iterable[Weight], source: str) -> None:
    """Holds, before any weight is loaded, that the weights are numbers with a point.

    Raises: ModelError.
    """
    for file, name, kind in weights:
        if kind not in _FLOATS and name.endswith(_WEIGHTS):
            raise ModelError(
                f"{source}: {file} has the weights {name} of type {kind}, expected {', '.join(_FLOATS[:-1])} or "
                f"{_FLOATS[-1]}; save it again in one of these."
            )


def check_weights(stock: Any, said: Mapping[str, Any], source: str, whole: bool) -> None:  # noqa: ANN401
    """Holds that the weights are those of the model that config.json describes.

    Refused are weights of another shape, and those that would be drawn at random, but for a head that is to learn (not
    ``whole``), and a pooler that such a head or none uses; and weights of a part that was built, but has no place for
    them, as layers behind the last. Heads of other tasks and poolers that nobody asks are left aside. ``said`` is what
    transformers tells of it. Refused too are weights that are no finite numbers.
    Raises: ModelError.
    """
    mismatched = list(said.get("mismatched_keys", ()))
    if whole and mismatched:
        name, in_file, expected = mismatched[0]
        shapes = f"of shape {tuple(in_file)}, but config.json says {tuple(expected)}"
        raise ModelError(f"{source}: its weights {name} are {shapes}; it needs the config.json of the weights.")
    _check_missing(stock, [*said["missing_keys"], *(name for name, *_ in mismatched)], source, whole)
    homeless = sorted(name for name in said["unexpected_keys"] if _belongs(stock, name, whole))
    if homeless:
        count = counted(len(homeless), "weight")
        raise ModelError(
            f"{source}: has {count} for which the model of its config.json has no place, {homeless[0]} among them; "
            "config.json must be that of the weights, as for num_hidden_layers."
        )
    for name, weight in stock.named_parameters():
        if not torch.isfinite(weight).all():
            raise ModelError(f"{source}: its weights {name} are not all finite numbers; no score can come of them.")


def _check_missing(stock: Any, missing: Iterable[str], source: str, whole: bool) -> None:  # noqa: ANN401
    alone = stock.base_model is stock
    prefix = "" if alone else f"{stock.base_model_prefix}."
    if alone or not whole:
        missing = (name for name in missing if name.startswith(prefix) and not name.startswith(f"{prefix}pooler."))
    lost = sorted(missing)
    if lost:
        raise ModelError(f"{source}: lacks {len(lost)} of its weights, {lost[0]} among them; expected all of them.")


def _belongs(stock: Any, name: str, whole: bool) -> bool:  # noqa: ANN401
    """Whether a weight without a place is of a part that was built; a head that is to learn takes no others."""
    if name.endswith(_BUFFERS):
        return False
    backbone = stock.base_model
    inner = name.removeprefix(f"{stock.base_model_prefix}.")
    parts = {part for part, _ in backbone.named_children()}
    if whole:
        parts |= {part for part, _ in stock.named_children() if part != stock.base_model_prefix}
    return inner.partition(".")[0] in parts


def check_tokenizer(tokenizer: Any, stock: Any, source: str) -> None:  # noqa: ANN401
    """Holds that each token has an id of its own and an embedding, and each text that is marked a segment.

    Raises: ModelError with both sizes.
    """
    backend, embeddings = tokenizer.backend_tokenizer, stock.get_input_embeddings().weight.shape[0]
    words: dict[int, str] = {}
    for word, number in backend.get_vocab(with_added_tokens=True).items():
        if number in words:
            pair = " and ".join(sorted((shortened(word), shortened(words[number]))))
            raise ModelError(f"{source}: its tokenizer has one id, {number}, for {pair}; expected one for each token.")
        words[number] = word
    marked = backend.encode("a", "b")
    highest = max((*words, *marked.ids), default=0)
    if highest >= embeddings:
        known = shortened(words[highest]) if highest in words else "a marker"
        raise ModelError(
            f"{source}: its tokenizer has {len(words)} tokens with ids up to {highest} ({known}), but the model has "
            f"embeddings of {embeddings}, 0 to {embeddings - 1}; it needs the tokenizer that it was trained with."
        )
    segments = getattr(stock.config, "type_vocab_size", 0)
    if has_segments(stock.config) and max(marked.type_ids, default=0) >= segments:
        raise ModelError(
            f"{source}: its tokenizer marks texts with segment {max(marked.type_ids)}, but type_vocab_size in "
            f"config.json is {segments}, expected more than that."
        )
