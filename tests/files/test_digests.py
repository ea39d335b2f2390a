"""What was damaged on disk, or changed meanwhile, is found and not used."""

import gzip
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.data.beir import write_dataset
from ranker.data.dataset import Dataset
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError
from ranker.files import digests
from ranker.files.digests import (
    FILES,
    SEAL,
    ChangeGuard,
    checked_digest,
    content_digest,
    file_digest,
    file_state,
    is_intact,
    read_sealed,
    read_sealed_folder,
    seal_folder,
    sealed,
    write_sealed,
)

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that remembers at once what it otherwise remembers seconds later, and files that count as large."""
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_SMALL", 100)
    monkeypatch.setattr(digests, "_SETTLED", 0)
    digests._verified.clear()
    yield tmp_path / "cache"
    digests._verified.clear()


@pytest.fixture
def file(cache: Path, tmp_path: Path) -> Path:
    path = tmp_path / "vectors.f32"
    path.write_bytes(CONTENT)
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been hashed."""
    paths: list[Path] = []

    def digest(path: Path) -> str:
        paths.append(path)
        return file_digest(path)

    monkeypatch.setattr(digests, "file_digest", digest)
    return paths


def as_another_process() -> None:
    digests._verified.clear()


def flip(path: Path, place: int) -> None:
    """One bit, and the time of the last change set back, as a copying tool would."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_digest_is_of_the_bytes_as_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "ids.gz"
    path.write_bytes(CONTENT)
    assert file_digest(path) == DIGEST


def test_a_large_file_is_read_through_once_by_all_processes(file: Path, hashed: list[Path]) -> None:
    for _ in range(3):
        assert checked_digest(file, DIGEST) == DIGEST
        as_another_process()
    assert hashed == [file]


def test_a_small_file_is_read_through_once_by_each_process(
    file: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SMALL", len(CONTENT))
    for _ in range(2):
        for _ in range(3):
            assert checked_digest(file, DIGEST) == DIGEST
        as_another_process()
    assert hashed == [file, file]


@pytest.mark.parametrize("place", [0, 5_000, len(CONTENT) - 1])
def test_a_bit_that_flips_is_found_though_size_and_time_are_the_same(file: Path, place: int) -> None:
    checked_digest(file, DIGEST)
    flip(file, place)
    assert checked_digest(file, DIGEST) == file_digest(file) != DIGEST
    as_another_process()
    assert checked_digest(file, DIGEST) != DIGEST


def test_what_was_found_damaged_is_not_taken_for_whole_later(file: Path) -> None:
    flip(file, 7)
    assert [checked_digest(file, DIGEST) == DIGEST for _ in range(3)] == [False] * 3


def test_what_is_whole_again_is_whole(file: Path) -> None:
    flip(file, 7)
    assert checked_digest(file, DIGEST) != DIGEST
    flip(file, 7)
    assert checked_digest(file, DIGEST) == DIGEST


def test_a_file_just_written_is_not_remembered_since_its_time_would_not_tell_a_change(
    file: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED", 10**12)
    checked_digest(file, DIGEST)
    checked_digest(file, DIGEST)
    assert hashed == [file, file]


def test_another_expected_digest_is_another_question(file: Path) -> None:
    checked_digest(file, DIGEST)
    assert checked_digest(file, "0" * 64) == DIGEST


def test_a_cache_that_cannot_be_written_costs_time_alone(file: Path, cache: Path, hashed: list[Path]) -> None:
    cache.write_text("no folder")
    checked_digest(file, DIGEST)
    as_another_process()
    assert checked_digest(file, DIGEST) == DIGEST
    assert hashed == [file, file]


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        checked_digest(tmp_path / "none", DIGEST)


def test_a_digest_is_sha256_of_what_is_inside(tmp_path: Path) -> None:
    content = b"line\n" * 300_000
    (tmp_path / "plain").write_bytes(content)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(content))
    assert content_digest(tmp_path / "plain") == hashlib.sha256(content).hexdigest()
    assert content_digest(tmp_path / "packed.gz") == hashlib.sha256(content).hexdigest()


# records and folders


RECORD = {"asked": "a1", "parts": 3, "rate": 0.1, "names": ["é", None, True], "inner": {"b": 1, "a": [1e-300]}}
NOT_AS_WRITTEN = (OSError, ValueError, RecursionError)


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


@pytest.mark.parametrize("rehash", [False, True])
def test_a_folder_that_is_whole_gives_its_record(folder, rehash):
    record = read_sealed_folder(folder, "meta.json", rehash)
    assert record[FILES].keys() == {"ids", "below/empty"}
    assert {key: record[key] for key in RECORD} == RECORD


@pytest.mark.parametrize("rehash", [False, True])
@pytest.mark.parametrize("damage", ["a bit", "cut", "longer", "gone", "a folder"])
def test_a_file_of_a_folder_that_is_damaged_is_found(folder, rehash, damage):
    path = folder / "ids"
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        other = {"a bit": bytes([content[0] ^ 8]) + content[1:], "cut": content[:-1], "longer": content + b"\0"}
        path.write_bytes(other[damage])
    with pytest.raises(NOT_AS_WRITTEN):
        read_sealed_folder(folder, "meta.json", rehash)


@pytest.mark.parametrize("digests", [None, [], 3, "ids", {"ids": 1}, {"none": "0"}])
def test_digests_that_are_none_are_not_believed(folder, digests):
    write_sealed(folder / "meta.json", {**RECORD, FILES: digests})
    with pytest.raises(NOT_AS_WRITTEN):
        read_sealed_folder(folder, "meta.json", rehash=True)
    write_sealed(folder / "meta.json", RECORD)
    with pytest.raises(NOT_AS_WRITTEN):
        read_sealed_folder(folder, "meta.json", rehash=True)


# changes


WRITTEN = "has changed while it was used, so nothing was written; give the command again."


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    passages = [Passage("d1", "", "one"), Passage("d2", "T", "two")]
    judgments = [Judgment("test", "q1", "d1", 1), Judgment("dev", "q1", "d1", 1)]
    write_dataset(DatasetStreams(passages, [Query("q1", "first")], judgments), tmp_path / "set")
    return Dataset("set", tmp_path / "set")


def refused(path: Path) -> pytest.RaisesExc[DataError]:
    return pytest.raises(DataError, match=f"^{re.escape(f'{path}: {WRITTEN}')}$")


def later(path: Path) -> None:
    """The same bytes, written a second after."""
    state = path.stat()
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000_000))


def grown(path: Path) -> None:
    """Longer, with the time of change set back to what it was."""
    state = path.stat()
    with path.open("a") as file:
        file.write("\n")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def replaced(path: Path) -> None:
    """Another file of the same size and time in its place."""
    state = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(path)


def copied_onto(path: Path) -> None:
    """Another version of the same size and time written into the same file, as ``cp -p`` does."""
    state = path.stat()
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    path.write_bytes(path.read_bytes().swapcase())
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (
        state.st_size,
        state.st_mtime_ns,
        state.st_ino,
    )


@pytest.mark.parametrize("change", [later, grown, replaced, copied_onto])
def test_every_way_of_changing_a_file_is_seen(tmp_path, change):
    path = tmp_path / "a"
    path.write_text("text")
    guard = ChangeGuard()
    assert guard.watch(path) == path
    guard.check()
    change(path)
    with refused(path):
        guard.check()


def test_what_counts_is_how_a_file_was_when_it_was_read_first(tmp_path):
    path = tmp_path / "a"
    path.write_text("text")
    guard = ChangeGuard()
    guard.watch(path)
    later(path)
    guard.watch(path)
    with refused(path):
        guard.check()


def test_a_file_that_was_removed_is_named(tmp_path):
    path = tmp_path / "a"
    path.write_text("text")
    guard = ChangeGuard()
    guard.watch(path)
    path.unlink()
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: cannot be read: No such file or directory"):
        guard.check()
    with pytest.raises(DataError, match="cannot be read"):
        file_state(path)


@pytest.mark.parametrize("change", [later, grown, replaced, copied_onto])
@pytest.mark.parametrize("part", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_dataset_whose_part_changed_after_it_was_read_has_no_digests(dataset, part, change):
    dataset.queries("test")
    assert len(dataset.collection) == 2
    dataset.digests("test")
    path = dataset.folder / part
    change(path)
    with refused(path):
        dataset.digests("test")
    with refused(path):
        dataset.record("test")


def test_what_was_not_read_may_change(dataset):
    dataset.qrels("test")
    for part in ("corpus.jsonl", "queries.jsonl", "qrels/dev.tsv"):
        later(dataset.folder / part)
    dataset.check_unchanged()


def test_a_collection_is_held_by_itself(dataset):
    collection = dataset.collection
    collection.check_unchanged()
    path = dataset.folder / "corpus.jsonl"
    path.write_text(json.dumps({"_id": "d1", "title": "", "text": "other"}) + "\n")
    with refused(path):
        collection.check_unchanged()
