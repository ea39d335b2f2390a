"""An encoding that was stopped after any part ends with the vectors of one that was not."""

import json
import os
import shutil
from pathlib import Path

import pytest

from ranker.errors import OutputError
from ranker.index import encoding
from ranker.index.encoding import Parts, encode_collection
from ranker.limits import MAX_LINE_BYTES
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Truncation
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

PART, PASSAGES = 16, 70
PARTS = 5
TEXTS = {f"d{n}": " ".join(["paris", "nile", "rome"][: n % 4] + ["water"] * (n % 50)) or "x" for n in range(PASSAGES)}


class StoppedError(Exception):
    """What a power cut is to the code above it."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "PASSAGES_AT_ONCE", PART)


@pytest.fixture
def make(tiny):
    """A new scorer each time, as each command has."""

    def scorer(seed: int = 3, **settings) -> Scorer:
        config = RankerConfig("dual", **{"query_length": 12, "length": 40, **settings})
        return Scorer(create_model(config, str(tiny()), seed=seed), Compute("float32", "cpu"))

    return scorer


@pytest.fixture
def collection(collection_of):
    return collection_of(TEXTS)


def encoded(scorer, collection, folder: Path, parts: int = PARTS) -> tuple[bytes, bytes, Truncation, int]:
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
    assert again.backend.token_counts.tokens < undisturbed.backend.token_counts.tokens or parts == 0


def test_vectors_are_kept_until_whoever_needs_them_has_done_with_them(make, collection, tmp_path, whole):
    """Else a FAISS index that cannot be written costs the encoding."""
    again = make()
    assert encoded(again, collection, tmp_path / "whole") == whole
    assert again.backend.token_counts.tokens == 0


@pytest.mark.parametrize("place", [0, 3_000, -1])
def test_a_bit_that_flipped_meanwhile_is_found_and_all_is_encoded_anew(make, collection, tmp_path, whole, place):
    stopped(make(), collection, tmp_path / "ended", 3)
    path = tmp_path / "ended" / "left" / "vectors.f32"
    content = bytearray(path.read_bytes())
    assert len(content) > 3_000
    content[place] ^= 1
    path.write_bytes(content)
    again, undisturbed = make(), make()
    assert encoded(again, collection, tmp_path / "ended") == whole
    encoded(undisturbed, collection, tmp_path / "undisturbed")
    assert again.backend.token_counts.tokens == undisturbed.backend.token_counts.tokens


def test_an_index_that_shares_the_file_of_an_encoding_keeps_it_when_another_begins(make, collection, tmp_path):
    (tmp_path / "index").mkdir()
    encode_collection(make(), collection, tmp_path / "index", lambda _: None, tmp_path / "left")
    before = (tmp_path / "index" / "vectors.f32").read_bytes()
    (tmp_path / "other").mkdir()
    encode_collection(make(length=30), collection, tmp_path / "other", lambda _: None, tmp_path / "left")
    assert (tmp_path / "index" / "vectors.f32").read_bytes() == before
    assert (tmp_path / "other" / "vectors.f32").read_bytes() != before


def test_where_the_file_system_has_no_links_vectors_are_moved(make, collection, tmp_path, whole, monkeypatch):
    def link(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    assert encoded(make(), collection, tmp_path / "ended") == whole
    assert not (tmp_path / "ended" / "left" / "vectors.f32").exists()


def test_another_model_begins_anew(make, collection, tmp_path):
    stopped(make(), collection, tmp_path / "ended", 3)
    other, same = make(length=30), make(length=30)
    found = encoded(other, collection, tmp_path / "ended")
    assert found == encoded(same, collection, tmp_path / "else")
    assert other.backend.token_counts.tokens == same.backend.token_counts.tokens


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"asked": "x", "parts": 1, "bytes": 0}'])
def test_a_broken_note_of_progress_costs_only_time(make, collection, tmp_path, whole, text):
    stopped(make(), collection, tmp_path / "ended", 3)
    (tmp_path / "ended" / "left" / "progress.json").write_text(text)
    assert encoded(make(), collection, tmp_path / "ended") == whole


@pytest.mark.parametrize(
    ("old", "new"), [('"parts": 3', '"parts": 2'), ('"parts": 3', '"parts": 7'), ("bytes", "bytez")]
)
def test_a_note_of_progress_in_which_a_bit_flipped_is_not_believed(make, collection, tmp_path, whole, old, new):
    """Else a part would be there twice, or never."""
    stopped(make(), collection, tmp_path / "ended", 3)
    path = tmp_path / "ended" / "left" / "progress.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
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


def parts_of(folder: Path, asked: str = "a" * 64) -> Parts:
    folder.mkdir(exist_ok=True)
    return Parts(folder, asked)


def test_parts_that_come_early_wait_for_those_before_them(tmp_path):
    parts = parts_of(tmp_path / "left")
    for number in (2, 0, 3, 1, 4):
        parts.put(number, bytes([number]) * 8)
    parts.close()
    assert (tmp_path / "left" / "vectors.f32").read_bytes() == b"".join(bytes([number]) * 8 for number in range(5))
    assert sorted(path.name for path in (tmp_path / "left").iterdir()) == ["progress.json", "vectors.f32"]


def test_parts_that_came_early_are_still_there_after_a_stop(tmp_path):
    parts = parts_of(tmp_path / "left")
    for number in (0, 2, 4):
        parts.put(number, bytes([number]) * 8)
    parts.close()
    again = parts_of(tmp_path / "left")
    assert [number in again for number in range(6)] == [True, False, True, False, True, False]
    for number in (1, 3):
        again.put(number, bytes([number]) * 8)
    again.close()
    assert (tmp_path / "left" / "vectors.f32").read_bytes() == b"".join(bytes([number]) * 8 for number in range(5))


@pytest.mark.parametrize("damage", [b"\2" * 7 + b"\3", b"\2" * 4, b""])
def test_a_part_that_is_damaged_while_it_waits_is_removed_and_named(tmp_path, damage):
    parts = parts_of(tmp_path / "left")
    parts.put(1, b"\2" * 8)
    [waiting] = (tmp_path / "left").glob("*.part")
    waiting.write_bytes(damage)
    with pytest.raises(OutputError) as error:
        parts.put(0, b"\1" * 8)
    assert str(error.value) == f"{waiting}: is damaged, and removed; give the command again to encode it anew."
    parts.close()
    again = parts_of(tmp_path / "left")
    assert [number in again for number in range(3)] == [True, False, False]
    again.put(1, b"\2" * 8)
    again.close()
    assert (tmp_path / "left" / "vectors.f32").read_bytes() == b"\1" * 8 + b"\2" * 8


def test_a_stop_before_early_parts_are_joined_to_the_one_they_waited_for_loses_none(tmp_path):
    left = tmp_path / "left"
    for folder, numbers in ((tmp_path / "early", (1, 2, 4)), (left, (0,))):
        parts = parts_of(folder)
        for number in numbers:
            parts.put(number, bytes([number]) * 8)
        parts.close()
    for path in (tmp_path / "early").glob("*.part"):  # as a kill, or a full disk, behind the first part leaves them
        shutil.copy(path, left)
    again = parts_of(left)
    assert (again.done, [number in again for number in range(5)]) == (3, [True, True, True, False, True])
    again.put(3, bytes([3]) * 8)
    again.close()
    assert (left / "vectors.f32").read_bytes() == b"".join(bytes([number]) * 8 for number in range(5))


def test_an_early_part_that_is_damaged_or_of_something_else_is_none(tmp_path):
    parts = parts_of(tmp_path / "left")
    for number in (1, 2):
        parts.put(number, bytes([number]) * 8)
    parts.close()
    next((tmp_path / "left").glob("*.1.*.part")).write_bytes(b"damaged")
    (tmp_path / "left" / "strange.part").write_bytes(b"x")
    again = parts_of(tmp_path / "left")
    assert [number in again for number in range(3)] == [False, False, True]
    again.close()
    other = parts_of(tmp_path / "left", "b" * 64)
    assert 2 not in other
    other.close()
    assert not list((tmp_path / "left").glob("*.part"))


def test_an_early_part_of_which_a_crash_left_nothing_but_zeros_is_none(tmp_path):
    parts = parts_of(tmp_path / "left")
    parts.put(1, b"\n" * (MAX_LINE_BYTES + 1))
    parts.close()
    next((tmp_path / "left").glob("*.part")).write_bytes(bytes(MAX_LINE_BYTES + 1))
    again = parts_of(tmp_path / "left")
    again.close()
    assert 1 not in again
