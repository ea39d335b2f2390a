import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ranker.data import catalogue
from ranker.data.beir import write_dataset
from ranker.data.catalogue import EMBEDDED, open_dataset
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError, OutputError

SMALL = "almanac:size=400"


def refused(message: str) -> pytest.RaisesExc[DataError]:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def made(folder: Path) -> Path:
    judgments = [Judgment("test", "q", "d", 1)]
    write_dataset(DatasetStreams([Passage("d", "", "x")], [Query("q", "why")], judgments), folder)
    return folder


def cached(cache: Path) -> list[Path]:
    return sorted((cache / "datasets").glob("*"))


def test_a_folder_is_a_dataset_called_by_its_name(tmp_path: Path) -> None:
    made(tmp_path / "mine")
    for name in (str(tmp_path / "mine"), "mine", "mine/", "./mine"):
        dataset = open_dataset(name)
        assert (dataset.name, dataset.qrels("test")) == ("mine", {"q": {"d": 1}})


def test_the_folder_that_one_stands_in_is_called_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made(tmp_path / "mine"))
    assert open_dataset(".").name == "mine"


@pytest.mark.parametrize("name", ["almanac", "irds", "irds:vaswani"])
def test_a_folder_goes_before_a_name(tmp_path: Path, name: str) -> None:
    made(tmp_path / name)
    assert len(open_dataset(name).collection) == 1


@pytest.mark.parametrize("name", ["nothing", "none/such", "Almanac", "", "\x00", "x" * 300, "almanac2:size=3", "a:b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    expected = "expected a folder in BEIR layout, irds:<id>, or one of almanac, pydoc."
    with refused(f"{name}: is no dataset; {expected}"):
        open_dataset(name)


def test_a_file_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"^corpus\.jsonl: is no dataset; expected a folder in BEIR layout"):
        open_dataset("corpus.jsonl")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with refused("empty: has no corpus.jsonl or corpus.jsonl.gz, which a folder in BEIR layout must have."):
        open_dataset("empty")


def test_an_embedded_dataset_is_made_once_and_the_same_again(cache: Path) -> None:
    dataset = open_dataset(SMALL)
    (folder,) = cached(cache)
    assert dataset.name == SMALL
    assert dataset.splits == ("dev", "test", "train")
    assert len(dataset.collection) == 400
    digests, made_at = dataset.digests("test"), folder.stat().st_mtime_ns
    again = open_dataset(SMALL)
    assert (again.digests("test"), folder.stat().st_mtime_ns) == (digests, made_at)
    assert cached(cache) == [folder]


def test_settings_spelt_out_are_those_left_out(cache: Path) -> None:
    one = open_dataset(SMALL)
    other = open_dataset("almanac:seed=1,size=400,locale=en,")
    assert one.folder == other.folder


def test_other_settings_make_another_dataset(cache: Path) -> None:
    names = [SMALL, SMALL + ",seed=2", SMALL + ",locale=zh"]
    digests = {open_dataset(name).collection.digest for name in names}
    assert len(digests) == len(cached(cache)) == 3


def test_what_is_embedded_has_settings_with_defaults() -> None:
    assert list(EMBEDDED) == ["almanac", "pydoc"]
    for config_class, _ in EMBEDDED.values():
        assert config_class() == config_class()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "almanac:colour=red",
            "almanac:colour=red: has no setting 'colour', only size, seed, locale, facts_per_passage.",
        ),
        ("almanac:size", "almanac:size: size is '', expected int."),
        ("almanac:size=many", "almanac:size=many: size is 'many', expected int."),
        ("almanac:size=4.5", "almanac:size=4.5: size is '4.5', expected int."),
        ("pydoc:words=x", "pydoc:words=x: words is 'x', expected int."),
        ("almanac:locale=xx", "almanac: locale is 'xx', expected en or zh."),
        ("pydoc:words=2", "pydoc: words is 2, expected 16 to 512."),
    ],
)
def test_a_setting_that_is_none_is_refused(cache: Path, name: str, message: str) -> None:
    with refused(message):
        open_dataset(name)
    assert cached(cache) == []


def test_making_that_is_stopped_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def passages() -> Iterator[Passage]:
        yield Passage("d", "", "x")
        raise KeyboardInterrupt

    config_class, _ = EMBEDDED["almanac"]
    monkeypatch.setitem(EMBEDDED, "almanac", (config_class, lambda _: DatasetStreams(passages(), [], [])))
    with pytest.raises(KeyboardInterrupt):
        open_dataset(SMALL)
    assert cached(cache) == []


def test_a_cache_that_cannot_be_written_is_one_sentence(cache: Path) -> None:
    cache.write_text("a file is in the way")
    with pytest.raises(
        OutputError, match=r"/almanac-[0-9a-f]+: cannot be written: Not a directory; nothing was written\.$"
    ):
        open_dataset(SMALL)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    where = catalogue.cache_folder
    assert where() == tmp_path / "cache"
    monkeypatch.delenv("RANKER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert where() == Path("/somewhere/ranker")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert where() == Path("~/.cache/ranker").expanduser()


def test_a_dataset_that_is_asked_for_by_many_at_once_is_made_by_the_first(cache: Path, monkeypatch) -> None:
    made: list[object] = []
    config_class, make = EMBEDDED["almanac"]
    monkeypatch.setitem(EMBEDDED, "almanac", (config_class, lambda config: made.append(config) or make(config)))
    with ThreadPoolExecutor(4) as pool:
        datasets = list(pool.map(open_dataset, [SMALL] * 4))
    assert [len(dataset.collection) for dataset in datasets] == [400] * 4
    assert len(made) == len(cached(cache)) == 1


@pytest.mark.parametrize("part", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "qrels/dev.tsv", "sealed.json"])
@pytest.mark.parametrize("damage", ["a bit", "cut at a line"])
def test_a_cached_dataset_that_is_damaged_is_made_anew(cache: Path, part: str, damage: str) -> None:
    """Else measures would be of the queries that are left, or of other texts."""
    before = open_dataset(SMALL)
    digests, queries = before.digests("test"), before.queries("test")
    path = before.folder / part
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(content[: content.find(b"\n", len(content) // 3)])
    again = open_dataset(SMALL)
    assert (again.digests("test"), again.queries("test")) == (digests, queries)
    assert cached(cache) == [before.folder]


def test_a_dataset_of_ir_datasets_that_is_damaged_in_the_cache_is_fetched_anew(cache: Path, monkeypatch) -> None:
    fetched: list[str] = []

    def fetch(name: str) -> DatasetStreams:
        fetched.append(name)
        return DatasetStreams([Passage("d", "", "x")], [Query("q", "why")], [Judgment("test", "q", "d", 1)])

    monkeypatch.setattr(catalogue, "irds", fetch)
    folder = open_dataset("irds:some/id").folder
    assert open_dataset("irds:some/id").qrels("test") == {"q": {"d": 1}}
    assert fetched == ["some/id"]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t3\n")
    assert open_dataset("irds:some/id").qrels("test") == {"q": {"d": 1}}
    assert fetched == ["some/id"] * 2


def test_what_cannot_be_fetched_anew_leaves_the_cache_as_it_was(cache: Path, monkeypatch) -> None:
    def fail(_: str) -> DatasetStreams:
        raise DataError("irds:some/id: cannot be fetched: no network.")

    made(tmp := cache / "datasets" / "other")
    monkeypatch.setattr(catalogue, "irds", fail)
    with refused("irds:some/id: cannot be fetched: no network."):
        open_dataset("irds:some/id")
    assert cached(cache) == [tmp]
