"""Model directories in the layout of sentence-transformers, read and written without that library."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from ranker.errors import ModelError
from ranker.files.json_files import read_json
from ranker.limits import MAX_TOKENS, MAX_WIDTH, MIN_TOKENS
from ranker.model.files import WEIGHTS, ModelFiles
from ranker.settings.model import RankerConfig
from ranker.wording import shortened

_MODULES: Final = "modules.json"
_SETTINGS: Final = "config_sentence_transformers.json"
_POOLINGS: Final = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean-sqrt-len",
    "weightedmean": "weighted-mean",
    "lasttoken": "last",
}
"""Their names of poolings and ours, in the order in which the vectors of several are concatenated."""

_POOLING_KEYS: Final = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean-sqrt-len",
    "pooling_mode_weightedmean_tokens": "weighted-mean",
    "pooling_mode_lasttoken": "last",
}
"""The keys of their versions before the sixth. Later versions read them too, so these are written."""

_LENGTHS: Final = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""Files that may hold the length; current versions write the first."""

_ACTIVATIONS: Final[dict[str, type[nn.Module]]] = {
    kind.__name__: kind
    for kind in (nn.Identity, nn.Tanh, nn.ReLU, nn.GELU, nn.SiLU, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Mish)
}
_ONE_VECTOR: Final = "sentence_embedding"
"""The name of the vector that modules behind the pooling take and give by default."""


class Dense(nn.Module):
    """A linear map of a text's vector with an activation, and optionally a residual connection."""

    def __init__(self, inputs: int, outputs: int, bias: bool, activation: str, residual: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=bias)
        self.activation = _ACTIVATIONS[activation]()
        self.adds_input = residual
        if residual and inputs != outputs:
            self.residual = nn.Linear(inputs, outputs, bias=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Shape: (N, in) to (N, out)."""
        mapped: Tensor = self.activation(self.linear(vectors))
        if not self.adds_input:
            return mapped
        return mapped + (self.residual(vectors) if hasattr(self, "residual") else vectors)


class Norm(nn.Module):
    """Layer normalisation of a text's vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Shape: (N, H)."""
        normalised: Tensor = self.norm(vectors)
        return normalised


class UnitLength(nn.Module):
    """Division of a text's vector by its length."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Shape: (N, H)."""
        return functional.normalize(vectors, dim=-1)


class Pipeline(NamedTuple):
    """The settings of a model that encodes texts apart; ``length`` is 0 where the model states none.

    ``projection`` are the modules behind the pooling, and ``lowercase`` says whether texts are lower-cased first.
    """

    pooling: str
    projection: nn.Sequential
    similarity: str
    query_prompt: str
    passage_prompt: str
    length: int
    lowercase: bool


class _Module(NamedTuple):
    """An entry of ``modules.json``: the class of a module, and its folder."""

    kind: str
    path: str

    @property
    def config(self) -> str:
        """The path of its settings."""
        return self.file("config.json")

    def file(self, name: str) -> str:
        """Returns the path of one of its files."""
        return f"{self.path}/{name}" if self.path else name


def transformer_folder(files: ModelFiles) -> str:
    """Returns the subfolder of the backbone: ``0_Transformer`` in an old layout, else an empty text.

    Raises: ModelError for a ``modules.json`` that cannot be read, or whose first module is no transformer.
    """
    modules = _modules(files)
    return modules[0].path if modules else ""


def read_pipeline(files: ModelFiles) -> Pipeline | None:
    """Reads how a model encodes texts apart; None where it lists no module but a backbone.

    Raises: ModelError for what is not supported.
    """
    modules = _modules(files)
    if len(modules) < 2:
        return None
    transformer, *behind = modules
    pooling, width, with_prompt = _pooling(files, behind[0])
    settings = files.settings(_SETTINGS)
    query_prompt, passage_prompt = _prompts(files, settings)
    if not with_prompt and (query_prompt or passage_prompt):
        raise files.error(behind[0].config, "leaves the tokens of the prompt out of the pooling, which ranker cannot")
    length, lowercase = _length(files, transformer)
    similarity, projection = _similarity(files, settings), nn.Sequential(*_projection(files, behind[1:], width))
    return Pipeline(pooling, projection, similarity, query_prompt, passage_prompt, length, lowercase)


def read_cross_prompt(files: ModelFiles) -> str:
    """Returns the prompt that a cross-encoder puts before every query, empty where it has none.

    Raises: ModelError where its settings name a prompt that is not there.
    """
    settings = files.settings(_SETTINGS)
    if settings.get("default_prompt_name") is None:
        return ""
    prompts = _checked_prompts(files, settings)
    return prompts[settings["default_prompt_name"]]


def _modules(files: ModelFiles) -> list[_Module]:
    """Lists the modules in their order; none where there is no ``modules.json``."""
    path = files.find(_MODULES)
    if path is None:
        return []
    listed = read_json(path, ModelError)
    modules = [_module(files, entry) for entry in listed] if isinstance(listed, list) else []
    if not modules or modules[0].kind != "Transformer":
        first = modules[0].kind if modules else "nothing"
        raise files.error(_MODULES, f"begins with {first}, expected a Transformer")
    return modules


def _module(files: ModelFiles, entry: object) -> _Module:
    kind, path = (entry.get("type"), entry.get("path", "")) if isinstance(entry, dict) else (None, "")
    if not isinstance(kind, str) or not isinstance(path, str):
        raise files.error(_MODULES, f"lists {shortened(entry)}, expected an object with 'type' and 'path'")
    if not kind.startswith("sentence_transformers."):
        raise files.error(_MODULES, f"has a module of type {shortened(kind)}, which is code of its own")
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise files.error(_MODULES, f"has a module at {shortened(path)}, which is outside of the folder")
    return _Module(kind.rpartition(".")[2], path)


def _pooling(files: ModelFiles, module: _Module) -> tuple[str, int, bool]:
    """Returns the pooling, the width of its vector, and whether it includes the tokens of a prompt."""
    if module.kind != "Pooling":
        raise files.error(_MODULES, f"has {module.kind} behind the Transformer, expected Pooling")
    settings = files.settings(module.config)
    # later versions list the poolings, earlier ones have a flag for each
    value = settings.get("pooling_mode", [ours for key, ours in _POOLING_KEYS.items() if settings.get(key)] or "mean")
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise files.error(module.config, f"has pooling_mode {shortened(value)}, expected {', '.join(_POOLINGS)}")
    allowed = _POOLINGS | {ours: ours for ours in _POOLINGS.values()}
    unknown = next((name for name in names if name not in allowed), None)
    if unknown is not None:
        raise files.error(module.config, f"has pooling_mode {shortened(unknown)}, expected {', '.join(_POOLINGS)}")
    other = next((key for key in settings if key.startswith("pooling_mode_") and key not in _POOLING_KEYS), None)
    if other is not None and settings[other]:
        raise files.error(module.config, f"asks for {other}, which ranker does not have")
    width = _size(files, module, settings, "embedding_dimension", "word_embedding_dimension")
    return "+".join(allowed[name] for name in names), width * len(names), bool(settings.get("include_prompt", True))


def _size(files: ModelFiles, module: _Module, settings: Mapping[str, Any], *keys: str) -> int:
    if files.find(module.config) is None:
        raise files.error(module.config, f"is not there, but {_MODULES} names {module.kind}")
    value = next((settings[key] for key in keys if key in settings), None)
    if type(value) is not int or not 1 <= value <= MAX_WIDTH:
        raise files.error(module.config, f"has {keys[0]} {shortened(value)}, expected 1 to {MAX_WIDTH}")
    return value


def _prompts(files: ModelFiles, settings: Mapping[str, Any]) -> tuple[str, str]:
    """Returns the prompts of queries and passages; a default prompt is for both, as in ``SentenceTransformer``."""
    prompts, name = _checked_prompts(files, settings), settings.get("default_prompt_name")
    default = prompts[name] if name is not None else ""
    passage = next((prompts[key] for key in ("document", "passage", "corpus") if prompts.get(key)), "")
    query = prompts.get("query") or ""
    # a model with prompts of its own for either text has no use for the default one
    return (query, passage) if query or passage else (default, default)


def _checked_prompts(files: ModelFiles, settings: Mapping[str, Any]) -> dict[str, str]:
    """Returns the prompts by name, and refuses a default one that is not among them."""
    prompts = settings.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise files.error(_SETTINGS, f"has prompts {shortened(prompts)}, expected texts by name")
    name = settings.get("default_prompt_name")
    if name is not None and (not isinstance(name, str) or name not in prompts):
        raise files.error(_SETTINGS, f"has default_prompt_name {shortened(name)}, expected one of its prompts")
    return prompts


def _similarity(files: ModelFiles, settings: Mapping[str, Any]) -> str:
    similarity = settings.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise files.error(_SETTINGS, f"has similarity_fn_name {shortened(similarity)}, expected cosine or dot")
    if settings.get("truncate_dim"):
        raise files.error(_SETTINGS, f"has truncate_dim {shortened(settings['truncate_dim'])}, which ranker has not")
    return str(similarity)


def _length(files: ModelFiles, transformer: _Module) -> tuple[int, bool]:
    """Returns the length in tokens, [CLS] and [SEP] included, or 0, and whether texts are lower-cased first."""
    names = [transformer.file(name) for name in _LENGTHS]
    name = next((name for name in names if files.find(name)), names[0])
    settings = files.settings(name)
    task = settings.get("transformer_task") or "feature-extraction"
    if task != "feature-extraction":
        raise files.error(name, f"has transformer_task {shortened(task)}, expected feature-extraction")
    length = settings.get("max_seq_length") or 0
    if type(length) is not int or 0 != length < MIN_TOKENS:
        raise files.error(name, f"has max_seq_length {shortened(length)}, expected at least {MIN_TOKENS} tokens")
    return min(length, MAX_TOKENS), bool(settings.get("do_lower_case", False))


def _projection(files: ModelFiles, modules: Sequence[_Module], width: int) -> Iterator[nn.Module]:
    """Yields the modules behind the pooling, which gives vectors of this width."""
    for module in modules:
        if module.kind not in _LAYERS:
            raise files.error(_MODULES, f"has the module {module.kind}, expected {', '.join(_LAYERS)} behind Pooling")
        settings = files.settings(module.config)
        for key in ("module_input_name", "module_output_name"):
            if settings.get(key) not in (None, _ONE_VECTOR):
                raise files.error(module.config, f"has {key} {shortened(settings[key])}, expected {_ONE_VECTOR}")
        layer = _LAYERS[module.kind](files, module, settings)
        inputs = next((parameter.shape[-1] for parameter in layer.parameters()), width)
        if inputs != width:
            raise files.error(module.config, f"takes vectors of {inputs} numbers, but what is before it gives {width}")
        if layer.state_dict():
            _load(files, module, layer)
        width = layer.linear.out_features if isinstance(layer, Dense) else width
        yield layer


def projected_width(projection: nn.Sequential, width: int) -> int:
    """Returns the width of a vector behind the projection, given its width before."""
    return next((layer.linear.out_features for layer in reversed(projection) if isinstance(layer, Dense)), width)


def _dense(files: ModelFiles, module: _Module, settings: Mapping[str, Any]) -> Dense:
    inputs, outputs = (_size(files, module, settings, key) for key in ("in_features", "out_features"))
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))
    package, _, name = activation.rpartition(".")
    if name not in _ACTIVATIONS or package.partition(".")[0] != "torch":
        allowed = ", ".join(_ACTIVATIONS)
        raise files.error(module.config, f"has activation_function {shortened(activation)}, expected torch's {allowed}")
    return Dense(inputs, outputs, bool(settings.get("bias", True)), name, bool(settings.get("use_residual", False)))


_LAYERS: Final[dict[str, Callable[[ModelFiles, _Module, Mapping[str, Any]], nn.Module]]] = {
    "Dense": _dense,
    "LayerNorm": lambda files, module, settings: Norm(_size(files, module, settings, "dimension")),
    "Normalize": lambda *_: UnitLength(),
    "Dropout": lambda *_: nn.Identity(),
}
"""The modules that may follow the pooling. Dropout is for training alone."""


def _load(files: ModelFiles, module: _Module, layer: nn.Module) -> None:
    name = module.file(WEIGHTS)
    path = files.find(name)
    if path is None:
        raise files.error(name, "is not there; expected the weights of the module as safetensors")
    try:
        weights = {key: value.float() for key, value in load_file(path).items()}
    except (OSError, RuntimeError, SafetensorError) as error:
        raise files.error(name, f"cannot be read: {' '.join(str(error).split())}") from error
    shapes, expected = (
        {key: list(value.shape) for key, value in sorted(state.items())} for state in (weights, layer.state_dict())
    )
    if shapes != expected:
        raise files.error(name, f"has weights {shapes}, but by {module.config} they are {expected}")
    layer.load_state_dict(weights)


def write_pipeline(folder: Path, config: RankerConfig, width: int, projection: nn.Sequential) -> None:
    """Writes, beside a saved backbone, the files by which sentence-transformers reads texts as ``config`` says.

    ``width`` is that of the backbone.
    Raises: OSError where they cannot be written.
    """
    parts = config.pooling.split("+")
    layers: list[tuple[str, dict[str, Any], nn.Module | None]] = [
        ("Pooling", _pooling_settings(parts, width), None),
        *(_described(layer) for layer in projection),
    ]
    # so that the inner products of the vectors are cosines in that library too
    if config.similarity == "cosine":
        layers.append(("Normalize", {}, None))
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for index, (kind, settings, layer) in enumerate(layers, start=1):
        path = folder / f"{index}_{kind}"
        path.mkdir(exist_ok=True)
        modules.append(
            {"idx": index, "name": str(index), "path": path.name, "type": f"sentence_transformers.models.{kind}"}
        )
        _write(path / "config.json", settings)
        if layer is not None and layer.state_dict():
            save_file(layer.state_dict(), path / WEIGHTS)
    prompts = {"query": config.query_prompt, "document": config.passage_prompt}
    _write(folder / _MODULES, modules)
    _write(folder / _LENGTHS[0], {"max_seq_length": config.length, "do_lower_case": False})
    _write(
        folder / _SETTINGS, {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": config.similarity}
    )


def _pooling_settings(parts: list[str], width: int) -> dict[str, Any]:
    """Returns the settings of the poolings by keys that every version reads; a free order needs those of the sixth."""
    order = list(_POOLINGS.values())
    if parts == sorted(parts, key=order.index):
        return {"word_embedding_dimension": width} | {key: ours in parts for key, ours in _POOLING_KEYS.items()}
    theirs = {ours: name for name, ours in _POOLINGS.items()}
    return {"embedding_dimension": width, "pooling_mode": [theirs[part] for part in parts]}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _described(layer: nn.Module) -> tuple[str, dict[str, Any], nn.Module]:
    """Returns the class, the settings and the module that holds the weights of a module behind the pooling."""
    if isinstance(layer, Dense):
        linear, activation = layer.linear, type(layer.activation)
        settings = {
            "in_features": linear.in_features,
            "out_features": linear.out_features,
            "bias": linear.bias is not None,
            "activation_function": f"{activation.__module__}.{activation.__name__}",
        }
        return "Dense", settings | ({"use_residual": True} if layer.adds_input else {}), layer
    if isinstance(layer, Norm):
        return "LayerNorm", {"dimension": layer.norm.normalized_shape[0]}, layer
    return ("Normalize" if isinstance(layer, UnitLength) else "Dropout"), {}, layer
