"""The work of ``ranker study``: what was asked for, opened; arm after arm here, or shared among a cluster's workers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranker.cli.options import open_merged, open_run, progress
from ranker.cli.records import say_unknown, training_progress, write_named
from ranker.cli.study_folder import arm_facts, is_done, run_path_of
from ranker.errors import DataError, SetupError
from ranker.experiments.arms import FIRST_STAGE, StudyConfig, arms_of, jobs_of
from ranker.files.json_files import first_difference
from ranker.settings.compute import Compute
from ranker.settings.fields import from_json
from ranker.wording import counted

if TYPE_CHECKING:
    from ranker.cluster.engine import Cluster
    from ranker.experiments.arms import Job
    from ranker.experiments.folder import ModelFolder
    from ranker.experiments.run import StudyData

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What a study was asked for; as JSON it is sent to those who do a part of it."""

    dataset: str
    split: str
    run: str | None
    train: str | None
    train_runs: tuple[str, ...]
    models: str | None
    checkpoint_minutes: float
    output: str
    config: StudyConfig
    compute: Compute
    language: str = ""


class Study:
    """A study's data, jobs and settings, opened as they were asked for."""

    def __init__(self, request: Request, say: Say) -> None:
        """Raises: DataError and RankerError for what no study can be made of."""
        from ranker.data.catalogue import open_dataset
        from ranker.experiments.run import check_study

        self.request, self._say, self._told = request, say, False
        self.config, self.output = request.config, Path(request.output)
        self.test = open_dataset(request.dataset, request.language)
        self.train = open_dataset(request.train, request.language) if request.train else self.test
        self.data = self._data()
        check_study(self.data, self.config)
        self.jobs: Sequence[Job] = list(jobs_of(arms_of(self.config), self.config.seeds))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What every score of the study depends on."""
        split, runs = self.request.split, self.data
        return {
            "dataset": {"name": self.test.name, "split": split, **self.test.digests(split)},
            "train": {"name": self.train.name, **self.train.digests("train")},
            "candidates": {"train": runs.train.run.digest, "test": runs.test.run.digest},
            **json.loads(json.dumps(self.config.record())),
        }

    def do(self, job: Job) -> None:
        """Trains the arms of a job, scores with them, and writes their runs."""
        from ranker.experiments.run import Display, do
        from ranker.files.digests import sealed

        display = Display(training_progress, progress, self._say)
        done = do(job, self.data, self.config, self.request.compute, display, self._model_folder)
        if not self._told:
            say_unknown(done[0].scorer, self._say)
            self._told = True
        for arm, made in zip(job.arms, done, strict=True):
            facts = arm_facts(arm, job, made, self.config)
            write_named(made.run, run_path_of(self.output, made.run.name), True, sealed(facts))

    def missing(self) -> list[Job]:
        """The jobs of which some run is not there yet."""
        done = {name: is_done(self.output, name) for job in self.jobs for name in job.names}
        return [job for job in self.jobs if not all(done[name] for name in job.names)]

    @cached_property
    def _model_folder(self) -> ModelFolder:
        from ranker.experiments.folder import ModelFolder

        models = Path(self.request.models) if self.request.models else None
        return ModelFolder(self.output, models, self._asked(), self.request.checkpoint_minutes, self._say)

    def _data(self) -> StudyData:
        """What is tested on, and trained on."""
        from ranker.experiments.run import StudyData
        from ranker.index.bm25 import bm25_run
        from ranker.training.fit import judged_run, training_split

        test, train, split, config = self.test, self.train, self.request.split, self.config
        deepest = max(config.depth, config.negative_depth)
        if "train" not in train.splits:
            raise DataError(f"dataset {train.name}: has no split 'train' to train on; name another one with --train.")
        runs, run = tuple(map(Path, self.request.train_runs)), self.request.run
        candidates = open_merged(runs, self._say) if runs else bm25_run(train, ["train"], deepest)
        found = open_run(Path(run), self._say) if run else bm25_run(test, [split], deepest)
        return StudyData(
            training_split(train, "train", candidates),
            train.collection,
            judged_run(test, split, found),
            test.collection,
        )

    def _asked(self) -> dict[str, Any]:
        """What every trained model depends on: all of the settings that is not of the test, and where it learns."""
        from ranker.model.device import choose_device, choose_precision

        compute = self.request.compute
        device = choose_device(compute.device)
        training_data = {key: value for key, value in self.settings.items() if key not in ("dataset", "depth")}
        training_data["candidates"] = self.settings["candidates"]["train"]
        return {**training_data, "device": device.type, "precision": choose_precision(compute.precision, device)}


def do_all(study: Study, say: Say) -> None:
    """Every job that is missing, one after the other."""
    missing = _begun(study)
    spent: dict[bool, list[float]] = {True: [], False: []}
    for number, job in enumerate(missing):
        say(f"{number + 1} of {len(missing)}: {', '.join(job.names)}{_left(missing[number:], spent, study.config)}.")
        started = time.monotonic()
        study.do(job)
        spent[job.seed is not None].append(time.monotonic() - started)


def _begun(study: Study) -> list[Job]:
    """What is missing, the run that is reranked being there."""
    config, run = study.config, study.data.test.run
    write_named(run, run_path_of(study.output, FIRST_STAGE), True, {"depth": config.depth})
    return study.missing()


def _left(jobs: Sequence[Job], spent: Mapping[bool, Sequence[float]], config: StudyConfig) -> str:
    """The time that is left, once it is known what a job takes that learns, and one that does not."""
    known = {learns: sum(seconds) / len(seconds) for learns, seconds in spent.items() if seconds}
    if config.training.max_minutes:
        known.setdefault(True, 60 * config.training.max_minutes)
    wanted = [job.seed is not None for job in jobs]
    if not all(learns in known for learns in wanted):
        return ""
    return f"; {counted(sum(known[learns] for learns in wanted) / 60, 'minute', '.0f')} left"


def share_all(study: Study, cluster: Cluster, say: Say) -> None:
    """Every job that is missing, by the workers of a cluster.

    They work in this folder, and so it must be one that all nodes see, with the datasets and runs.
    Raises: SetupError for jobs that failed, after all that can be done.
    """
    from ranker.cluster.engine import Failure, Shard

    missing = _begun(study)
    numbers = [study.jobs.index(job) for job in missing]
    shards = [Shard(", ".join(job.names), str(number).encode()) for job, number in zip(missing, numbers, strict=True)]
    sent = {
        "folder": str(Path.cwd()),
        "arguments": sys.argv[1:],
        "request": asdict(study.request),
        "settings": study.settings,
    }
    failures: list[Failure] = []
    for done, (place, found) in enumerate(cluster.map(StudyWorker, json.dumps(sent).encode(), shards)):
        if isinstance(found, Failure):
            failures.append(found)
            continue
        for sentence in json.loads(found):
            say(sentence)
        say(f"{done + 1} of {len(missing)}: {shards[place].name}.")
    if failures:
        first = failures[0]
        also = f", and {len(failures) - 1} others failed" if failures[1:] else ""
        raise SetupError(f"{first.name}: {first.reason}{also}; the same command goes on with what is missing.")


class StudyWorker:
    """A worker of a cluster that trains arms and scores with them, in the folder of the study itself."""

    def __init__(self, setup: bytes) -> None:
        """Raises: SetupError and DataError where its node sees other data than the study, or none."""
        sent = json.loads(setup)
        self._said: list[str] = []
        try:
            os.chdir(sent["folder"])
        except OSError as error:
            raise SetupError(
                f"a worker has no folder {sent['folder']}; a study on a cluster needs one that all its nodes see."
            ) from error
        sys.argv[1:] = sent["arguments"]  # which manifests tell
        self._study = Study(from_json(Request, sent["request"]), self._said.append)
        changed = first_difference(sent["settings"], self._study.settings)
        if changed is not None:
            name, there, here = changed
            raise DataError(f"a worker sees {name} {here}, expected {there} as where the study was begun.")

    def __call__(self, payload: bytes) -> bytes:
        """The number of a job to what there was to say of it."""
        self._said.clear()
        self._study.do(self._study.jobs[int(payload)])
        return json.dumps(self._said).encode()
