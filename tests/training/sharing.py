"""Trains tiny models, alone or as one of several processes, and writes what came of it.

It is launched by tests: ``sharing.py MODEL OUTPUT JOB...``. Most jobs come to the same in any number of processes.
"""

import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch

from ranker.errors import TrainingError
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training import loop
from ranker.training.checkpoint import Checkpoint
from ranker.training.groups import Candidates, TrainingSet
from ranker.training.loop import train
from ranker.training.processes import ProcessGroup, launched_processes

QUERIES = ["red", "green", "blue", "large", "small", "old", "stone"]
PASSAGES = [f"{colour} {thing}" for colour in QUERIES for thing in ("water", "river in rome", "city of the old nile")]
STILL = TrainingConfig(
    negatives=3,
    groups_per_step=3,
    learning_rate=1e-3,
    epochs=3,
    validations=3,
    warmup=0.0,
    weight_decay=0.5,
    dropout=False,
)
"""Seven groups an epoch, in steps of three, three and one: two processes share none of them evenly."""


class StoppedError(Exception):
    """What a power cut is to the code above it."""


class Told(list):
    """Steps, of which one may be too many."""

    def __init__(self, most=10_000):
        self.most = most

    def __call__(self, step):
        self.append(step)
        if len(self) >= self.most:
            raise StoppedError


def scorer_of(folder, mode, frozen=False):
    config = RankerConfig(mode, query_length=8, length=20, frozen=frozen)
    scorer = Scorer(create_model(config, folder, seed=3), Compute("float32", "cpu"))
    scorer.texts_read = 0

    def count(_, args, kwargs):
        scorer.texts_read += len(kwargs["input_ids"] if "input_ids" in kwargs else args[0])

    scorer.model.encoder.backbone.embeddings.register_forward_pre_hook(count, with_kwargs=True)
    return scorer


def data_of(scorer):
    ids = [f"p{number}" for number in range(len(PASSAGES))]
    candidates = [
        Candidates(query, (ids[3 * row],), tuple(one for one in ids if one != ids[3 * row]))
        for row, query in enumerate(QUERIES)
    ]
    rows = {query: row for row, query in enumerate(QUERIES)}, {doc_id: row for row, doc_id in enumerate(ids)}
    return TrainingSet(candidates, scorer.queries(QUERIES), scorer.passages(PASSAGES), *rows)


def validator(scorer):
    """A value that rises and falls with the weights."""
    weight = scorer.model.encoder.backbone.embeddings.word_embeddings.weight
    return lambda: float(weight.detach().double().sum().sin())


def facts(scorer, trained, told):
    return {
        "losses": trained.losses,
        "groups": trained.groups,
        "validations": [list(one) for one in trained.validations],
        "best": trained.best,
        "told": [list(step[:6]) for step in told],
        "texts_read": scorer.texts_read,
        "weights": {name: value.tolist() for name, value in scorer.model.state_dict().items()},
    }


def plainly(folder, mode, **settings):
    scorer, told = scorer_of(folder, mode), Told()
    [trained] = train([scorer], data_of(scorer), replace(STILL, **settings), [validator(scorer)], told)
    return facts(scorer, trained, told)


def heads(folder, processes: ProcessGroup, output):
    scorers, told = [scorer_of(folder, mode, frozen=True) for mode in ("cross", "term-trans")], Told()
    every = train(scorers, data_of(scorers[0]), replace(STILL, groups_per_step=2), [None] * 2, told)
    return [facts(scorer, trained, told) for scorer, trained in zip(scorers, every, strict=True)]


class Clock:
    """A clock that goes on by so many seconds whenever it is looked at."""

    def __init__(self, pace: float) -> None:
        self._now, self._pace = 0.0, pace

    def monotonic(self) -> float:
        self._now += self._pace
        return self._now


def minutes(folder, processes: ProcessGroup, output):
    """The clocks of the processes do not agree: by the second's, the time is over after its first look."""
    loop.time = Clock(5.0 if processes.rank else 0.1)
    return plainly(folder, "dual", max_minutes=0.02, epochs=10_000, validations=0)


def stopped(folder, processes: ProcessGroup, output):
    """With dropout; one training as a whole, and one that is stopped after its fourth step and goes on."""
    found = []
    for name, most in (("whole", 10_000), ("halves", 4), ("halves", 10_000)):
        checkpoint = Checkpoint(output / f"{name}.{processes.rank}", {}, minutes=0)
        scorer, told = scorer_of(folder, "cross"), Told(most)
        torch.manual_seed(most)
        try:
            config = replace(STILL, dropout=True)
            [trained] = train([scorer], data_of(scorer), config, [validator(scorer)], told, checkpoint)
            found.append(facts(scorer, trained, told))
        except StoppedError:
            checkpoint._seconds = 0.0
    return found


def begun(folder, processes: ProcessGroup, output):
    """Stopped at its fifth step."""
    scorer, checkpoint = scorer_of(folder, "cross"), Checkpoint(output / "state", {}, minutes=0)
    config = replace(STILL, dropout=True)
    with suppress(StoppedError):
        train([scorer], data_of(scorer), config, [validator(scorer)], Told(5), checkpoint)


def ended(folder, processes: ProcessGroup, output):
    """What was ``begun``."""
    scorer, checkpoint, told = scorer_of(folder, "cross"), Checkpoint(output / "state", {}, minutes=0), Told()
    config = replace(STILL, dropout=True)
    [trained] = train([scorer], data_of(scorer), config, [validator(scorer)], told, checkpoint)
    return facts(scorer, trained, told)


def fails(folder, processes: ProcessGroup, output):
    """The second process has an error while the first waits for it in a step."""
    scorer = scorer_of(folder, "cross")

    def on_step(step):
        if processes.rank == 1:
            raise TrainingError("the second process has no more colours.")

    train([scorer], data_of(scorer), STILL, [None], on_step)


def sleeps(folder, processes: ProcessGroup, output):
    """The second process is there, and does nothing."""
    if processes.rank == 1:
        time.sleep(600)
    processes.broadcast(lambda: 1.0)


JOBS = {
    "cross": lambda folder, processes, output: plainly(folder, "cross", loss="listwise"),
    "contrastive": lambda folder, processes, output: plainly(folder, "dual", loss="contrastive"),
    "pointwise": lambda folder, processes, output: plainly(folder, "dual", loss="pointwise", frozen_layers=2),
    "clipped": lambda folder, processes, output: plainly(folder, "cross", loss="pairwise", clip=0.01),
    "dropout": lambda folder, processes, output: plainly(folder, "cross", dropout=True),
    "heads": heads,
    "minutes": minutes,
    "stopped": stopped,
    "begun": begun,
    "ended": ended,
    "fails": fails,
    "sleeps": sleeps,
}


def main():
    folder, output, *jobs = sys.argv[1:]
    with launched_processes("cpu", timedelta(seconds=15 if "sleeps" in jobs else 300)) as processes:
        for job in jobs:
            found = JOBS[job](folder, processes, Path(output))
            (Path(output) / f"{job}.{processes.rank}.of{processes.world_size}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
