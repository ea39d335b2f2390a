"""A training as it was after some step, on disk, so that one that was stopped goes on from there."""

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
from ranker.files.lines import written_folder
from ranker.files.sealed import computed_digest, read_sealed_folder, seal_folder
from ranker.model.saving import system_errors

_RECORD: Final = "state.json"
_TENSORS: Final = "state.safetensors"

_SHARE: Final = 0.1
"""Of the time of a training that writing may take: large models are written less often."""


class State(NamedTuple):
    """All that the next step depends on, beside the settings; ``facts`` are as JSON has them."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Checkpoint:
    """A folder that holds the last state of a training, of which ``asked`` is all that it was asked for."""

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        minutes: float,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        """One that is written about every so many minutes; ``say`` is told of a state that is damaged."""
        self.folder = folder
        self._say = say
        self._asked = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        self._seconds = 60 * minutes
        self._last = time.monotonic()

    def load(self) -> State | None:
        """The state that was left; None where there is none, it is of another training, or damaged, which is said."""
        if not self.folder.is_dir():
            return None
        try:
            written = read_sealed_folder(self.folder, _RECORD, computed_digest)
            if written["asked"] != self._asked:
                return None
            return State(load_file(self.folder / _TENSORS), dict(written["facts"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
            self._say(f"{self.folder}: the state of a training in it is damaged, so the training begins anew.")
            return None

    @property
    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, state: State) -> None:
        """Replaces what was left before; where it cannot be written, the training goes on without."""
        started = time.monotonic()
        with suppress(OutputError), written_folder(self.folder, force=True) as beside, system_errors():
            save_file({name: tensor.contiguous() for name, tensor in state.tensors.items()}, beside / _TENSORS)
            seal_folder(beside, _RECORD, {"asked": self._asked, "facts": state.facts})
        self._last = time.monotonic()
        self._seconds = max(self._seconds, (self._last - started) / _SHARE)

    def remove(self) -> None:
        """Takes it away: the training is over."""
        shutil.rmtree(self.folder, ignore_errors=True)
