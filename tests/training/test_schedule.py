"""How long a training is, and which groups it sees: by epochs, steps and minutes, whichever ends first."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.scoring.tokens import Texts
from ranker.settings.training import TrainingConfig
from ranker.training import loop
from ranker.training.groups import Candidates, TrainingSet, draw_groups
from ranker.training.loop import training_steps

NOTHING = Texts(np.empty(0, np.int32), np.zeros(1, np.int64), np.empty(0, np.int64))


def data_of(queries, negatives=5):
    candidates = [
        Candidates(f"q{number}", (f"p{number}", f"r{number}"), tuple(f"n{number}-{i}" for i in range(negatives)))
        for number in range(queries)
    ]
    return TrainingSet(candidates, NOTHING, NOTHING, {}, {})


def walk(queries, **settings):
    return list(training_steps(data_of(queries), TrainingConfig(negatives=2, **settings), started=0.0))


@given(
    queries=st.integers(1, 12), per_step=st.integers(1, 6), epochs=st.integers(1, 4), max_steps=st.integers(0, 30),
)  # fmt: skip
def test_a_course_is_as_long_as_its_epochs_or_its_steps_allow(queries, per_step, epochs, max_steps):
    steps = walk(queries, groups_per_step=per_step, epochs=epochs, max_steps=max_steps)
    total = min(epochs * math.ceil(queries / per_step), max_steps or math.inf)
    assert [progress for progress, _ in steps] == pytest.approx([number / total for number in range(total)])
    assert all(1 <= len(groups) <= per_step for _, groups in steps)


@given(queries=st.integers(1, 12), per_step=st.integers(1, 6), epochs=st.integers(1, 3))
def test_every_epoch_has_every_query_once(queries, per_step, epochs):
    seen = [group.query_id for _, groups in walk(queries, groups_per_step=per_step, epochs=epochs) for group in groups]
    for epoch in range(epochs):
        assert sorted(seen[epoch * queries : (epoch + 1) * queries]) == sorted(f"q{n}" for n in range(queries))


def test_no_two_epochs_are_in_the_same_order():
    seen = [group.query_id for _, groups in walk(12, epochs=3) for group in groups]
    assert len({tuple(seen[start : start + 12]) for start in (0, 12, 24)}) == 3


@pytest.mark.parametrize(
    "change", [{"loss": "pairwise"}, {"learning_rate": 0.1}, {"dropout": False}, {"frozen_layers": 2}, {"epochs": 3}]
)
def test_the_same_seed_shows_every_model_the_same_groups(change):
    plain = {"groups_per_step": 4, "seed": 7, "epochs": 2}
    groups, other = ([groups for _, groups in walk(12, **settings)] for settings in (plain, {**plain, **change}))
    assert other[: len(groups)] == groups


def test_another_seed_shows_others():
    assert [groups for _, groups in walk(12, seed=1)] != [groups for _, groups in walk(12, seed=2)]


def test_fewer_steps_are_the_beginning_of_more():
    short, long = (walk(12, groups_per_step=2, epochs=9, max_steps=steps) for steps in (3, 10))
    assert [groups for _, groups in short] == [groups for _, groups in long][:3]


@pytest.fixture
def clock(monkeypatch):
    """A clock that is moved by hand."""
    now = SimpleNamespace(seconds=1_000.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def timed(clock, seconds, **settings):
    """The progress before each step, when the steps take so long."""
    found = []
    config = TrainingConfig(negatives=2, groups_per_step=4, **settings)
    for (progress, _), taken in zip(training_steps(data_of(12), config, clock.seconds), seconds, strict=False):
        found.append(progress)
        clock.seconds += taken
    return found


def test_minutes_end_a_training_however_many_epochs_are_left(clock):
    assert timed(clock, [10.0] * 99, epochs=1_000, max_minutes=1.0) == pytest.approx([n / 6 for n in range(6)])


def test_without_minutes_the_clock_is_nothing(clock):
    assert timed(clock, [1e6] * 99, epochs=2) == pytest.approx([n / 6 for n in range(6)])


def test_steps_end_a_training_that_has_minutes_left(clock):
    assert timed(clock, [1.0] * 99, epochs=9, max_steps=4, max_minutes=1.0) == pytest.approx([0, 0.25, 0.5, 0.75])


def test_epochs_end_a_training_that_has_steps_and_minutes_left(clock):
    assert timed(clock, [1.0] * 99, epochs=1, max_steps=50, max_minutes=1.0) == pytest.approx([0, 1 / 3, 2 / 3])


@pytest.mark.parametrize(("taken", "steps"), [(11.0, 5), (25.0, 2), (41.0, 1), (200.0, 1), (0.5, 120)])
def test_minutes_end_at_the_step_that_ends_nearest_to_them(clock, taken, steps):
    """Of 60 seconds five steps of 11 leave 5, less than half of another; of 25 three would take 15 too many."""
    begun = clock.seconds
    assert len(timed(clock, [taken] * 999, epochs=1_000, max_minutes=1.0)) == steps
    assert steps == 1 or abs(clock.seconds - begun - 60) <= taken / 2


def test_what_comes_after_the_last_step_is_within_the_minutes(clock):
    """A validation of 20 seconds is known of after three steps of 5: at most 40 seconds are left for all of them."""
    closing = iter([0.0] * 3 + [20.0] * 99)
    config = TrainingConfig(negatives=2, groups_per_step=4, epochs=1_000, max_minutes=1.0)
    found = []
    for progress, _ in training_steps(data_of(12), config, clock.seconds, closing_seconds=lambda: next(closing)):
        found.append(progress)
        clock.seconds += 5.0
    assert found == pytest.approx([0, 5 / 60, 10 / 60, 15 / 40, 20 / 40, 25 / 40, 30 / 40, 35 / 40])


def test_progress_is_by_what_has_run_out_further(clock):
    found = timed(clock, [1.0, 1.0, 40.0, 1.0, 1.0, 1.0, 60.0], epochs=99, max_steps=10, max_minutes=1.0)
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.7, 43 / 60, 44 / 60, 45 / 60])


def test_a_step_that_takes_longer_than_the_minutes_is_the_last(clock):
    assert timed(clock, [500.0] * 9, epochs=99, max_minutes=1.0) == [0.0]


@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=6), negatives=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_group_has_its_querys_own_passages_and_repeats_none_that_it_need_not(counts, negatives, seed):
    candidates = {
        f"q{number}": Candidates(
            f"q{number}", (f"p{number}", f"r{number}"), tuple(f"n{number}-{i}" for i in range(count))
        )
        for number, count in enumerate(counts)
    }
    groups = draw_groups(list(candidates.values()), negatives, np.random.default_rng(seed))
    assert sorted(group.query_id for group in groups) == sorted(candidates)
    for group in groups:
        own, (positive, *drawn) = candidates[group.query_id], group.doc_ids
        assert positive in own.positives
        assert set(drawn) <= set(own.negatives)
        assert len(drawn) == negatives
        assert len(set(drawn)) == negatives or len(own.negatives) < negatives


def test_over_many_epochs_every_positive_and_every_negative_has_its_turn():
    rng = np.random.default_rng(1)
    data = data_of(2)
    seen = {doc_id for _ in range(60) for group in draw_groups(data.candidates, 2, rng) for doc_id in group.doc_ids}
    assert seen == {doc_id for one in data.candidates for doc_id in (*one.positives, *one.negatives)}
