"""Several processes train one model as one process would: real ones, that torchrun starts and gloo connects."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import SetupError
from ranker.training import processes
from ranker.training.processes import (
    SINGLE_PROCESS,
    ProcessGroup,
    _check_gpus,
    current_processes,
    launched_processes,
)

SHARING = Path(__file__).parent / "sharing.py"
ALIKE = ("cross", "contrastive", "pointwise", "clipped", "heads")
"""Jobs that come to the same in any number of processes."""

NO_MATTER = ("attention.self.key.bias", "classifier.bias", "head.layers.bias")
"""No loss here depends on them, so that AdamW moves them by what rounding left of their gradients."""


def share(model: Path, output: Path, *jobs: str, count: int = 1) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(count)] if count > 1 else []
    command = [sys.executable, *launcher, str(SHARING), str(model), str(output), *jobs]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def came_of(tiny, tmp_path_factory) -> dict[tuple[str, int, int], Any]:
    """What came of each job, by its name, the number of processes, and which of them says so."""
    pytest.importorskip("accelerate", reason="the extra 'distributed' is not installed")
    output = tmp_path_factory.mktemp("sharing")
    found = {}
    for count, jobs in ((2, (*ALIKE, "dropout", "minutes", "stopped", "begun")), (1, (*ALIKE, "ended"))):
        done = share(tiny(), output, *jobs, count=count)
        assert done.returncode == 0, done.stderr
        for job in jobs:
            for rank in range(count):
                found[job, count, rank] = json.loads((output / f"{job}.{rank}.of{count}.json").read_text())
        found["left", count, 0] = json.loads((output / "state" / "state.json").read_text())["facts"]
    found["folders", 2, 0] = sorted(path.name for path in output.iterdir() if path.is_dir())
    return found


def trainings(found: Any) -> list[dict[str, Any]]:
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("job", ALIKE)
def test_two_processes_have_the_losses_and_the_weights_of_one(came_of, job):
    for one, two in zip(trainings(came_of[job, 1, 0]), trainings(came_of[job, 2, 0]), strict=True):
        assert len(one["losses"]) > 8
        assert max(one["losses"]) - min(one["losses"]) > 0.01
        assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
        for name, weight in one["weights"].items():
            if not name.endswith(NO_MATTER):
                np.testing.assert_allclose(two["weights"][name], weight, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("job", ALIKE)
def test_steps_hold_as_much_and_are_told_as_those_of_one_process(came_of, job):
    for one, two in zip(trainings(came_of[job, 1, 0]), trainings(came_of[job, 2, 0]), strict=True):
        assert two["groups"] == one["groups"]
        np.testing.assert_allclose(two["told"], one["told"], atol=2e-5)


@pytest.mark.parametrize("job", [*ALIKE, "dropout", "minutes", "stopped"])
def test_both_processes_have_the_same_weights_losses_and_validations(came_of, job):
    for first, second in zip(*(trainings(came_of[job, 2, rank]) for rank in (0, 1)), strict=True):
        assert {key: value for key, value in first.items() if key != "texts_read"} == {
            key: value for key, value in second.items() if key != "texts_read"
        }


@pytest.mark.parametrize("job", ["cross", "contrastive", "pointwise", "clipped"])
def test_every_text_of_a_step_is_read_by_one_process(came_of, job):
    one = came_of[job, 1, 0]["texts_read"]
    first, second = (came_of[job, 2, rank]["texts_read"] for rank in (0, 1))
    assert first + second == one
    # of seven groups in steps of three, three and one
    assert (first, second) == (one * 5 // 7, one * 2 // 7)


@given(groups=st.lists(st.integers(), max_size=40), count=st.integers(1, 9))
def test_shares_are_all_groups_in_order_and_nearly_of_one_size(groups, count):
    shares = []
    for rank in range(count):
        processes = ProcessGroup()
        processes.rank, processes.world_size = rank, count
        shares.append(processes.shard(groups))
    assert [group for one in shares for group in one] == groups
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    # the first learns with weights that somebody used, so it has a group where there is one
    assert shares[0] or not groups


def test_units_that_are_dropped_are_not_those_that_one_process_drops(came_of):
    assert max(np.abs(np.subtract(came_of["dropout", 2, 0]["losses"], came_of["cross", 1, 0]["losses"]))) > 1e-3


def test_minutes_end_for_both_at_the_same_step(came_of):
    """By the first's clock, which goes on by 0.1 s a step; that their losses are the same is held above."""
    assert [len(came_of["minutes", 2, rank]["losses"]) for rank in (0, 1)] == [11, 11]


def test_a_training_that_was_stopped_goes_on_with_the_losses_and_weights_of_one_that_was_not(came_of):
    for rank in (0, 1):
        whole, halves = came_of["stopped", 2, rank]
        assert halves["told"][0][0] > 1
        assert halves["losses"] == whole["losses"]
        assert halves["weights"] == whole["weights"]


def test_the_first_process_alone_writes_states(came_of):
    assert came_of["folders", 2, 0] == ["halves.0", "state", "whole.0"]


def test_a_state_of_two_processes_is_taken_up_by_one(came_of):
    written, found = came_of["left", 2, 0]["losses"], came_of["ended", 1, 0]
    assert 0 < len(written) < 9
    assert found["losses"][: len(written)] == written
    assert found["told"][0][0] == len(written) + 1
    assert len(found["losses"]) == 9


def errors(said: str) -> list[str]:
    """The last line of each traceback of ours."""
    return [line.partition(": ")[2] for line in said.splitlines() if "ranker.errors." in line and "]: ranker" in line]


def test_an_error_of_one_process_ends_the_other_and_is_said_once(tiny, tmp_path):
    pytest.importorskip("accelerate", reason="the extra 'distributed' is not installed")
    done = share(tiny(), tmp_path, "fails", count=2)
    assert done.returncode == 1
    assert errors(done.stderr) == ["ranker.errors.TrainingError: the second process has no more colours."]


@pytest.mark.slow
def test_a_process_that_does_not_answer_is_not_waited_for_without_end(tiny, tmp_path):
    pytest.importorskip("accelerate", reason="the extra 'distributed' is not installed")
    started = time.monotonic()
    done = share(tiny(), tmp_path, "sleeps", count=2)
    assert done.returncode == 1
    assert time.monotonic() - started < 200
    [said] = errors(done.stderr)
    assert said.startswith(
        "ranker.errors.TrainingError: process 0: another process of the training ended or does not answer (Timed out "
    )


# alone


@pytest.mark.parametrize(
    "environment", [{}, {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}, {"WORLD_SIZE": "2", "RANK": "0"}]
)
def test_a_plain_command_trains_alone(monkeypatch, environment):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with launched_processes("cpu") as processes:
        assert processes is SINGLE_PROCESS
        assert current_processes() is SINGLE_PROCESS


def test_who_trains_alone_has_all_of_it():
    rows, state = torch.ones(2, 3, requires_grad=True), object()
    assert SINGLE_PROCESS.shard(["a", "b"]) == ["a", "b"]
    assert SINGLE_PROCESS.all_gather_rows(rows) is rows
    assert SINGLE_PROCESS.all_gather_rows(rows).requires_grad
    assert (SINGLE_PROCESS.rank, SINGLE_PROCESS.world_size, SINGLE_PROCESS.is_main) == (0, 1, True)
    assert SINGLE_PROCESS.broadcast(lambda: 0.25) == 0.25
    assert SINGLE_PROCESS.broadcast_state(lambda: state) is state
    assert SINGLE_PROCESS.all_gather(torch.zeros(4)).shape == (1, 4)


@pytest.fixture
def second_of_two(monkeypatch):
    """What torchrun tells the second of two processes."""
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "_EXIT_DELAY", 0.0)
    monkeypatch.setitem(sys.modules, "accelerate", None)


def test_without_accelerate_the_first_process_says_so(second_of_two, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(SetupError) as error, launched_processes("cpu"):
        pass
    assert str(error.value) == (
        "2 processes were launched, but accelerate, which brings them together, is not installed; "
        "pip install 'ranker[distributed]', or launch one process."
    )


def test_without_accelerate_the_others_end_without_a_word(second_of_two):
    with pytest.raises(SystemExit) as ended, launched_processes("cpu"):
        pass
    assert ended.value.code == 1


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    gpus = torch.cuda.device_count()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(gpus + 1))
    with pytest.raises(SetupError) as error:
        _check_gpus(torch.device("cuda"))
    assert str(error.value) == (
        f"{gpus + 1} processes were launched on a machine of {gpus} GPUs, but each takes one; "
        f"launch {gpus} there, or give --device cpu."
    )
    _check_gpus(torch.device("cpu"))
