"""What a GPU computes is what the CPU computes; skipped where there is none."""

import numpy as np
import pytest
import torch

from ranker.model.device import running_in
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training.checkpoint import Checkpoint
from ranker.training.groups import Candidates, TrainingSet
from ranker.training.loop import train

pytestmark = pytest.mark.gpu

COLOURS = ("red", "green", "blue", "large", "small", "old")
PLACES = ("paris", "london", "rome", "cairo", "france", "england", "italy", "egypt")
PASSAGES = [
    f"the {colour} stone of {place} lies by the water" + f" of the {colour} river {place}" * (number % 4)
    for number, (colour, place) in enumerate((colour, place) for colour in COLOURS for place in PLACES)
]
QUERIES = [f"where is the {colour} stone" for colour in COLOURS]
TOLERANCE = {"float32": 1e-4, "fp16": 0.02, "bf16": 0.2}
"""As a share of the spread of all scores, one standard deviation."""


@pytest.fixture
def scorer(tiny):
    """A scorer of the same random model each time."""

    def make(device, precision="float32", mode="cross", family="bert", tokens=0):
        config = RankerConfig(mode, query_length=12, length=60)
        return Scorer(create_model(config, str(tiny(family)), seed=3), Compute(precision, device, tokens))

    return make


def pairs_of(scorer):
    """Every query with every passage."""
    rows = [(query, passage) for query in range(len(QUERIES)) for passage in range(len(PASSAGES))]
    return Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), np.array(rows))


def scores_of(scorer):
    return scorer.scores(pairs_of(scorer), lambda _: None)


def far(scores, expected):
    """The largest difference, as a share of the spread."""
    assert expected.std() > 0
    return np.abs(scores - expected).max() / expected.std()


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize(("mode", "family"), [("cross", "bert"), ("dual", "bert"), ("cross", "modernbert")])
def test_scores_are_those_of_the_cpu_in_float32(scorer, precision, mode, family):
    expected = scores_of(scorer("cpu", "float32", mode, family))
    assert far(scores_of(scorer("cuda", precision, mode, family)), expected) < TOLERANCE[precision]


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("family", ["bert", "electra", "roberta"])
def test_packed_scores_are_those_of_padded_batches(scorer, precision, family):
    made = scorer("cuda", precision, family=family)
    padded = np.empty(len(QUERIES) * len(PASSAGES), dtype=np.float32)
    made.model.eval()
    with torch.inference_mode(), running_in(made.precision, made.device):
        for numbers, batch in made.encoding.pair_batches(pairs_of(made), 2_048):
            padded[numbers] = made.model.score(batch.to(made.device)).float().cpu().numpy()
    assert far(scores_of(made), padded) < TOLERANCE[precision]


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_no_order_depends_on_what_a_pair_is_computed_beside(scorer, mode):
    alone, few, many = (scores_of(scorer("cuda", mode=mode, tokens=tokens)) for tokens in (1, 256, 100_000))
    for other in (few, many):
        assert far(other, alone) < 1e-4
        orders = (scores.reshape(len(QUERIES), -1).argsort(axis=1, kind="stable") for scores in (alone, other))
        assert np.array_equal(*orders)


class StoppedError(Exception):
    """What a power cut is to a training."""


def trained(scorer, folder, stop_after=10):
    """Ten steps on the same groups, a passage of the query's colour and three of others, unless it is stopped."""
    ids = [f"p{number}" for number in range(len(PASSAGES))]
    firsts = ids[:: len(PLACES)]
    candidates = [
        Candidates(query, (own,), tuple(other for other in firsts if other != own)[:3])
        for query, own in zip(QUERIES, firsts, strict=True)
    ]
    rows = ({query: row for row, query in enumerate(QUERIES)}, {doc_id: row for row, doc_id in enumerate(ids)})
    data = TrainingSet(candidates, scorer.queries(QUERIES), scorer.passages(PASSAGES), *rows)
    rates = {"learning_rate": 3e-3, "head_learning_rate": 1e-2, "warmup": 0.0}
    config = TrainingConfig(negatives=3, groups_per_step=6, epochs=10, validations=0, dropout=False, **rates)

    def on_step(step):
        if step.number > stop_after:
            raise StoppedError

    [done] = train([scorer], data, config, [None], on_step, Checkpoint(folder, {"asked": "this"}, minutes=0))
    return done


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_ten_steps_lower_the_loss_and_a_stopped_training_goes_on(scorer, tmp_path, mode, precision):
    whole = trained(scorer("cuda", precision, mode), tmp_path / "whole")
    assert len(whole.losses) == 10
    assert np.mean(whole.losses[-3:]) < 0.9 * np.mean(whole.losses[:3])
    with pytest.raises(StoppedError):
        trained(scorer("cuda", precision, mode), tmp_path / "stopped", stop_after=5)
    resumed = trained(scorer("cuda", precision, mode), tmp_path / "stopped")
    assert resumed.losses[:5] == pytest.approx(whole.losses[:5], rel=0.02)
    assert resumed.losses == pytest.approx(whole.losses, rel=0.1, abs=0.05)
