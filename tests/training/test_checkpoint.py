"""A training that was stopped after any step ends as if it had not been."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ranker.files.digests import write_sealed
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training.checkpoint import Checkpoint, State
from ranker.training.groups import Candidates, TrainingSet
from ranker.training.loop import train

QUERIES = ["red", "green", "blue", "large"]
PASSAGES = [f"{colour} {thing}" for colour in QUERIES for thing in ("stone", "water", "river")]
CONFIG = TrainingConfig(negatives=2, groups_per_step=2, learning_rate=3e-3, epochs=4, validations=4, warmup=0.2)
STEPS = 8


class StoppedError(Exception):
    """What a power cut is to the code above it."""


@pytest.fixture(params=["cross", "dual"])
def make(tiny, request):
    """A new scorer each time, with dropout in its backbone."""

    def scorer(seed: int = 3) -> Scorer:
        config = RankerConfig(request.param, query_length=8, length=20)
        return Scorer(create_model(config, str(tiny()), seed=seed), Compute("float32", "cpu"))

    return scorer


def data_of(scorer: Scorer) -> TrainingSet:
    ids = [f"p{number}" for number in range(len(PASSAGES))]
    candidates = [Candidates(query, (ids[3 * row],), tuple(ids[:2])) for row, query in enumerate(QUERIES)]
    candidates[0] = replace(candidates[0], negatives=tuple(ids[4:8]))
    rows = {query: row for row, query in enumerate(QUERIES)}, {doc_id: row for row, doc_id in enumerate(ids)}
    return TrainingSet(candidates, scorer.queries(QUERIES), scorer.passages(PASSAGES), *rows)


def validator(scorer: Scorer):
    """A value that rises and falls with the weights."""
    weight = list(scorer.model.encoder.backbone.parameters())[-3]
    return lambda: float(weight.detach().sum())


def trained(scorer: Scorer, folder: Path, stop_after: int = STEPS, config: TrainingConfig = CONFIG, asked="this"):
    """The steps that were told, and the training unless it was stopped."""
    steps = []

    def on_step(step) -> None:
        steps.append(step.number)
        if step.number > stop_after:
            raise StoppedError

    checkpoint = Checkpoint(folder, {"asked": asked}, minutes=0)
    checkpoint.save = every_time(checkpoint)  # type: ignore[method-assign]
    [done] = train([scorer], data_of(scorer), config, [validator(scorer)], on_step, checkpoint)
    return steps, done


def every_time(checkpoint: Checkpoint):
    """Saving that never makes itself seldom."""
    save = checkpoint.save

    def saving(state: State) -> None:
        save(state)
        checkpoint._seconds = 0.0

    return saving


def weights(scorer: Scorer) -> bytes:
    return b"".join(value.numpy().tobytes() for value in scorer.model.state_dict().values())


@pytest.mark.parametrize("stopped_after", range(STEPS))
def test_losses_validations_and_weights_are_those_of_a_training_that_was_not_stopped(make, tmp_path, stopped_after):
    torch.manual_seed(99)
    whole, ended, again = make(), make(), make()
    _, expected = trained(whole, tmp_path / "whole")
    with pytest.raises(StoppedError):
        trained(ended, tmp_path / "ended", stopped_after)
    torch.manual_seed(stopped_after)
    steps, found = trained(again, tmp_path / "ended")
    assert steps == list(range(stopped_after + 1, STEPS + 1))
    assert found.losses == expected.losses
    assert found.validations == expected.validations
    assert (found.steps, found.groups, found.best) == (expected.steps, expected.groups, expected.best)
    assert weights(again) == weights(whole)


def test_another_training_does_not_go_on_from_it(make, tmp_path):
    with pytest.raises(StoppedError):
        trained(make(), tmp_path / "ended", 4)
    assert trained(make(), tmp_path / "ended", asked="that")[0] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"\0" * 64, b'{"asked": 1}'])
def test_a_broken_state_is_none(make, tmp_path, name, content):
    folder = tmp_path / "ended"
    with pytest.raises(StoppedError):
        trained(make(), folder, 4)
    (folder / name).write_bytes(content)
    assert trained(make(), folder)[0] == list(range(1, STEPS + 1))


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("damage", [*(f"bit {share}" for share in (0.1, 0.4, 0.6, 0.99)), "cut", "gone"])
def test_a_damaged_state_is_told_and_not_taken_up(tmp_path, name, damage):
    folder, told = tmp_path / "ended", []
    state = State({"weights.a": torch.rand(40, 3), "moments.0.step": torch.tensor(4.0)}, {"losses": [0.5], "groups": 2})
    Checkpoint(folder, {"asked": "this"}, minutes=0).save(state)
    path = folder / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[int(float(damage.removeprefix("bit ")) * len(content))] ^= 1
        path.write_bytes(content)
    assert Checkpoint(folder, {"asked": "this"}, minutes=0, say=told.append).load() is None
    assert told == [f"{folder}: the state of a training in it is damaged, so the training begins anew."]


@pytest.mark.parametrize("make", ["cross"], indirect=True)
def test_a_training_whose_state_has_a_flipped_bit_begins_anew(make, tmp_path):
    """Else it would end with other weights, or never, its loss being no number."""
    whole, again = make(), make()
    trained(whole, tmp_path / "whole")
    with pytest.raises(StoppedError):
        trained(make(), tmp_path / "ended", 4)
    path = tmp_path / "ended" / "state.safetensors"
    content = bytearray(path.read_bytes())
    content[-40] ^= 0x40
    path.write_bytes(content)
    assert trained(again, tmp_path / "ended")[0] == list(range(1, STEPS + 1))
    assert weights(again) == weights(whole)


def test_what_is_not_there_and_what_is_of_another_training_is_not_called_damaged(tmp_path):
    told = []
    Checkpoint(tmp_path / "a", {"asked": 1}, minutes=0).save(State({"a": torch.ones(1)}, {}))
    assert Checkpoint(tmp_path / "a", {"asked": 2}, minutes=0, say=told.append).load() is None
    assert Checkpoint(tmp_path / "none", {"asked": 1}, minutes=0, say=told.append).load() is None
    assert told == []


def test_a_state_that_lacks_a_part_is_none(make, tmp_path):
    folder = tmp_path / "ended"
    with pytest.raises(StoppedError):
        trained(make(), folder, 4)
    written = json.loads((folder / "state.json").read_text())
    write_sealed(folder / "state.json", {"asked": written["asked"], "sha256": written["sha256"]})
    assert trained(make(), folder)[0] == list(range(1, STEPS + 1))


def test_time_spent_before_counts(make, tmp_path):
    folder, config = tmp_path / "ended", replace(CONFIG, epochs=10_000, max_minutes=10.0, validations=0)
    with pytest.raises(StoppedError):
        trained(make(), folder, 3, config)
    checkpoint = Checkpoint(folder, {"asked": "this"}, minutes=0)
    state = checkpoint.load()
    checkpoint.save(state._replace(facts={**state.facts, "seconds": 600.0}))
    steps, found = trained(make(), folder, config=config)
    assert steps == []
    assert found.steps == 3
    assert found.seconds >= 600


def test_it_is_written_after_so_many_minutes_and_seldom_where_writing_takes_long(tmp_path):
    state = State({"weights.a": torch.zeros(2)}, {})
    seldom, often = Checkpoint(tmp_path / "a", {}, minutes=10), Checkpoint(tmp_path / "b", {}, minutes=0)
    assert (seldom.due, often.due) == (False, True)
    often.save(State({"weights.a": torch.zeros(4_000_000)}, {}))
    assert not often.due
    seldom.save(state)
    assert torch.equal(seldom.load().tensors["weights.a"], torch.zeros(2))


def test_where_nothing_can_be_written_training_goes_on(make, tmp_path):
    (tmp_path / "file").write_text("")
    assert trained(make(), tmp_path / "file" / "below")[0] == list(range(1, STEPS + 1))


def test_it_can_be_taken_away(tmp_path):
    checkpoint = Checkpoint(tmp_path / "a", {}, minutes=0)
    checkpoint.remove()
    checkpoint.save(State({"a": torch.ones(1)}, {}))
    checkpoint.remove()
    assert checkpoint.load() is None
    assert not list(tmp_path.iterdir())


def test_numbers_survive_as_they_are(tmp_path):
    facts = {"losses": [0.1, 1e-300, np.pi], "groups": 3}
    checkpoint = Checkpoint(tmp_path / "a", {"b": [1, None]}, minutes=0)
    checkpoint.save(State({}, facts))
    assert checkpoint.load() == State({}, facts)
