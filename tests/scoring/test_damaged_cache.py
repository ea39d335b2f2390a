"""Whatever file of the cache is damaged, in whatever place, the scores and digests are the same."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ranker.data.catalogue import EMBEDDED, open_dataset
from ranker.data.dataset import Dataset
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.model.loading import create_model
from ranker.scoring import budget
from ranker.scoring.budget import Probe, learned_budget
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import build_token_file, encode_passages
from ranker.scoring.tokens import Pairs
from ranker.scoring.windows import unwindowed
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

KINDS = {
    "an embedded dataset": "datasets/small-*/**/*",
    "an offset index": "collections/*/*",
    "a token file": "tokens/*/*",
    "remembered scores": "scores/*/records",
    "a job that was begun": "scores/*/jobs/*",
    "a learned budget": "measured/*",
}
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit": lambda content: _flipped(content, len(content) // 2),
    "cut in half": lambda content: content[: len(content) // 2],
}


PLACES = ("paris", "london", "rome", "cairo", "france", "england", "italy", "egypt")
PASSAGES = [
    Passage(f"d{number}", "", f"the {thing} of {place}")
    for number, (place, thing) in enumerate((place, thing) for place in PLACES for thing in ("stone", "water"))
]
QUERIES = [Query("q1", "where is rome"), Query("q2", "what is the water of egypt"), Query("q3", "old stone")]
JUDGMENTS = [Judgment("test", "q1", "d4", 1), Judgment("test", "q2", "d15", 1), Judgment("dev", "q3", "d0", 1)]


@dataclass(frozen=True)
class Unset:
    """The settings of what has none."""


class StoppedError(Exception):
    """What a power cut is to the code above it."""


def _flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(budget, "_seconds", lambda _, tokens: 1.0 / tokens)
    monkeypatch.setitem(EMBEDDED, "small", (Unset, lambda _: DatasetStreams(PASSAGES, QUERIES, JUDGMENTS)))
    return tmp_path / "cache"


@pytest.fixture
def used(tiny, cache) -> Callable[[], tuple[object, ...]]:
    """Uses everything that the cache holds, after a job that was stopped; what came of it."""
    model = create_model(RankerConfig("cross", query_length=12, length=24), str(tiny()), seed=3)

    def use() -> tuple[object, ...]:
        data = open_dataset("small")
        scorer = Scorer(model, Compute("float32", "cpu", 128))
        build_token_file(scorer.encoding, data.collection, lambda _: None)
        scores = _scores(scorer, _pairs(scorer, data))
        probe = Probe(
            partial(scorer.backend.runner(model.config.needs).views, needs=model.config.needs), "a", scorer.device, 24
        )
        return data.digests("test"), learned_budget(probe), scores.round(5).tolist()

    return use


def _pairs(scorer: Scorer, data: Dataset) -> Pairs:
    doc_ids = [passage.doc_id for passage in data.collection]
    queries = data.queries("test").values()
    rows = np.array([(query, passage) for query in range(len(queries)) for passage in range(len(doc_ids))])
    return Pairs(
        scorer.queries(query.text for query in queries),
        encode_passages(scorer.encoding, data.collection, doc_ids),
        rows,
    )


def _scores(scorer: Scorer, pairs: Pairs) -> np.ndarray:
    """All of them, and the journal of a job that ends before its end."""
    found: list[np.ndarray] = []
    with pytest.raises(StoppedError):
        _stopped(scorer, pairs, found.append)
    return found[0]


def _stopped(scorer: Scorer, pairs: Pairs, take: Callable[[np.ndarray], object]) -> None:
    with scorer.job_cache(unwindowed(pairs)) as cache:
        take(scorer.job(unwindowed(pairs), cache).scores(np.arange(len(pairs))))
        raise StoppedError


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_of_the_cache_changes_nothing(used, cache, kind, damage):
    expected = used()
    paths = [path for path in cache.glob(KINDS[kind]) if path.is_file()]
    assert paths
    for path in paths:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
        assert used() == expected, path


def test_what_is_tried_is_all_that_a_cache_holds_here(used, cache):
    used()
    tried = {path for pattern in KINDS.values() for path in cache.glob(pattern) if path.is_file()}
    assert {path for path in cache.rglob("*") if path.is_file()} == tried
