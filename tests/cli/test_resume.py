"""A command that was killed goes on where it was when it is given again, and ends with the same bytes."""

import contextlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from forked import Forked

PAIRS = 1_600


_ONE_SCORE = 28


class Job(NamedTuple):
    """A reranking of every query of the dataset's test split over every passage, in a cache of its own."""

    words: list[str]
    cache: Path
    output: Path

    @property
    def kept(self) -> int:
        """Bytes of scores on disk."""
        return sum(path.stat().st_size for path in self.cache.glob("scores/*/records"))

    def start(self) -> Forked:
        words = ["rerank", *self.words, "--output", self.output]
        return Forked(words, env={**os.environ, "RANKER_CACHE": str(self.cache)})

    def finish(self) -> str:
        process = self.start()
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def killed_at(self, size: int, how: signal.Signals) -> str:
        """Ends the command as soon as so many bytes of scores are kept."""
        process = self.start()
        while self.kept < size and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(how)
        return process.communicate(timeout=60)[1]


@pytest.fixture(scope="module")
def words(dataset, tiny, tmp_path_factory) -> list[str]:
    run = tmp_path_factory.mktemp("resume") / "first.run"
    lines = [
        f"q{query} Q0 d{(query + passage) % 40} 1 {40 - passage} hand\n" for query in range(40) for passage in range(40)
    ]
    wanted = {f"q{number}" for number in range(4, 40, 5)}
    run.write_text("".join(line for line in lines if line.split()[0] in wanted))
    model = str(tiny("bert", labels=1))
    size = ("--tokens-per-batch", "32", "--precision", "float32", "--depth", "40")
    return [str(dataset), "--run", str(run), "--mode", "cross", "--model", model, *size]


@pytest.fixture
def job(words, tmp_path):
    def make(name: str) -> Job:
        return Job(words, tmp_path / f"{name}.cache", tmp_path / name / "some.run")

    return make


@pytest.fixture(scope="module")
def undisturbed(words, tmp_path_factory) -> Job:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = Job(words, folder / "cache", folder / "some.run")
    done.finish()
    return done


def killed_and_finished(job: Job, undisturbed: Job, part: float, how: signal.Signals) -> None:
    job.killed_at(int(part * undisturbed.kept), how)
    assert not job.output.exists()
    assert not list(job.output.parent.glob("*"))
    kept = job.kept
    assert kept < undisturbed.kept
    said = job.finish()
    assert job.output.read_bytes() == undisturbed.output.read_bytes()
    assert job.kept == undisturbed.kept
    assert ("remembered" in said) == (kept >= _ONE_SCORE)


@pytest.mark.parametrize(("part", "how"), [(0.3, signal.SIGKILL), (0.8, signal.SIGINT)])
def test_a_reranking_that_was_ended_ends_with_the_bytes_of_one_that_was_not(job, undisturbed, part, how):
    killed_and_finished(job("ended"), undisturbed, part, how)


@pytest.mark.parametrize("part", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_reranking_under_which_a_file_changed_says_so_and_writes_nothing(dataset, words, tmp_path, part):
    mine = tmp_path / "mine"
    shutil.copytree(dataset, mine)
    job = Job([str(mine), *words[1:]], tmp_path / "cache", tmp_path / "out" / "some.run")
    process = job.start()
    while job.kept < 10 * _ONE_SCORE and process.poll() is None:
        time.sleep(0.002)
    with (mine / part).open("a") as file:
        file.write("\n")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert said.endswith(
        f"{mine / part}: has changed while it was used, so nothing was written; give the command again.\n"
    )
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.faults
def test_fifty_rerankings_killed_at_any_moment_end_with_the_same_bytes(job, undisturbed):
    moments = random.Random(5)
    for number in range(50):
        killed_and_finished(job(f"ended{number}"), undisturbed, moments.random(), signal.SIGKILL)


class Training(NamedTuple):
    """A training of a tiny model that takes seconds, its state written as often as may be."""

    words: list[str]
    output: Path

    def start(self) -> Forked:
        return Forked(["train", *self.words, "--output", self.output])

    @property
    def state(self) -> Path:
        return self.output.with_name(f".{self.output.name}.training")

    def finish(self) -> str:
        process = self.start()
        said = process.communicate(timeout=300)[1]
        assert process.returncode == 0, said
        return said

    def killed_after(self, states: int) -> None:
        """Ends it when so many states have been written."""
        process, seen = self.start(), set()
        while len(seen) < states and process.poll() is None:
            with contextlib.suppress(OSError):
                state = (self.state / "state.json").stat()
                seen.add((state.st_ino, state.st_mtime_ns))  # a number is given again to a file that replaces another
            time.sleep(0.001)
        process.kill()
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def training(dataset, first_run, tiny, tmp_path_factory):
    size = ("--length", "40", "--query-length", "12", "--negatives", "2", "--groups-per-step", "4")
    steps = ("--epochs", "100", "--max-steps", "120", "--validations", "3", "--checkpoint-minutes", "0")
    words = [str(dataset), "--mode", "cross", "--model", str(tiny()), "--run", str(first_run), *size, *steps]
    folder = tmp_path_factory.mktemp("training")
    undisturbed = Training([*words, "--precision", "float32"], folder / "undisturbed")
    undisturbed.finish()
    return undisturbed


def model_of(training: Training) -> tuple[bytes, list[float], list[dict[str, float]]]:
    record = json.loads((training.output / "training.json").read_text())
    return (training.output / "model.safetensors").read_bytes(), record["losses"], record["validations"]


def killed_and_trained(training: Training, name: str, states: int) -> bool:
    """Whether it was killed in time: states are seldom written where writing takes long, and then it may end before."""
    ended = training._replace(output=training.output.with_name(name))
    ended.killed_after(states)
    if in_time := not ended.output.exists():
        ended.finish()
    assert model_of(ended) == model_of(training)
    assert not list(ended.output.parent.glob(f".{name}*"))
    return in_time


def test_a_training_that_was_killed_ends_with_the_same_losses_and_weights(training):
    assert killed_and_trained(training, "ended", 3)


@pytest.mark.faults
def test_fifty_trainings_killed_at_any_moment_end_with_the_same_weights(training):
    moments, killed = random.Random(6), 0
    for number in range(100):
        killed += killed_and_trained(training, f"ended{number}", moments.randint(0, 8))
        if killed == 50:
            return
    raise AssertionError(f"of 100 trainings only {killed} were killed in time")


def test_given_again_nothing_is_computed_but_with_fresh_all(ranker, words, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))

    def rerank(name, *more):
        said = ranker("rerank", *words, "--output", tmp_path / name, *more)
        return said, (tmp_path / name).read_bytes(), json.loads((tmp_path / f"{name}.json").read_text())

    (_, once, manifest), kept = rerank("once.run"), Job(words, tmp_path / "cache", tmp_path).kept
    assert manifest["remembered"] == 0.0
    said, twice, manifest = rerank("twice.run")
    assert "320 pairs, 100% remembered at 0.0 pairs/s" in said.err
    assert (twice.replace(b"twice", b"once"), manifest["remembered"]) == (once, 1.0)
    said, _, manifest = rerank("fresh.run", "--fresh")
    assert "remembered" not in said.err
    assert manifest["pairs_per_second"] > 0
    assert Job(words, tmp_path / "cache", tmp_path).kept == kept


@pytest.mark.faults
def test_fifty_dense_indexes_killed_at_any_moment_are_the_same_vectors(tiny, tmp_path):
    moments, words = random.Random(7), ["almanac:size=3000", "--kind", "dense", "--model", str(tiny())]

    def index(output: Path) -> Forked:
        return Forked(["index", *words, "--output", output])

    started = time.monotonic()
    assert index(tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - started
    for number in range(50):
        output = tmp_path / f"ended{number}"
        process = index(output)
        time.sleep(seconds * moments.random())
        process.kill()
        process.wait()
        assert index(output).wait() == 0 if not output.exists() else True
        for name in ("vectors.f32", "doc_ids.txt"):
            assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not list(tmp_path.glob(f".ended{number}.*"))
