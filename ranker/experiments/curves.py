"""Learning curves that can be held against each other: losses as shares of chance's, means over seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.experiments.arms import StudyConfig, arms_of
from ranker.settings.training import TrainingConfig
from ranker.training.losses import loss_by_chance

SHARES: Final = np.linspace(0.0, 1.0, 101)
"""The shares of a training at which curves are read: seeds differ in how many steps they had time for."""

_SMOOTHED: Final = 0.05
"""The share of a training over which its losses are averaged."""


def loss_of_chance(name: str, training: Mapping[str, Any]) -> float:
    """The loss of an arm whose scores are all equal; ``training`` has the study's settings."""
    return loss_by_chance(_LOSSES[name], int(training["groups_per_step"]), 1 + int(training["negatives"]))


def mean_curve(trainings: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """The smoothed losses of some trainings of one arm, the mean over them at each share of its training.

    Shape: (SHARES,).
    """
    curves = [np.interp(SHARES, np.arange(1, len(losses) + 1) / len(losses), _smooth(losses)) for losses in trainings]
    return np.asarray(np.mean(curves, axis=0), dtype=np.float64)


def _smooth(losses: Sequence[float]) -> list[float]:
    width = max(1, round(len(losses) * _SMOOTHED))
    windows = (losses[max(0, place - width + 1) : place + 1] for place in range(len(losses)))
    return [sum(window) / len(window) for window in windows]


def _losses() -> dict[str, str]:
    study = StudyConfig(ablations=True, training=TrainingConfig(max_steps=1, validations=0))
    learning = (arm for arm in arms_of(study) if arm.learns)
    return {arm.name: study.training_of(arm, 0).resolved(study.reading(arm)).loss for arm in learning}


_LOSSES: Final = _losses()
"""The loss that each arm is trained by."""
