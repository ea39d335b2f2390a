"""A file that is not as it was written is found, and a large one that is costs its reading once."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranker.files import intact
from ranker.files.intact import checked_digest, file_digest

CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that remembers at once what it otherwise remembers seconds later, and files that count as large."""
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(intact, "_SMALL", 100)
    monkeypatch.setattr(intact, "_SETTLED", 0)
    intact._seen.clear()
    yield tmp_path / "cache"
    intact._seen.clear()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.f32"
    path.write_bytes(CONTENT)
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    return path


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been read through."""
    found: list[Path] = []

    def digest(path: Path) -> str:
        found.append(path)
        return file_digest(path)

    monkeypatch.setattr(intact, "file_digest", digest)
    return found


def as_another_process() -> None:
    intact._seen.clear()


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


def test_a_large_file_is_read_through_once_by_all_processes(file: Path, needs: list[Path]) -> None:
    for _ in range(3):
        assert checked_digest(file, DIGEST) == DIGEST
        as_another_process()
    assert needs == [file]


def test_a_small_file_is_read_through_once_by_each_process(
    file: Path, needs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intact, "_SMALL", len(CONTENT))
    for _ in range(2):
        for _ in range(3):
            assert checked_digest(file, DIGEST) == DIGEST
        as_another_process()
    assert needs == [file, file]


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
    file: Path, needs: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intact, "_SETTLED", 10**12)
    checked_digest(file, DIGEST)
    checked_digest(file, DIGEST)
    assert needs == [file, file]


def test_another_expected_digest_is_another_question(file: Path) -> None:
    checked_digest(file, DIGEST)
    assert checked_digest(file, "0" * 64) == DIGEST


def test_a_cache_that_cannot_be_written_costs_time_alone(file: Path, cache: Path, needs: list[Path]) -> None:
    cache.write_text("no folder")
    checked_digest(file, DIGEST)
    as_another_process()
    assert checked_digest(file, DIGEST) == DIGEST
    assert needs == [file, file]


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        checked_digest(tmp_path / "none", DIGEST)
