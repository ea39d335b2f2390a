import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from ranker.data.collection import Collection
from ranker.errors import OutputError, SearchIndexError
from ranker.files.digests import SEAL
from ranker.index.store import (
    MANIFEST,
    File,
    Manifest,
    building,
    check_collection,
    damages,
    read_manifest,
    read_settings,
    write_manifest,
)
from ranker.settings.index import LexicalConfig
from ranker.wording import shortened

BUILD_AND_WAIT = """
import sys, time
from pathlib import Path
from ranker.index.store import building
with building(Path(sys.argv[1])) as beside:
    (beside / "half").write_text("half")
    print("building", flush=True)
    time.sleep(60)
"""


@dataclass(frozen=True)
class Settings:
    language: str = "en"
    k1: float = 0.9
    rm3: bool = False
    terms: int = 10


MADE = Manifest(
    kind="bm25",
    collection="corpus.jsonl",
    digest="a1b2",
    passages=3,
    settings={"language": "de", "k1": 1, "rm3": True, "terms": 5},
    versions={"ranker": "0.1.0"},
)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "made.index"
    with building(folder) as beside:
        (beside / "lucene").mkdir()
        (beside / "lucene" / "segments_1").write_bytes(b"12345")
        write_manifest(beside, MADE)
    return folder


def change(folder: Path, **values: object) -> None:
    """Other values, in a manifest of before they were sealed."""
    path = folder / MANIFEST
    record = json.loads(path.read_text()) | values
    record.pop(SEAL)
    path.write_text(json.dumps(record))


def corpus(folder: Path, text: str) -> Collection:
    folder.mkdir()
    path = folder / "corpus.jsonl"
    path.write_text(json.dumps({"_id": "p1", "title": "", "text": text}) + "\n")
    return Collection.open(path)


def test_a_manifest_is_read_as_it_was_written(index: Path) -> None:
    digest = hashlib.sha256(b"12345").hexdigest()
    assert read_manifest(index, "bm25") == replace(MADE, files={"lucene/segments_1": File(5, digest)})


def test_a_finished_index_leaves_nothing_beside_it(index: Path) -> None:
    assert [path.name for path in index.parent.iterdir()] == ["made.index"]


def test_settings_come_back_as_the_dataclass_they_were(index: Path) -> None:
    settings = read_settings(index, read_manifest(index, "bm25"), Settings)
    assert settings == Settings("de", 1.0, True, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"language": "de", "k1": 1.0, "rm3": True}, "lacks the key 'terms'"),
        ({"language": "de", "k1": 1.0, "rm3": True, "terms": 5, "b": 0.4}, "unknown key 'b', expected language, k1"),
        ({"language": "de", "k1": True, "rm3": True, "terms": 5}, "k1 is True, expected float"),
        ({"language": 7, "k1": 1.0, "rm3": True, "terms": 5}, "language is 7, expected str"),
        ({"language": "de", "k1": 1.0, "rm3": 0, "terms": 5}, "rm3 is 0, expected bool"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(index: Path, settings: dict[str, object], message: str) -> None:
    change(index, settings=settings)
    with pytest.raises(SearchIndexError, match=message):
        read_settings(index, read_manifest(index, "bm25"), Settings)


def test_a_setting_out_of_its_bounds_is_told_with_its_place(index: Path) -> None:
    change(index, settings=asdict(LexicalConfig()) | {"k1": 1e9})
    with pytest.raises(SearchIndexError, match=f"^{index / MANIFEST}: k1 is 1000000000.0, expected 0.0 to 100.0.$"):
        read_settings(index, read_manifest(index, "bm25"), LexicalConfig)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 1}, "has format 1, expected 2; build it again"),
        ({"colour": "red"}, "has the unknown key 'colour'"),
        ({"passages": "many"}, "passages is 'many', expected int"),
        ({"settings": []}, r"settings is \[\], expected dict"),
        ({"kind": "dense"}, "is an index of kind dense, expected bm25"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(index: Path, values: dict[str, object], message: str) -> None:
    change(index, **values)
    with pytest.raises(SearchIndexError, match=message):
        read_manifest(index, "bm25")


@pytest.mark.parametrize("place", ["0.9", '"passages": 3', '"language": "de"', "a1b2", '"ranker": "0.1.0"'])
def test_a_bit_that_flips_in_a_manifest_is_found(tmp_path: Path, place: str) -> None:
    with building(tmp_path / "made") as beside:
        write_manifest(beside, replace(MADE, settings={**MADE.settings, "k1": 0.9}))
    path = tmp_path / "made" / MANIFEST
    content = bytearray(path.read_bytes())
    content[content.index(place.encode()) + len(place) - (2 if place.endswith('"') else 1)] ^= 1
    path.write_bytes(content)
    for read in (lambda: read_manifest(path.parent, "bm25"), lambda: list(damages(path.parent))):
        with pytest.raises(SearchIndexError) as caught:
            read()
        assert str(caught.value) == (f"{path}: is not as it was written: the file is damaged; build the index again.")


def test_a_manifest_of_before_they_were_sealed_is_read(index: Path) -> None:
    change(index)
    assert read_manifest(index, "bm25").settings == MADE.settings


def test_a_manifest_that_lacks_a_key_is_refused(index: Path) -> None:
    record = json.loads((index / MANIFEST).read_text())
    del record["digest"]
    (index / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(SearchIndexError, match="lacks the key 'digest'"):
        read_manifest(index, "bm25")


@pytest.mark.parametrize(
    ("content", "message"), [(b"{", "cannot be read"), (b"\xff", "cannot be read"), (b"[]", "list")]
)
def test_a_manifest_that_is_no_json_object_is_refused_in_a_sentence(index: Path, content: bytes, message: str) -> None:
    (index / MANIFEST).write_bytes(content)
    with pytest.raises(SearchIndexError, match=message):
        read_manifest(index, "bm25")


def test_a_file_cut_short_is_found_by_its_size(index: Path) -> None:
    (index / "lucene" / "segments_1").write_bytes(b"123")
    with pytest.raises(SearchIndexError, match="segments_1: has 3 bytes, expected 5: the index is incomplete"):
        read_manifest(index, "bm25")


@pytest.mark.parametrize("content", [b"12344", b"\0" * 5])
def test_a_damaged_file_is_found_by_its_digest(index: Path, content: bytes) -> None:
    path = index / "lucene" / "segments_1"
    path.write_bytes(content)
    expected, found = (shortened(hashlib.sha256(part).hexdigest()) for part in (b"12345", content))
    with pytest.raises(SearchIndexError) as caught:
        read_manifest(index, "bm25")
    assert str(caught.value) == (
        f"{path}: has digest {found}, expected {expected}: the file is damaged; build the index again."
    )


def test_every_damage_is_told_where_all_are_asked_for(index: Path) -> None:
    assert list(damages(index)) == []
    with building(index, force=True) as beside:
        for name in ("one", "two", "three", "four"):
            (beside / name).write_text(name)
        write_manifest(beside, MADE)
    (index / "two").write_text("tow")
    (index / "three").unlink()
    (index / "four").write_text("4444")
    assert [sentence.partition(": has ")[0] for sentence in damages(index)] == [
        str(index / name) for name in ("three", "four", "two")
    ]


def test_files_of_which_the_manifest_says_nothing_are_not_looked_at(index: Path) -> None:
    (index / "notes.txt").write_text("mine")
    assert read_manifest(index, "bm25").files.keys() == {"lucene/segments_1"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": 5}, "the file 'a' is 5, expected dict"),
        ({"a": {"bytes": 5}}, "lacks the key 'sha256'"),
        ({"a": {"bytes": 5, "sha256": "0", "mode": 1}}, "has the unknown key 'mode', expected bytes, sha256"),
        ({"a": {"bytes": True, "sha256": "0"}}, "bytes of 'a' is True, expected int"),
        ({"a": {"bytes": 0, "sha256": 7}}, "sha256 of 'a' is 7, expected str"),
    ],
)
def test_a_manifest_that_does_not_say_what_its_files_are_is_refused(
    index: Path, files: dict[str, object], message: str
) -> None:
    change(index, files=files)
    with pytest.raises(SearchIndexError, match=message):
        read_manifest(index, "bm25")


def test_a_missing_file_is_found(index: Path) -> None:
    (index / "lucene" / "segments_1").unlink()
    with pytest.raises(SearchIndexError, match="has 0 bytes, expected 5"):
        read_manifest(index, "bm25")


def test_where_there_is_no_index_the_message_says_how_to_build_one(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="there is no index; build one with ranker index"):
        read_manifest(tmp_path / "none", "bm25")


def test_a_folder_without_a_manifest_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(
        SearchIndexError, match=r"has no manifest\.json, so it is no index, or its building was stopped"
    ):
        read_manifest(tmp_path, "bm25")


def test_another_collection_is_refused_with_both_digests(index: Path, tmp_path: Path) -> None:
    collection = corpus(tmp_path / "other", "Other words.")
    with pytest.raises(SearchIndexError) as caught:
        check_collection(index, read_manifest(index, "bm25"), collection)
    assert "a1b2" in str(caught.value)
    assert collection.digest in str(caught.value)


def test_the_collection_it_was_built_from_passes_wherever_it_lies_now(index: Path, tmp_path: Path) -> None:
    built_from = corpus(tmp_path / "one", "The same words.")
    moved = corpus(tmp_path / "two", "The same words.")
    check_collection(index, replace(MADE, digest=built_from.digest), moved)


def test_a_folder_that_exists_is_not_replaced_without_force(index: Path) -> None:
    with pytest.raises(OutputError, match="exists already"), building(index):
        pass
    with building(index, force=True) as beside:
        write_manifest(beside, MADE)
    assert not (index / "lucene").exists()


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), building(tmp_path / "failed") as beside:
        (beside / "half").write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def builder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another process in the middle of building ``tmp_path / "shared.index"``."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD_AND_WAIT, str(tmp_path / "shared.index")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "building\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_two_processes_do_not_build_one_index(builder: subprocess.Popen[str], tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="another process is building this index"),
        building(tmp_path / "shared.index"),
    ):
        pass


def test_an_index_being_built_says_so_when_it_is_opened(builder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="its building goes on or was stopped"):
        read_manifest(tmp_path / "shared.index", "bm25")


def test_a_killed_build_is_said_and_the_next_one_sweeps_it_away(builder: subprocess.Popen[str], tmp_path: Path) -> None:
    os.kill(builder.pid, signal.SIGKILL)
    builder.wait()
    with pytest.raises(SearchIndexError, match="there is no whole index"):
        read_manifest(tmp_path / "shared.index", "bm25")
    with building(tmp_path / "shared.index") as beside:
        write_manifest(beside, MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["shared.index"]


def test_a_place_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match="nothing was written"), building(tmp_path / "file" / "index"):
        pass


def test_the_lock_of_one_index_does_not_hold_up_another(builder: subprocess.Popen[str], tmp_path: Path) -> None:
    started = time.monotonic()
    with building(tmp_path / "mine.index") as beside:
        write_manifest(beside, MADE)
    assert time.monotonic() - started < 10


def test_a_builder_leaves_alone_what_others_fill_under_longer_names(tmp_path: Path) -> None:
    with building(tmp_path / "pydoc.bm25") as theirs:
        (theirs / "segment").write_text("half")
        with building(tmp_path / "pydoc") as ours:
            (ours / "segment").write_text("whole")
    assert (tmp_path / "pydoc.bm25" / "segment").read_text() == "half"
