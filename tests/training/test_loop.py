"""Training learns, repeats by its seed, keeps to its budget and keeps the best weights."""

import math
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ranker.errors import ModelError, TrainingError
from ranker.experiments import plots
from ranker.experiments.arms import Arm
from ranker.model.encoder import BACKBONES, lowest_layers
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings import training as settings
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training import loop
from ranker.training.groups import Candidates, Group, TrainingSet
from ranker.training.loop import Step, check_trainable, train
from ranker.training.losses import LOSSES, Loss, loss_by_chance
from ranker.training.optimizer import warm_up_then_decay

COLOURS = ["red", "green", "blue", "large"]
PASSAGES = [
    f"{colour} {thing} {place}" for colour in COLOURS for thing in ("stone", "water") for place in ("rome", "cairo")
]
FAST = TrainingConfig(negatives=3, groups_per_step=4, learning_rate=3e-3, epochs=12, validations=0, warmup=0.0)


def scorer_of(folder, mode="cross", frozen=False, precision="float32"):
    config = RankerConfig(mode, query_length=12, length=40, frozen=frozen)
    return Scorer(create_model(config, str(folder), seed=3), Compute(precision, "cpu"))


def data_of(scorer):
    """Every question wants the one red stone in Rome: what can be learned in seconds, by any mode."""
    ids = [f"p{number}" for number in range(len(PASSAGES))]
    candidates = [Candidates(colour, ("p0",), tuple(ids[1:])) for colour in COLOURS]
    return TrainingSet(
        candidates,
        scorer.queries(f"which is the {colour}" for colour in COLOURS),
        scorer.passages(PASSAGES),
        {colour: row for row, colour in enumerate(COLOURS)},
        {doc_id: row for row, doc_id in enumerate(ids)},
    )


def fit(scorer, config=FAST, validate=None):
    steps: list[Step] = []
    [trained] = train([scorer], data_of(scorer), config, [validate], steps.append)
    return trained, steps


def best_passages(scorer):
    rows = np.array([(query, passage) for query in range(len(COLOURS)) for passage in range(len(PASSAGES))])
    queries = scorer.queries(f"which is the {colour}" for colour in COLOURS)
    scores = scorer.scores(Pairs(queries, scorer.passages(PASSAGES), rows), lambda _: None)
    return scores.reshape(len(COLOURS), -1).argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("mode", "loss"),
    [
        ("cross", "pointwise"),
        ("cross", "pairwise"),
        ("cross", "listwise"),
        ("dual", "contrastive"),
        ("dual", "listwise"),
    ],
)
def test_every_loss_teaches_its_mode(tiny, mode, loss):
    scorer = scorer_of(tiny(), mode)
    trained, _ = fit(scorer, TrainingConfig(**{**vars(FAST), "loss": loss, "epochs": 60, "seed": 3}))
    assert np.mean(trained.losses[-5:]) < np.mean(trained.losses[:5])
    assert best_passages(scorer) == [0] * len(COLOURS)


def test_a_loss_that_is_added_from_outside_teaches_and_has_a_learning_curve(tiny, monkeypatch):
    def hinge(scores):
        return torch.relu(1.0 + scores[:, 1:] - scores[:, :1]).mean()

    monkeypatch.setitem(settings.LOSSES, "hinge", "margin of the positive over each negative")
    monkeypatch.setitem(LOSSES, "hinge", Loss(hinge))
    scorer = scorer_of(tiny())
    fit(scorer, replace(FAST, loss="hinge", epochs=60))
    assert best_passages(scorer) == [0] * len(COLOURS)
    assert loss_by_chance("hinge", 4, 8) == 1.0
    monkeypatch.setattr(plots, "arms_of", lambda _: [Arm("cross-hinge", "cross", loss="hinge")])
    assert plots.loss_of_chance("cross-hinge", {"negatives": 7, "groups_per_step": 4}) == 1.0


def test_the_same_seed_gives_the_same_losses_and_weights(tiny):
    first, second = scorer_of(tiny()), scorer_of(tiny())
    assert fit(first)[0].losses == fit(second)[0].losses
    assert first.model.digest() == second.model.digest()


def test_another_seed_gives_other_losses(tiny):
    other = TrainingConfig(**{**vars(FAST), "seed": 2})
    assert fit(scorer_of(tiny()))[0].losses != fit(scorer_of(tiny()), other)[0].losses


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_a_frozen_backbone_stays_as_it_is_and_its_head_learns(tiny, model_type):
    scorer = scorer_of(tiny(model_type), frozen=True)
    head = {id(parameter) for parameter in scorer.model.head_parameters()}
    before = {name: value.clone() for name, value in scorer.model.stock.named_parameters()}
    fit(scorer)
    changed = {name for name, value in scorer.model.stock.named_parameters() if not value.equal(before[name])}
    of_head = {name for name, value in scorer.model.stock.named_parameters() if id(value) in head}
    assert changed == of_head
    assert any("classifier" in name for name in changed)


def test_fine_tuning_changes_the_backbone(tiny):
    scorer = scorer_of(tiny())
    before = {name: value.clone() for name, value in scorer.model.encoder.backbone.named_parameters()}
    fit(scorer)
    matrices = [name for name in before if "layer.0" in name and name.endswith("dense.weight")]
    after = dict(scorer.model.encoder.backbone.named_parameters())
    assert matrices
    assert not any(after[name].equal(before[name]) for name in matrices)


def test_a_frozen_dual_encoder_has_nothing_to_learn(tiny):
    with pytest.raises(TrainingError) as error:
        fit(scorer_of(tiny(), "dual", frozen=True))
    assert str(error.value) == (
        "mode 'dual' frozen has nothing to learn, since its head has no weights; use it as it is."
    )


def test_a_contrastive_loss_needs_texts_read_apart(tiny):
    with pytest.raises(TrainingError) as error:
        fit(scorer_of(tiny()), TrainingConfig(loss="contrastive"))
    assert str(error.value) == "loss contrastive needs a mode that reads apart, but the mode is 'cross'."


def test_the_best_weights_by_validation_are_kept(tiny):
    scorer = scorer_of(tiny())
    values, digests = iter([0.2, 0.9, 0.4]), []

    def validate():
        digests.append(scorer.model.digest())
        return next(values)

    trained, _ = fit(scorer, TrainingConfig(**{**vars(FAST), "validations": 3}), validate)
    assert [validation.value for validation in trained.validations] == [0.2, 0.9, 0.4]
    assert trained.best == trained.validations[1]
    assert scorer.model.digest() == digests[1] != digests[2]


def test_a_training_keeps_to_its_minutes(tiny, monkeypatch):
    """By a clock that goes on by a second for each step, and not at all for what else is done."""
    now = count(1_000)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    trained, steps = fit(scorer_of(tiny()), TrainingConfig(**{**vars(FAST), "epochs": 10_000, "max_minutes": 0.1}))
    assert trained.steps == 5
    assert [step.progress for step in steps] == pytest.approx([n / 6 for n in range(1, 6)], abs=1e-4)


def test_a_training_keeps_to_its_steps_and_its_learning_rate_falls_by_then(tiny):
    trained, steps = fit(scorer_of(tiny()), TrainingConfig(**{**vars(FAST), "epochs": 10_000, "max_steps": 5}))
    assert trained.steps == 5
    assert [step.progress for step in steps] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def test_every_epoch_shows_every_query_once(tiny):
    trained, steps = fit(scorer_of(tiny()))
    assert trained.groups == FAST.epochs * len(COLOURS)
    assert sum(step.pairs for step in steps) == trained.groups * (1 + FAST.negatives)


def test_the_learning_rate_rises_to_its_height_and_falls_to_nothing():
    rates = [warm_up_then_decay(progress / 100, 0.1) for progress in range(101)]
    assert rates.index(max(rates)) == 10
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.01)
    assert rates[-1] == 0.0
    assert rates[55] == pytest.approx(0.5)


def test_a_loss_that_is_no_number_stops_the_training(tiny):
    scorer = scorer_of(tiny())
    next(scorer.model.head_parameters()).data.fill_(math.nan)
    with pytest.raises(TrainingError) as error:
        fit(scorer)
    assert str(error.value) == "step 1: the loss is nan; try a smaller learning rate."


@pytest.mark.computes("bf16")
def test_training_in_bfloat16_learns_too(tiny):
    scorer = scorer_of(tiny(), precision="bf16")
    fit(scorer, TrainingConfig(**{**vars(FAST), "epochs": 60}))
    assert best_passages(scorer) == [0] * len(COLOURS)


def test_before_training_the_answers_are_not_first(tiny):
    assert best_passages(scorer_of(tiny())) != [0] * len(COLOURS)


def test_without_dropout_the_same_groups_have_the_same_loss(tiny):
    still = replace(FAST, learning_rate=1e-9, negatives=len(PASSAGES) - 1, epochs=2, loss="listwise")
    for dropout in (True, False):
        scorer = scorer_of(tiny())
        first, second = fit(scorer, replace(still, dropout=dropout))[0].losses
        assert (abs(first - second) < 1e-5) is not dropout


def weights_of(model):
    return {name: weight.detach().clone() for name, weight in model.encoder.backbone.named_parameters()}


@pytest.mark.parametrize("model_type", sorted(BACKBONES))
@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_the_lowest_layers_keep_their_weights_and_the_others_learn(tiny, model_type, number):
    scorer = scorer_of(tiny(model_type))
    before = weights_of(scorer.model)
    fit(scorer, replace(FAST, epochs=1, frozen_layers=number))
    after = weights_of(scorer.model)
    layers = lowest_layers(scorer.model.encoder.backbone, 4)
    names = {id(weight): name for name, weight in scorer.model.encoder.backbone.named_parameters()}
    for height, layer in enumerate(layers):
        own = [names[id(weight)] for weight in layer.parameters()]
        changed = [name for name in own if not torch.equal(before[name], after[name])]
        assert bool(changed) is (height >= number), (model_type, height)
    assert all(weight.requires_grad for weight in scorer.model.parameters())


def test_a_frozen_backbone_stays_frozen_after_a_training_with_frozen_layers(tiny):
    scorer = scorer_of(tiny(), frozen=True)
    fit(scorer, replace(FAST, epochs=1, frozen_layers=2))
    backbone = scorer.model.encoder.backbone
    assert not any(weight.requires_grad for weight in backbone.embeddings.parameters())


def test_more_layers_than_there_are_cannot_be_frozen(tiny):
    with pytest.raises(ModelError, match=r"^5 layers to freeze, but the backbone has 3 and the embeddings: at most 4"):
        fit(scorer_of(tiny()), replace(FAST, frozen_layers=5))


def test_a_dual_encoder_with_every_layer_frozen_has_nothing_to_learn(tiny):
    with pytest.raises(TrainingError, match="has nothing to learn"):
        fit(scorer_of(tiny(), mode="dual"), replace(FAST, frozen_layers=4))


def test_a_copy_of_a_positive_is_no_negative_of_any_group(tiny):
    """In a step of several groups, another group's passage may be a copy of this one's positive."""
    scorer = scorer_of(tiny(), "dual")
    candidates = [Candidates("one", ("p0",), ("p1",)), Candidates("other", ("p2",), ("p3",))]
    data = TrainingSet(
        candidates,
        scorer.queries(["red", "blue"]),
        scorer.passages(["red stone", "water", "red  Stone", "rome"]),
        {"one": 0, "other": 1},
        {f"p{number}": number for number in range(4)},
    )
    groups = [Group("one", ("p0", "p1")), Group("other", ("p2", "p3"))]
    assert data.known_positives(groups).tolist() == [[False, False, True, False], [True, False, False, False]]


@pytest.mark.computes("int8")
def test_a_precision_for_reranking_alone_is_not_trained_in(tiny):
    scorer = scorer_of(tiny(), precision="int8")
    with pytest.raises(TrainingError, match=r"^precision int8 is not to train in, expected float32 or bf16.$"):
        check_trainable(scorer, TrainingConfig())
