"""Where the trainings of a study rest when they are stopped, and where trained models are kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ranker.errors import ModelError
from ranker.experiments.arms import Arm, name_of
from ranker.files.atomic import atomic_folder
from ranker.files.digests import is_intact, sealed
from ranker.files.json_files import first_difference, read_object
from ranker.model.loading import load_model
from ranker.model.reranker import Reranker
from ranker.training.checkpoint import Checkpoint
from ranker.training.loop import Trained, Validation
from ranker.training.watchdog import Watchdog

_RECORD: Final = "training.json"


class ModelFolder:
    """A study's folder of unfinished trainings, and the folder of its models, where there is one.

    ``asked`` is all that a trained model depends on, beside its arm and seed; studies with the same share models.
    ``minutes`` lie between two states of a training, and ``say`` is told what is odd about one.
    """

    def __init__(
        self,
        unfinished: Path | None,
        models: Path | None,
        asked: Mapping[str, Any],
        minutes: float,
        say: Callable[[str], object],
    ) -> None:
        self._say = say
        self._minutes = minutes
        self._unfinished = unfinished
        self._models = models
        self._asked = asked

    def checkpoint(self, arm: Arm, seed: int) -> Checkpoint | None:
        """The last state of a training that was stopped; None where no states are kept."""
        if self._unfinished is None:
            return None
        folder = self._unfinished / f".{name_of(arm, seed)}.training"
        return Checkpoint(folder, self._asked_of(arm, seed), self._minutes, self._say)

    def watchdog(self, names: Sequence[str]) -> Watchdog | None:
        """A watchdog that stops nothing, since an arm that learns nothing is a result too."""
        if self._unfinished is None:
            return None
        return Watchdog(lambda sentence: self._say(f"{', '.join(names)}: {sentence}"), stops=False)

    def take(self, arm: Arm, seed: int, trust_remote_code: bool = False) -> tuple[Reranker, Trained] | None:
        """A model that was trained before, and how that went; nothing where there is none.

        Raises: ModelError where it was trained otherwise, or cannot be read.
        """
        folder = self._folder(arm, seed)
        if folder is None or not (folder / _RECORD).is_file():
            return None
        record = read_object(folder / _RECORD, ModelError)
        if not is_intact(record):
            raise ModelError(f"{folder / _RECORD}: is damaged; remove {folder} to train again.")
        begun = record.get("asked")
        asked = json.loads(json.dumps(self._asked_of(arm, seed)))
        changed = first_difference(begun if isinstance(begun, dict) else {}, asked)
        if changed is not None:
            name, before, now = changed
            raise ModelError(
                f"{folder}: was trained when {name} was {before}, but now it is {now}; name other --models."
            )
        model = load_model(str(folder), arm.mode, trust_remote_code=trust_remote_code)
        if record.get("sha256") != model.digest():
            raise ModelError(f"{folder}: has other weights than those that were trained; remove it to train again.")
        try:
            return model, _trained(record["trained"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{folder / _RECORD}: does not say how the training went; remove {folder}.") from error

    def keep(self, arm: Arm, seed: int, model: Reranker, trained: Trained) -> None:
        """Writes a trained model, where models are kept, and forgets the states it went through.

        Raises: OutputError where it cannot be written.
        """
        folder = self._folder(arm, seed)
        if folder is not None:
            told = {"asked": self._asked_of(arm, seed), "sha256": model.digest(), "trained": asdict(trained)}
            with atomic_folder(folder, force=True) as beside:
                model.save(beside)
                (beside / _RECORD).write_text(json.dumps(sealed(told), indent=1) + "\n", encoding="utf-8")
        checkpoint = self.checkpoint(arm, seed)
        if checkpoint is not None:
            checkpoint.remove()

    def _folder(self, arm: Arm, seed: int) -> Path | None:
        return None if self._models is None else self._models / name_of(arm, seed)

    def _asked_of(self, arm: Arm, seed: int) -> dict[str, Any]:
        return {**self._asked, "arm": arm._asdict(), "seed": seed}


def _trained(record: Mapping[str, Any]) -> Trained:
    validations = tuple(_validation(one) for one in record["validations"])
    best = None if record["best"] is None else _validation(record["best"])
    losses = tuple(float(loss) for loss in record["losses"])
    counted = int(record["steps"]), int(record["groups"]), float(record["seconds"])
    return Trained(*counted, losses, validations, best, tuple(str(one) for one in record.get("warnings", ())))


def _validation(record: Any) -> Validation:
    step, value = record
    return Validation(int(step), float(value))


UNKEPT: Final = ModelFolder(None, None, {}, 0.0, lambda _: None)
"""Keeps no models and no states of trainings, and watches nothing."""
