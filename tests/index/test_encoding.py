"""An encoding that was stopped after any part ends with the vectors of one that was not."""

import json
import shutil
from pathlib import Path

import pytest

from ranker.index import dense
from ranker.index.dense import encode_collection
from ranker.model.config import RankerConfig
from ranker.model.loading import create_model
from ranker.scoring.scorer import Cut, Scorer
from ranker.scoring.speed import Speed

PART, PASSAGES = 16, 70
PARTS = 5
TEXTS = {f"d{n}": " ".join(["paris", "nile", "rome"][: n % 4] + ["water"] * (n % 50)) or "x" for n in range(PASSAGES)}


class StoppedError(Exception):
    """What a power cut is to the code above it."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_PASSAGES_AT_ONCE", PART)


@pytest.fixture
def make(tiny):
    """A new scorer each time, as each command has."""

    def scorer(seed: int = 3, **settings) -> Scorer:
        config = RankerConfig("dual", **{"query_length": 12, "length": 40, **settings})
        return Scorer(create_model(config, str(tiny()), seed=seed), Speed("float32", "cpu"))

    return scorer


@pytest.fixture
def collection(collection_of):
    return collection_of(TEXTS)


def encoded(scorer, collection, folder: Path, parts: int = PARTS) -> tuple[bytes, bytes, Cut, int]:
    """Vectors, doc_ids, what was cut and the passages told of; stopped when it has told of more than ``parts``."""
    told = 0

    def advance(count: int) -> None:
        nonlocal told
        told += count
        if told > parts * PART:
            raise StoppedError

    (folder / "new").mkdir(parents=True)
    try:
        cut = encode_collection(scorer, collection, folder / "new", advance, folder / "left")
        return (folder / "new" / "vectors.f32").read_bytes(), (folder / "new" / "doc_ids.txt").read_bytes(), cut, told
    finally:
        shutil.rmtree(folder / "new")


@pytest.fixture
def whole(make, collection, tmp_path):
    return encoded(make(), collection, tmp_path / "whole")


def stopped(scorer, collection, folder: Path, parts: int) -> None:
    with pytest.raises(StoppedError):
        encoded(scorer, collection, folder, parts)


@pytest.mark.parametrize("parts", range(PARTS))
def test_vectors_and_counts_are_those_of_an_encoding_that_was_not_stopped(make, collection, tmp_path, whole, parts):
    stopped(make(), collection, tmp_path / "ended", parts)
    again = make()
    assert encoded(again, collection, tmp_path / "ended") == whole
    undisturbed = make()
    encoded(undisturbed, collection, tmp_path / "undisturbed")
    assert again.tally.tokens < undisturbed.tally.tokens or parts == 0
    assert not (tmp_path / "ended" / "left").exists()


def test_another_model_begins_anew(make, collection, tmp_path):
    stopped(make(), collection, tmp_path / "ended", 3)
    other, same = make(length=30), make(length=30)
    found = encoded(other, collection, tmp_path / "ended")
    assert found == encoded(same, collection, tmp_path / "else")
    assert other.tally.tokens == same.tally.tokens


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"asked": "x", "parts": 1, "bytes": 0}'])
def test_a_broken_note_of_progress_costs_only_time(make, collection, tmp_path, whole, text):
    stopped(make(), collection, tmp_path / "ended", 3)
    (tmp_path / "ended" / "left" / "progress.json").write_text(text)
    assert encoded(make(), collection, tmp_path / "ended") == whole


@pytest.mark.parametrize("change", [-7, 5])
def test_a_file_shorter_or_longer_than_noted_is_not_believed(make, collection, tmp_path, whole, change):
    """Longer: a part was cut off in the middle. Shorter: the disk lost what it had said was written."""
    stopped(make(), collection, tmp_path / "ended", 3)
    path = tmp_path / "ended" / "left" / "vectors.f32"
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"x" * change)
    assert encoded(make(), collection, tmp_path / "ended") == whole


def test_every_part_is_noted_when_it_is_on_disk(make, collection, tmp_path):
    stopped(make(), collection, tmp_path / "ended", 2)
    note = json.loads((tmp_path / "ended" / "left" / "progress.json").read_text())
    width = make().model.width
    assert (note["parts"], note["bytes"]) == (2, 2 * PART * width * 4)
