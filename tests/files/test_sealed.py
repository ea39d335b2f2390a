"""What is read back from disk is as it was written, or it is not read."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.files.intact import checked_digest
from ranker.files.sealed import (
    FILES,
    SEAL,
    computed_digest,
    is_intact,
    read_sealed,
    read_sealed_folder,
    seal_folder,
    sealed,
    write_sealed,
)

RECORD = {"asked": "a1", "parts": 3, "rate": 0.1, "names": ["é", None, True], "inner": {"b": 1, "a": [1e-300]}}
NOT_AS_WRITTEN = (OSError, ValueError, RecursionError)
DIGESTS = [checked_digest, computed_digest]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_sealed(tmp_path / "record.json", RECORD)
    return tmp_path / "record.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made" / "below").mkdir(parents=True)
    (tmp_path / "made" / "ids").write_bytes(bytes(range(40)))
    (tmp_path / "made" / "below" / "empty").write_bytes(b"")
    seal_folder(tmp_path / "made", "meta.json", RECORD)
    return tmp_path / "made"


def test_a_record_is_read_as_it_was_written(path):
    assert read_sealed(path) == sealed(RECORD)
    assert {key: value for key, value in read_sealed(path).items() if key != SEAL} == RECORD


def test_every_flipped_bit_is_found_or_leaves_the_record_as_it_was(path):
    whole = path.read_bytes()
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            found = read_sealed(path)
        except NOT_AS_WRITTEN:
            continue
        assert found == sealed(RECORD)  # a blank that became another


def test_every_cut_is_found(path):
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 5):  # the last byte is the end of the line
        path.write_bytes(whole[:size])
        with pytest.raises(NOT_AS_WRITTEN):
            read_sealed(path)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "3", "{}", json.dumps(RECORD), "[" * 100_000, '{"record_sha256": 1}']
)
def test_what_was_never_sealed_is_not_read(path, text):
    path.write_text(text)
    with pytest.raises(NOT_AS_WRITTEN):
        read_sealed(path)


def test_a_record_of_before_there_were_seals_is_intact_and_a_changed_one_is_not():
    assert is_intact(RECORD)
    assert is_intact(sealed(RECORD))
    for key in RECORD:
        assert not is_intact({**sealed(RECORD), key: "else"})
        assert not is_intact({name: value for name, value in sealed(RECORD).items() if name != key})
    assert not is_intact({**sealed(RECORD), "more": 1})
    assert not is_intact({**sealed(RECORD), SEAL: None})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_whatever_json_holds_is_intact_when_it_comes_back(record):
    assert is_intact(json.loads(json.dumps(sealed(record))))


def test_the_order_of_keys_is_nothing_and_of_lists_something():
    assert is_intact(dict(reversed(sealed(RECORD).items())))
    assert not is_intact({**sealed(RECORD), "names": RECORD["names"][::-1]})


def test_numbers_that_are_none_are_sealed_too(tmp_path):
    write_sealed(tmp_path / "a", {"loss": math.nan, "best": -math.inf})
    assert read_sealed(tmp_path / "a")["best"] == -math.inf


@pytest.mark.parametrize("digest", DIGESTS)
def test_a_folder_that_is_whole_gives_its_record(folder, digest):
    record = read_sealed_folder(folder, "meta.json", digest)
    assert record[FILES].keys() == {"ids", "below/empty"}
    assert {key: record[key] for key in RECORD} == RECORD


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("damage", ["a bit", "cut", "longer", "gone", "a folder"])
def test_a_file_of_a_folder_that_is_damaged_is_found(folder, digest, damage):
    path = folder / "ids"
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        other = {"a bit": bytes([content[0] ^ 8]) + content[1:], "cut": content[:-1], "longer": content + b"\0"}
        path.write_bytes(other[damage])
    with pytest.raises(NOT_AS_WRITTEN):
        read_sealed_folder(folder, "meta.json", digest)


@pytest.mark.parametrize("digests", [None, [], 3, "ids", {"ids": 1}, {"none": "0"}])
def test_digests_that_are_none_are_not_believed(folder, digests):
    write_sealed(folder / "meta.json", {**RECORD, FILES: digests})
    with pytest.raises(NOT_AS_WRITTEN):
        read_sealed_folder(folder, "meta.json", computed_digest)
    write_sealed(folder / "meta.json", RECORD)
    with pytest.raises(NOT_AS_WRITTEN):
        read_sealed_folder(folder, "meta.json", computed_digest)
