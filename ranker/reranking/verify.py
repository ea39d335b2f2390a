"""Whether a reranked run is what its manifest says: digests of all it came from, and a sample of it scored again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranker.data.dataset import Dataset
from ranker.data.manifest import manifest_path, read_manifest, scored_depth
from ranker.data.run import Run
from ranker.errors import DataError
from ranker.files.digests import content_digest
from ranker.reranking.rerank import candidates, check_run, reordered
from ranker.scoring.cache import computed
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.wording import shortened

TOLERANCES: Final = {"float32": 1e-4, "bf16": 0.05, "fp16": 0.02, "int8": 0.2}
"""How far a score may move, as a share of the spread of scores, in the precision it was made in or a better one.

A step of bfloat16 is 0.4 % of a value, and errors of six layers add up; int8's were measured ten times as large.
"""


@dataclass(frozen=True)
class Check:
    """A fact that the manifest tells, mostly a digest, and what it is now; nothing where there is none any more."""

    what: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        """Whether they are the same."""
        return self.expected == self.found


@dataclass(frozen=True)
class Change:
    """The largest difference of a score when a sample is scored again in some way, and of a rank.

    ``share`` is the difference of scores divided by their standard deviation.
    """

    way: str
    pairs: int
    score: float
    share: float
    rank: int
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether no score moved by more than may be."""
        return self.share <= self.tolerance


def reranked_manifest(run_path: Path) -> dict[str, Any]:
    """The manifest beside a reranked run.

    Raises: DataError where there is none.
    """
    path = manifest_path(run_path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise DataError(f"{path}: {what}; the manifest of a run lies beside it.")
    return read_manifest(run_path)


def told(run_path: Path, manifest: Mapping[str, Any], *names: str) -> str:
    """What a manifest says under these names.

    Raises: DataError where it does not.
    """
    value: Any = manifest
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(value, str):
        raise DataError(f"{run_path}: its manifest does not say '{'.'.join(names)}', as a reranked run's does.")
    return value


def check_digests(run_path: Path, manifest: Mapping[str, Any], dataset: Dataset, scorer: Scorer) -> list[Check]:
    """Every digest in the manifest held against what is there now.

    Raises: DataError where the manifest lacks one.
    """
    now = dataset.digests(told(run_path, manifest, "dataset", "split"))
    data = {name: told(run_path, manifest, "dataset", name) for name in now}
    expected = {"run": told(run_path, manifest, "sha256"), **data, "model": told(run_path, manifest, "model", "sha256")}
    found = {"run": content_digest(run_path), **now, "model": scorer.model.digest()}
    return [Check(name, expected[name], found[name]) for name in found]


def check_first_stage(run_path: Path, manifest: Mapping[str, Any]) -> Check | None:
    """The run that was reranked, held against its digest; none where it is not where it was.

    Raises: DataError where the manifest names it without one.
    """
    if not isinstance(manifest.get("run"), Mapping):
        return None
    path, expected = Path(told(run_path, manifest, "run", "path")), told(run_path, manifest, "run", "sha256")
    return Check("first stage", expected, content_digest(path)) if path.is_file() else None


def check_settings(manifest: Mapping[str, Any], scorer: Scorer) -> list[Check]:
    """What the manifest says of how the model reads, held against the model."""
    said = manifest["model"]
    now = asdict(scorer.model.config).items()
    return [Check(name, shortened(said.get(name, value)), shortened(value)) for name, value in now]


def check_counts(
    run_path: Path, manifest: Mapping[str, Any], run: Run, dataset: Dataset, scorer: Scorer
) -> list[Check]:
    """How many pairs were read and how much of them was cut, counted again; nothing where a budget stopped it.

    Raises: DataError for a run of other queries or passages.
    """
    budget, depth = manifest.get("budget"), scored_depth(run_path, manifest)
    if isinstance(budget, Mapping) and budget.get("stopped"):
        return []
    queries = dataset.queries(told(run_path, manifest, "dataset", "split"))
    check_run(run, queries, dataset.collection, depth)
    inputs = candidates(scorer, run, queries, dataset.collection, depth)
    now = {"pairs": len(inputs), **scorer.cut(inputs.whole).record()}
    return [Check(name, shortened(manifest.get(name, value)), shortened(value)) for name, value in now.items()]


def sampled(run: Run, queries: int, seed: int) -> Run:
    """So many queries of a run, drawn at random, in its order."""
    names = list(run)
    chosen = np.random.default_rng(seed).choice(len(names), min(queries, len(names)), replace=False)
    return Run(run.name, {names[place]: run[names[place]] for place in sorted(chosen)})


def changes(scorer: Scorer, run: Run, dataset: Dataset, split: str, depth: int, precision: str) -> Iterator[Change]:
    """The run's first ``depth`` passages of each query scored again: as it was, one at a time, and in float32.

    ``precision`` is the run's own; a scorer of float32 stands in for one that this machine does not compute.
    Raises: DataError for a run of other queries or passages.
    """
    queries = dataset.queries(split)
    check_run(run, queries, dataset.collection, depth)
    told = np.concatenate([ranking.scores[:depth] for ranking in run.values()])
    spread = float(told.std()) or 1.0
    tolerance = TOLERANCES[precision]
    for way, compute in _ways(scorer, precision):
        again = Scorer(scorer.model, compute, scorer.overflow)
        inputs = candidates(again, run, queries, dataset.collection, depth)
        scores = inputs.work(again, computed).scores(np.arange(len(inputs)), lambda _: None)
        largest = float(np.abs(scores - told).max(initial=0.0))
        yield Change(way, len(told), largest, largest / spread, _largest_move(run, scores, depth), tolerance)


def _ways(scorer: Scorer, precision: str) -> Sequence[tuple[str, Compute]]:
    own = Compute(scorer.precision, scorer.device.type)
    if scorer.precision != precision:
        return [(scorer.precision, own)]
    ways = [
        (f"{scorer.precision} again", own),
        (f"{scorer.precision} a pair at a time", replace(own, tokens_per_batch=1)),
    ]
    return ways if scorer.precision == "float32" else [*ways, ("float32", replace(own, precision="float32"))]


def _largest_move(run: Run, scores: np.ndarray[Any, Any], depth: int) -> int:
    """The most ranks that a passage goes up or down."""
    moved = 0
    for query_id, ranking in reordered(run, scores, depth).items():
        before = {doc_id: rank for rank, doc_id in enumerate(run[query_id].doc_ids)}
        moved = max(moved, *(abs(before[doc_id] - rank) for rank, doc_id in enumerate(ranking.doc_ids)))
    return moved
