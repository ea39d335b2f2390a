"""The files of a model, in a folder or on the hub."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

from safetensors import SafetensorError, safe_open
from transformers.utils import cached_file

from ranker.errors import ModelError
from ranker.files.json_files import read_object
from ranker.wording import shortened

WEIGHTS: Final = "model.safetensors"
WEIGHTS_INDEX: Final = "model.safetensors.index.json"


class Weight(NamedTuple):
    """A tensor by the header of the file that it lies in; ``kind`` is its type as safetensors calls it."""

    file: str
    name: str
    kind: str


class ModelFiles:
    """The files below a folder of a model, ``place`` as transformers takes it and ``source`` as messages name it."""

    def __init__(self, place: str, source: str, subfolder: str = "") -> None:
        self.place, self.source, self.subfolder = place, source, subfolder
        self._found: dict[str, Path | None] = {}

    def find(self, name: str) -> Path | None:
        """The path of a file, on the hub fetched first; none where there is no such file. Each is looked for once."""
        if name not in self._found:
            self._found[name] = self._look_for(name)
        return self._found[name]

    def _look_for(self, name: str) -> Path | None:
        name = f"{self.subfolder}/{name}" if self.subfolder else name
        if Path(self.place).is_dir():
            with suppress(OSError):  # of a name that is too long to be one
                return Path(self.place, name) if Path(self.place, name).is_file() else None
            return None
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

    def weight_files(self) -> Iterator[Path]:
        """The files of weights that transformers will take: one, or those that an index names.

        Raises: ModelError for an index that names no file, one that is not there, or one outside of the folder.
        """
        if (single := self.find(WEIGHTS)) is not None:
            yield single
        elif (index := self.find(WEIGHTS_INDEX)) is not None:
            content = read_object(index, ModelError)
            named = content.get("weight_map")
            if not isinstance(named, dict) or not named:
                raise self.refused(WEIGHTS_INDEX, "has no weight_map that says where each weight is")
            if not isinstance(content.get("metadata"), dict):
                raise self.refused(WEIGHTS_INDEX, "has no metadata, expected an object such as {'total_size': BYTES}")
            for name in dict.fromkeys(named.values()):
                self._check_inside(name)
                path = self.find(name)
                if path is None:
                    raise self.refused(WEIGHTS_INDEX, f"names {shortened(name)}, which is not there")
                yield path

    def _check_inside(self, name: object) -> None:
        path = PurePosixPath(name) if isinstance(name, str) and name and "\0" not in name else None
        if path is None or path.is_absolute() or ".." in path.parts or path.suffix != ".safetensors":
            expected = "expected the name of a .safetensors file in the model's own folder"
            raise self.refused(WEIGHTS_INDEX, f"names {shortened(name)}, {expected}")

    def weights(self) -> list[Weight]:
        """All weights, by the headers of their files alone.

        Raises: ModelError where a header cannot be read, and as ``weight_files``.
        """
        found: list[Weight] = []
        for path in self.weight_files():
            try:
                with safe_open(path, framework="pt") as file:
                    names = file.keys()
                    found += (Weight(path.name, name, file.get_slice(name).get_dtype()) for name in names)
            except (OSError, SafetensorError) as error:
                raise self.refused(path.name, f"cannot be read: {' '.join(str(error).split())}") from error
        return found
