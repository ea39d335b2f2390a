"""Token files say what the tokenizer would say now."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.data.collection import Collection
from ranker.errors import DataError, OutputError
from ranker.model.loading import create_model
from ranker.scoring import token_file
from ranker.scoring.scorer import Scorer
from ranker.scoring.text import TextEncoding
from ranker.scoring.token_file import build_token_file, encode_passages, find_token_file, token_folder
from ranker.scoring.tokens import tokenize
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig

TEXTS = ["paris is the capital of france", "the nile lies in egypt", "x " * 90, "rome", "water and stone"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def scorer(tiny) -> Scorer:
    return scorer_of(tiny)


def scorer_of(tiny, **config):
    config = RankerConfig("cross", **{"query_length": 12, "length": 40, **config})
    return Scorer(create_model(config, str(tiny()), seed=3), Compute("float32", "cpu", 0))


def collection_of(folder: Path, texts=TEXTS) -> Collection:
    folder.mkdir(exist_ok=True)
    path = folder / "corpus.jsonl"
    lines = (json.dumps({"_id": f"d{number}", "title": "", "text": text}) for number, text in enumerate(texts))
    path.write_text("".join(f"{line}\n" for line in lines))
    return Collection.open(path)


def build(scorer, collection):
    return build_token_file(scorer.encoding, collection, lambda _: None)


def lists(texts):
    return [texts[row].tolist() for row in range(len(texts))], texts.lost.tolist()


@pytest.mark.parametrize("most", [1, 5, 1000])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [2, 2, 0], [4], []])
def test_its_texts_are_those_of_the_tokenizer(tmp_path, scorer, most, order):
    collection = collection_of(tmp_path / "d")
    tokens = build(scorer, collection)
    wanted = tokenize(scorer.model.tokenizer, [TEXTS[row] for row in order], most)
    assert lists(tokens.texts(np.array(order, dtype=np.int64), most)) == lists(wanted)
    assert len(tokens) == len(collection)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.data())
def test_however_little_is_gathered_at_once_the_texts_are_the_same(tmp_path, scorer, monkeypatch, data):
    tokens = build(scorer, collection_of(tmp_path / "d"))
    rows = np.array(data.draw(st.lists(st.integers(0, 4), max_size=9)), dtype=np.int64)
    most = data.draw(st.integers(1, 100))
    whole = lists(tokens.texts(rows, most))
    with monkeypatch.context() as patch:
        patch.setattr(token_file, "_GATHERED_AT_ONCE", data.draw(st.integers(1, 20)))
        assert lists(tokens.texts(rows, most)) == whole


def test_a_scorer_reads_the_same_with_it_and_without(tmp_path, scorer):
    collection = collection_of(tmp_path / "d")
    doc_ids = ["d3", "d2", "d0"]
    without = lists(encode_passages(scorer.encoding, collection, doc_ids))
    assert find_token_file(scorer.encoding, collection) is None
    build(scorer, collection)
    assert lists(encode_passages(scorer.encoding, collection, doc_ids)) == without
    assert without[1] == [0, 53, 0]  # of 90 tokens, 37 have room beside three markers


def test_a_passage_that_is_not_there_is_a_key_error_either_way(tmp_path, scorer):
    collection = collection_of(tmp_path / "d")
    with pytest.raises(KeyError):
        encode_passages(scorer.encoding, collection, ["d9"])
    build(scorer, collection)
    with pytest.raises(KeyError):
        encode_passages(scorer.encoding, collection, ["d9"])


def test_it_is_made_once_and_every_passage_is_counted(tmp_path, scorer):
    collection, counts = collection_of(tmp_path / "d"), []
    build_token_file(scorer.encoding, collection, counts.append)
    assert sum(counts) == len(TEXTS)
    build_token_file(scorer.encoding, collection, lambda _: pytest.fail("made again"))


def test_another_collection_tokenizer_or_way_of_reading_has_another_file(tmp_path, tiny, scorer):
    first, second = collection_of(tmp_path / "a"), collection_of(tmp_path / "b", [*TEXTS, "more"])
    dropping = scorer_of(tiny, stopwords="drop")
    other = scorer_of(tiny)
    other.model.tokenizer.backend_tokenizer.add_tokens(["lies in"])
    folders = {
        token_folder(reading, collection)
        for reading in (scorer.encoding, dropping.encoding, other.encoding)
        for collection in (first, second)
    }
    assert len(folders) == 6


def test_the_same_texts_elsewhere_share_a_file(tmp_path, scorer):
    first, second = collection_of(tmp_path / "a"), collection_of(tmp_path / "b")
    assert token_folder(scorer.encoding, first) == token_folder(scorer.encoding, second)


def test_texts_without_stopwords_are_kept_without_them(tmp_path, tiny):
    scorer = scorer_of(tiny, stopwords="drop")
    collection = collection_of(tmp_path / "d")
    without = lists(encode_passages(scorer.encoding, collection, ["d0"]))
    build(scorer, collection)
    assert lists(encode_passages(scorer.encoding, collection, ["d0"])) == without
    assert len(without[0][0]) < len(TEXTS[0].split())


def test_ids_of_small_vocabularies_take_two_bytes_and_of_large_ones_four(tmp_path, scorer):
    collection = collection_of(tmp_path / "d")
    build(scorer, collection)
    folder = token_folder(scorer.encoding, collection)
    tokens = json.loads((folder / "meta.json").read_text())["tokens"]
    assert (folder / "ids").stat().st_size == 2 * tokens
    scorer.model.tokenizer.backend_tokenizer.add_tokens([f"word{number}" for number in range(2**16)])
    build(scorer, collection)
    assert (token_folder(scorer.encoding, collection) / "ids").stat().st_size == 4 * tokens


def test_ctrl_c_while_it_is_made_leaves_nothing(tmp_path, scorer, cache):
    collection = collection_of(tmp_path / "d")

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_token_file(scorer.encoding, collection, interrupt)
    assert find_token_file(scorer.encoding, collection) is None
    assert list((cache / "tokens").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, scorer, cache):
    collection = collection_of(tmp_path / "d")
    (cache / "tokens").write_text("a file where a folder should be")
    with pytest.raises(OutputError):
        build(scorer, collection)


def test_an_encoding_is_known_by_its_tokenizer_and_how_it_prepares_passages(tiny):
    def digest(**settings):
        config = RankerConfig("cross", query_length=8, length=24, **settings)
        return TextEncoding(create_model(config, str(tiny()), seed=3)).digest

    assert digest() == digest() != digest(stopwords="drop")
    assert digest() != digest(passage_prompt="passage: ")


@pytest.mark.parametrize("name", ["ids", "offsets", "meta.json"])
@pytest.mark.parametrize("change", ["cut", "longer", "gone", "empty", "a folder"])
def test_a_file_that_is_not_as_it_was_written_is_made_again(tmp_path, scorer, name, change):
    collection = collection_of(tmp_path / "d")
    expected = lists(build(scorer, collection).texts(np.arange(5), 50))
    path = token_folder(scorer.encoding, collection) / name
    content = path.read_bytes()
    path.unlink()
    if change == "a folder":
        path.mkdir()
    elif change != "gone":
        path.write_bytes({"cut": content[:-3], "longer": content + b"1", "empty": b""}[change])
    assert find_token_file(scorer.encoding, collection) is None
    assert lists(build(scorer, collection).texts(np.arange(5), 50)) == expected
    assert find_token_file(scorer.encoding, collection) is not None


@pytest.mark.parametrize("name", ["ids", "offsets"])
@pytest.mark.parametrize("damage", ["a bit", "zeros"])
def test_wrong_ids_of_the_right_size_are_never_read(tmp_path, scorer, name, damage):
    collection = collection_of(tmp_path / "d")
    expected = lists(build(scorer, collection).texts(np.arange(5), 50))
    path = token_folder(scorer.encoding, collection) / name
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.write_bytes(content if damage == "a bit" else bytes(len(content)))
    assert find_token_file(scorer.encoding, collection) is None
    assert (
        lists(encode_passages(scorer.encoding, collection, [f"d{number}" for number in range(5)]))[0][0]
        == expected[0][0]
    )
    assert lists(build(scorer, collection).texts(np.arange(5), 50)) == expected
    assert find_token_file(scorer.encoding, collection) is not None


def test_digests_that_are_none_are_not_believed(tmp_path, scorer):
    collection = collection_of(tmp_path / "d")
    build(scorer, collection)
    path = token_folder(scorer.encoding, collection) / "meta.json"
    meta = json.loads(path.read_text())
    for digests in ({}, [], None, "0" * 64, {"ids": 1, "offsets": None}):
        path.write_text(json.dumps(meta | {"sha256": digests}))
        assert find_token_file(scorer.encoding, collection) is None


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"dtype": "uint8", "passages": 5, "tokens": 10}', "[" * 100_000])
def test_a_description_that_does_not_fit_is_not_believed(tmp_path, scorer, text):
    collection = collection_of(tmp_path / "d")
    build(scorer, collection)
    (token_folder(scorer.encoding, collection) / "meta.json").write_text(text)
    assert find_token_file(scorer.encoding, collection) is None


def test_builders_at_once_wait_for_the_first(tmp_path, scorer):
    collection = collection_of(tmp_path / "d")
    told = []
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(build_token_file, scorer.encoding, collection, told.append) for _ in range(8)]
        assert {len(job.result()) for job in jobs} == {5}
    assert sum(told) == 5


def test_what_a_killed_builder_left_is_removed(tmp_path, scorer):
    collection = collection_of(tmp_path / "d")
    folder = token_folder(scorer.encoding, collection)
    leftover = folder.with_name(f".{folder.name}.99.tmp")
    leftover.mkdir(parents=True)
    build(scorer, collection)
    assert not leftover.exists()


def test_a_collection_that_changes_before_it_is_read_is_refused(tmp_path, scorer):
    collection = collection_of(tmp_path / "d")
    text = collection.path.read_text()
    collection.path.write_text(text.partition("\n")[0] + "\n")
    with pytest.raises(DataError, match="has changed since it was opened"):
        build(scorer, collection)
    assert find_token_file(scorer.encoding, collection) is None
