"""The manifest of a run, the ``.json`` beside it: how the run was made, so that it can be repeated and checked."""

import json
import platform
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from ranker.errors import DataError
from ranker.files.atomic import atomic_file
from ranker.files.digests import content_digest
from ranker.files.json_files import read_object
from ranker.version import __version__
from ranker.wording import shortened

T = TypeVar("T")

_PACKAGES: Final = (
    "torch",
    "transformers",
    "tokenizers",
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cu12",
    "pyserini",
    "ir-measures",
    "numpy",
)


@dataclass(frozen=True)
class DatasetRecord:
    """The dataset and split of a run's queries, with the digests of its files (SHA-256); ``qrels`` may be missing."""

    name: str
    source: str
    split: str
    collection: str
    queries: str
    qrels: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A run that another one was made from: its file, and the digest that it had then."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True)
class ModelRecord:
    """A model by its source and digest; ``settings`` are those of ``RankerConfig``."""

    source: str
    sha256: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoringRecord:
    """How a model scored pairs or encoded texts.

    ``padding`` is its share of the tokens computed, ``unknown_tokens`` the shares of unknown tokens of queries and of
    passages, ``out_of_memory`` the batches that had to be split, ``cluster`` the workers that shared the work.
    """

    model: ModelRecord
    device: str
    precision: str
    kernels: str = ""
    overflow: str = "cut"
    stride: int = 0
    padding: float = 0.0
    unknown_tokens: Mapping[str, float] = field(default_factory=dict)
    out_of_memory: int = 0
    cluster: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The JSON of it; the settings of the model stand beside its source and digest."""
        told = asdict(self)
        settings = told["model"].pop("settings")
        told["model"] |= settings
        if not self.cluster:
            del told["cluster"]
        return told


@dataclass(frozen=True)
class BudgetRecord:
    """A reranking with a time limit: what stopped it ("" where it was complete), and how many ranks were scored."""

    seconds: float = 0.0
    stopped: str = ""
    least: int = 0
    median: int = 0
    most: int = 0

    def record(self) -> dict[str, Any]:
        """The JSON of it."""
        ranks = {"least": self.least, "median": self.median, "most": self.most}
        return {"seconds": self.seconds, "stopped": self.stopped, "ranks_scored": ranks}


@dataclass(frozen=True)
class RunManifest:
    """How a run was made. What does not apply to it is None, and not written.

    ``depth`` is how far down it was retrieved or reranked, ``counts`` are of scored pairs and of what was truncated,
    ``facts`` are what a command adds for people to read. Of the run's file, its digest ``sha256``.
    """

    dataset: DatasetRecord | None = None
    run: RunRecord | None = None
    depth: int | None = None
    scoring: ScoringRecord | None = None
    budget: BudgetRecord | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    sha256: str = ""

    def record(self) -> dict[str, Any]:
        """The JSON of it, with the versions of everything that decides a score."""
        head = {"ranker": __version__, "command": self.command, "sha256": self.sha256}
        return {**head, **self.own_record(), "versions": versions()}

    def own_record(self) -> dict[str, Any]:
        """The JSON of it without the command, the digest and the versions."""
        told: dict[str, Any] = {}
        if self.dataset is not None:
            told["dataset"] = {name: value for name, value in asdict(self.dataset).items() if value or name != "qrels"}
        if self.run is not None:
            told["run"] = asdict(self.run)
        if self.depth is not None:
            told["depth"] = self.depth
        if self.scoring is not None:
            told |= self.scoring.record()
        if self.budget is not None:
            told["budget"] = self.budget.record()
        return {**told, **self.counts, **self.facts}

    def parts(self, run_path: Path) -> tuple[DatasetRecord, ScoringRecord]:
        """The dataset and the scoring of a reranked run.

        Raises: DataError where the manifest does not say one of them.
        """
        if self.dataset is None or self.scoring is None:
            lacking = "dataset" if self.dataset is None else "model"
            raise DataError(f"{run_path}: its manifest does not say '{lacking}', as a reranked run's does.")
        return self.dataset, self.scoring

    def with_facts(self, facts: Mapping[str, Any]) -> Self:
        """The manifest with facts added."""
        return replace(self, facts={**self.facts, **facts})

    @classmethod
    def parse(cls, run_path: Path, record: Mapping[str, Any]) -> Self:
        """The manifest of a run in a JSON object.

        Raises: DataError for a value of another type, or a part that lacks one of its values.
        """
        reader = _Reader(run_path)
        known = {one.name for one in fields(cls)} | {one.name for one in fields(ScoringRecord)} | {"ranker", "versions"}
        budget = record.get("budget")
        ranks = budget.get("ranks_scored") if isinstance(budget, Mapping) else None
        return cls(
            dataset=reader.part(DatasetRecord, record, "dataset"),
            run=reader.part(RunRecord, record, "run"),
            depth=reader.value(record, "depth", int) if "depth" in record else None,
            scoring=reader.scoring(record) if "model" in record else None,
            budget=None
            if budget is None
            else reader.build(BudgetRecord, {**budget, **ranks} if isinstance(ranks, Mapping) else budget, "budget"),
            counts={name: reader.value(record, name, int) for name in COUNTS if name in record},
            facts={name: value for name, value in record.items() if name not in known and name not in COUNTS},
            command=reader.value(record, "command", str),
            sha256=reader.value(record, "sha256", str),
        )

    def scored_depth(self, run_path: Path) -> int:
        """How far down each ranking has scores of the model; below, scores only keep an order.

        Raises: DataError where the manifest does not say it, or not all queries have a rank that was scored.
        """
        depth = self.depth if self.budget is None else self.budget.least
        if depth is None or depth < 1:
            raise DataError(
                f"{run_path}: its manifest says depth {depth}; expected 1 or more, to have scores of the model."
            )
        return depth


COUNTS: Final = ("pairs", "queries_cut", "pairs_cut", "tokens_cut", "answers_cut", "ties", "in_windows")
"""The counts of a scoring: pairs, what was truncated of them, equal scores, and passages read in windows."""

_KINDS: Final = {str: "text", int: "a whole number", float: "a number", dict: "an object"}


@dataclass(frozen=True)
class _Reader:
    """Reads typed values from the JSON of a manifest; errors name the run and the key."""

    run_path: Path

    def value(self, record: Mapping[str, Any], key: str, kind: Any) -> Any:
        """The value at the last word of a dotted key, of this type."""
        name = key.rpartition(".")[2]
        if name not in record:
            raise DataError(f"{self.run_path}: its manifest does not say {key!r}.")
        value = record[name]
        fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
        if not fits:
            raise DataError(f"{self.run_path}: its manifest says {key} {shortened(value)}, expected {_KINDS[kind]}.")
        return value

    def part(self, part: type[T], record: Mapping[str, Any], key: str) -> T | None:
        """A part of a manifest from the object of this name; None where there is none."""
        return None if key not in record else self.build(part, record[key], key)

    def build(self, part: type[T], record: object, key: str = "") -> T:
        """A part of a manifest from its object; keys that the part does not have are ignored."""
        if not isinstance(record, Mapping):
            raise DataError(f"{self.run_path}: its manifest says {key} {shortened(record)}, expected an object.")
        values: dict[str, Any] = {}
        for one in fields(cast(Any, part)):
            name = f"{key}.{one.name}".lstrip(".")
            if is_dataclass(one.type):
                values[one.name] = self.build(cast(type[Any], one.type), record.get(one.name), name)
            elif one.name in record or (one.default is MISSING and one.default_factory is MISSING):
                values[one.name] = self.value(record, name, one.type if one.type in _KINDS else dict)
        return part(**values)

    def scoring(self, record: Mapping[str, Any]) -> ScoringRecord:
        """The facts of a scoring, which stand beside each other in the manifest itself."""
        scoring = self.build(ScoringRecord, record)
        settings = {name: value for name, value in record["model"].items() if name not in ("source", "sha256")}
        return replace(scoring, model=replace(scoring.model, settings=settings))


def manifest_path(run_path: Path) -> Path:
    """The path of a run's manifest."""
    return run_path.with_name(run_path.name + ".json")


def write_manifest(run_path: Path, manifest: RunManifest) -> None:
    """Writes the manifest of a run that has been written, replacing an older one.

    Raises: OutputError where it cannot be written.
    """
    record = replace(manifest, sha256=content_digest(run_path)).record()
    with atomic_file(manifest_path(run_path), force=True) as beside:
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        # bytes of a file name that are not UTF-8 become escapes, as JSON writes them
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_manifest(run_path: Path) -> RunManifest | None:
    """The manifest of a run; None where there is none, or the file beside the run is of another program.

    Raises: DataError where the file is no JSON object, or as ``RunManifest.parse``.
    """
    path = manifest_path(run_path)
    if not path.is_file():
        return None
    record = read_object(path, DataError)
    return RunManifest.parse(run_path, record) if "ranker" in record else None


def versions() -> dict[str, str]:
    """The versions of Python and of the installed packages that decide a score."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
