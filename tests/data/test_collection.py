import gzip
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.data import collection as collection_module
from ranker.data.collection import Collection
from ranker.data.records import Oddity, Passage, has_words
from ranker.errors import DataError, OutputError, RankerError
from ranker.files import digests

MEASURED = """
import json, random, re, sys
from pathlib import Path
from ranker.data.collection import Collection
count = int(sys.argv[2])
collection = Collection.open(Path(sys.argv[1]))
chosen = random.Random(7).sample(range(count), 1000)
for number in chosen:
    assert collection[f"d{number}"].text.startswith(f"passage {number} ")
assert f"d{count}" not in collection
# not ru_maxrss, which a process inherits from its parent
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())
print(json.dumps([len(collection), int(peak[1]) / 1024]))
"""


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RANKER_CACHE", str(folder))
    return folder


TWICE = "stands twice, first in line 1; take one of the two out, or give it another id."
MEND = "mend the line or take it out (ranker validate lists all such)."


MEND = "mend the line or take it out (ranker validate lists all such)."


def refused(message: str, error: type[RankerError] = DataError) -> pytest.RaisesExc[RankerError]:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def line(doc_id: object, text: object = "some words", **others: object) -> str:
    return json.dumps({"_id": doc_id, "text": text, **others}, ensure_ascii=False)


def corpus(folder: Path, *lines: str | bytes, name: str = "corpus.jsonl") -> Path:
    content = b"".join((one.encode() if isinstance(one, str) else one) + b"\n" for one in lines)
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def built(cache: Path) -> list[Path]:
    return sorted((cache / "collections").glob("*"))


# what it holds


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_passages_are_found_by_id_and_iterated_in_file_order(tmp_path: Path, name: str) -> None:
    path = corpus(tmp_path, line("b", "zwei ü", title="T"), line("a", "eins"), line("c", "drei\nvier"), name=name)
    collection = Collection.open(path)
    passages = [Passage("b", "T", "zwei ü"), Passage("a", "", "eins"), Passage("c", "", "drei\nvier")]
    assert list(collection) == passages
    assert [collection[passage.doc_id] for passage in reversed(passages)] == passages[::-1]
    assert len(collection) == 3
    assert list(collection) == passages


@pytest.mark.parametrize("wrong", ["d", "", "\ud800", "a ", 1, None])
def test_an_id_that_no_passage_has_is_not_in_it(tmp_path: Path, wrong: object) -> None:
    collection = Collection.open(corpus(tmp_path, line("a"), line("b")))
    assert "a" in collection
    assert wrong not in collection
    if isinstance(wrong, str):
        with pytest.raises(KeyError, match=re.escape(repr(wrong))):
            collection[wrong]


def test_a_byte_order_mark_is_no_part_of_the_first_passage(tmp_path: Path) -> None:
    collection = Collection.open(corpus(tmp_path, "\ufeff" + line("a", "one"), line("b", "two")))
    assert collection["a"] == Passage("a", "", "one")
    assert [passage.doc_id for passage in collection] == ["a", "b"]


def test_the_last_line_may_lack_its_end_and_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes((line("a", "one") + "\r\n" + line("b", "two")).encode())
    collection = Collection.open(path)
    assert (collection["a"].text, collection["b"].text) == ("one", "two")


def test_long_passages_are_read_whole(tmp_path: Path) -> None:
    texts = {f"d{size}": "x" * size for size in (10, 8_150, 8_192, 20_000, 300_000)}
    collection = Collection.open(corpus(tmp_path, *(line(doc_id, text) for doc_id, text in texts.items())))
    assert {doc_id: collection[doc_id].text for doc_id in texts} == texts


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=5),
        st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(has_words),
        min_size=1,
    )
)
def test_every_passage_comes_back_by_its_id(tmp_path: Path, texts: dict[str, str]) -> None:
    collection = Collection.open(corpus(tmp_path, *(line(doc_id, text) for doc_id, text in texts.items())))
    assert {doc_id: collection[doc_id].text for doc_id in texts} == texts
    assert [passage.doc_id for passage in collection] == list(texts)


@pytest.mark.parametrize("count", [1, 8, 9, 16])
def test_passages_that_fill_whole_batches_are_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(collection_module, "_BATCH", 8)
    collection = Collection.open(corpus(tmp_path, *(line(f"d{number}") for number in range(count))))
    assert len(collection) == count
    assert all(f"d{number}" in collection for number in range(count))


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection_module, "_hash", lambda doc_id: collection_module.np.uint64(len(doc_id)))
    collection = Collection.open(corpus(tmp_path, line("aa", "1"), line("b", "2"), line("cc", "3"), line("dd", "4")))
    assert [collection[doc_id].text for doc_id in ("aa", "b", "cc", "dd")] == ["1", "2", "3", "4"]
    assert "ee" not in collection
    with refused(f"{tmp_path / 'x'}:3: id aa {TWICE}"):
        Collection.open(corpus(tmp_path, line("aa"), line("bb"), line("aa"), name="x"))


def test_the_digest_is_of_the_bytes_inside(tmp_path: Path) -> None:
    plain, packed = (
        corpus(tmp_path, line("a"), line("b")),
        corpus(tmp_path, line("a"), line("b"), name="corpus.jsonl.gz"),
    )
    expected = hashlib.sha256(plain.read_bytes()).hexdigest()
    assert Collection.open(plain).digest == Collection.open(packed).digest == expected


def test_real_passages_are_found(shared_data: Path) -> None:
    collection = Collection.open(shared_data / "squad" / "corpus.jsonl")
    passages = list(collection)
    assert len(collection) == len(passages) == 2_067
    chosen = random.Random(7).sample(passages, 50)
    assert [collection[passage.doc_id] for passage in chosen] == chosen


def test_threads_and_forked_processes_look_up_at_once(tmp_path: Path) -> None:
    texts = {f"d{number}": f"passage {number} " * 50 for number in range(200)}
    collection = Collection.open(corpus(tmp_path, *(line(doc_id, text) for doc_id, text in texts.items())))
    wrong: list[str] = []

    def look_up(seed: int) -> None:
        for doc_id in random.Random(seed).choices(list(texts), k=300):
            if collection[doc_id].text != texts[doc_id]:
                wrong.append(doc_id)

    threads = [threading.Thread(target=look_up, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# what is left out


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_passages_without_words_are_left_out_and_the_others_are_numbered_without_them(
    tmp_path: Path, name: str
) -> None:
    lines = [line("e", ""), line("b", "zwei"), "", line("f", " \u3000"), line(7, "drei", title=None), line("a"), ""]
    path = corpus(tmp_path, *lines, name=name)
    for _ in range(2):  # built, and found again
        collection = Collection.open(path)
        assert [passage.doc_id for passage in collection] == ["b", "7", "a"]
        assert len(collection) == 3
        assert [collection.number(doc_id) for doc_id in ("b", "7", "a")] == [0, 1, 2]
        assert collection["7"] == Passage("7", "", "drei")
        assert "e" not in collection
        assert collection.oddities == {
            Oddity.EMPTY_PASSAGE: 2, Oddity.BLANK_LINE: 2, Oddity.NUMBER: 1, Oddity.NULL: 1
        }  # fmt: skip


@pytest.mark.parametrize("count", [7, 8, 9])
def test_passages_left_out_at_the_edge_of_a_batch_change_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(collection_module, "_BATCH", 4)
    lines = [one for number in range(count) for one in (line(f"e{number}", ""), line(f"d{number}"))]
    collection = Collection.open(corpus(tmp_path, *lines, "", line("last", " ")))
    assert len(collection) == len(list(collection)) == count
    assert [collection.number(f"d{number}") for number in range(count)] == list(range(count))


def test_a_collection_of_nothing_but_empty_passages_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path, line("a", ""), line("b", ""), "")
    left_out = "2 passages without words left out, 1 blank line passed over"
    with refused(f"{path}: has no passages ({left_out}), expected one JSON object a line."):
        Collection.open(path)


def test_many_ids_are_looked_up_at_once(tmp_path: Path) -> None:
    collection = Collection.open(corpus(tmp_path, *(line(f"d{number}") for number in range(50))))
    asked = ["d3", "gone", "d49", "", "d0", "\ud800", "d50"]
    assert collection.missing(asked) == [doc_id for doc_id in asked if doc_id not in collection]
    assert collection.missing([]) == []


# the offset index


def test_the_index_is_built_once(tmp_path: Path, cache: Path) -> None:
    path = corpus(tmp_path, line("a"))
    Collection.open(path)
    (first,) = built(cache)
    written_at = (first / "meta.json").stat().st_mtime_ns
    Collection.open(path)
    assert built(cache) == [first]
    assert (first / "meta.json").stat().st_mtime_ns == written_at
    assert sorted(part.name for part in first.iterdir()) == ["hashes", "meta.json", "numbers", "offsets"]


def test_who_waited_for_another_to_build_the_index_finds_it_built(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = corpus(tmp_path, line("a"), line("b"))
    builds: list[Path] = []
    build = collection_module._build_index
    monkeypatch.setattr(collection_module, "_build_index", lambda *paths: (builds.append(paths[0]), build(*paths)))
    with ThreadPoolExecutor(8) as pool:
        assert [len(one) for one in pool.map(Collection.open, [path] * 8)] == [2] * 8
    assert builds == [path]
    assert len(built(cache)) == 1


def test_a_file_that_changed_gets_another_index(tmp_path: Path, cache: Path) -> None:
    path = corpus(tmp_path, line("a", "old"), line("b", "old"))
    assert Collection.open(path)["a"].text == "old"
    corpus(tmp_path, line("b", "new"), line("a", "new"))
    os.utime(path, ns=(1, 1))
    assert Collection.open(path)["a"].text == "new"
    assert len(built(cache)) == 2


def copied_onto(path: Path, *lines: str) -> None:
    """Another version in the same file, its size and time those of the version before, as after ``cp -p``."""
    state = path.stat()
    time.sleep(0.02)  # the clock of files ticks every few milliseconds
    corpus(path.parent, *lines, name=path.name)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) == (
        state.st_size,
        state.st_mtime_ns,
        state.st_ino,
    )


def test_another_version_of_equal_size_and_time_is_another_collection(tmp_path: Path) -> None:
    path = corpus(tmp_path, line("a", "old"), line("b", "old"))
    first = Collection.open(path)
    copied_onto(path, line("b", "new"), line("a", "new"))
    second = Collection.open(path)
    assert (second["a"].text, second.number("a")) == ("new", 1)
    assert second.digest == second.digest_now() == hashlib.sha256(path.read_bytes()).hexdigest() != first.digest


@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_a_digest_that_is_written_down_is_of_the_bytes_whatever_a_file_system_says_of_times(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A clock that was set back, or a file system without a time of its own, leaves nothing else to see."""
    path = corpus(tmp_path, line("a", "old"), line("b", "old"), name=name)
    for module in (collection_module, digests):
        monkeypatch.setattr(module, "file_state", str)
    before = Collection.open(path)
    assert before.digest_now() == before.digest
    corpus(tmp_path, line("b", "new"), line("a", "new"), name=name)
    content = b"".join(one.encode() + b"\n" for one in (line("b", "new"), line("a", "new")))
    now = hashlib.sha256(content).hexdigest()
    with refused(
        f"{path}: has digest {now}, but what is remembered under its name, size and times is of {before.digest}, "
        "which is removed now; give the command again."
    ):
        Collection.open(path).digest_now()
    assert built(cache) == []
    again = Collection.open(path)
    assert (again.digest_now(), again.digest, again["a"].text) == (now, now, "new")


@pytest.mark.parametrize("now", ["", "short", line("x" * 40) + "\n" + line("y" * 40)])
def test_a_file_that_changes_under_an_open_collection_is_refused(tmp_path: Path, now: str) -> None:
    path = corpus(tmp_path, line("a", "long enough text"), line("b", "another text"))
    collection = Collection.open(path)
    path.write_text(now)
    with refused(f"{path}: has changed since it was opened; open it again."):
        collection["b"]


def test_a_file_that_vanishes_under_an_open_collection_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path, line("a"))
    collection = Collection.open(path)
    path.unlink()
    with refused(f"{path}: cannot be read: No such file or directory."):
        collection["a"]


def test_a_refused_collection_leaves_no_index(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError):
        Collection.open(corpus(tmp_path, line("a"), line("a")))
    assert built(cache) == []


def test_ctrl_c_while_building_leaves_no_index(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path = corpus(tmp_path, line("a"))
    with monkeypatch.context() as patch:
        patch.setattr(collection_module, "_sort_buckets", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Collection.open(path)
    assert built(cache) == []
    assert "a" in Collection.open(path)


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    monkeypatch.setenv("RANKER_CACHE", str(folder))
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_cache_on_a_full_disk_is_one_sentence(tmp_path: Path, small_disk: Path) -> None:
    path = corpus(tmp_path, *(line(f"d{number}") for number in range(9_000)))
    with pytest.raises(OutputError, match=r"/collections/[0-9a-f]+: the disk is full; nothing was written\.$"):
        Collection.open(path)
    assert built(small_disk) == []


# what no collection may hold


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (line("a"), f"id a {TWICE}"),
        (
            '{"_id": "c", "text": "x"',
            f"is not JSON: Expecting ',' delimiter: line 1 column 25 (char 24); expected one object a line; {MEND}",
        ),
        ('["c", "x"]', f"is a JSON list, expected an object with '_id' and 'text'; {MEND}"),
        ('{"text": "x"}', f"'_id' is None, expected a string of one word without spaces; {MEND}"),
        (line(7.0), f"'_id' is 7.0, expected a string of one word without spaces; {MEND}"),
        (line(""), f"'_id' is '', expected a string of one word without spaces; {MEND}"),
        (line("c d"), f"'_id' is 'c d', expected a string of one word without spaces; {MEND}"),
        (line("c\n"), f"'_id' is 'c\\n', expected a string of one word without spaces; {MEND}"),
        (line("c\x00"), f"'_id' is 'c\\x00', expected at most 1024 printable bytes; {MEND}"),
        ('{"_id": "c", "text": NaN}', f"'text' is nan, expected a string; {MEND}"),
        (line("c", ["x"]), f"'text' is ['x'], expected a string; {MEND}"),
        (line("c", "x", title=3), f"'title' is 3, expected a string; {MEND}"),
        ('{"_id": "c", "text": "x\\ud800y"}', f"holds half a surrogate pair, '\\ud800'; {MEND}"),
        ('{"_id": "c\\udc00", "text": "x"}', f"holds half a surrogate pair, '\\udc00'; {MEND}"),
    ],
)
@pytest.mark.parametrize("name", ["corpus.jsonl", "corpus.jsonl.gz"])
def test_what_no_collection_may_hold_is_refused_with_file_and_line(
    tmp_path: Path, wrong: str, reason: str, name: str
) -> None:
    path = corpus(tmp_path, line("a"), line("b"), wrong, line("z"), name=name)
    with refused(f"{path}:3: {reason}"):
        Collection.open(path)


def test_an_id_above_the_bound_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path, line("é" * 513))
    with refused(f"{path}:1: '_id' is '{'é' * 56}..., expected at most 1024 printable bytes; {MEND}"):
        Collection.open(path)


def test_json_deeper_than_python_reads_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path, "[" * 200_000)
    with pytest.raises(DataError, match=r"corpus\.jsonl:1: is not JSON: .*; expected one object a line; mend"):
        Collection.open(path)


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path, line("a"), line("b", "café").encode("latin-1"))
    with refused(f"{path}:2: byte 26 is not UTF-8: found b'\\xe9\"}}', expected UTF-8 text."):
        Collection.open(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = corpus(tmp_path)
    with refused(f"{path}: has no passages, expected one JSON object a line."):
        Collection.open(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with refused(f"{tmp_path / 'none'}: cannot be read: No such file or directory."):
        Collection.open(tmp_path / "none")
    with refused(f"{tmp_path}: is a folder, expected a file."):
        Collection.open(tmp_path)


def test_a_broken_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(b"{}")
    with refused(f"{path}: is not a whole gzip file: Not a gzipped file (b'{{}}')."):
        Collection.open(path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(st.none() | st.integers() | st.text(), lambda some: st.dictionaries(st.text(), some)).map(
            lambda value: json.dumps({"_id": value, "text": value}).encode()
        ),
    )
)
def test_random_bytes_are_never_more_than_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(content)
    try:
        passages = list(Collection.open(path))
    except DataError as error:
        sentence = str(error)
        passages = []
    assert passages or sentence.startswith(f"{path}:")


# memory


def peak_megabytes(path: Path, count: int) -> float:
    """The most memory of a process that opens a collection of so many passages and looks a thousand up."""
    with path.open("w") as file:
        for number in range(count):
            file.write(f'{{"_id": "d{number}", "title": "", "text": "passage {number} {"of some words " * 20}"}}\n')
    built_and_read = [sys.executable, "-c", MEASURED, str(path), str(count)]
    found, peak = json.loads(subprocess.run(built_and_read, check=True, capture_output=True).stdout)
    assert found == count
    return float(peak)


def test_fifty_thousand_passages_take_little_memory(tmp_path: Path) -> None:
    assert peak_megabytes(tmp_path / "corpus.jsonl", 50_000) < 120


@pytest.mark.slow
def test_a_million_passages_take_less_than_200_megabytes(tmp_path: Path) -> None:
    assert peak_megabytes(tmp_path / "corpus.jsonl", 1_000_000) < 200
