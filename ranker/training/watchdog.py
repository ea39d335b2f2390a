"""A watchdog that stops a training which learns nothing, and says what to change."""

from collections import deque
from collections.abc import Callable
from typing import Final

from ranker.errors import TrainingError
from ranker.training.loop import Step, Validation

_STEPS: Final = 20
"""Steps in a row that must agree before anything is said: single groups are easily odd."""

_FEW_STEPS: Final = 200
"""Below these a cross-encoder has seldom left the plateau that it begins on: the main job's do at 200 to 280."""

_PATIENCE: Final = 100
"""Steps whose mean loss tells whether anything was learned."""

_LEARNED: Final = 0.99
"""The share of the loss of chance above which a mean loss is no better than chance."""

_MIN_SPREAD: Final = 1e-4
"""The spread of scores, as the loss sees them, below which the loss is that of chance."""

_COLLAPSED: Final = 0.02
"""The share of the widest spread so far below which a model has collapsed: a training that goes well widens it."""


class Watchdog:
    """Checks each step of one training; each warning is passed to ``say`` once and kept in ``warnings``.

    With ``stops`` a training whose scores are all equal ends with an error instead of a warning. ``first_stage`` is the
    value on dev of the run that is reranked, where there is a dev.
    """

    def __init__(self, say: Callable[[str], object], stops: bool = True) -> None:
        self._say = say
        self._stops = stops
        self._spreads: deque[float] = deque(maxlen=_STEPS)
        self._widest = 0.0
        self._losses: deque[float] = deque(maxlen=_PATIENCE)
        self._warned: set[str] = set()
        self.warnings: list[str] = []
        self.first_stage: float | None = None

    def check(self, step: Step) -> None:
        """Checks the spread of the scores and the loss after a step, and the validation before it.

        Raises: TrainingError where the scores of each group have been equal for twenty steps, or have become so.
        """
        self._check_spread(step)
        self._check_loss(step)
        if step.validated is not None:
            self.check_validation(step.validated, step.progress)

    def _check_spread(self, step: Step) -> None:
        self._spreads.append(step.spread)
        if len(self._spreads) < _STEPS:
            return
        mean = sum(self._spreads) / _STEPS
        if max(self._spreads) < _MIN_SPREAD:
            self._fail(
                "equal",
                f"step {step.number}: for {_STEPS} steps the passages of a question have had scores within "
                f"{max(self._spreads):.1e} of each other, so nothing is learned; "
                "try a higher learning rate or another seed, and see that passages differ in the tokens read.",
            )
        elif mean < _COLLAPSED * self._widest:
            self._fail(
                "collapsed",
                f"step {step.number}: the scores of a question's passages lie {mean:.1e} apart, after "
                f"{self._widest:.1e} before: the model has collapsed; "
                "try a smaller learning rate, a longer warmup, or frozen layers.",
            )
        self._widest = max(self._widest, mean)

    def _check_loss(self, step: Step) -> None:
        """Warns of a loss that is no better than chance; under dropout scores spread although nothing is learned."""
        self._losses.append(step.loss / step.chance)
        mean = sum(self._losses) / len(self._losses)
        if len(self._losses) == _PATIENCE and step.progress >= 0.5 and mean > _LEARNED:
            self._warn(
                "idle",
                f"step {step.number}: the loss of the last {_PATIENCE} steps is {mean:.0%} of what equal scores would "
                "have, so passages are not told apart; try another learning rate, and see that judgments fit texts.",
            )

    def check_validation(self, validation: Validation, progress: float) -> None:
        """Warns of a model that ranks dev worse than the first stage in the second half of its training."""
        if self.first_stage is None or progress < 0.5 or validation.value >= self.first_stage:
            return
        few = "; so few steps seldom pass it, some hundred do" if validation.step < _FEW_STEPS else ""
        self._warn(
            "worse",
            f"step {validation.step}: dev has {validation.value:.4f}, below the {self.first_stage:.4f} of the run that "
            f"is reranked, so the model makes it worse{few}; train longer, try another learning rate, or draw "
            "negatives from nearer the top.",
        )

    def _fail(self, kind: str, sentence: str) -> None:
        if self._stops:
            raise TrainingError(sentence)
        self._warn(kind, sentence)

    def _warn(self, kind: str, sentence: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self.warnings.append(sentence)
            self._say(sentence)
