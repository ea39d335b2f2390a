"""``ranker train`` in two processes, that torchrun or accelerate launches, does what it does in one."""

import contextlib
import json
import re
import subprocess
import sys
import time

import pytest

TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2")
ACCELERATE = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0")

pytest.importorskip("accelerate", reason="the extra 'distributed' is not installed")
psutil = pytest.importorskip("psutil", reason="it comes with accelerate")


def kill(launcher):
    """And what it launched, each of which has a session of its own."""
    if launcher.poll() is None:
        every = psutil.Process(launcher.pid).children(recursive=True)
        for process in (launcher, *every):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(every)
        launcher.communicate()


@pytest.fixture
def words(dataset, first_run, tiny):
    """Twenty-four groups an epoch, in steps of five, five, five, five and four."""
    return [
        "train", dataset, "--model", tiny(), "--run", first_run, "--length", 40, "--query-length", 12, "--negatives", 2,
        "--groups-per-step", 5, "--precision", "float32", "--no-dropout", "--learning-rate", 1e-3,
    ]  # fmt: skip


@pytest.fixture
def start():
    """Starts two processes; all that was started is ended at last."""
    started: list[subprocess.Popen[str]] = []

    def run(launcher, module, *words):
        command = [sys.executable, *launcher, *module, *map(str, words)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        kill(process)


@pytest.fixture
def second_says(tmp_path):
    """A command line of which the second process is given another value for an option."""

    def make(option, value):
        path = tmp_path / "second.py"
        path.write_text(
            "import os, runpy, sys\n"
            "if os.environ['RANK'] == '1':\n"
            f"    sys.argv[sys.argv.index({option!r}) + 1] = {str(value)!r}\n"
            "runpy.run_module('ranker', run_name='__main__')\n"
        )
        return path

    return make


def finish(process):
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def record_of(folder):
    return json.loads((folder / "training.json").read_text())


@pytest.mark.slow
def test_a_training_that_is_killed_and_launched_again_has_the_losses_of_one_process(ranker, start, words, tmp_path):
    words += ["--mode", "cross", "--epochs", 20, "--checkpoint-minutes", 0]
    assert ranker(*words, "-o", tmp_path / "one").status == 0
    output, state = tmp_path / "two", tmp_path / ".two.training" / "state.json"
    killed = start(TORCHRUN, ("-m", "--", "ranker"), *words, "-o", output)
    while not state.exists() and killed.poll() is None:
        time.sleep(0.01)
    kill(killed)
    assert not output.exists()
    done = len(json.loads(state.read_text())["facts"]["losses"])
    assert 0 < done < 100
    said = finish(start(ACCELERATE, ("-m", "ranker"), *words, "-o", output))
    one, two = record_of(tmp_path / "one"), record_of(output)
    assert two["losses"] == pytest.approx(one["losses"], abs=3e-5)
    assert (two["steps"], two["groups"], two["kept"]["step"]) == (100, 480, one["kept"]["step"])
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(re.findall(r"two: cross after 100 steps of 2 processes, 480 groups, \d+ s, RR@10", said)) == 1
    assert not state.parent.exists()


@pytest.mark.slow
def test_the_first_process_alone_writes_the_model(ranker, start, second_says, words, tmp_path):
    words += ["--mode", "mult-int", "--frozen", "--epochs", 2, "--dev", "none"]
    assert ranker(*words, "-o", tmp_path / "one").status == 0
    script = second_says("-o", tmp_path / "other")
    said = finish(start(TORCHRUN, ("--", script), *words, "-o", tmp_path / "two"))
    assert not (tmp_path / "other").exists()
    assert record_of(tmp_path / "two")["losses"] == pytest.approx(record_of(tmp_path / "one")["losses"], abs=3e-5)
    assert said.count("no candidates for a split 'none', so no validation") == 1


@pytest.mark.slow
def test_processes_that_were_asked_for_different_things_do_not_train(start, second_says, words, tmp_path):
    words += ["--mode", "dual", "--seed", 1]
    process = start(TORCHRUN, ("--", second_says("--seed", 2)), *words, "-o", tmp_path / "two")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert [line for line in said.splitlines() if line.startswith("Error: ")] == [
        "Error: process 1: differs from process 0 in training; "
        "expected the same command, data, models and kind of machine for all."
    ]
    assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_an_error_of_the_second_process_ends_both_with_its_sentence(start, second_says, words, tmp_path):
    (tmp_path / "broken.run").write_text("q0 Q0 d0 1 1.0\n")
    script = second_says("--run", tmp_path / "broken.run")
    process = start(TORCHRUN, ("--", script), *words, "--mode", "cross", "-o", tmp_path / "two")
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    [sentence] = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert sentence.startswith(f"Error: {tmp_path / 'broken.run'}:1: expected 6 columns")
    assert not (tmp_path / "two").exists()
