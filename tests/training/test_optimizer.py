"""The optimiser's steps by hand: rates, decay, clipping, validations, and which weights are kept."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import TrainingError
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings import training as settings
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training.groups import Candidates, TrainingSet
from ranker.training.loop import train
from ranker.training.losses import LOSSES, Loss
from ranker.training.optimizer import optimizer_of, warm_up_then_decay

SHARES = st.floats(0.0, 1.0)
RATE, HEAD_RATE, DECAY = 0.02, 0.05, 0.5


def model_of(folder, mode="cross", **settings):
    return create_model(RankerConfig(mode, query_length=12, length=40, **settings), str(folder), seed=3)


@pytest.fixture
def run(monkeypatch):
    """A training of so many steps of one pair each, whose loss is that of a function of the steps before."""

    def running(model, loss, steps, validate=None, told=None, **config):
        told = [] if told is None else told
        monkeypatch.setitem(settings.LOSSES, "pull", "the loss of this test")
        monkeypatch.setitem(LOSSES, "pull", Loss(lambda scores: loss(len(told))))
        scorer = Scorer(model, Compute("float32", "cpu"))
        texts = scorer.queries(["red"]), scorer.passages(["red stone", "water"])
        data = TrainingSet([Candidates("q", ("a",), ("b",))], *texts, {"q": 0}, {"a": 0, "b": 1})
        config = TrainingConfig(
            **{"loss": "pull", "negatives": 1, "epochs": steps, "warmup": 0.0, "validations": 0, **config}
        )
        return train([scorer], data, config, [validate], told.append)[0]

    return running


def no_pull(model):
    """A loss that pulls no weight anywhere, so that a step does nothing but decay."""
    return sum(weight.sum() for weight in model.parameters() if weight.requires_grad) * 0.0


def copy_of(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@given(progress=SHARES, warmup=SHARES)
def test_the_share_of_the_rate_is_never_negative_and_never_above_one(progress, warmup):
    assert 0.0 <= warm_up_then_decay(progress, warmup) <= 1.0


@given(progress=SHARES, later=SHARES, warmup=SHARES)
def test_the_rate_rises_before_the_end_of_the_warmup_and_falls_behind_it(progress, later, warmup):
    progress, later = sorted((progress, later))
    if later < warmup:
        assert warm_up_then_decay(progress, warmup) <= warm_up_then_decay(later, warmup)
    if warmup <= progress:
        assert warm_up_then_decay(progress, warmup) >= warm_up_then_decay(later, warmup)


@pytest.mark.parametrize(
    ("progress", "warmup", "share"),
    [
        (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.25, 0.0, 0.75),  # no warmup: falling from the start
        (0.0, 0.5, 0.01), (0.001, 0.5, 0.01), (0.25, 0.5, 0.5), (0.5, 0.5, 1.0), (0.75, 0.5, 0.5), (1.0, 0.5, 0.0),
        (0.0, 1.0, 0.01), (0.5, 1.0, 0.5), (1.0, 1.0, 1.0),  # nothing but warmup: never falling
        (1.2, 0.1, 0.0), (2.0, 0.0, 0.0),  # a last step that took longer than its minutes
    ],
)  # fmt: skip
def test_the_rate_at_its_borders(progress, warmup, share):
    assert warm_up_then_decay(progress, warmup) == pytest.approx(share)


class Copies(list):
    """The weights of a model after each step."""

    def __init__(self, model):
        super().__init__([copy_of(model)])
        self.model = model

    def append(self, step):
        super().append(copy_of(self.model))


def test_a_step_without_a_gradient_shrinks_matrices_by_rate_and_decay_and_nothing_else(tiny, run):
    model = model_of(tiny())
    head, copies = {id(weight) for weight in model.head_parameters()}, Copies(model)
    rates = {"learning_rate": RATE, "head_learning_rate": HEAD_RATE, "weight_decay": DECAY, "warmup": 0.2}
    run(model, lambda step: no_pull(model), 10, told=copies, **rates)
    # rising to 1 at a fifth of the training, then falling to 0 at its end
    shares = (0.01, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)
    for share, (before, after) in zip(shares, pairwise(copies), strict=True):
        for name, weight in model.named_parameters():
            rate = HEAD_RATE if id(weight) in head else RATE
            kept = 1.0 - rate * share * DECAY if weight.ndim > 1 else 1.0
            torch.testing.assert_close(after[name], before[name] * kept, rtol=1e-5, atol=1e-7, msg=name)


def adamw(weight, gradients, rates, decay):
    """Loshchilov & Hutter 2019, algorithm 2, for one number."""
    first = second = 0.0
    for number, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        weight -= rate * decay * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weight -= rate * (first / (1 - 0.9**number)) / (math.sqrt(second / (1 - 0.999**number)) + 1e-8)
    return weight


@pytest.mark.parametrize("clip", [1.0, 0.25, 1_000.0])
def test_steps_are_adamws_on_gradients_of_a_clipped_norm(tiny, run, clip):
    model = model_of(tiny(), frozen=True)
    weight = model.stock.classifier.weight
    pull, before = torch.linspace(-1.0, 1.0, weight.numel()).view_as(weight), weight.detach().clone()
    scales, rates = (100.0, 0.1, 3.0), (RATE, RATE * 2 / 3, RATE / 3)

    def loss(step):
        return (weight * pull).sum() * scales[min(step, 2)]

    run(model, loss, 3, head_learning_rate=RATE, weight_decay=DECAY, clip=clip, dropout=False)
    for place in range(weight.numel()):
        norms = [scale * pull.norm().item() for scale in scales]
        clipped = [
            pull[0, place].item() * scale * min(1.0, clip / norm) for scale, norm in zip(scales, norms, strict=True)
        ]
        assert weight[0, place].item() == pytest.approx(adamw(before[0, place].item(), clipped, rates, DECAY), abs=1e-5)


def test_a_gradient_is_of_its_own_step_alone(tiny, run):
    model = model_of(tiny(), frozen=True)
    run(model, lambda step: model.stock.classifier.weight.sum(), 1, weight_decay=0.0, dropout=False)
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("mode", sorted(set(MODES) - {"dual"}))
def test_every_weight_that_learns_is_in_one_part_and_a_frozen_one_in_none(tiny, mode, frozen):
    model = model_of(tiny(), mode, frozen=frozen)
    groups = optimizer_of(model, TrainingConfig(weight_decay=DECAY).resolved(model.config)).param_groups
    found = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(found) == sorted(id(weight) for weight in model.parameters() if weight.requires_grad)
    for group in groups:
        assert {weight.ndim > 1 for weight in group["params"]} == {group["weight_decay"] == DECAY}


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_moves_no_weight_and_names_its_step(tiny, run, loss):
    model = model_of(tiny(), frozen=True)
    copies = Copies(model)
    with pytest.raises(TrainingError) as error:
        # the copies have those of no step too
        run(model, lambda step: model.stock.classifier.weight.sum() * (loss if step > 1 else 1.0), 9, told=copies)
    assert str(error.value) == f"step 2: the loss is {loss}; try a smaller learning rate."
    assert len(copies) == 2
    assert all(torch.equal(weight, copies[-1][name]) for name, weight in model.named_parameters())


@pytest.mark.parametrize("dropout", [True, False])
def test_a_step_begins_with_dropout_as_it_was_asked_for_and_a_training_ends_without(tiny, run, dropout):
    model, seen = model_of(tiny()), []

    def loss(step):
        seen.append({module.training for module in model.modules()})
        return no_pull(model)

    run(model, loss, 2, dropout=dropout)
    assert seen
    assert all(modules == {dropout} for modules in seen)
    assert not any(module.training for module in model.modules())


def validated(run, model, values, steps=12, **settings):
    """A training in which every validation moves on to the next value."""
    values, seen = iter(values), []

    def validate():
        seen.append((model.training, model.digest()))
        return next(values)

    pull = lambda step: model.stock.classifier.weight.sum()  # noqa: E731
    return run(model, pull, steps, validate, head_learning_rate=RATE, **settings), seen


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 12, 100])
def test_validations_lie_evenly_and_the_last_is_at_the_end(tiny, run, count):
    trained, _ = validated(run, model_of(tiny(), frozen=True), [0.5] * 100, validations=count)
    expected = {math.ceil(Fraction(number * 12, count)) for number in range(1, count + 1)}
    assert [validation.step for validation in trained.validations] == sorted(expected)


@pytest.mark.parametrize(
    ("values", "best"), [((0.2, 0.9, 0.4), 1), ((0.5, 0.5, 0.5), 0), ((0.1, 0.2, 0.3), 2), ((0.0, -1.0, -2.0), 0)]
)
def test_the_weights_of_the_best_validation_are_kept_the_first_of_equals(tiny, run, values, best):
    model = model_of(tiny(), frozen=True)
    trained, seen = validated(run, model, values, validations=3)
    assert trained.best == trained.validations[best]
    assert len({digest for _, digest in seen}) == 3
    assert model.digest() == seen[best][1]


def test_a_validation_sees_the_model_without_dropout_and_the_next_step_has_it_again(tiny, run):
    model, steps = model_of(tiny()), []
    _, seen = validated(run, model, [0.1, 0.2], validations=2)
    assert [training for training, _ in seen] == [False, False]

    def loss(step):
        steps.append((step, model.training))
        return no_pull(model)

    run(model, loss, 2, lambda: 1.0, validations=2)
    assert set(steps) == {(0, True), (1, True)}


def test_without_validations_nobody_is_asked_and_the_last_weights_stay(tiny, run):
    model = model_of(tiny(), frozen=True)
    trained, seen = validated(run, model, [], validations=0)
    assert (trained.validations, trained.best, seen) == ((), None, [])
    before = model.digest()
    assert validated(run, model, [], validations=0)[0].steps == 12
    assert model.digest() != before


def test_what_was_done_is_told(tiny, run):
    model, told = model_of(tiny(), frozen=True), []
    trained = run(model, lambda step: (model.stock.classifier.weight * 0.0).sum() + step, 4, told=told, dropout=False)
    assert [(one.number, one.progress, one.loss, one.pairs) for one in told] == [
        (1, 0.0, 0.0, 2), (2, 0.25, 1.0, 2), (3, 0.5, 2.0, 2), (4, 0.75, 3.0, 2),
    ]  # fmt: skip
    assert (trained.steps, trained.groups, trained.losses) == (4, 4, (0.0, 1.0, 2.0, 3.0))
    assert trained.seconds > 0
