"""A model on a real Ray cluster scores as it does in one process, whoever dies meanwhile."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from ranker.cluster import backend
from ranker.cluster.backend import RayBackend, ShardError
from ranker.cluster.worker import ScoringWorker, inputs_from
from ranker.errors import ModelError, SetupError
from ranker.index import encoding
from ranker.index.encoding import encode_collection
from ranker.model.inputs import PASSAGE, QUERY
from ranker.model.loading import create_model
from ranker.scoring.batching import input_names
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.scoring.windows import windowed
from ranker.settings.compute import Compute, Overflow
from ranker.settings.model import RankerConfig

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("sent_by_value")]

FLOAT32 = Compute("float32", "cpu")
WORDS = ("paris", "nile", "rome", "water", "stone")
TEXTS = {f"d{n}": " ".join(WORDS[(n + k) % 5] for k in range(1 + n % 30)) for n in range(100)}
ROWS = np.array([(query, passage) for query in range(8) for passage in range(100)])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch, tmp_path):
    monkeypatch.setattr(backend, "_MIN_TOKENS", 512)
    monkeypatch.setattr(encoding, "PASSAGES_AT_ONCE", 8)
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def both(cluster, tiny):
    """A model here, and the same on the cluster."""

    def make(mode="cross", overflow="cut"):
        model = create_model(RankerConfig(mode, query_length=8, length=24), str(tiny()), seed=3)
        how = Overflow(overflow)
        return Scorer(model, FLOAT32, how), Scorer(model, FLOAT32, how, RayBackend(model, FLOAT32, cluster))

    return make


def inputs_of(scorer):
    queries = scorer.queries([" ".join(WORDS[: 1 + n % 5]) for n in range(8)])
    return windowed(scorer.encoding, Pairs(queries, scorer.passages(TEXTS.values()), ROWS))


def scores_of(scorer, advance=lambda _: None):
    return scorer.job(inputs_of(scorer)).scores(np.arange(len(ROWS)), advance)


def kill_a_worker():
    """One of Ray's processes that shards are done in."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        if path.read_bytes().startswith(b"ray::MapWorker"):
            os.kill(int(path.parent.name), signal.SIGKILL)
            return
    raise AssertionError("no worker is alive")


class Mortal(ScoringWorker):
    """Is killed by a passage of 13 tokens, beside a query of 5 if there is one, as by one that takes all memory."""

    def __call__(self, payload):
        inputs = inputs_from(payload)
        for start, end in zip(inputs.offsets[:-1], inputs.offsets[1:], strict=True):
            parts = inputs.parts[start:end]
            lengths = int((parts == QUERY).sum()), int((parts == PASSAGE).sum())
            if lengths in ((5, 13), (13, 0)):  # a text read alone has the part of a query
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(payload)


def test_a_precision_that_a_worker_cannot_compute_in_is_refused_before_any_shard(cluster, tiny):
    model = create_model(RankerConfig("term-trans", query_length=8, length=24), str(tiny()), seed=3)
    with pytest.raises(ModelError, match=r"^--precision int8: is for BERT's family and heads that read \[CLS\]"):
        RayBackend(model, Compute("int8", "cpu"), cluster)
    with pytest.raises(SetupError, match=r"^--precision fp16: is for cuda devices alone, but this one is cpu\.$"):
        RayBackend(model, Compute("fp16", "cpu"), cluster)


@pytest.mark.parametrize(("mode", "overflow"), [("cross", "cut"), ("cross", "windows"), ("dual", "cut")])
def test_scores_are_those_of_one_process(both, mode, overflow):
    here, there = both(mode, overflow)
    np.testing.assert_allclose(scores_of(there), scores_of(here), atol=1e-5)


def test_a_worker_killed_in_the_middle_costs_no_score(both):
    here, there = both()
    told = []

    def advance(count):
        told.append(count)
        if len(told) == 3:
            kill_a_worker()

    np.testing.assert_allclose(scores_of(there, advance=advance), scores_of(here), atol=1e-5)
    assert sum(told) == len(ROWS)


def remembered_scores(scorer):
    """Also the share that was known before."""
    inputs = inputs_of(scorer)
    with scorer.job_cache(inputs) as cache, input_names(lambda index: f"pair {index}"):
        return cache.share, scorer.job(inputs, cache).scores(np.arange(len(ROWS)))


def test_what_a_poisoned_shard_is_begun_with_is_named_and_the_rest_is_remembered(both, monkeypatch):
    here, there = both()
    begun = r"^shard \d+, whose \d+ inputs begin with pair \d+: was tried 3 times: its worker died each time"
    with monkeypatch.context() as poisoned:
        poisoned.setattr(backend, "ScoringWorker", Mortal)
        with pytest.raises(ShardError, match=begun):
            remembered_scores(there)
    share, scores = remembered_scores(there)
    assert 0.3 < share < 1
    np.testing.assert_allclose(scores, scores_of(here), atol=1e-5)


def test_padding_and_failures_of_the_workers_are_counted(both):
    _, there = both()
    scores_of(there)
    assert there.backend.token_counts.tokens > 0
    assert there.backend.splitter.failures == 0


def encoded(scorer, collection, folder, advance=lambda _: None):
    (folder / "new").mkdir(parents=True)
    try:
        cut = encode_collection(scorer, collection, folder / "new", advance, folder / "left")
        vectors = np.fromfile(folder / "new" / "vectors.f32", dtype=np.float32).reshape(len(collection), -1)
        return vectors, (folder / "new" / "doc_ids.txt").read_text().split(), cut
    finally:
        shutil.rmtree(folder / "new")


def test_vectors_are_those_of_one_process_and_in_its_order(both, collection_of, tmp_path):
    here, there = both("dual")
    collection = collection_of(TEXTS)
    vectors, doc_ids, cut = encoded(there, collection, tmp_path / "there")
    expected, expected_ids, expected_cut = encoded(here, collection, tmp_path / "here")
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert (doc_ids, cut) == (expected_ids, expected_cut)


def test_more_parts_than_a_cluster_is_sent_at_once_are_sent_in_turn(both, collection_of, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "_PARTS_AT_ONCE", 5)
    here, there = both("dual")
    collection = collection_of(TEXTS)
    told = []
    vectors = encoded(there, collection, tmp_path / "there", told.append)[0]
    np.testing.assert_allclose(vectors, encoded(here, collection, tmp_path / "here")[0], atol=1e-5)
    assert sum(told) == len(TEXTS)


def test_an_encoding_that_was_stopped_goes_on_after_the_parts_that_are_there(both, collection_of, tmp_path):
    here, there = both("dual")
    collection = collection_of(TEXTS)

    def stop(count):
        stopped.append(count)
        if len(stopped) == 6:
            raise KeyboardInterrupt

    stopped = []
    with pytest.raises(KeyboardInterrupt):
        encoded(there, collection, tmp_path / "ended", stop)
    told = []
    vectors = encoded(there, collection, tmp_path / "ended", told.append)[0]
    np.testing.assert_allclose(vectors, encoded(here, collection, tmp_path / "here")[0], atol=1e-5)
    assert sum(told) == len(TEXTS)


def test_a_passage_that_is_poison_is_named(both, collection_of, tmp_path, monkeypatch):
    _, there = both("dual")
    monkeypatch.setattr(backend, "ScoringWorker", Mortal)
    # the parts of eight passages that hold one of 13 tokens: d12, d42 and d72
    with pytest.raises(ShardError, match=r"^shard 2, whose 8 inputs begin with passage d8: .*, and 2 other"):
        encoded(there, collection_of(TEXTS), tmp_path / "ended")
