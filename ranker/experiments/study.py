"""A study: what was asked for, opened; job after job in this process, or shared among the workers of a cluster."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ranker.cluster.engine import Cluster, Failure, Shard
from ranker.data.catalogue import open_dataset
from ranker.data.run_files import open_merged
from ranker.data.trec import read_run
from ranker.errors import DataError, SetupError
from ranker.experiments.arms import Job, StudyConfig, arms_of, jobs_of
from ranker.experiments.folder import StudyFolder
from ranker.experiments.models import ModelFolder
from ranker.experiments.run import SILENT, Display, StudyData, check_study, run_job, with_costs
from ranker.files.json_files import first_difference
from ranker.index.bm25 import bm25_run
from ranker.model.device import choose_device, choose_precision
from ranker.scoring.scorer import unknown_tokens_sentences
from ranker.settings.compute import Compute
from ranker.settings.fields import from_json
from ranker.training.fit import TrainingData, judged_run, training_split
from ranker.training.leakage import HeldOut, Leaks, find_leaks
from ranker.wording import counted


@dataclass(frozen=True)
class StudyRequest:
    """The arguments of a study. As JSON they are sent to the workers of a cluster, which share its folder.

    ``run`` and ``train_runs`` are files with candidates (BM25 finds them where there are none), ``models`` is the
    folder of trained models, and ``command`` the command line, for manifests.
    """

    dataset: str
    split: str
    output: str
    config: StudyConfig
    compute: Compute
    run: str | None = None
    train: str | None = None
    train_runs: tuple[str, ...] = ()
    models: str | None = None
    checkpoint_minutes: float = 1.0
    language: str = ""
    command: str = ""

    def absolute(self) -> "StudyRequest":
        """The request with absolute paths, for workers that run in other folders."""

        def path(name: str | None) -> str | None:
            return str(Path(name).resolve()) if name and Path(name).exists() else name

        return replace(
            self,
            dataset=str(path(self.dataset)),
            output=str(Path(self.output).resolve()),
            run=path(self.run),
            train=path(self.train),
            train_runs=tuple(str(path(run)) for run in self.train_runs),
            models=self.models and str(Path(self.models).resolve()),
            config=replace(self.config, backbone=str(path(self.config.backbone))),
        )


class Study:
    """A study's data, jobs and folder, opened as they were asked for."""

    def __init__(self, request: StudyRequest, display: Display = SILENT) -> None:
        """Raises: DataError and RankerError for arguments of which no study can be made."""
        self.request, self.config, self._display = request, request.config, display
        self.folder = StudyFolder(Path(request.output), request.command)
        self.test = open_dataset(request.dataset, request.language)
        self.train = open_dataset(request.train, request.language) if request.train else self.test
        self.data = self._open_data()
        check_study(self.data, self.config)
        self.jobs: Sequence[Job] = list(jobs_of(arms_of(self.config), self.config.seeds))
        self._has_reported_tokens = False

    def _open_data(self) -> StudyData:
        request, config = self.request, self.config
        deepest = max(config.depth, config.negative_depth)
        if "train" not in self.train.splits:
            raise DataError(
                f"dataset {self.train.name}: has no split 'train' to train on; name another one with --train."
            )
        paths, say = tuple(map(Path, request.train_runs)), self._display.say
        candidates = open_merged(paths, say) if paths else bm25_run(self.train, ["train"], deepest)
        first_stage = read_run(Path(request.run), say) if request.run else bm25_run(self.test, [request.split], deepest)
        return StudyData(
            training_split(self.train, "train", candidates),
            self.train.collection,
            judged_run(self.test, request.split, first_stage),
            self.test.collection,
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that a score of the study depends on: a study is resumed only under the same settings."""
        split = self.request.split
        return {
            "dataset": {"name": self.test.name, "split": split, **self.test.digests(split)},
            "train": {"name": self.train.name, **self.train.digests("train")},
            "candidates": {"train": self.data.train.run.digest, "test": self.data.test.run.digest},
            **json.loads(json.dumps(self.config.record())),
        }

    @cached_property
    def _models(self) -> ModelFolder:
        """The trained models, known by everything that they depend on: the settings that do not concern the test."""
        compute = self.request.compute
        device = choose_device(compute.device)
        asked = {key: value for key, value in self.settings.items() if key not in ("dataset", "depth")}
        asked["candidates"] = self.settings["candidates"]["train"]
        asked |= {"device": device.type, "precision": choose_precision(compute.precision, device)}
        models = Path(self.request.models) if self.request.models else None
        return ModelFolder(self.folder.path, models, asked, self.request.checkpoint_minutes, self._display.say)

    def run(self, job: Job) -> None:
        """Trains the arms of a job, scores with them, and writes their runs."""
        results = run_job(job, self.data, self.config, self.request.compute, self._display, self._models)
        if not self._has_reported_tokens:
            for sentence in unknown_tokens_sentences(results[0].scorer):
                self._display.say(sentence)
            self._has_reported_tokens = True
        for arm, result in zip(job.arms, results, strict=True):
            self.folder.write_arm(arm, job, with_costs(arm, result, self.data, self.config), self.config)

    def begin(self) -> list[Job]:
        """Writes the run that is reranked, and gives the jobs of which a run is missing."""
        self.folder.write_first_stage(self.data.test.run, self.config.depth)
        done = {name: self.folder.has(name) for job in self.jobs for name in job.names}
        return [job for job in self.jobs if not all(done[name] for name in job.names)]

    def run_all(self) -> None:
        """Runs every missing job, one after the other."""
        missing = self.begin()
        spent: dict[bool, list[float]] = {True: [], False: []}  # seconds of jobs that learn, and of those that do not
        for number, job in enumerate(missing):
            left = _time_left(missing[number:], spent, self.config)
            self._display.say(f"{number + 1} of {len(missing)}: {', '.join(job.names)}{left}.")
            started = time.monotonic()
            self.run(job)
            spent[job.seed is not None].append(time.monotonic() - started)

    def share_all(self, cluster: Cluster) -> None:
        """Runs every missing job on the workers of a cluster, all of whose nodes see the folder, datasets and runs.

        Raises: SetupError for jobs that failed, after all others are done.
        """
        missing = self.begin()
        numbers = [self.jobs.index(job) for job in missing]
        shards = [
            Shard(", ".join(job.names), str(number).encode()) for job, number in zip(missing, numbers, strict=True)
        ]
        request = self.request.absolute()
        settings = {**self.settings, "backbone": request.config.backbone}
        setup = json.dumps({"request": asdict(request), "settings": settings}).encode()
        failures: list[Failure] = []
        for done, (place, answer) in enumerate(cluster.map(StudyWorker, setup, shards)):
            if isinstance(answer, Failure):
                failures.append(answer)
                continue
            for sentence in json.loads(answer):
                self._display.say(sentence)
            self._display.say(f"{done + 1} of {len(missing)}: {shards[place].name}.")
        if failures:
            also = f", and {len(failures) - 1} others failed" if failures[1:] else ""
            raise SetupError(
                f"{failures[0].name}: {failures[0].reason}{also}; the same command goes on with what is missing."
            )


class StudyWorker:
    """A worker of a cluster that runs jobs in the folder of the study itself."""

    def __init__(self, setup: bytes) -> None:
        """Raises: SetupError and DataError where its node sees other data than the study, or none."""
        sent = json.loads(setup)
        request = from_json(StudyRequest, sent["request"])
        if not Path(request.output).is_dir():
            raise SetupError(
                f"a worker has no folder {request.output}; a study on a cluster needs one that all its nodes see."
            )
        self._said: list[str] = []
        self._study = Study(request, SILENT._replace(say=self._said.append))
        changed = first_difference(sent["settings"], self._study.settings)
        if changed is not None:
            name, there, here = changed
            raise DataError(f"a worker sees {name} {here}, expected {there} as where the study was begun.")

    def __call__(self, payload: bytes) -> bytes:
        """Runs the job of this number; the sentences that it had to say, as JSON."""
        self._said.clear()
        self._study.run(self._study.jobs[int(payload)])
        return json.dumps(self._said).encode()


def study_leaks(data: StudyData, name: str, negative_depth: int) -> Leaks:
    """The questions and passages of the test, called ``name``, that are in the training data of a study."""
    questions = {query_id: query.text for query_id, query in data.test.queries.items()}
    test = HeldOut(name, questions, data.test.qrels, data.test_collection)
    return find_leaks(TrainingData(data.train_collection, data.train, None, negative_depth), [test])


def leaks_sentence(leaks: Leaks) -> str:
    """A sentence on leaks for the report; empty where there are none."""
    return f"The training holds {leaks}; a test praises what was learned by heart." if leaks else ""


def _time_left(jobs: Sequence[Job], spent: Mapping[bool, Sequence[float]], config: StudyConfig) -> str:
    """The time that jobs will take, once it is known for jobs that learn and for those that do not."""
    known = {learns: sum(seconds) / len(seconds) for learns, seconds in spent.items() if seconds}
    if config.training.max_minutes:
        known.setdefault(True, 60 * config.training.max_minutes)
    wanted = [job.seed is not None for job in jobs]
    if not all(learns in known for learns in wanted):
        return ""
    return f"; {counted(sum(known[learns] for learns in wanted) / 60, 'minute', '.0f')} left"
