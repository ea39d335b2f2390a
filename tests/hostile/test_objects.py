"""JSON that readers could take in two ways, or that Python cannot hold, is refused in a sentence."""

import json
from pathlib import Path

import pytest
from parsers import PARSERS, outcome

from ranker.data.collection import Collection
from ranker.data.imports.formats import FORMATS
from ranker.data.records import Passage
from ranker.errors import DataError
from ranker.experiments.folder import read_facts

OBJECTS = ["corpus", "queries", "squad", "dpr", "manifest of a run", "manifest of an index", "ranker.json"]


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_with_a_key_twice_is_refused(name: str, tmp_path: Path) -> None:
    start = PARSERS[name].valid.decode().replace("{", '{"text": 1, "te\\u0078t": 2, ', 1)
    if name == "squad":  # of what stands around the articles only these are read
        start = PARSERS[name].valid.decode().replace('{"title"', '{"text": 1, "te\\u0078t": 2, "title"', 1)
    sentence = outcome(PARSERS[name], tmp_path, start.encode())
    assert sentence.startswith(f"{tmp_path / PARSERS[name].name}: ".removesuffix(": "))
    assert "the key 'text' stands twice in one object" in sentence


def test_a_key_twice_deep_inside_a_record_is_refused(tmp_path: Path) -> None:
    sentence = outcome(PARSERS["corpus"], tmp_path, b'{"_id": "d", "text": "a", "metadata": [{"b": 1, "b": 1}]}\n')
    assert "corpus.jsonl:1: is not JSON: the key 'b' stands twice in one object; expected one" in sentence


@pytest.mark.parametrize("name", OBJECTS)
def test_json_deeper_than_python_goes_is_refused(name: str, tmp_path: Path) -> None:
    content = PARSERS[name].valid.replace(b"{", b'{"x": ' + b"[" * 100_000, 1)
    assert "recursion" in outcome(PARSERS[name], tmp_path, content)


@pytest.mark.parametrize("value", ["1" + "0" * 400, "1e999", "NaN", "-1", "[[]]", "true"])
def test_a_setting_of_an_index_that_no_number_holds_is_refused(value: str, tmp_path: Path) -> None:
    content = PARSERS["manifest of an index"].valid.replace(b'"k1": 0.9', b'"k1": ' + value.encode())
    assert "k1 is " in outcome(PARSERS["manifest of an index"], tmp_path, content)


def test_a_file_of_an_index_may_have_any_name_in_its_manifest(tmp_path: Path) -> None:
    for name in ("n" * 5_000, "\0", "../" * 900):
        for size in (0, 3):
            files = {name: {"bytes": size, "sha256": "0"}}
            record = json.loads(PARSERS["manifest of an index"].valid) | {"files": files}
            sentence = outcome(PARSERS["manifest of an index"], tmp_path, json.dumps(record).encode())
            incomplete = f" bytes, expected {size}: the index is incomplete; build it again."
            assert sentence.endswith(incomplete) if size else ": cannot be read: " in sentence


@pytest.mark.parametrize("budget", [{}, {"ranks_scored": 3}, {"ranks_scored": {"least": "1"}}, {"ranks_scored": {}}])
def test_a_budget_that_says_no_depth_is_refused(budget: object, tmp_path: Path) -> None:
    record = json.loads(PARSERS["manifest of a run"].valid) | {"budget": budget}
    sentence = outcome(PARSERS["manifest of a run"], tmp_path, json.dumps(record).encode())
    assert sentence.startswith(f"{tmp_path}/a.run: its manifest ")


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"seconds": "1"},
        {"seconds": 1, "training": 3},
        {"seconds": 1, "training": {"steps": 1, "groups": 1, "seconds": 1, "losses": [None]}},
        {"seconds": 1, "words_for_half": [3]},
        {"seconds": 1, "words_for_half": {"q": "x"}},
    ],
)
def test_a_manifest_of_a_study_that_says_no_cost_is_refused(facts: object, tmp_path: Path) -> None:
    (tmp_path / "a.run.gz.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match=r"a\.run\.gz: its manifest does not say what the arm cost; remove both, .+\.$"):
        read_facts(tmp_path / "a.run.gz")


@pytest.mark.parametrize("value", ["true", "1.0", "[1]", "null"])
def test_an_id_is_text_or_a_whole_number(value: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'[{{"question": "a", "positive_ctxs": [{{"psg_id": {value}, "text": "c"}}]}}]')
    with pytest.raises(DataError, match=r"record 1, positive_ctxs 1: (has no id|the passage id is )"):
        list(FORMATS["dpr"].read(FORMATS["dpr"].sources([str(path)])).passages)


@pytest.mark.parametrize("name", ["meta.json", "hashes", "offsets", "numbers"])
@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"12345678"])
def test_a_cached_index_that_is_damaged_is_built_again(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(PARSERS["corpus"].valid)
    Collection.open(path)
    (damaged,) = (tmp_path / "cache").rglob(name)
    damaged.write_bytes(content)
    assert Collection.open(path)["d2"].text == "two é\n"


@pytest.mark.parametrize("name", ["hashes", "offsets", "numbers", "corpus.jsonl"])
@pytest.mark.parametrize("damage", ["a bit", "zeros"])
def test_a_cached_index_of_the_right_size_and_wrong_bytes_is_built_again(
    name: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the wrong passage's tokens would be read, and scored, without a word."""
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(PARSERS["corpus.gz"].valid)
    before = Collection.open(path)
    (damaged,) = (tmp_path / "cache").rglob(name)
    content = bytearray(damaged.read_bytes())
    content[10] ^= 1
    damaged.write_bytes(content if damage == "a bit" else bytes(len(content)))
    after = Collection.open(path)
    assert after.digest == before.digest
    assert [(passage, after.number(passage.doc_id), after[passage.doc_id]) for passage in after] == [
        (Passage("d1", "T", "one"), 0, Passage("d1", "T", "one")),
        (Passage("d2", "", "two é\n"), 1, Passage("d2", "", "two é\n")),
    ]


def test_a_passage_as_long_as_a_line_may_be_is_found_quickly(tmp_path: Path, seconds) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text(json.dumps({"_id": "d", "text": "long " * 3_000_000}) + "\n")
    collection = Collection.open(path)
    seconds(1.0)
    assert len(collection["d"].text) == 15_000_000
