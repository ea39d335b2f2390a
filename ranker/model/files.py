"""The files of a model, in a folder or on the hub."""

from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file

from ranker.data.objects import read_object
from ranker.errors import ModelError

WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"


class ModelFiles:
    """The files below a folder of a model, ``place`` as transformers takes it and ``source`` as messages name it."""

    def __init__(self, place: str, source: str, subfolder: str = "") -> None:
        self.place, self.source, self.subfolder = place, source, subfolder

    def find(self, name: str) -> Path | None:
        """The path of a file, on the hub fetched first; none where there is no such file."""
        name = f"{self.subfolder}/{name}" if self.subfolder else name
        if Path(self.place).is_dir():
            path = Path(self.place) / name
            return path if path.is_file() else None
        found = cached_file(
            self.place,
            name,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        return Path(found) if found else None

    def settings(self, name: str) -> dict[str, Any]:
        """The object in a JSON file, an empty one where there is no such file."""
        path = self.find(name)
        return read_object(path, ModelError) if path else {}

    def refused(self, name: str, what: str) -> ModelError:
        """The error of something in a file that cannot be honoured."""
        return ModelError(f"{self.source}: {name} {what}.")

    def weight_names(self) -> list[str]:
        """The names of all weights, by the headers of their files alone.

        Raises: ModelError where a header cannot be read.
        """
        whole = self.find(WEIGHTS)
        if whole is None:
            parts = self.settings(WEIGHTS_INDEX).get("weight_map", {})
            return list(parts) if isinstance(parts, dict) else []
        try:
            with safe_open(whole, framework="numpy") as file:
                return list(file.keys())
        except (OSError, SafetensorError) as error:
            raise self.refused(WEIGHTS, f"cannot be read: {' '.join(str(error).split())}") from error
