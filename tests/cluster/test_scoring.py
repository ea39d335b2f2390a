"""What a worker is sent and sends back, without a cluster: the worker itself, in this process."""

import json
import shutil

import numpy as np
import pytest

from ranker.cluster.backend import ShardError
from ranker.cluster.engine import Failure
from ranker.cluster.worker import (
    ScoringWorker,
    from_bytes,
    inputs_from,
    inputs_message,
    model_message,
    result_from,
    to_bytes,
    worker_device,
)
from ranker.errors import ModelError, OutputError
from ranker.model.loading import create_model, load_model
from ranker.scoring.batching import TooLargeError
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import MODES, RankerConfig

CODE = """from transformers import BertConfig, BertModel
class OwnConfig(BertConfig):
    pass
class OwnModel(BertModel):
    config_class = OwnConfig
"""
OWN = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
FLOAT32 = Compute("float32", "cpu")
QUERIES = ["where is paris", "the old river", "rome"]
PASSAGES = ["paris lies in france", "the nile lies in egypt", "the tiber in italy " * 9, "stone", ""]


@pytest.fixture
def scorer(tiny):
    def make(mode="cross", compute=FLOAT32, **settings):
        config = RankerConfig(mode, **{"query_length": 8, "length": 24, **settings})
        return Scorer(create_model(config, str(tiny()), seed=3), compute)

    return make


def worker_of(scorer):
    return ScoringWorker(model_message(scorer.model, FLOAT32, False))


def sent_pairs(scorer, pairs):
    (inputs,) = scorer.encoding.pair_inputs(pairs, [np.arange(len(pairs))])
    return inputs_message(inputs)


def sent_texts(scorer, texts):
    (inputs,) = scorer.encoding.text_inputs(texts, [np.arange(len(texts))])
    return inputs_message(inputs)


def pairs_of(scorer, rows):
    return Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), np.array(rows))


def test_arrays_come_back_as_they_were():
    arrays = {"ids": np.arange(5, dtype=np.int32), "none": np.empty((0, 3), np.float32), "said": np.array("wörd")}
    found = from_bytes(to_bytes(arrays))
    assert {key: (value.dtype, value.shape, value.tolist()) for key, value in found.items()} == {
        key: (value.dtype, value.shape, value.tolist()) for key, value in arrays.items()
    }


def test_objects_are_not_sent():
    with pytest.raises(ValueError, match="pickle"):
        to_bytes({"objects": np.array([{}, []], dtype=object)})


@pytest.mark.parametrize("mode", sorted(set(MODES) - {"dual"}))
def test_a_worker_scores_as_the_model_that_was_sent(scorer, mode):
    here = scorer(mode)
    pairs = pairs_of(here, [(2, 4), (0, 0), (2, 2), (0, 2), (0, 0)])
    found = result_from(worker_of(here)(sent_pairs(here, pairs)))
    np.testing.assert_allclose(found.values[:, 0], here.scores(pairs, lambda _: None), atol=1e-5)


def test_a_worker_encodes_as_the_model_that_was_sent(scorer):
    here = scorer("dual")
    texts = here.passages(PASSAGES)
    found = result_from(worker_of(here)(sent_texts(here, texts)))
    np.testing.assert_allclose(found.values, here.vectors(texts, lambda _: None), atol=1e-5)


@pytest.mark.parametrize("settings", [{"markers": False}, {"stopwords": "drop"}, {"length": 12}])
def test_a_model_is_read_as_it_was_trained_to_be(scorer, settings):
    here = scorer(**settings)
    pairs = pairs_of(here, [(0, 0), (1, 2)])
    found = result_from(worker_of(here)(sent_pairs(here, pairs)))
    np.testing.assert_allclose(found.values[:, 0], here.scores(pairs, lambda _: None), atol=1e-5)


def test_the_inputs_of_a_shard_are_sent_and_nothing_else(scorer):
    here = scorer()
    (inputs,) = here.encoding.pair_inputs(pairs_of(here, [(1, 3), (1, 1), (0, 4)]), [np.array([2, 0])])
    found = inputs_from(inputs_message(inputs))
    assert found.size == 2
    for column, expected in zip(found, inputs, strict=True):
        assert column.dtype == expected.dtype
        assert column.tolist() == expected.tolist()


def test_what_a_worker_computed_is_counted_anew_for_each_shard(scorer):
    here = scorer()
    worker, pairs = worker_of(here), sent_pairs(here, pairs_of(here, [(0, 0), (1, 1)]))
    first, second = (result_from(worker(pairs)) for _ in range(2))
    assert (first.tokens, first.padding, first.failures) == (second.tokens, second.padding, second.failures)
    assert first.tokens > 0


def test_a_model_that_arrives_otherwise_is_refused_with_both_digests(scorer):
    arrays = from_bytes(model_message(scorer().model, FLOAT32, False))
    facts = json.loads(str(arrays["facts"]))
    arrays["facts"] = np.array(json.dumps({**facts, "sha256": "0" * 64}))
    with pytest.raises(ModelError, match=f"a worker reads it as {facts['sha256']}, expected {'0' * 64}"):
        ScoringWorker(to_bytes(arrays))


def test_an_input_that_is_too_large_is_told_by_its_number_in_the_shard(scorer, monkeypatch):
    here = scorer()
    worker = worker_of(here)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr("ranker.model.reranker.Reranker.from_views", full)
    with pytest.raises(TooLargeError) as caught:
        worker(sent_pairs(here, pairs_of(here, [(1, 1)])))
    assert (caught.value.index, caught.value.tokens > 0) == (0, True)


@pytest.mark.parametrize(
    ("inputs", "failed", "said"),
    [
        (3, 1, "shard 1, whose 3 inputs begin with query q, passage d: is wrong; "),
        (1, 2, "shard 1, whose only input is query q, passage d: is wrong, and 1 other shard failed; "),
        (3, 3, "shard 1, whose 3 inputs begin with query q, passage d: is wrong, and 2 other shards failed; "),
    ],
)
def test_shards_that_failed_are_told_by_the_first(inputs, failed, said):
    failures = [Failure(f"shard {number}", "is wrong", {}) for number in range(1, failed + 1)]
    error = ShardError(7, inputs, failures).renamed(7, "query q, passage d")
    assert str(error) == f"{said}what the others gave is kept for the same command."


def test_a_model_that_finds_no_room_on_its_way_is_said_in_a_sentence(scorer, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(OutputError, match=f"^{tmp_path}/none: cannot be written: No such file or directory; nothing"):
        model_message(scorer().model, FLOAT32, False)


def test_code_that_a_model_brings_is_sent_with_it_where_it_is_trusted(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own"
    shutil.copytree(tiny(), folder)
    (folder / "own.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": OWN}))
    model = load_model(str(folder), trust_remote_code=True)
    here = Scorer(model, FLOAT32)
    sent = {trusted: model_message(model, FLOAT32, trusted) for trusted in (True, False)}
    shutil.rmtree(folder)  # which no worker sees
    texts = here.passages(PASSAGES)
    found = result_from(ScoringWorker(sent[True])(sent_texts(here, texts)))
    np.testing.assert_allclose(found.values, here.vectors(texts, lambda _: None), atol=1e-5)
    with pytest.raises(ModelError, match="brings Python code"):
        ScoringWorker(sent[False])


def test_a_worker_says_where_it_computes():
    assert worker_device("cpu", "float32")[:2] == ("cpu", "float32")
