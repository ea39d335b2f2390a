"""Out of memory halves a batch and goes on; an input that does not fit alone is named."""

import sys

import numpy as np
import pytest
import torch
from forked import Forked

from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.model.inputs import Packed
from ranker.model.loading import create_model
from ranker.reranking.rerank import rerank
from ranker.scoring.batching import BatchSplitter, TooLargeError
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

UNDER_A_LIMIT = """
import resource, sys
import numpy as np
from ranker.model.loading import load_model
from ranker.scoring.tokens import Pairs
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute

folder, mode, room = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = load_model(folder, mode)

def scores(tokens):
    scorer = Scorer(model, Compute("float32", "cpu", tokens))
    texts = ["water " * 25 + "nile " * (n % 9) for n in range(2_000)]
    queries, passages = scorer.queries(["which river"]), scorer.passages(texts)
    rows = np.stack([np.zeros(2_000, np.int64), np.arange(2_000)], axis=1)
    return scorer, scorer.scores(Pairs(queries, passages, rows), lambda _: None)

expected = scores(4_096)[1]
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + room, taken + room))
scorer, found = scores(1_000_000)
print(scorer.backend.splitter.failures, scorer.backend.splitter.max_tokens, np.abs(found - expected).max())
"""


def inputs_of(*lengths):
    ids = np.concatenate([np.full(length, number, np.int32) for number, length in enumerate(lengths)])
    return Packed(ids, ids, ids, np.concatenate(([0], np.cumsum(lengths))))


class Small:
    """A machine that holds so many tokens, and says as torch does where they are more."""

    def __init__(self, tokens, error=None):
        self.tokens, self.asked = tokens, []
        self.error = error or RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    def __call__(self, part):
        self.asked.append(len(part.ids))
        if len(part.ids) > self.tokens:
            raise self.error
        return np.array([[part.ids[start]] for start in part.offsets[:-1]], np.float32)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_under_a_real_limit_the_scores_are_those_of_small_batches(tiny):
    folder = tiny("bert", labels=1, intermediate_size=2_048)
    process = Forked([folder, "cross", 300 * 2**20], UNDER_A_LIMIT)
    out, said = process.communicate()
    assert process.returncode == 0, said
    failures, most, difference = out.split()
    assert int(failures) >= 1
    assert int(most) < 1_000_000
    assert float(difference) < 1e-5


@pytest.mark.gpu
def test_on_a_gpu_too(tiny):
    model = create_model(RankerConfig("cross", query_length=12, length=60), str(tiny()), seed=1)
    scorer = Scorer(model, Compute("float32", "cuda", 10_000_000))
    rows = np.stack([np.zeros(20_000, np.int64), np.arange(20_000)], axis=1)
    pairs = Pairs(scorer.queries(["x"]), scorer.passages(["water " * 100] * 20_000), rows)
    whole = scorer.scores(pairs.only(np.arange(10)), lambda _: None)
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        assert scorer.scores(pairs, lambda _: None)[:10] == pytest.approx(whole, abs=1e-4)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert scorer.backend.splitter.failures


def test_what_does_not_fit_is_computed_in_parts_and_in_order():
    splitter, small = BatchSplitter(), Small(10)
    found = splitter(inputs_of(8, 7, 3, 3, 2, 1), small)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_later_batches_are_small_from_the_start():
    splitter, small = BatchSplitter(), Small(10)
    splitter(inputs_of(*[2] * 16), small)
    failures, small.asked = splitter.failures, []
    splitter(inputs_of(*[2] * 16), small)
    assert splitter.failures == failures == 1
    assert max(small.asked) <= splitter.max_tokens == 8


def test_what_fits_is_computed_once():
    splitter, small = BatchSplitter(), Small(100)
    splitter(inputs_of(8, 7, 3), small)
    assert small.asked == [18]
    assert splitter.failures == 0


def test_an_input_that_does_not_fit_alone_is_told_by_its_number():
    splitter, small = BatchSplitter(), Small(5)
    with pytest.raises(TooLargeError) as error:
        splitter(inputs_of(3, 9, 1), small, 40)
    assert (error.value.index, error.value.tokens) == (41, 9)
    assert len(small.asked) < 10


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("could not create a memory object")],
)
def test_every_engines_words_for_it_are_known(error):
    found = BatchSplitter()(inputs_of(3, 3), Small(3, error))
    assert found[:, 0].tolist() == [0, 1]


def test_another_error_is_not_taken_for_it():
    small = Small(3, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        BatchSplitter()(inputs_of(3, 3), small)
    assert small.asked == [6]


@pytest.mark.parametrize("mode", ["cross", "dual"])
def test_a_pair_that_does_not_fit_alone_is_named_by_its_ids(tiny, collection_of, mode, monkeypatch):
    scorer = Scorer(
        create_model(RankerConfig(mode, query_length=12, length=40), str(tiny()), seed=3), Compute("float32")
    )
    runner, passages = scorer.backend.runner, {"a": "rome", "b": "water " * 30}

    def of_little_memory(needs):
        found = runner(needs)
        for name in ("views", "pooled"):
            whole = getattr(found, name)
            small = lambda inputs, *more, whole=whole: whole(inputs, *more) if len(inputs.ids) < 30 else _fail()  # noqa: E731
            monkeypatch.setattr(found, name, small)
        return found

    monkeypatch.setattr(scorer.backend, "runner", of_little_memory)
    run = Run("x", {"q": Ranking(("a", "b"), np.array([2, 1], np.float32))})
    with pytest.raises(TooLargeError, match=r"^query q, passage b: its \d+ tokens do not fit into memory even alone; "):
        rerank(scorer, run, {"q": Query("q", "which river")}, collection_of(passages), 10)


def _fail():
    raise torch.OutOfMemoryError("CUDA out of memory.")
