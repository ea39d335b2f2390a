"""The BM25 index that a command makes for itself is made again where it is not what it was."""

import json

import pytest

from ranker.data.records import Query
from ranker.index import firststage
from ranker.index.bm25 import LexicalIndex, bm25_index


@pytest.fixture
def collection(collection_of, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    return collection_of({"d1": "rome lies by the tiber", "d2": "the nile lies in egypt"})


def found(folder):
    return LexicalIndex.open(folder).search({"q": Query("q", "nile")}, 5)["q"].doc_ids


def test_it_is_built_once(collection, monkeypatch):
    folder = bm25_index(collection)
    monkeypatch.setattr(firststage, "build_lexical_index", lambda *_, **__: pytest.fail("built again"))  # ours to count
    assert bm25_index(collection) == folder


@pytest.mark.parametrize("damage", ["a bit", "an older format", "a file gone"])
def test_one_that_is_damaged_or_of_an_older_format_is_built_again(collection, damage):
    folder = bm25_index(collection)
    manifest, doc_ids = folder / "manifest.json", folder / "doc_ids.txt"
    if damage == "a bit":
        doc_ids.write_bytes(b"x" * doc_ids.stat().st_size)
    elif damage == "an older format":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 1}))
    else:
        doc_ids.unlink()
    assert found(bm25_index(collection)) == ("d2",)
