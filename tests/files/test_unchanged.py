"""No result names a file that is no longer what was read."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from ranker.data.beir import write_dataset
from ranker.data.dataset import Dataset
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError
from ranker.files.unchanged import Unchanged, stamp

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
    files = Unchanged()
    assert files.note(path) == path
    files.check()
    change(path)
    with refused(path):
        files.check()


def test_what_counts_is_how_a_file_was_when_it_was_read_first(tmp_path):
    path = tmp_path / "a"
    path.write_text("text")
    files = Unchanged()
    files.note(path)
    later(path)
    files.note(path)
    with refused(path):
        files.check()


def test_a_file_that_was_removed_is_named(tmp_path):
    path = tmp_path / "a"
    path.write_text("text")
    files = Unchanged()
    files.note(path)
    path.unlink()
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}: cannot be read: No such file or directory"):
        files.check()
    with pytest.raises(DataError, match="cannot be read"):
        stamp(path)


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
