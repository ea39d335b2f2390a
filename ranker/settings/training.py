"""How a model is trained."""

from dataclasses import dataclass, replace
from typing import Final

from ranker.errors import TrainingError
from ranker.limits import MAX_SEED
from ranker.settings.fields import check, in_a_line, setting
from ranker.settings.model import RankerConfig

_FROZEN_RATE: Final = 1e-3

LOSSES: Final = {
    "auto": "contrastive for modes that read apart, else listwise",
    "pointwise": "binary cross-entropy of every passage on its own",
    "pairwise": "logistic loss of the positive's lead over each negative",
    "listwise": "cross-entropy of the positive among its group",
    "contrastive": "cross-entropy of the positive among all passages of a step; for modes that read apart",
}
"""Every loss by its name, with a line of help."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training; a step is ``groups_per_step`` groups of one positive and ``negatives`` negatives.

    The training ends after ``epochs``, ``max_minutes`` or ``max_steps``, whichever comes first, and the learning rate
    has fallen to zero by then; of the last two, 0 is no limit. Steps do not depend on the machine, minutes do.
    ``frozen_layers`` counts the embeddings as the first layer (Lee et al. 2019).
    Raises: TrainingError for a value that is not allowed.
    """

    loss: str = setting("auto", in_a_line(LOSSES), choices=LOSSES)
    negatives: int = setting(7, "Negatives in a group, which has one positive", least=1, most=1_000)
    groups_per_step: int = setting(16, "Groups in a step", least=1, most=10_000)
    learning_rate: float = setting(5e-5, "The highest learning rate", least=1e-9, most=1.0)
    weight_decay: float = setting(0.01, "Weight decay of matrices, not of biases and norms", least=0.0, most=1.0)
    warmup: float = setting(0.1, "Share of the training in which the learning rate rises", least=0.0, most=1.0)
    clip: float = setting(1.0, "Largest norm of a step's gradient", least=1e-6, most=1e6)
    temperature: float = setting(
        0.0, "Divides the scores that the loss sees; 0: 0.05 for modes that read apart, else 1", least=0.0, most=1e4
    )
    epochs: int = setting(1, "Groups drawn for each query", least=1, most=10_000)
    max_minutes: float = setting(
        0.0,
        "Minutes of training at most, evaluations of dev included, BM25 and opening not; 0: no limit",
        least=0.0,
        most=100_000.0,
    )
    max_steps: int = setting(
        0,
        "Steps of training at most, which do not depend on the machine as minutes do; 0: no limit",
        least=0,
        most=1_000_000_000,
    )
    validations: int = setting(4, "Times that dev is evaluated; the best weights are kept", least=0, most=1_000)
    seed: int = setting(1, "Seed of the new head, the groups and dropout", least=0, most=MAX_SEED)
    head_learning_rate: float = setting(
        0.0,
        f"The highest learning rate of the head; 0: learning-rate, or {_FROZEN_RATE} where the backbone is frozen",
        least=0.0,
        most=1.0,
    )
    frozen_layers: int = setting(
        0,
        "Lowest layers that keep their weights: 1 is the embeddings, 3 these and two layers",
        least=0,
        most=1_000,
    )
    dropout: bool = setting(
        True, "Drop units as the backbone was trained to; without, a step is faster and overfits sooner"
    )

    def __post_init__(self) -> None:
        """Refuses values that are not allowed."""
        check(self, TrainingError, suggest=True)

    def resolved(self, model: RankerConfig) -> "TrainingConfig":
        """Returns the settings with values for all that depends on whether a model reads apart and is frozen."""
        loss = ("contrastive" if model.apart else "listwise") if self.loss == "auto" else self.loss
        temperature = self.temperature or (0.05 if model.apart else 1.0)
        head = self.head_learning_rate or (_FROZEN_RATE if model.frozen else self.learning_rate)
        return replace(self, loss=loss, temperature=temperature, head_learning_rate=head)
