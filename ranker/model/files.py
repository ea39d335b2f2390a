"""The files of a model, in a folder or on the hub, and silence of the libraries that fetch and load them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import (
    CacheNotFound,
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from ranker.errors import ModelError
from ranker.files.json_files import read_object
from ranker.wording import did_you_mean, shortened

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"

_TIMEOUT: Final = 5.0
"""Seconds that the hub has to answer the first question. transformers itself tries six times, for a minute and more."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silences transformers and huggingface_hub: progress bars, warnings of new weights, attempts to reach the hub."""
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels, bar = [logger.level for logger in loggers], transformers_logging.is_progress_bar_enabled()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bar:
            transformers_logging.enable_progress_bar()


class Weight(NamedTuple):
    """A tensor in the header of a safetensors file; ``kind`` is its type in the words of safetensors."""

    file: str
    name: str
    kind: str


class ModelFiles:
    """The files of a model, or of its ``subfolder``.

    ``location`` is the folder or hub name that transformers is given, and ``source`` its name in messages.
    """

    def __init__(self, location: str, source: str, subfolder: str = "") -> None:
        self.location, self.source, self.subfolder = location, source, subfolder
        self._paths: dict[str, Path | None] = {}

    def find(self, name: str) -> Path | None:
        """Returns the path of a file, downloaded first where it is on the hub, or None where there is no such file.

        Each is looked up once.
        """
        if name not in self._paths:
            self._paths[name] = self._look_up(name)
        return self._paths[name]

    def _look_up(self, name: str) -> Path | None:
        name = f"{self.subfolder}/{name}" if self.subfolder else name
        if Path(self.location).is_dir():
            with suppress(OSError):  # of a name that is too long for the file system
                return Path(self.location, name) if Path(self.location, name).is_file() else None
            return None
        path = cached_file(
            self.location,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        return Path(path) if path else None

    def settings(self, name: str) -> dict[str, Any]:
        """Reads the object in a JSON file; a missing file gives an empty one."""
        path = self.find(name)
        return read_object(path, ModelError) if path else {}

    def error(self, name: str, problem: str) -> ModelError:
        """Makes the error of a problem in one of the files."""
        return ModelError(f"{self.source}: {name} {problem}.")

    def weight_files(self) -> Iterator[Path]:
        """Yields the files of weights that transformers will take: one, or those that an index names.

        Raises: ModelError for an index that names no file, one that is missing, or one outside of the folder.
        """
        if (single := self.find(WEIGHTS)) is not None:
            yield single
        elif (index := self.find(WEIGHTS_INDEX)) is not None:
            content = read_object(index, ModelError)
            weight_map = content.get("weight_map")
            if not isinstance(weight_map, dict) or not weight_map:
                raise self.error(WEIGHTS_INDEX, "has no weight_map that says where each weight is")
            if not isinstance(content.get("metadata"), dict):
                raise self.error(WEIGHTS_INDEX, "has no metadata, expected an object such as {'total_size': BYTES}")
            for name in dict.fromkeys(weight_map.values()):
                self._check_inside(name)
                path = self.find(name)
                if path is None:
                    raise self.error(WEIGHTS_INDEX, f"names {shortened(name)}, which is not there")
                yield path

    def _check_inside(self, name: object) -> None:
        path = PurePosixPath(name) if isinstance(name, str) and name and "\0" not in name else None
        if path is None or path.is_absolute() or ".." in path.parts or path.suffix != ".safetensors":
            expected = "expected the name of a .safetensors file in the model's own folder"
            raise self.error(WEIGHTS_INDEX, f"names {shortened(name)}, {expected}")

    def weights(self) -> list[Weight]:
        """Lists all weights, reading only the headers of their files.

        Raises: ModelError where a header cannot be read, and as ``weight_files``.
        """
        weights: list[Weight] = []
        for path in self.weight_files():
            try:
                with safe_open(path, framework="pt") as file:
                    names = file.keys()
                    weights += (Weight(path.name, name, file.get_slice(name).get_dtype()) for name in names)
            except (OSError, SafetensorError) as error:
                raise self.error(path.name, f"cannot be read: {' '.join(str(error).split())}") from error
        return weights


def local_models() -> list[str]:
    """Lists the models in the hub's cache on this disk by name."""
    with suppress(CacheNotFound):
        return sorted(
            repo.repo_id for repo in scan_cache_dir(constants.HF_HUB_CACHE).repos if repo.repo_type == "model"
        )
    return []


def check_reachable(source: str) -> None:
    """Asks the hub once for a model that is neither a folder nor in the cache, so that a typo is refused in seconds.

    Raises: ModelError where the hub has no such model, or does not answer.
    """
    if Path(source).is_dir():
        return
    try:
        if isinstance(try_to_load_from_cache(source, CONFIG), str):
            return
    except HFValidationError as error:
        raise ModelError(f"{source}: is no folder here, and no name that a model of the hub can have.") from error
    nowhere = f"{source}: is no folder here, and not in the hub's cache"
    meant = did_you_mean(source, local_models())
    if constants.HF_HUB_OFFLINE:
        raise ModelError(f"{nowhere}, and HF_HUB_OFFLINE forbids to ask the hub.{meant}")
    try:
        get_hf_file_metadata(hf_hub_url(source, CONFIG), timeout=_TIMEOUT)
    except (GatedRepoError, EntryNotFoundError):
        return  # transformers reports these in more detail
    except RepositoryNotFoundError as error:
        raise ModelError(f"{nowhere}, and {constants.ENDPOINT} has no such model to show.{meant}") from error
    except Exception as error:  # the libraries beneath raise errors of many kinds without a network
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ModelError(f"{nowhere}, and {constants.ENDPOINT} cannot be asked: {reason}.{meant}") from error
