"""A batch's tokens are learned once for each machine and kind of model, and only where there is enough to do."""

import json
from functools import partial

import pytest
import torch

from ranker.model.loading import create_model
from ranker.scoring import budget
from ranker.scoring.batching import prefetch
from ranker.scoring.budget import DEFAULT, Probe, fastest, learned_budget
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path))
    return tmp_path / "measured"


@pytest.fixture
def scorer(tiny):
    def make(tokens=0):
        config = RankerConfig("cross", query_length=8, length=24)
        return Scorer(create_model(config, str(tiny()), seed=3), Compute("float32", "cpu", tokens))

    return make


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ({1024: 5.0, 2048: 3.0, 4096: 1.0, 8192: 2.0}, 4096),
        ({1024: 1.0, 2048: 3.0, 4096: 3.0, 8192: 3.0}, 1024),
        ({1024: 3.0, 2048: 3.0, 4096: 2.95, 8192: 3.0}, 2048),
    ],
)
def test_the_fastest_a_token_wins_but_the_default_where_it_hardly_matters(rates, best):
    assert fastest(lambda tokens: rates[tokens] * tokens, CPU) == best


def test_what_does_not_fit_into_memory_is_not_tried_again():
    tried = []

    def seconds(tokens):
        tried.append(tokens)
        if tokens > 1024:
            raise torch.OutOfMemoryError
        return 1.0

    assert fastest(seconds, CPU) == 1024
    assert tried == [1024, 2048]


def probe_of(own, kind="a"):
    needs = own.model.config.needs
    return Probe(partial(own.backend.runner(needs).views, needs=needs), kind, CPU, own.model.config.length)


@pytest.fixture
def tried(monkeypatch):
    """The sizes that were measured, none of them in earnest."""
    found = []
    monkeypatch.setattr(budget, "_seconds", lambda _, tokens: found.append(tokens) or 1.0)
    return found


def test_a_budget_is_measured_once_and_remembered(scorer, cache, tried):
    probe = probe_of(scorer())
    first = learned_budget(probe)
    assert tried == [1024, 2048, 4096, 8192]
    assert learned_budget(probe) == first == 8192
    assert len(tried) == 4
    learned_budget(probe._replace(kind="b"))
    assert len(tried) == 8
    assert [json.loads(path.read_text())["answer"] for path in cache.iterdir()] == [8192] * 2


@pytest.mark.parametrize(
    "text", ["", "xx", "{}", "[]", "null", '{"answer": 0}', '{"answer": true}', '{"answer": 1e308}', '{"answer": "a"}']
)
def test_what_was_not_remembered_well_is_measured_again(scorer, cache, tried, text):
    probe = probe_of(scorer())
    learned_budget(probe)
    (path,) = cache.iterdir()
    path.write_text(text)
    assert learned_budget(probe) == 8192
    assert len(tried) == 8


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(scorer, cache, tried):
    cache.write_text("a file where a folder is to be")
    assert learned_budget(probe_of(scorer())) == 8192


def test_another_that_learned_it_at_the_same_time_is_no_reason_to_stop(scorer, cache, monkeypatch):
    probe = probe_of(scorer())

    def meanwhile(_, tokens):
        for name in [path.name for path in cache.iterdir()] if cache.exists() else []:
            (cache / name).write_text('{"answer": 1024}')
        return 1.0

    monkeypatch.setattr(budget, "_seconds", lambda _, tokens: 1.0)
    learned_budget(probe)
    (path,) = cache.iterdir()
    path.write_text("broken")
    monkeypatch.setattr(budget, "_seconds", meanwhile)
    assert learned_budget(probe) == 8192


def test_a_real_reader_is_measured_on_no_longer_inputs_than_it_reads(scorer):
    with torch.inference_mode():
        assert learned_budget(probe_of(scorer())) in budget._TRIED["cpu"]


def test_little_work_and_a_number_of_ones_own_are_not_measured(scorer, cache):
    needs = scorer().model.config.needs
    assert scorer().backend.prepare(needs).batch_tokens(budget.WORTH_PROBING - 1) == DEFAULT["cpu"]
    assert scorer(77).backend.prepare(needs).batch_tokens(10**12) == 77
    assert not cache.exists()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_what_is_made_ahead_is_the_same(count):
    assert list(prefetch(iter(range(count)))) == list(range(count))


def test_one_item_is_made_while_another_is_used():
    made = []

    def items():
        for number in range(4):
            made.append(number)
            yield number

    coming = prefetch(items())
    assert next(coming) == 0
    assert next(coming) == 1
    assert len(made) <= 3
    assert list(coming) == [2, 3]


def test_what_goes_wrong_ahead_is_raised():
    def items():
        yield 1
        raise ValueError("broken")

    coming = prefetch(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="broken"):
        next(coming)
