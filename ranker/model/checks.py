"""Checks that the configuration, the weights and the tokenizer of a model fit each other."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from transformers.activations import ACT2FN

from ranker.errors import ModelError
from ranker.files.json_files import read_object
from ranker.limits import MAX_LAYERS, MAX_VOCABULARY, MAX_WIDTH
from ranker.model.encoder import has_segments
from ranker.model.files import CONFIG, WEIGHTS, WEIGHTS_INDEX, Weight
from ranker.wording import counted, shortened

_PICKLES: Final = (".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_PICKLED_NAMES: Final = ("pytorch_model", "model", "weights", "checkpoint")

_FLOATS: Final = ("F16", "BF16", "F32", "F64")
"""The types, as safetensors names them, of weights that need no scale stored elsewhere."""

_WEIGHTS: Final = ("weight", "bias", "gamma", "beta")
"""Endings of the names of weights. Other tensors of a file, as positions and counters, may hold integers."""

_BUFFERS: Final = ("position_ids", "token_type_ids", "inv_freq")
"""Endings of tensors that older versions of transformers saved with the weights, and newer ones compute."""

_LEAST: Final = dict.fromkeys(
    ("hidden_size", "dim", "intermediate_size", "hidden_dim", "embedding_size", "num_attention_heads", "n_heads"), 1
)
"""The smallest value of a key of config.json, where that is not 0."""

_ACTIVATIONS: Final = ("hidden_act", "hidden_activation", "activation")
_EPSILONS: Final = ("layer_norm_eps", "norm_eps")

_MOST: Final = {
    **dict.fromkeys(("num_hidden_layers", "n_layers"), MAX_LAYERS),
    **dict.fromkeys(("hidden_size", "dim", "intermediate_size", "hidden_dim", "embedding_size"), MAX_WIDTH),
    **dict.fromkeys(("pooler_hidden_size", "type_vocab_size", "num_labels"), MAX_WIDTH),
    **dict.fromkeys(("num_attention_heads", "n_heads"), MAX_WIDTH),
    **dict.fromkeys(("vocab_size", "max_position_embeddings"), MAX_VOCABULARY),
}
"""The largest value of a key of config.json, since transformers builds models of any size."""


def check_folder(folder: Path) -> None:
    """Checks that a folder has a configuration, and weights that are no pickle.

    Raises: ModelError where it has not.
    """
    if not (folder / CONFIG).is_file():
        raise ModelError(f"{folder}: has no config.json, which a model directory must have.")
    read_object(folder / CONFIG, ModelError)
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


def check_sizes(config: Mapping[str, Any], source: str) -> None:
    """Checks the sizes, activations and epsilons of a config.json before a model is built from it.

    Raises: ModelError for a value with which none can be built.
    """
    for key, most in _MOST.items():
        size, least = config.get(key, most), _LEAST.get(key, 0)
        if type(size) is not int or not least <= size <= most:
            raise ModelError(f"{source}: {key} in config.json is {shortened(size)}, expected {least} to {most}.")
    for key in _ACTIVATIONS:
        if key in config and (not isinstance(config[key], str) or config[key] not in ACT2FN):
            known = ", ".join(sorted(ACT2FN))
            raise ModelError(f"{source}: {key} in config.json is {shortened(config[key])}, expected one of {known}.")
    for key in _EPSILONS:
        if key in config and (type(config[key]) not in (int, float) or not 0 <= config[key] < 1):
            raise ModelError(f"{source}: {key} in config.json is {shortened(config[key])}, expected 0 to below 1.")


def check_types(weights: Iterable[Weight], source: str) -> None:
    """Checks, before any weight is loaded, that all have a floating-point type.

    Raises: ModelError for one of another type, as of a quantized model.
    """
    for file, name, kind in weights:
        if kind not in _FLOATS and name.endswith(_WEIGHTS):
            raise ModelError(
                f"{source}: {file} has the weights {name} of type {kind}, expected {', '.join(_FLOATS[:-1])} or "
                f"{_FLOATS[-1]}; save it again in one of these."
            )


def check_weights(stock: Any, loading_info: Mapping[str, Any], source: str, complete: bool) -> None:
    """Checks that the weights are finite and are those of the model that config.json describes.

    ``loading_info`` is what transformers reports of missing, unexpected and mismatched weights. Refused are weights of
    another shape, missing weights, and weights without a place in a part that was built, as those of layers above the
    last. Without ``complete`` a head, and the pooler that belongs to it, may be missing; heads of other tasks are
    always left aside.
    Raises: ModelError.
    """
    mismatched = list(loading_info.get("mismatched_keys", ()))
    if complete and mismatched:
        name, in_file, expected = mismatched[0]
        shapes = f"of shape {tuple(in_file)}, but config.json says {tuple(expected)}"
        raise ModelError(f"{source}: its weights {name} are {shapes}; it needs the config.json of the weights.")
    # weights of another shape were not loaded, so that those of the backbone are missing
    missing = [*loading_info["missing_keys"], *(name for name, *_ in mismatched)]
    is_backbone = stock.base_model is stock
    prefix = "" if is_backbone else f"{stock.base_model_prefix}."
    if is_backbone or not complete:
        missing = [name for name in missing if name.startswith(prefix) and not name.startswith(f"{prefix}pooler.")]
    if missing:
        raise ModelError(
            f"{source}: lacks {len(missing)} of its weights, {min(missing)} among them; expected all of them."
        )
    homeless = sorted(name for name in loading_info["unexpected_keys"] if _belongs(stock, name, complete))
    if homeless:
        count = counted(len(homeless), "weight")
        raise ModelError(
            f"{source}: has {count} for which the model of its config.json has no place, {homeless[0]} among them; "
            "config.json must be that of the weights, as for num_hidden_layers."
        )
    for name, weight in stock.named_parameters():
        if not torch.isfinite(weight).all():
            raise ModelError(f"{source}: its weights {name} are not all finite numbers; no score can come of them.")


def _belongs(stock: Any, name: str, complete: bool) -> bool:
    """Tells whether a weight without a place is of a part that was built; heads that are replaced have no parts."""
    if name.endswith(_BUFFERS):
        return False
    inner = name.removeprefix(f"{stock.base_model_prefix}.")
    parts = {part for part, _ in stock.base_model.named_children()}
    if complete:
        parts |= {part for part, _ in stock.named_children() if part != stock.base_model_prefix}
    return inner.partition(".")[0] in parts


def check_tokenizer(tokenizer: Any, stock: Any, source: str) -> None:
    """Checks that each token has an id of its own and an embedding, and each segment an embedding.

    Raises: ModelError with both sizes.
    """
    backend, embeddings = tokenizer.backend_tokenizer, stock.get_input_embeddings().weight.shape[0]
    tokens: dict[int, str] = {}
    for token, token_id in backend.get_vocab(with_added_tokens=True).items():
        if token_id in tokens:
            pair = " and ".join(sorted((shortened(token), shortened(tokens[token_id]))))
            raise ModelError(
                f"{source}: its tokenizer has one id, {token_id}, for {pair}; expected one for each token."
            )
        tokens[token_id] = token
    marked = backend.encode("a", "b")
    highest = max((*tokens, *marked.ids), default=0)
    if highest >= embeddings:
        token = shortened(tokens[highest]) if highest in tokens else "a marker"
        raise ModelError(
            f"{source}: its tokenizer has {len(tokens)} tokens with ids up to {highest} ({token}), but the model has "
            f"embeddings of {embeddings}, 0 to {embeddings - 1}; it needs the tokenizer that it was trained with."
        )
    segments = getattr(stock.config, "type_vocab_size", 0)
    if has_segments(stock.config) and max(marked.type_ids, default=0) >= segments:
        raise ModelError(
            f"{source}: its tokenizer marks texts with segment {max(marked.type_ids)}, but type_vocab_size in "
            f"config.json is {segments}, expected more than that."
        )
