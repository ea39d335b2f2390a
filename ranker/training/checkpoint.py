"""The state of a training on disk, from which a training that was stopped continues."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ranker.errors import OutputError
from ranker.files.atomic import atomic_folder
from ranker.files.digests import read_sealed_folder, seal_folder
from ranker.model.saving import system_errors

_RECORD: Final = "state.json"
_TENSORS: Final = "state.safetensors"

_MAX_SHARE: Final = 0.1
"""Of a training's time that writing may take: large models are written less often."""


class State(NamedTuple):
    """All that the next step depends on, beside the settings; ``facts`` can be written as JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoint:
    """A folder that holds the last state of a training; a state that was written for another request is ignored."""

    def __init__(
        self,
        folder: Path,
        request: Mapping[str, Any],
        minutes: float,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        """The state is due to be written every so many minutes; ``say`` receives a warning where one is damaged."""
        self.folder = folder
        self._say = say
        self._request = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        self._seconds = 60 * minutes
        self._last_save = time.monotonic()

    def load(self) -> State | None:
        """The state in the folder; None where there is none, it is of another request, or it is damaged."""
        if not self.folder.is_dir():
            return None
        try:
            record = read_sealed_folder(self.folder, _RECORD, rehash=True)
            if record["asked"] != self._request:
                return None
            return State(load_file(self.folder / _TENSORS), dict(record["facts"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
            self._say(f"{self.folder}: the state of a training in it is damaged, so the training begins anew.")
            return None

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._last_save >= self._seconds

    def save(self, state: State) -> None:
        """Replaces the state in the folder; a training continues where it cannot be written."""
        started = time.monotonic()
        with suppress(OutputError), atomic_folder(self.folder, force=True) as folder, system_errors():
            save_file({name: tensor.contiguous() for name, tensor in state.tensors.items()}, folder / _TENSORS)
            seal_folder(folder, _RECORD, {"asked": self._request, "facts": state.facts})
        self._last_save = time.monotonic()
        self._seconds = max(self._seconds, (self._last_save - started) / _MAX_SHARE)

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
