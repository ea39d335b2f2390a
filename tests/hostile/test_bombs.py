"""A few bytes that stand for more than memory holds are refused before they fill it."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ranker.data.imports.archive import members
from ranker.data.imports.json_stream import read_records
from ranker.data.imports.tar import entries
from ranker.errors import DataError
from ranker.limits import MAX_ARCHIVE_NAME_BYTES, MAX_DEPTH, MAX_LINE_BYTES, MAX_SETTINGS_BYTES, SMALL_UNPACKED_BYTES

Answer = Callable[[str, str, Path], str]

LONG = f"the line is longer than the {MAX_LINE_BYTES} bytes allowed."
CHUNK = f"has a line longer than the {MAX_LINE_BYTES} bytes allowed."
TREC = "from collections import Counter; from ranker.data.imports.archive import members"
READ = "[sum(map(len, member.file)) for member in members(path, Counter())]"
GIGABYTE = 2**30


@pytest.mark.parametrize(
    ("name", "imports", "read", "refusal"),
    [
        ("a.run", "from ranker.data.trec import read_run", "read_run(path)", f": {CHUNK}"),
        ("a.qrels", "from ranker.data.trec import read_qrels", "read_qrels(path)", f": {CHUNK}"),
        ("corpus.jsonl", "from ranker.data.collection import Collection", "Collection.open(path)", f":1: {LONG}"),
        (
            "a.json",
            "from ranker.data.imports.json_stream import *",
            "list(read_records(path))",
            ": cannot be read as JSON",
        ),
        ("a.run.json", "from ranker.data.manifest import *", "read_manifest(path.with_suffix(''))", ": is larger than"),
    ],
)
def test_a_line_of_a_gigabyte_is_refused(answer: Answer, tmp_path: Path, name, imports, read, refusal) -> None:
    path = tmp_path / name
    with path.open("wb") as file:  # a hole, which takes no room on disk
        file.truncate(GIGABYTE)
    assert answer(imports, read, path).startswith(f"{path}{refusal}")


def test_a_manifest_above_the_bound_is_refused(answer: Answer, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_bytes(b" " * (MAX_SETTINGS_BYTES + 1))
    said = answer("from ranker.index.store import index_kind", "index_kind(path.parent)", path)
    assert said == f"{path}: is larger than the {MAX_SETTINGS_BYTES} bytes allowed."


def test_a_line_of_nothing_but_brackets_takes_no_more_memory_than_there_is(answer: Answer, tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_bytes(b'{"_id": "q", "text": "a", "x": [' + b"[]," * 5_000_000 + b"[]]}\n")
    assert answer("from ranker.data.beir import *", "len(list(read_queries(path)))", path) == "read: 1"


def test_blanks_without_end_are_passed_quickly(tmp_path: Path, seconds: Callable[[float], None]) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b" " * 100_000_000, 1))
    seconds(1.5)
    with pytest.raises(
        DataError, match=r"a\.json\.gz: cannot be read as JSON after 0 records: found '', expected '\['\.$"
    ):
        list(read_records(path))


def bomb(path: Path, line: bytes, size: int) -> Path:
    """A .gz of so many bytes of a line again and again, made quickly: gzip files may stand one behind another."""
    part = gzip.compress(line * (2**24 // len(line)), 9)
    path.write_bytes(part * (size // 2**24 + 1))
    return path


def test_a_file_that_unpacks_to_more_than_text_does_is_refused(tmp_path: Path, answer: Answer) -> None:
    path = bomb(tmp_path / "queries.tsv.gz", b"1\tx\n", SMALL_UNPACKED_BYTES)
    said = answer("from ranker.files.digests import content_digest", "content_digest(path)", path)
    assert said == (
        f"{path}: unpacks to more than 200 times its size and {SMALL_UNPACKED_BYTES} bytes, as no text does; "
        "unpack it yourself if you trust it."
    )


def test_a_run_whose_lines_repeat_is_refused_before_it_fills_memory(tmp_path: Path, answer: Answer) -> None:
    path = bomb(tmp_path / "a.run.gz", b"q Q0 d 1 1 name\n", 2**27)
    said = answer("from ranker.data.trec import read_run", "read_run(path)", path)
    assert said == f"{path}:2: passage d stands twice for query q, first in line 1; keep one of the lines."


def test_a_run_too_deep_names_the_line(tmp_path: Path) -> None:
    from ranker.data.trec import read_run

    path = tmp_path / "a.run"
    path.write_text("".join(f"q Q0 d{number} 1 1 name\n" for number in range(MAX_DEPTH + 9)))
    with pytest.raises(DataError, match=rf"a\.run:{MAX_DEPTH + 1}: query q has more than the {MAX_DEPTH} passages"):
        read_run(path)


# archives


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, more: dict[str, str] | None = None) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.pax_headers = size, kind, more or {}
    return entry.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g", b"X"])
def test_an_archive_with_a_name_of_a_gigabyte_is_refused(tmp_path: Path, answer: Answer, kind: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(header("a", GIGABYTE, kind))
    os.truncate(path, GIGABYTE + 1024)
    bound = f"a header has {GIGABYTE} bytes, at most {MAX_ARCHIVE_NAME_BYTES} are allowed"
    assert answer(TREC, READ, path) == f"{path}: cannot be read to its end: {bound}."


@pytest.mark.parametrize(
    ("ending", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress), ("gz", gzip.compress)], ids=["bz2", "xz", "gz"]
)
def test_an_archive_that_is_a_bomb_is_refused(tmp_path: Path, answer: Answer, ending: str, pack) -> None:
    path = tmp_path / f"a.tar.{ending}"
    path.write_bytes(pack(header("a", GIGABYTE)) + pack(bytes(2**22)) * 80)
    assert answer(TREC, READ, path).startswith(f"{path}: unpacks to more than 200 times its size")


def test_an_archive_of_long_names_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes((header("a", 5, b"L") + b"b".ljust(512, b"\0")) * 5_000)
    with pytest.raises(DataError, match=r"a\.tar: is empty, expected a tar archive\.$"):
        list(members(path, {}))


@pytest.mark.parametrize(
    "content",
    [
        header("a", 0, b"S"),
        header("a", 0, more={"GNU.sparse.map": "0,9"}),
        header("a", 0, more={"GNU.sparse.major": "1"}),
    ],
    ids=["old", "map", "new"],
)
def test_a_member_with_holes_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(content + bytes(1024))
    with pytest.raises(DataError, match=r"the member 'a' has holes, expected all its bytes\.$"):
        list(members(path, {}))


@pytest.mark.parametrize("size", [-512, -1, -(2**40)])
def test_a_member_of_less_than_nothing_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(header("a", 0, more={"size": str(size)}) + bytes(1024))
    with pytest.raises(DataError, match=rf"the member 'a' has {size} bytes, expected 0 or more\.$"):
        list(members(path, {}))


def test_a_damaged_header_between_members_is_refused_and_not_taken_for_the_end(tmp_path: Path) -> None:
    whole = header("a.html", 0) + header("b.html", 0) + bytes(1024)
    path = tmp_path / "a.tar"
    path.write_bytes(whole[:600] + b"\1" + whole[601:])
    with pytest.raises(DataError, match=r"a\.tar: cannot be read to its end: bad checksum\.$"):
        list(members(path, {}))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_reads(form: int) -> None:
    written = {"a/b": b"one", "c" * 90: b"", "é/" * 60 + "d": b"x" * 5_000, "e" * 60 + "/" + "f" * 70: b"y" * 512}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=form) as archive:
        for name, text in written.items():
            if form == tarfile.USTAR_FORMAT and not name.isascii():
                continue
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    packed.seek(0)
    found = {entry.name: entry.file.read() if place % 2 else None for place, entry in enumerate(entries(packed))}
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        assert list(found) == archive.getnames()
    assert all(text in (None, written[name]) for name, text in found.items())


# folders


def test_a_pipe_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    from collections import Counter

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "page.html").write_text("a")
    skipped = Counter[str]()
    assert [member.name for member in members(tmp_path, skipped)] == ["page.html"]
    assert skipped == {"pipes and devices": 1}


def test_folders_deeper_than_python_goes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1_100):
        os.mkdir("d")  # noqa: PTH102  # a path so long has no name
        os.chdir("d")
    with pytest.raises(DataError, match=rf"^{tmp_path}: cannot be read to its end: "):
        list(members(tmp_path, {}))
    for _ in range(1_100):  # what removes a test's folder goes no deeper either
        os.chdir("..")
        os.rmdir("d")  # noqa: PTH106
