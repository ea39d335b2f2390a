"""How a model is trained."""

from dataclasses import dataclass, fields, replace
from typing import Final

from ranker.errors import TrainingError
from ranker.limits import MAX_SEED
from ranker.settings.model import RankerConfig
from ranker.wording import did_you_mean

_FROZEN_RATE: Final = 1e-3

LOSSES: Final = {
    "auto": "contrastive for modes that read apart, else listwise",
    "pointwise": "binary cross-entropy of every passage on its own",
    "pairwise": "logistic loss of the positive's lead over each negative",
    "listwise": "cross-entropy of the positive among its group",
    "contrastive": "cross-entropy of the positive among all passages of a step; for modes that read apart",
}
"""Every loss, and what it is in a line."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one training; a step is ``groups_per_step`` groups of one positive and ``negatives`` negatives.

    ``max_minutes`` and ``max_steps`` 0 set no limit but ``epochs``; the learning rate falls to zero at whichever comes
    first. Steps do not depend on the machine, minutes do.
    ``temperature`` divides the scores that the loss sees; 0 is 0.05 for modes that read apart, else 1.
    ``head_learning_rate`` 0 is ``learning_rate``, or 1e-3 where the backbone is frozen.
    ``validations`` is how often dev is evaluated, the last time at the end.
    ``frozen_layers`` counts the embeddings as the first; the layers keep their weights (Lee et al. 2019).
    Without ``dropout`` a step is faster, and what is learned by heart is taken for what was learned.
    Raises: TrainingError for a value outside its bounds.
    """

    loss: str = "auto"
    negatives: int = 7
    groups_per_step: int = 16
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup: float = 0.1
    clip: float = 1.0
    temperature: float = 0.0
    epochs: int = 1
    max_minutes: float = 0.0
    max_steps: int = 0
    validations: int = 4
    seed: int = 1
    head_learning_rate: float = 0.0
    frozen_layers: int = 0
    dropout: bool = True

    def __post_init__(self) -> None:
        """Refuses what cannot train."""
        if self.loss not in LOSSES:
            meant = did_you_mean(self.loss, LOSSES)
            raise TrainingError(f"loss is {self.loss!r}, expected one of {', '.join(LOSSES)}.{meant}")
        for field in fields(self):
            least, most = _BOUNDS.get(field.name, (float("-inf"), float("inf")))
            value = getattr(self, field.name)
            if field.name in _BOUNDS and not least <= value <= most:
                raise TrainingError(f"{field.name} is {value}, expected {least} to {most}.")

    def resolved(self, model: RankerConfig) -> "TrainingConfig":
        """The same, with what is left to choose chosen for a model that reads apart or together, frozen or not."""
        loss = ("contrastive" if model.apart else "listwise") if self.loss == "auto" else self.loss
        temperature = self.temperature or (0.05 if model.apart else 1.0)
        head = self.head_learning_rate or (_FROZEN_RATE if model.frozen else self.learning_rate)
        return replace(self, loss=loss, temperature=temperature, head_learning_rate=head)


_BOUNDS: dict[str, tuple[float, float]] = {
    "negatives": (1, 1_000),
    "groups_per_step": (1, 10_000),
    "learning_rate": (1e-9, 1.0),
    "weight_decay": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "clip": (1e-6, 1e6),
    "temperature": (0.0, 1e4),
    "epochs": (1, 10_000),
    "max_minutes": (0.0, 100_000.0),
    "max_steps": (0, 1_000_000_000),
    "validations": (0, 1_000),
    "seed": (0, MAX_SEED),
    "head_learning_rate": (0.0, 1.0),
    "frozen_layers": (0, 1_000),
}
