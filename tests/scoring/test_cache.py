"""What was computed is not computed again; what was stopped ends as if it had not been."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.files.atomic import cache_folder
from ranker.model.loading import create_model
from ranker.scoring.cache import distinct
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.scoring.windows import unwindowed
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

PASSAGES = [
    " ".join(["paris", "nile", "rome", "stone"][: n % 5] + ["water", "old"] * (n % 7)) or "x" for n in range(60)
]
QUERIES = ["what is the capital of france", "river", "old stone"]
ROWS = [(query, passage) for query in range(3) for passage in range(60)]


class StoppedError(Exception):
    """What a power cut is to the code above it."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["cross", "dual"])
def mode(request) -> str:
    return request.param


@pytest.fixture
def make(tiny, mode):
    """A new scorer of the mode each time, as each command has."""

    def scorer(seed: int = 3, precision: str = "float32", tokens: int = 128, **settings) -> Scorer:
        config = RankerConfig(mode, **{"query_length": 12, "length": 24, **settings})
        return Scorer(create_model(config, str(tiny()), seed=seed), Compute(precision, "cpu", tokens))

    return scorer


def pairs_of(scorer: Scorer, rows=ROWS, passages=PASSAGES) -> Pairs:
    return Pairs(scorer.queries(QUERIES), scorer.passages(passages), np.array(rows, np.int64).reshape(-1, 2))


def scored(scorer: Scorer, pairs: Pairs, advance=lambda _: None) -> np.ndarray:
    with scorer.job_cache(unwindowed(pairs)) as cache:
        return scorer.job(unwindowed(pairs), cache).scores(np.arange(len(pairs)), advance)


def cut_off(scorer: Scorer, rows) -> None:
    """Begins the job of all pairs, scores some of them, and ends without an end."""
    with pytest.raises(StoppedError):
        _cut_off(scorer, np.array([ROWS.index(row) for row in rows], dtype=np.int64))


def _cut_off(scorer: Scorer, numbers: np.ndarray) -> None:
    pairs = unwindowed(pairs_of(scorer))
    with scorer.job_cache(pairs) as cache:
        scorer.job(pairs, cache).scores(numbers)
        raise StoppedError


def records() -> Path:
    (found,) = cache_folder().glob("scores/*/records")
    return found


def test_scores_are_those_without_a_memory_and_the_second_time_none_is_computed(make):
    first, second = make(), make()
    plain = make().scores(pairs_of(first), lambda _: None)
    found = scored(first, pairs_of(first))
    assert found == pytest.approx(plain, abs=1e-5)
    assert (scored(second, pairs_of(second)) == found).all()
    assert first.backend.token_counts.tokens > 0
    assert second.backend.token_counts.tokens == 0


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_job_that_was_cut_off_anywhere_ends_with_the_same_bits(make, kept, tmp_path, monkeypatch):
    """The journal says that it was begun; of its records, those are left that were written by then."""
    undisturbed = make()
    expected = scored(undisturbed, pairs_of(undisturbed))
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "another"))
    cut_off(make(), ROWS)
    whole = records().read_bytes()
    records().write_bytes(whole[: int(len(whole) * kept)])
    again = make()
    assert scored(again, pairs_of(again)).tobytes() == expected.tobytes()
    assert again.backend.token_counts.tokens <= undisturbed.backend.token_counts.tokens
    assert (again.backend.token_counts.tokens == 0) == (kept == 1.0)
    assert not list(cache_folder().glob("scores/*/jobs/*"))


@pytest.mark.parametrize("mode", ["cross"])  # dual tells of progress when its texts are encoded
def test_an_error_between_two_batches_loses_no_batch(make):
    broken, done = make(), []

    def stop_later(count: int) -> None:
        done.append(count)
        if sum(done) > 90:
            raise StoppedError

    with pytest.raises(StoppedError):
        scored(broken, pairs_of(broken), stop_later)
    again, told = make(), []
    scored(again, pairs_of(again), told.append)
    assert sum(told[:2]) == sum(done)
    assert sum(told) == len(ROWS)


def test_a_deeper_job_pays_for_new_pairs_alone(make):
    shallow, deep, alone = make(), make(), make()
    scored(shallow, pairs_of(shallow, [row for row in ROWS if row[1] < 30]))
    found = scored(deep, pairs_of(deep))
    assert found == pytest.approx(alone.scores(pairs_of(alone), lambda _: None), abs=1e-5)
    assert deep.backend.token_counts.tokens < 0.75 * alone.backend.token_counts.tokens


def test_texts_are_known_by_what_they_say_wherever_they_stand(make):
    first, second = make(), make()
    scored(first, pairs_of(first))
    turned = pairs_of(second, [(query, 59 - passage) for query, passage in ROWS], PASSAGES[::-1])
    expected = make().scores(pairs_of(first), lambda _: None)
    assert scored(second, turned) == pytest.approx(expected, abs=1e-5)
    assert second.backend.token_counts.tokens == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"precision": "bf16"}, marks=pytest.mark.computes("bf16")),
        {"length": 23},
        {"query_length": 11},
        {"stopwords": "drop"},
        {"markers": False},
    ],
)
def test_another_setting_is_another_memory(make, change):
    first, second = make(), make(**change)
    scored(first, pairs_of(first))
    scored(second, pairs_of(second))
    assert first.fingerprint != second.fingerprint
    assert second.backend.token_counts.tokens > 0


def test_other_weights_are_another_memory(make):
    first, second = make(), make()
    scored(first, pairs_of(first))
    next(second.model.encoder.backbone.parameters()).data[7, 3] += 1e-3
    scored(second, pairs_of(second))
    assert second.backend.token_counts.tokens > 0


def test_the_share_known_is_told(make):
    first, second, third = make(), make(), make()
    pairs = unwindowed(pairs_of(first))
    with first.job_cache(pairs) as cache:
        assert cache.share == 0
        first.job(pairs, cache).scores(np.arange(90))
    with second.job_cache(pairs) as cache:
        known = cache.share
        second.job(pairs, cache).scores(np.arange(180))
    assert 0 < known < 1
    with third.job_cache(pairs) as cache:
        assert cache.share == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"records": "x"}', '{"records": null}', '{"records": 1e9}'])
def test_a_journal_that_is_broken_costs_nothing_but_time(make, text):
    first, second = make(), make()
    cut_off(first, [])
    (journal,) = cache_folder().glob("scores/*/jobs/*.json")
    journal.write_text(text)
    expected = make().scores(pairs_of(first), lambda _: None)
    assert scored(second, pairs_of(second)) == pytest.approx(expected, abs=1e-5)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(make, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "file"))
    scorer = make()
    expected = make().scores(pairs_of(scorer), lambda _: None)
    assert scored(scorer, pairs_of(scorer)) == pytest.approx(expected, abs=1e-5)


def test_what_is_said_twice_is_computed_once_and_scored_alike(make):
    scorer, twice = make(), make()
    scored(scorer, pairs_of(scorer, passages=PASSAGES[:20] * 3))
    found = scored(twice, pairs_of(twice, passages=PASSAGES[:20] * 3)).reshape(3, 3, 20)
    assert (found == found[:, :1]).all()
    read = scorer.backend.token_counts.tokens - scorer.backend.token_counts.padding
    assert read < 0.5 * sum(len(text.split()) + 2 for text in PASSAGES[:20]) * 9


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_the_distinct_keys_stand_in_their_first_order(keys):
    first, place = distinct(np.array(keys, dtype=np.uint64).reshape(-1, 2))
    assert [keys[number] for number in first] == list(dict.fromkeys(keys))
    assert [keys[first[number]] for number in place] == keys


def test_no_pairs_are_no_scores(make):
    scorer = make()
    assert scored(scorer, pairs_of(scorer, [])).shape == (0,)


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_another_version_of_what_computes_is_another_memory(make, monkeypatch, library):
    """Kernels differ from version to version, and scores with them."""
    before = make().fingerprint
    version = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1" if name == library else version(name))
    assert make().fingerprint != before
