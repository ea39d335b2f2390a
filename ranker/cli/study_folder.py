"""The folder of a study: a run and a manifest for every arm and seed, and the report made of them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from ranker.cli.options import show
from ranker.cli.records import training_facts
from ranker.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ranker.data.run import Run
    from ranker.experiments.arms import Arm, Job, StudyConfig
    from ranker.experiments.results import ArmRuns, Cost, ReportHeader
    from ranker.experiments.run import ArmResult, StudyData

_UNTRAINED: dict[str, Any] = {"steps": 0, "groups": 0, "seconds": 0.0, "losses": []}


def arm_facts(arm: Arm, job: Job, done: ArmResult, config: StudyConfig) -> dict[str, Any]:
    """What the manifest of an arm's run says beside command and versions."""
    facts: dict[str, Any] = {
        "arm": arm._asdict(),
        "seed": job.seed,
        "depth": config.depth,
        "seconds": round(done.seconds, 3),
        **done.scorer.record(),
        "pairs": done.pairs,
        **done.cut.record(),
        "pairs_per_second": round(done.pairs / done.seconds, 1),
        "milliseconds_per_query": round(done.milliseconds, 3),
    }
    if not math.isnan(done.indexed_milliseconds):
        facts["milliseconds_per_query_indexed"] = round(done.indexed_milliseconds, 3)
    if done.trained:
        facts["training"] = training_facts(done.trained)
    if done.words_for_half:
        facts["words_for_half"] = {
            query_id: round(share, 4) for query_id, share in done.words_for_half.items() if not math.isnan(share)
        }
    return facts


def run_path_of(output: Path, name: str) -> Path:
    """Where the run of an arm under a seed lies."""
    return output / f"{name}.run.gz"


def is_done(output: Path, name: str) -> bool:
    """Whether an arm under a seed was made.

    Raises: DataError where its run is not what its manifest tells of.
    """
    from ranker.data.manifest import manifest_path

    path = run_path_of(output, name)
    if not (path.is_file() and manifest_path(path).is_file()):
        return False
    read_facts(path)
    return True


def write_report(jobs: Sequence[Job], data: StudyData, frame: ReportHeader, output: Path) -> None:
    """Evaluates all runs of the folder and writes the report beside them; its tables go to stdout too."""
    from ranker.experiments.report import markdown, page
    from ranker.experiments.results import record, study_result
    from ranker.files.atomic import atomic_file

    result = study_result(data.test.run, _arms(jobs, output), data.test.qrels, frame)
    texts = {
        "study.json": json.dumps(record(result), indent=1, ensure_ascii=False) + "\n",
        "report.md": markdown(result),
        "report.html": page(result),
    }
    for name, text in texts.items():
        with atomic_file(output / name, force=True) as beside:
            beside.write_text(text, encoding="utf-8")
    show(markdown(result), newline=False)


def _arms(jobs: Sequence[Job], output: Path) -> Mapping[str, ArmRuns]:
    from ranker.data.trec import read_run
    from ranker.experiments.results import ArmRuns

    runs: dict[str, dict[int | None, Run]] = {}
    facts: dict[str, dict[int | None, dict[str, Any]]] = {}
    for job in jobs:
        for arm, name in zip(job.arms, job.names, strict=True):
            path = run_path_of(output, name)
            runs.setdefault(arm.name, {})[job.seed] = read_run(path)
            facts.setdefault(arm.name, {})[job.seed] = read_facts(path)
    return {
        name: ArmRuns(
            runs[name],
            {seed: _cost(known) for seed, known in facts[name].items()},
            _means([known.get("words_for_half", {}) for known in facts[name].values()]),
        )
        for name in runs
    }


def read_facts(path: Path) -> dict[str, Any]:
    """What the manifest of an arm's run says, where it says all that the report tells.

    Raises: DataError where it does not, or is of another run.
    """
    from ranker.data.manifest import OWN_KEYS, read_manifest
    from ranker.files.digests import content_digest, is_intact

    facts = read_manifest(path)
    if not is_intact({name: value for name, value in facts.items() if name not in OWN_KEYS}):
        raise DataError(f"{path}: its manifest is damaged; remove both, and give the study again.")
    training, halves = facts.get("training", _UNTRAINED), facts.get("words_for_half", {})
    times = (facts.get("milliseconds_per_query"), facts.get("milliseconds_per_query_indexed", 0.0))
    numbers = [*times, *_numbers_of(training)]
    if not isinstance(halves, dict) or not all(type(one) in (int, float) for one in (*numbers, *halves.values())):
        raise DataError(f"{path}: its manifest does not say what the arm cost; remove both, and give the study again.")
    if facts.get("sha256") != content_digest(path):
        raise DataError(f"{path}: is not the run that its manifest tells of; remove both, and give the study again.")
    return facts


def _numbers_of(training: object) -> list[Any]:
    if isinstance(training, dict) and isinstance(training.get("losses"), list):
        return [*(training.get(key) for key in ("steps", "groups", "seconds")), *training["losses"]]
    return [None]


def _means(records: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each key that all of them have."""
    keys = (key for key in records[0] if all(key in one for one in records))
    return {key: sum(one[key] for one in records) / len(records) for key in keys}


def _cost(facts: Mapping[str, Any]) -> Cost:
    from ranker.experiments.results import Cost

    training = facts.get("training", _UNTRAINED)
    time = facts["milliseconds_per_query"]
    indexed = facts.get("milliseconds_per_query_indexed", math.nan)
    return Cost(training["steps"], training["groups"], training["seconds"], time, tuple(training["losses"]), indexed)
