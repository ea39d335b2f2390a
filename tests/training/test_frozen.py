"""Heads on a frozen backbone: read once, learned side by side, the same as each by itself."""

import numpy as np
import pytest
import torch
from torch import nn

from ranker.errors import ModelError, TrainingError
from ranker.model.loading import create_model
from ranker.model.reranker import Reranker
from ranker.scoring.backend import PackedRunner, PaddedRunner
from ranker.scoring.scorer import Scorer, scores_of_heads
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training.frozen import FrozenViews
from ranker.training.groups import Candidates, TrainingSet
from ranker.training.loop import train

PLACES = ["rome", "cairo", "paris", "london"]
PASSAGES = [f"the {thing} of {place} is old" for place in PLACES for thing in ("stone", "water", "river")]
SETTINGS = TrainingConfig(negatives=3, groups_per_step=2, epochs=3, validations=0, seed=2)
READ_LAYERS = ("cross", "mult-int", "term-trans", "token-pool", "layer-mean", "layer-attention", "cedr-knrm")


def scorer_of(folder, mode, frozen=True, **settings):
    config = RankerConfig(mode, query_length=12, length=40, frozen=frozen, **settings)
    return Scorer(create_model(config, str(folder), seed=3), Compute("float32", "cpu"))


def data_of(scorer):
    ids = [f"p{number}" for number in range(len(PASSAGES))]
    candidates = [
        Candidates(place, (ids[3 * row],), tuple(one for one in ids if one != ids[3 * row]))
        for row, place in enumerate(PLACES)
    ]
    return TrainingSet(
        candidates,
        scorer.queries(f"how old is the stone of {place}" for place in PLACES),
        scorer.passages(PASSAGES),
        {place: row for row, place in enumerate(PLACES)},
        {doc_id: row for row, doc_id in enumerate(ids)},
    )


def learn(scorers, config=SETTINGS):
    return train(scorers, data_of(scorers[0]), config, [None] * len(scorers), lambda _: None)


def all_pairs(scorer):
    data = data_of(scorer)
    rows = np.array([(query, passage) for query in range(len(PLACES)) for passage in range(len(PASSAGES))])
    return Pairs(data.queries, data.passages, rows)


@pytest.fixture
def passes(monkeypatch):
    """How many pairs a backbone has read."""
    counts = []
    for reader in (PackedRunner, PaddedRunner):

        def counted(self, inputs, needs, views=reader.views):
            counts.append(len(inputs.offsets) - 1)
            return views(self, inputs, needs)

        monkeypatch.setattr(reader, "views", counted)
    return counts


def test_heads_side_by_side_learn_what_each_learns_alone(tiny):
    side_by_side = learn([scorer_of(tiny(), mode) for mode in READ_LAYERS])
    for mode, together in zip(READ_LAYERS, side_by_side, strict=True):
        alone = learn([scorer_of(tiny(), mode)])[0]
        if mode != "cross":  # the classifier's own dropout draws from the one stream of random numbers
            assert together.losses == pytest.approx(alone.losses, abs=1e-4)


def test_a_study_of_seven_heads_reads_each_pair_once(tiny, passes):
    learn([scorer_of(tiny(), mode) for mode in READ_LAYERS])
    distinct = sum(passes)
    assert 0 < distinct <= len(PLACES) * len(PASSAGES)
    passes.clear()
    learn([scorer_of(tiny(), "mult-int")])
    assert sum(passes) == distinct


def test_more_epochs_read_no_pair_again(tiny, passes):
    many = TrainingConfig(negatives=11, groups_per_step=2, epochs=5, validations=0, seed=2)
    learn([scorer_of(tiny(), "cedr-knrm")], many)
    assert sum(passes) == len(PLACES) * len(PASSAGES)


@pytest.mark.parametrize("mode", sorted(set(MODES) - {"dual"}))
def test_a_frozen_head_learns_and_its_backbone_does_not(tiny, mode):
    scorer = scorer_of(tiny(), mode)
    scorer.model.eval()
    pooler = getattr(scorer.model.encoder.backbone, "pooler", None)
    learned = {id(weight) for weight in pooler.parameters()} if mode == "cross" and pooler is not None else set()
    before = {
        name: weight.clone()
        for name, weight in scorer.model.encoder.backbone.named_parameters()
        if id(weight) not in learned
    }
    trained = learn([scorer], TrainingConfig(negatives=3, groups_per_step=4, epochs=30, validations=0))[0]
    assert np.mean(trained.losses[-5:]) < np.mean(trained.losses[:5])
    after = dict(scorer.model.encoder.backbone.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_views_kept_and_views_computed_anew_are_the_same(tiny):
    scorer = scorer_of(tiny(), "cedr-knrm")
    data = data_of(scorer)
    kept, unkept = (FrozenViews([scorer], data.queries, data.passages, max_bytes=most) for most in (2**30, 0))
    pairs = np.array([(0, 0), (2, 7), (0, 0), (1, 11)])
    kept.of(pairs[:2])
    first, second = kept.of(pairs), unkept.of(pairs)
    for one, other in zip(vars(first).values(), vars(second).values(), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-5)


def test_views_taken_apart_and_put_together_score_as_the_model_does(tiny):
    for mode in READ_LAYERS:
        scorer = scorer_of(tiny(), mode)
        data, pairs = data_of(scorer), all_pairs(scorer)
        views = FrozenViews([scorer], data.queries, data.passages).of(pairs.rows)
        with torch.inference_mode():
            found = scorer.model.from_views(views).numpy()
        assert found == pytest.approx(scorer.scores(pairs, lambda _: None), abs=1e-5), mode


def test_a_scores_of_heads_as_each_model_does_and_reads_once(tiny, passes):
    scorers = [scorer_of(tiny(), mode) for mode in READ_LAYERS]
    alone = [scorer.scores(all_pairs(scorer), lambda _: None) for scorer in scorers]
    passes.clear()
    steps = []
    together = scores_of_heads(scorers, all_pairs(scorers[0]), steps.append)
    assert sum(passes) == sum(steps) == len(PLACES) * len(PASSAGES)
    for one, other in zip(alone, together, strict=True):
        assert other == pytest.approx(one, abs=1e-5)


def test_a_fine_tuned_model_shares_no_backbone(tiny):
    scorers = [scorer_of(tiny(), "cross"), scorer_of(tiny(), "mult-int", frozen=False)]
    with pytest.raises(ModelError, match="mode 'mult-int' cannot share a backbone"):
        scores_of_heads(scorers, all_pairs(scorers[0]), lambda _: None)
    with pytest.raises(TrainingError, match="mode 'mult-int' is fine-tuned, expected a frozen backbone"):
        learn(scorers)


def test_a_frozen_dual_encoder_has_no_head_to_train(tiny):
    with pytest.raises(TrainingError, match="has nothing to learn"):
        learn([scorer_of(tiny(), "dual")])


def test_the_projection_of_a_frozen_dual_encoder_learns_from_texts_read_apart(tiny):
    frozen = create_model(RankerConfig("dual", query_length=12, length=40, frozen=True), str(tiny()), seed=3)
    torch.manual_seed(1)
    projected = Reranker(frozen.config, frozen.stock, frozen.tokenizer, "here", nn.Sequential(nn.Linear(32, 16)))
    scorer = Scorer(projected, Compute("float32", "cpu"))
    trained = learn([scorer], TrainingConfig(negatives=3, groups_per_step=4, epochs=30, validations=0))[0]
    assert np.mean(trained.losses[-5:]) < np.mean(trained.losses[:5])
