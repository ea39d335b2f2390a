"""How long a job takes is said beforehand, by a probe, and goes down."""

import shutil
from types import SimpleNamespace

import pytest

from ranker.data.catalogue import open_dataset
from ranker.errors import TrainingError
from ranker.experiments import forecast
from ranker.experiments.forecast import Countdown, Moment, scoring_seconds, share_of, step_seconds
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    now = SimpleNamespace(seconds=500.0)
    monkeypatch.setattr(forecast, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_the_whole_time_is_told_first(clock):
    told = []
    Countdown({"one": 10.0, "two": 30.0}, told.append)
    assert told == [Moment("all", 0.0, 40.0)]


def test_what_is_left_of_a_stage_goes_by_its_own_pace_and_of_later_ones_as_expected(clock):
    told = []
    countdown = Countdown({"one": 10.0, "two": 30.0}, told.append)
    with countdown.stage("one") as advance:
        clock.seconds += 10.0
        advance(0.5)  # twice as slow as expected
        clock.seconds += 10.0
    with countdown.stage("two") as advance:
        advance(0.05)  # too little to tell
        clock.seconds += 5.0
        advance(0.5)  # three times as fast
    assert told[1:] == [
        Moment("one", 0.0, 40.0),
        Moment("one", 10.0, 40.0),
        Moment("two", 20.0, 30.0),
        Moment("two", 20.0, 28.5),
        Moment("two", 25.0, 5.0),
    ]


def test_counts_become_shares():
    shares = []
    more = share_of(shares.append, 8)
    more(2)
    more(6)
    assert shares == [0.25, 1.0]
    share_of(shares.append, 0)(0)
    assert shares[-1] == 0.0


def scorer_of(folder, mode):
    return Scorer(
        create_model(RankerConfig(mode, query_length=12, length=24), str(folder), seed=3), Compute("float32", "cpu")
    )


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_a_probe_takes_two_steps_and_some_scores_and_no_first_stage(tiny, dataset, mode):
    scorer = scorer_of(tiny(), mode)
    before = scorer.model.digest()
    config = TrainingConfig(negatives=2, groups_per_step=2, learning_rate=1e-3)
    assert 0 < step_seconds(scorer, open_dataset(str(dataset)), config) < 10
    assert scorer.model.digest() != before
    assert 0 < scoring_seconds(scorer, open_dataset(str(dataset))) < 1


def test_a_dataset_without_anything_to_train_on_is_refused(tiny, dataset, tmp_path):
    folder = shutil.copytree(dataset, tmp_path / "without")
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t0\n")
    with pytest.raises(TrainingError, match="gives no training group"):
        step_seconds(scorer_of(tiny(), "cross"), open_dataset(str(folder)), TrainingConfig())
