"""Damage, full disks and neighbours: each is one sentence and exit status 1, and nothing half-written is left."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forked import Forked

pytest.importorskip("faiss", reason="the extra 'cpu' is not installed")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def sentence(said) -> str:
    """What was said of an error: one line, and nothing else."""
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith("Error: "), said.err
    assert said.err.count("\n") == 1
    return said.err.removeprefix("Error: ").strip()


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    return {}


@pytest.fixture
def index(ranker, dataset, tiny, tmp_path, kept) -> Callable[..., Path]:
    """An index of a kind, built once and written anew for each test to damage."""

    def make(kind: str) -> Path:
        folder = tmp_path / f"{kind}.index"
        if kind not in kept:
            words = ("--kind", kind, *(("--model", tiny(), "--faiss", "IVF2,Flat") if kind == "dense" else ()))
            said = ranker("index", dataset, *words, "-o", folder)
            assert said.status == 0, said.err
            files = (path for path in folder.rglob("*") if path.is_file())
            kept[kind] = {str(path.relative_to(folder)): path.read_bytes() for path in files}
        for name, content in kept[kind].items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return make


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["dense/index.faiss", "dense/vectors.f32", "dense/doc_ids.txt", "bm25/doc_ids.txt"])
@pytest.mark.parametrize("damage", ["first byte", "middle", "last byte", "zeros"])
def test_a_damaged_file_is_found_by_its_digest(ranker, dataset, index, tmp_path, file, damage):
    kind, name = file.split("/")
    folder = index(kind)
    path = folder / name
    size = path.stat().st_size
    if damage == "zeros":
        path.write_bytes(bytes(size))
    else:
        flip(path, {"first byte": 0, "middle": size // 2, "last byte": size - 1}[damage])
    said = sentence(ranker("retrieve", dataset, "--index", folder, "-o", tmp_path / "out" / "a.run"))
    assert said.startswith(f"{path}: has digest '")
    assert said.endswith("': the file is damaged; build the index again.")
    assert names(tmp_path / "out") == []


def test_any_file_of_lucene_that_is_damaged_is_found(ranker, dataset, index, tmp_path):
    folder = index("bm25")
    for path in sorted((folder / "lucene").iterdir()):
        flip(path, path.stat().st_size // 2)
        said = sentence(ranker("retrieve", dataset, "--index", folder, "-o", tmp_path / "a.run"))
        assert said.startswith(f"{path}: has digest '")
        flip(path, path.stat().st_size // 2)
    assert ranker("retrieve", dataset, "--index", folder, "-o", tmp_path / "a.run").status == 0


def test_validate_tells_every_damage_of_an_index(ranker, index):
    folder = index("dense")
    said = ranker("validate", folder)
    assert said == (0, "", f"{folder}: an index: 0 errors, 0 to mind.\n")
    flip(folder / "vectors.f32", 5)
    (folder / "doc_ids.txt").write_text("d0\n")
    said = ranker("validate", folder)
    assert (said.status, said.err) == (1, f"{folder}: an index: 2 errors, 0 to mind.\n")
    assert [line.partition(": has ")[0] for line in said.out.splitlines()] == [
        str(folder / name) for name in ("doc_ids.txt", "vectors.f32")
    ]


@pytest.mark.parametrize("kind", ["bm25", "dense"])
def test_a_collection_that_changed_after_indexing_is_refused_with_both_digests(ranker, dataset, index, tmp_path, kind):
    folder, mine = index(kind), tmp_path / "mine"
    (mine / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (mine / name).write_bytes((dataset / name).read_bytes())
    assert ranker("retrieve", mine, "--index", folder, "-o", tmp_path / "a.run").status == 0
    with (mine / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "more", "title": "", "text": "more"}\n')
    said = sentence(ranker("retrieve", mine, "--index", folder, "-o", tmp_path / "b.run"))
    assert said.count("has digest") + said.count("with digest") == 2
    assert not (tmp_path / "b.run").exists()


@pytest.mark.parametrize("kind", ["bm25", "dense"])
def test_an_index_of_an_older_format_says_so(ranker, dataset, index, tmp_path, kind):
    path = index(kind) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    said = sentence(ranker("retrieve", dataset, "--index", path.parent, "-o", tmp_path / "a.run"))
    assert said == f"{path}: has format 1, expected 2; build it again."


BUILDING = """
import sys, time
from ranker.index import bm25, encoding
def wait(*_):
    print("building", flush=True)
    time.sleep(60)
encoding.Parts.put = bm25._write_doc_ids = wait
from ranker.cli.main import main
main()
"""


@pytest.fixture
def builder(dataset, tiny, tmp_path) -> Iterator[Callable[[str], Forked]]:
    """A process in the middle of building ``tmp_path / "index"``."""
    processes = []

    def start(kind: str) -> Forked:
        words = ["index", str(dataset), "--kind", kind, "--model", str(tiny()), "-o", str(tmp_path / "index")]
        process = Forked(words, BUILDING)
        processes.append(process)
        assert process.stdout.readline() == "building\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", [pytest.param("bm25", marks=pytest.mark.slow), "dense"])
def test_a_second_builder_is_refused_and_a_half_built_index_is_none(ranker, dataset, tiny, builder, tmp_path, kind):
    first, words = builder(kind), ("index", dataset, "--kind", kind, "--model", tiny(), "-o", tmp_path / "index")
    said = sentence(ranker(*words))
    assert said == (
        f"{tmp_path / 'index'}: another process is building this index; wait for it, or give another --output."
    )
    first.kill()
    first.wait()
    said = sentence(ranker("retrieve", dataset, "--index", tmp_path / "index", "-o", tmp_path / "a.run"))
    assert said == (
        f"{tmp_path / 'index'}: there is no whole index: its building goes on or was stopped; run ranker index (again)."
    )
    assert ranker(*words).status == 0
    assert ranker("retrieve", dataset, "--index", tmp_path / "index", "-o", tmp_path / "a.run").status == 0
    assert names(tmp_path) == ["a.run", "a.run.json", "index"]


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[str], Path]]:
    """A disk of a size; the same again has another size from then on."""
    folder, mounted = tmp_path / "disk", []

    def sized(size: str) -> Path:
        folder.mkdir(exist_ok=True)
        options = f"remount,size={size}" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False, capture_output=True
        )
        if done.returncode:
            pytest.skip("a small disk cannot be mounted here")
        mounted.append(size)
        return folder

    yield sized
    if mounted:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(("kind", "size"), [("dense", "8k"), ("bm25", "16k")])
def test_an_index_on_a_full_disk_is_not_begun_to_be_one(ranker, dataset, tiny, disk, kind, size):
    folder = disk(size)
    said = sentence(ranker("index", dataset, "--kind", kind, "--model", tiny(), "-o", folder / "index"))
    assert said.startswith(f"{folder / 'index'}: ")
    assert "the disk is full; nothing was written" in said
    assert names(folder) == ([".index.encoding"] if kind == "dense" else [])


@pytest.mark.parametrize("size", ["12k", "16k", "20k", "24k"])
def test_a_dense_index_goes_on_with_its_vectors_once_there_is_room(ranker, dataset, tiny, disk, tmp_path, size):
    """Forty passages of 128 bytes in pages of 4,096: vectors and what is known of them, doc ids, FAISS, manifest."""
    folder = disk(size)
    words = ("index", dataset, "--kind", "dense", "--model", tiny(), "--precision", "float32", "-o")
    said = sentence(ranker(*words, folder / "index"))
    assert said == (
        f"{folder / 'index'}: the disk is full; nothing was written; the vectors made by then are kept in "
        f"{folder / '.index.encoding'} for the same command."
    )
    assert names(folder) == [".index.encoding"]
    disk("1m")
    assert ranker(*words, folder / "index").status == 0
    assert ranker(*words, tmp_path / "whole").status == 0
    assert names(folder) == ["index"]
    for name in ("vectors.f32", "doc_ids.txt", "index.faiss"):
        assert (folder / "index" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(("split", "lacking"), [("train", "a.run"), ("test", "a.run.json")])
def test_a_run_on_a_full_disk_is_not_written_and_none_is_without_its_manifest(
    ranker, dataset, index, disk, split, lacking
):
    """On a disk of one page of 4,096 bytes, the run of train has no room, and that of test all there is."""
    folder, bm25 = disk("4k"), index("bm25")
    said = sentence(ranker("retrieve", dataset, "--index", bm25, "--split", split, "-o", folder / "a.run"))
    assert said == f"{folder / lacking}: the disk is full; nothing was written."
    assert names(folder) == []


WITHOUT_ROOM = """
import os, resource
from ranker.cli.main import main
from ranker.index import dense
build = dense.build_faiss
def limited(folder, width, config):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["ROOM"]), resource.RLIM_INFINITY))
    return build(folder, width, config)
dense.build_faiss = limited
main()
"""


@pytest.mark.parametrize("size", [0, 2_000, 5_160])
def test_a_faiss_file_that_lacks_its_last_bytes_is_noticed(dataset, tiny, tmp_path, size):
    """A limit on the size of files is what a full disk looks like to the writer; the whole file has 5,165 bytes.

    Of the last few FAISS says nothing when it writes to a path by itself.
    """
    words = ["index", str(dataset), "--kind", "dense", "--model", str(tiny()), "-o", str(tmp_path / "out" / "index")]
    process = Forked(words, WITHOUT_ROOM, {**os.environ, "ROOM": str(size)})
    said = process.communicate()[1]
    assert process.returncode == 1
    assert said.startswith(f"Error: {tmp_path / 'out' / 'index'}: cannot be written: File too large; nothing")
    assert said.count("\n") == 1
    assert names(tmp_path / "out") == [".index.encoding"]


def test_a_kind_of_index_that_cannot_be_is_refused_before_anything_is_encoded(ranker, dataset, tiny, tmp_path):
    words = ("index", dataset, "--kind", "dense", "--model", tiny(), "--faiss", "Nonsense", "-o", tmp_path / "a")
    assert sentence(ranker(*words)).startswith("--faiss Nonsense: FAISS refuses it for 40 passages: ")
    assert names(tmp_path) == []


def test_a_kind_that_cannot_learn_from_so_few_keeps_the_vectors_for_another(ranker, dataset, tiny, tmp_path):
    words = ("index", dataset, "--kind", "dense", "--model", tiny(), "-o", tmp_path / "index", "--faiss")
    assert sentence(ranker(*words, "IVF1000,Flat")).startswith("--faiss IVF1000,Flat: FAISS refuses it for 40 passages")
    assert names(tmp_path) == [".index.encoding"]
    assert ranker(*words, "IVF2,Flat").status == 0
    assert names(tmp_path) == ["index"]


def test_recall_is_told_and_written_down(ranker, dataset, tiny, tmp_path):
    words = ("index", dataset, "--kind", "dense", "--model", tiny(), "--faiss", "IVF-PQ", "--recall-at", 5)
    said = ranker(*words, "-o", tmp_path / "index")
    assert said.status == 0, said.err
    settings = json.loads((tmp_path / "index" / "manifest.json").read_text())["settings"]
    assert (settings["factory"], settings["trained_on"], settings["recall_at"]) == ("IVF1,PQ16x4", 40, 5)
    assert (settings["recall_of"], settings["recall_queries"]) == ("queries of dev", 8)
    assert 0.2 < settings["recall"] < 1
    assert min(settings[name] for name in ("ms_per_query", "exact_ms_per_query", "recall_threads")) > 0
    assert said.err.splitlines()[-1] == (
        f"{tmp_path / 'index'}: IVF1,PQ16x4, recall@5 {settings['recall']:.4f} of exact search, "
        f"{settings['ms_per_query']:.3f} ms per query, exact search {settings['exact_ms_per_query']:.3f} ms "
        f"(8 queries of dev in one batch, threads: {settings['recall_threads']})."
    )
    assert ranker("retrieve", dataset, "--index", tmp_path / "index", "-o", tmp_path / "a.run").status == 0
    assert json.loads((tmp_path / "a.run.json").read_text())["index"]["recall"] == settings["recall"]


def test_without_queries_passages_are_searched_for_and_it_says_so(ranker, dataset, tiny, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("corpus.jsonl", "queries.jsonl"):
        (mine / name).write_bytes((dataset / name).read_bytes())
    said = ranker("index", mine, "--kind", "dense", "--model", tiny(), "--recall-at", 3, "-o", tmp_path / "index")
    assert "Flat, recall@3 1.0000 of exact search, " in said.err
    assert "(40 passages in one batch, " in said.err
