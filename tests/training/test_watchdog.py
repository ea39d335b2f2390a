"""What the watchdog says of a training, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import TrainingError
from ranker.training.loop import Step, Validation
from ranker.training.watchdog import Watchdog


def steps(spreads, validated=None, progress=0.1):
    return [Step(number + 1, progress, 0.7, 8, spread, 1.4, validated) for number, spread in enumerate(spreads)]


def looked(spreads, stops=False):
    said = []
    watchdog = Watchdog(said.append, stops)
    for step in steps(spreads):
        watchdog.check(step)
    assert watchdog.warnings == said
    return said


def test_scores_that_are_alike_for_twenty_steps_end_a_training():
    assert looked([0.0] * 19, stops=True) == []
    with pytest.raises(TrainingError) as error:
        looked([0.0] * 20, stops=True)
    assert str(error.value) == (
        "step 20: for 20 steps the passages of a question have had scores within 0.0e+00 of each other, so nothing is "
        "learned; try a higher learning rate or another seed, and see that passages differ in the tokens read."
    )


def test_one_step_that_tells_passages_apart_is_enough():
    assert looked([*[0.0] * 19, 0.5, *[0.0] * 15]) == []


def test_a_spread_that_falls_away_is_a_collapse():
    with pytest.raises(TrainingError) as error:
        looked([2.0] * 40 + [0.005] * 40, stops=True)
    assert str(error.value) == (
        "step 60: the scores of a question's passages lie 5.0e-03 apart, after 2.0e+00 before: the model has "
        "collapsed; try a smaller learning rate, a longer warmup, or frozen layers."
    )


def test_without_stopping_each_thing_is_said_once():
    said = looked([2.0] * 40 + [0.005] * 60 + [0.0] * 60)
    assert [sentence.split(":")[0] for sentence in said] == ["step 60", "step 120"]


@given(st.lists(st.floats(0.1, 3.0), max_size=80))
def test_a_training_whose_spread_stays_in_bounds_is_left_alone(spreads):
    assert looked(spreads, stops=True) == []


@given(st.floats(1e-3, 1.0), st.floats(1.0, 1.2))
def test_a_spread_that_grows_is_never_a_collapse(first, factor):
    assert looked([min(first * factor**number, 1e6) for number in range(100)], stops=True) == []


@pytest.mark.parametrize(
    ("progress", "value", "first_stage", "warns"),
    [
        (0.4, 0.1, 0.5, False),
        (0.5, 0.1, 0.5, True),
        (1.0, 0.1, 0.5, True),
        (1.0, 0.5, 0.5, False),
        (1.0, 0.6, 0.5, False),
        (1.0, 0.1, None, False),
    ],
)
def test_a_model_that_is_worse_than_the_first_stage_in_its_second_half_is_told_of(progress, value, first_stage, warns):
    said = []
    watchdog = Watchdog(said.append)
    watchdog.first_stage = first_stage
    for step in steps([1.0] * 3, Validation(7, value), progress):
        watchdog.check(step)
    assert said == watchdog.warnings
    assert len(said) == warns
    if warns:
        assert said[0].startswith("step 7: dev has 0.1000, below the 0.5000 of the run that is reranked")


@pytest.mark.parametrize(
    ("loss", "progress", "steps_taken", "warns"),
    [
        (1.4, 0.6, 120, True),
        (1.39, 0.6, 120, True),
        (1.3, 0.6, 120, False),
        (1.4, 0.4, 120, False),
        (1.4, 0.6, 99, False),
    ],
)
def test_a_loss_that_is_that_of_chance_is_told_of(loss, progress, steps_taken, warns):
    said = []
    watchdog = Watchdog(said.append)
    for number in range(steps_taken):
        watchdog.check(Step(number + 1, progress, loss, 8, 1.0, 1.4, None))
    assert [sentence.split(" is ")[0] for sentence in said] == ["step 100: the loss of the last 100 steps"] * warns
