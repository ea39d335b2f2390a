"""Learning curves that can be held against each other: losses as shares of chance's, means over seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.experiments.arms import StudyConfig, arms_of
from ranker.settings.training import TrainingConfig

SHARES: Final = np.linspace(0.0, 1.0, 101)
"""The shares of a training at which curves are read: seeds differ in how many steps they had time for."""

_SMOOTHED: Final = 0.05
"""The share of a training over which its losses are averaged."""


def loss_of_chance(name: str, training: Mapping[str, Any]) -> float:
    """What the loss of an arm would be, were all its scores the same, the best one: ``training`` is the study's.

    Losses that are no logarithm of how many passages compete (``pointwise``) have their best constant score's.
    """
    passages, groups = 1 + int(training["negatives"]), int(training["groups_per_step"])
    part = 1 / passages
    return {
        "listwise": math.log(passages),
        "contrastive": math.log(passages * groups),
        "pairwise": math.log(2),
        "pointwise": -part * math.log(part) - (1 - part) * math.log(1 - part),
    }[_LOSSES[name]]


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
