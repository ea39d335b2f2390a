"""The folder of a study: its settings, a run with a manifest for every arm and seed, and the report."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ranker.data.manifest import RunManifest, manifest_path
from ranker.data.run import Run
from ranker.data.run_files import write_with_manifest
from ranker.data.trec import read_run
from ranker.errors import DataError
from ranker.experiments.arms import FIRST_STAGE, Arm, Job, StudyConfig
from ranker.experiments.report import markdown, page
from ranker.experiments.results import ArmRuns, Cost, ReportHeader, StudyResult, record, study_result
from ranker.experiments.run import ArmResult, StudyData
from ranker.files.atomic import atomic_file
from ranker.files.digests import SEAL, content_digest, is_intact, sealed
from ranker.files.json_files import first_difference, read_object

_SETTINGS: Final = "study.settings.json"
_OWN_KEYS: Final = ("ranker", "command", "sha256", "versions")
"""Keys of a manifest that its seal does not cover: they are not the same for everyone who repeats a study."""

_UNTRAINED: Final[dict[str, Any]] = {"steps": 0, "groups": 0, "seconds": 0.0, "losses": []}


class StudyFolder:
    """A study on disk. ``command`` is the command line, for the manifests of its runs."""

    def __init__(self, path: Path, command: str = "") -> None:
        self.path = path
        self._command = command

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Writes the settings when a study begins; they are the same whenever it is resumed.

        Raises: DataError where the folder holds a study with other settings, or damaged ones.
        """
        path = self.path / _SETTINGS
        if path.is_file():
            begun = read_object(path, DataError)
            if not is_intact(begun):
                raise DataError(f"{path}: is damaged; remove it to go on with this study, or name another --output.")
            changed = first_difference(begun, settings)
            if changed is not None:
                name, before, now = changed
                raise DataError(
                    f"{self.path}: holds a study whose {name} is {before}, but now it is {now}; name another --output."
                )
            return
        with atomic_file(path) as beside:
            beside.write_text(json.dumps(sealed(dict(settings)), indent=2) + "\n", encoding="utf-8")

    def run_path(self, name: str) -> Path:
        """The path of the run of an arm and seed."""
        return self.path / f"{name}.run.gz"

    def has(self, name: str) -> bool:
        """Whether the run of an arm and seed is there.

        Raises: DataError where it is not the run of its manifest.
        """
        path = self.run_path(name)
        if not (path.is_file() and manifest_path(path).is_file()):
            return False
        read_facts(path)
        return True

    def write_first_stage(self, run: Run, depth: int) -> None:
        """Writes the run that every arm reranks."""
        write_with_manifest(
            run, self.run_path(FIRST_STAGE), RunManifest(depth=depth, command=self._command), force=True
        )

    def write_arm(self, arm: Arm, job: Job, result: ArmResult, config: StudyConfig) -> None:
        """Writes the run of an arm with its manifest, which carries a seal."""
        manifest = arm_manifest(arm, job, result, config, self._command)
        seal = sealed(manifest.own_record())[SEAL]
        write_with_manifest(result.run, self.run_path(result.run.name), manifest.with_facts({SEAL: seal}), force=True)

    def result(self, jobs: Sequence[Job], data: StudyData, header: ReportHeader) -> StudyResult:
        """Evaluates all runs of the folder."""
        runs: dict[str, dict[int | None, Run]] = {}
        facts: dict[str, dict[int | None, dict[str, Any]]] = {}
        for job in jobs:
            for arm, name in zip(job.arms, job.names, strict=True):
                path = self.run_path(name)
                runs.setdefault(arm.name, {})[job.seed] = read_run(path)
                facts.setdefault(arm.name, {})[job.seed] = read_facts(path)
        arms = {
            name: ArmRuns(
                runs[name],
                {seed: _cost(known) for seed, known in facts[name].items()},
                _means([known.get("words_for_half", {}) for known in facts[name].values()]),
            )
            for name in runs
        }
        return study_result(data.test.run, arms, data.test.qrels, header)

    def write_report(self, result: StudyResult) -> None:
        """Writes ``study.json``, ``report.md`` and ``report.html``."""
        texts = {
            "study.json": json.dumps(record(result), indent=1, ensure_ascii=False) + "\n",
            "report.md": markdown(result),
            "report.html": page(result),
        }
        for name, text in texts.items():
            with atomic_file(self.path / name, force=True) as beside:
                beside.write_text(text, encoding="utf-8")


def arm_manifest(arm: Arm, job: Job, result: ArmResult, config: StudyConfig, command: str) -> RunManifest:
    """How the run of an arm was made, and what it cost."""
    facts: dict[str, Any] = {
        "arm": arm._asdict(),
        "seed": job.seed,
        "seconds": round(result.seconds, 3),
        "milliseconds_per_query": round(result.milliseconds, 3),
    }
    if not math.isnan(result.indexed_milliseconds):
        facts["milliseconds_per_query_indexed"] = round(result.indexed_milliseconds, 3)
    if result.words_for_half:
        facts["words_for_half"] = {
            query_id: round(share, 4) for query_id, share in result.words_for_half.items() if not math.isnan(share)
        }
    return result.manifest(config.depth, command).with_facts(facts)


def read_facts(path: Path) -> dict[str, Any]:
    """The manifest of an arm's run, checked to have everything that the report shows.

    Raises: DataError where it has not, or is of another run.
    """
    facts = read_object(manifest_path(path), DataError)
    again = "remove both, and give the study again."
    if not is_intact({name: value for name, value in facts.items() if name not in _OWN_KEYS}):
        raise DataError(f"{path}: its manifest is damaged; {again}")
    training, halves = facts.get("training", _UNTRAINED), facts.get("words_for_half", {})
    numbers = [facts.get("milliseconds_per_query"), facts.get("milliseconds_per_query_indexed", 0.0)]
    if isinstance(training, dict) and isinstance(training.get("losses"), list):
        numbers += [*(training.get(key) for key in ("steps", "groups", "seconds")), *training["losses"]]
    else:
        numbers.append(None)
    if not isinstance(halves, dict) or not all(type(one) in (int, float) for one in (*numbers, *halves.values())):
        raise DataError(f"{path}: its manifest does not say what the arm cost; {again}")
    if facts.get("sha256") != content_digest(path):
        raise DataError(f"{path}: is not the run that its manifest tells of; {again}")
    return facts


def _cost(facts: Mapping[str, Any]) -> Cost:
    training = facts.get("training", _UNTRAINED)
    time = facts["milliseconds_per_query"]
    indexed = facts.get("milliseconds_per_query_indexed", math.nan)
    return Cost(training["steps"], training["groups"], training["seconds"], time, tuple(training["losses"]), indexed)


def _means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each key that all records have."""
    keys = (key for key in records[0] if all(key in one for one in records))
    return {key: sum(one[key] for one in records) / len(records) for key in keys}
