"""Verifies that a reranked run is what its manifest says: by digests, and by scoring a sample of it again."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from ranker.data.dataset import Dataset
from ranker.data.manifest import RunManifest, manifest_path, read_manifest
from ranker.data.run import Run
from ranker.errors import DataError
from ranker.files.digests import content_digest
from ranker.reranking.rerank import candidates, check_run, rerank_candidates
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.wording import shortened

TOLERANCES: Final = {"float32": 1e-4, "bf16": 0.05, "fp16": 0.02, "int8": 0.2}
"""How far a score may move, as a share of the spread of scores, in the precision it was made in or a better one.

A step of bfloat16 is 0.4 % of a value, and errors of six layers add up; int8's were measured ten times as large.
"""


@dataclass(frozen=True)
class Check:
    """A fact of the manifest, mostly a digest, and what it is now."""

    fact: str
    expected: str
    actual: str

    @property
    def holds(self) -> bool:
        """Whether they are the same."""
        return self.expected == self.actual


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


def reranked_manifest(run_path: Path) -> RunManifest:
    """Reads the manifest beside a reranked run.

    Raises: DataError where there is none, or it is not of a reranked run.
    """
    path = manifest_path(run_path)
    manifest = read_manifest(run_path)
    if manifest is None:
        reason = "is a folder" if path.is_dir() else "is not there"
        if path.is_file():
            reason = "is of another program"
        raise DataError(f"{path}: {reason}; the manifest of a run lies beside it.")
    manifest.parts(run_path)
    return manifest


def check_digests(run_path: Path, manifest: RunManifest, dataset: Dataset, scorer: Scorer) -> list[Check]:
    """Checks every digest in the manifest against what is there now.

    Raises: DataError where the manifest lacks one.
    """
    recorded, scoring = manifest.parts(run_path)
    now = dataset.digests(recorded.split)
    expected = {"run": manifest.sha256, **asdict(recorded), "model": scoring.model.sha256}
    actual = {"run": content_digest(run_path), **now, "model": scorer.model.digest()}
    return [Check(name, expected[name], actual[name]) for name in actual]


def check_first_stage(manifest: RunManifest) -> Check | None:
    """Checks the run that was reranked against its digest; gives None where it is not where it was."""
    source = manifest.run
    if source is None or not Path(source.path).is_file():
        return None
    return Check("first stage", source.sha256, content_digest(Path(source.path)))


def check_settings(run_path: Path, manifest: RunManifest, scorer: Scorer) -> list[Check]:
    """Checks the model's settings in the manifest against those that it has now."""
    recorded = manifest.parts(run_path)[1].model.settings
    now = asdict(scorer.model.config).items()
    return [Check(name, shortened(recorded.get(name, value)), shortened(value)) for name, value in now]


def check_counts(run_path: Path, manifest: RunManifest, run: Run, dataset: Dataset, scorer: Scorer) -> list[Check]:
    """Counts pairs and truncation again; gives no checks where a budget stopped the reranking.

    Raises: DataError for a run of other queries or passages.
    """
    depth = manifest.scored_depth(run_path)
    if manifest.budget is not None and manifest.budget.stopped:
        return []
    queries = dataset.queries(manifest.parts(run_path)[0].split)
    check_run(run, queries, dataset.collection, depth)
    pairs = candidates(scorer, run, queries, dataset.collection, depth)
    now = {"pairs": len(pairs), **scorer.encoding.truncation(pairs.whole).record()}
    return [Check(name, shortened(manifest.counts.get(name, value)), shortened(value)) for name, value in now.items()]


def sampled(run: Run, queries: int, seed: int) -> Run:
    """Draws queries of a run at random, and keeps their order."""
    names = list(run)
    chosen = np.random.default_rng(seed).choice(len(names), min(queries, len(names)), replace=False)
    return Run(run.name, {names[index]: run[names[index]] for index in sorted(chosen)})


def changes(scorer: Scorer, run: Run, dataset: Dataset, split: str, depth: int, precision: str) -> Iterator[Change]:
    """Scores the first ``depth`` passages of each query again: as it was done, one at a time, and in float32.

    ``precision`` is the run's own; a scorer of float32 stands in for one that this machine does not compute.
    Raises: DataError for a run of other queries or passages.
    """
    queries = dataset.queries(split)
    check_run(run, queries, dataset.collection, depth)
    before = np.concatenate([ranking.scores[:depth] for ranking in run.values()])
    spread = float(before.std()) or 1.0
    tolerance = TOLERANCES[precision]
    for way, compute in _ways(scorer, precision):
        again = Scorer(scorer.model, compute, scorer.encoding.overflow)
        pairs = candidates(again, run, queries, dataset.collection, depth)
        reranked = rerank_candidates(again, run, pairs, depth)
        largest = float(np.abs(reranked.scores - before).max(initial=0.0))
        yield Change(way, len(before), largest, largest / spread, _largest_move(run, reranked.run), tolerance)


def _ways(scorer: Scorer, precision: str) -> Sequence[tuple[str, Compute]]:
    own = Compute(scorer.precision, scorer.device.type)
    if scorer.precision != precision:
        return [(scorer.precision, own)]
    ways = [
        (f"{scorer.precision} again", own),
        (f"{scorer.precision} a pair at a time", replace(own, tokens_per_batch=1)),
    ]
    return ways if scorer.precision == "float32" else [*ways, ("float32", replace(own, precision="float32"))]


def _largest_move(run: Run, reranked: Run) -> int:
    """Finds the most ranks that a passage goes up or down."""
    moved = 0
    for query_id, ranking in reranked.items():
        before = {doc_id: rank for rank, doc_id in enumerate(run[query_id].doc_ids)}
        moved = max(moved, *(abs(before[doc_id] - rank) for rank, doc_id in enumerate(ranking.doc_ids)))
    return moved
