"""What a training may be asked for, and how its settings are completed for a model."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import TrainingError
from ranker.settings.fields import options_of
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig

BOUNDS = {
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
    "seed": (0, 2**32 - 1),
    "head_learning_rate": (0.0, 1.0),
    "frozen_layers": (0, 1_000),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_a_setting_is_allowed_up_to_its_bounds_and_no_further(name):
    least, most = BOUNDS[name]
    kind = type(getattr(TrainingConfig(), name))
    for bound, beyond in ((least, least - 1), (most, most + 1)):
        assert getattr(TrainingConfig(**{name: kind(bound)}), name) == bound
        with pytest.raises(TrainingError) as error:
            TrainingConfig(**{name: kind(beyond)})
        assert str(error.value) == f"{name} is {kind(beyond)}, expected {least} to {most}."


def test_every_number_of_a_training_has_bounds():
    numbers = {field.name for field in fields(TrainingConfig) if type(field.default) in (int, float)}
    assert set(BOUNDS) == numbers


def test_every_setting_of_a_training_is_declared():
    assert list(options_of(TrainingConfig)) == [field.name for field in fields(TrainingConfig)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"loss": "listwize"}, "loss is 'listwize', expected one of auto, pointwise, pairwise, listwise, contrastive."),
        ({"negatives": True}, "negatives is True, expected 1 to 1000."),
        ({"negatives": "7"}, "negatives is '7', expected 1 to 1000."),
        ({"negatives": 7.0}, "negatives is 7.0, expected 1 to 1000."),
        ({"clip": float("nan")}, "clip is nan, expected 1e-06 to 1000000.0."),
        ({"dropout": 1}, "dropout is 1, expected true or false."),
    ],
)
def test_a_setting_of_another_kind_is_refused_in_a_sentence(settings, sentence):
    with pytest.raises(TrainingError) as error:
        TrainingConfig(**settings)
    assert str(error.value).removesuffix(" Did you mean 'listwise'?") == sentence


@given(mode=st.sampled_from(["dual", "cross"]), frozen=st.booleans())
def test_what_was_chosen_once_stays_chosen(mode, frozen):
    model = RankerConfig(mode, frozen=frozen)
    resolved = TrainingConfig().resolved(model)
    assert resolved.resolved(model) == resolved
    assert "auto" not in vars(resolved).values()
    assert resolved.temperature > 0 < resolved.head_learning_rate
