"""Losses equal their definitions, computed slowly."""

import math

import pytest
import torch

from ranker.errors import TrainingError
from ranker.settings.model import RankerConfig
from ranker.settings.training import LOSSES, TrainingConfig
from ranker.training.losses import LOSSES as FUNCTIONS
from ranker.training.losses import contrastive, listwise, loss_by_chance, pairwise, pointwise

GROUP_LOSSES = {name: loss.function for name, loss in FUNCTIONS.items() if not loss.in_batch}
SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_pointwise_is_the_mean_binary_cross_entropy():
    terms = [-math.log(sigmoid(x)) for x in (2.0, 0.0)] + [-math.log(1 - sigmoid(x)) for x in (-1.0, 0.5, 3.0, -2.0)]
    assert pointwise(SCORES).item() == pytest.approx(sum(terms) / 6)


def test_pairwise_is_the_logistic_loss_of_each_lead():
    leads = (2.0 - -1.0, 2.0 - 0.5, 0.0 - 3.0, 0.0 - -2.0)
    assert pairwise(SCORES).item() == pytest.approx(sum(-math.log(sigmoid(lead)) for lead in leads) / 4)


def test_listwise_is_the_cross_entropy_of_the_positive_in_its_group():
    rows = SCORES.tolist()
    terms = [-math.log(math.exp(row[0]) / sum(map(math.exp, row))) for row in rows]
    assert listwise(SCORES).item() == pytest.approx(sum(terms) / 2)


@pytest.mark.parametrize("name", GROUP_LOSSES)
def test_every_loss_falls_when_the_positive_rises(name):
    better = SCORES + torch.tensor([1.0, 0.0, 0.0])
    assert GROUP_LOSSES[name](better) < GROUP_LOSSES[name](SCORES)


@pytest.mark.parametrize("name", GROUP_LOSSES)
def test_the_order_of_the_negatives_does_not_matter(name):
    swapped = SCORES[:, [0, 2, 1]]
    assert GROUP_LOSSES[name](swapped).item() == pytest.approx(GROUP_LOSSES[name](SCORES).item())


def test_contrastive_is_the_cross_entropy_of_the_positive_among_all_passages():
    similarities = torch.tensor([[1.0, 0.2, 0.4, 0.1], [0.3, 0.5, 0.9, 0.0]])
    rows = similarities.tolist()
    terms = [-math.log(math.exp(rows[g][2 * g]) / sum(map(math.exp, rows[g]))) for g in (0, 1)]
    assert contrastive(similarities).item() == pytest.approx(sum(terms) / 2)


def test_another_positive_of_the_query_is_no_negative():
    similarities = torch.tensor([[1.0, 0.2, -math.inf, 0.1], [0.3, 0.5, 0.9, 0.0]])
    left = [1.0, 0.2, 0.1]
    first = -math.log(math.exp(1.0) / sum(map(math.exp, left)))
    second = -math.log(math.exp(0.9) / sum(map(math.exp, [0.3, 0.5, 0.9, 0.0])))
    assert contrastive(similarities).item() == pytest.approx((first + second) / 2)


def test_every_loss_that_the_settings_name_is_there():
    assert list(LOSSES) == ["auto", *FUNCTIONS]


def test_what_is_left_to_choose_follows_the_mode():
    dual, cross = RankerConfig("dual"), RankerConfig("cross")
    known = {"head_learning_rate": 5e-5}
    assert TrainingConfig().resolved(dual) == TrainingConfig(loss="contrastive", temperature=0.05, **known)
    assert TrainingConfig().resolved(cross) == TrainingConfig(loss="listwise", temperature=1.0, **known)
    assert TrainingConfig(loss="pairwise", temperature=2.0).resolved(dual).loss == "pairwise"
    assert TrainingConfig().resolved(RankerConfig("cross", frozen=True)).head_learning_rate == 1e-3


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"loss": "hinge"}, "loss is 'hinge', expected one of auto, pointwise, pairwise, listwise, contrastive."),
        ({"negatives": 0}, "negatives is 0, expected 1 to 1000."),
        ({"learning_rate": float("nan")}, "learning_rate is nan, expected 1e-09 to 1.0."),
        ({"max_minutes": -1.0}, "max_minutes is -1.0, expected 0.0 to 100000.0."),
        ({"max_steps": -1}, "max_steps is -1, expected 0 to 1000000000."),
    ],
)
def test_settings_that_cannot_train_are_refused(values, sentence):
    with pytest.raises(TrainingError) as error:
        TrainingConfig(**values)
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", sorted(GROUP_LOSSES))
def test_chance_is_the_least_loss_of_scores_that_are_all_equal(name):
    chance = FUNCTIONS[name].chance(torch.randn(5, 4)).item()
    equal = [GROUP_LOSSES[name](torch.full((5, 4), height / 50)).item() for height in range(-200, 200)]
    assert chance == pytest.approx(min(equal), abs=1e-4)
    assert loss_by_chance(name, 5, 4) == pytest.approx(chance)


def test_chance_of_a_loss_over_all_groups_leaves_out_what_its_loss_leaves_out():
    scores = torch.tensor([[3.0, 0.2, -math.inf, 0.1], [0.3, 0.5, 0.9, 0.0]])
    chance = FUNCTIONS["contrastive"].chance(scores).item()
    assert chance == pytest.approx((math.log(3) + math.log(4)) / 2)
    assert loss_by_chance("contrastive", 2, 2) == pytest.approx(math.log(4))
