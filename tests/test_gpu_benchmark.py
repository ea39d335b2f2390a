"""What is measured on a GPU, rehearsed on the CPU: the pack, every section of the table, and what comes back."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ranker.data.catalogue import open_dataset
from ranker.model.loading import load_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PLACES = ("paris", "london", "rome", "cairo", "france", "england", "italy", "egypt")
THINGS = ("stone", "water", "river", "city")
SECONDS = "3000"
"""So many that a busy machine ends no step: a rehearsal is as long as its work."""


class Files(NamedTuple):
    """A dataset with its runs, a backbone, and the pack that was made of them."""

    data: Path
    runs: Path
    model: Path
    pack: Path


@pytest.fixture(scope="module")
def gpu():
    """``python benchmarks/gpu.py`` with these words, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        module = importlib.import_module("gpu")

        def run(*words):
            patch.setattr("sys.argv", ["gpu.py", *map(str, words)])
            module.main()

        yield run


@pytest.fixture(scope="module")
def files(gpu, tiny, tmp_path_factory):
    """Passages of a place and a thing; the city of each place is asked for in dev, everything else in train."""
    folder = tmp_path_factory.mktemp("gpu")
    data, runs, pack = folder / "toy", folder / "runs", folder / "toy.zip"
    (data / "qrels").mkdir(parents=True)
    runs.mkdir()
    asked = [(place, thing) for place in PLACES for thing in THINGS]
    passages = [f"the {thing} of {place} lies by the old {thing}" for place, thing in asked]
    queries = [f"where is the {thing} of {place}" for place, thing in asked]
    for name, prefix, texts in (("corpus", "d", passages), ("queries", "q", queries)):
        lines = (
            json.dumps({"_id": f"{prefix}{number}", "title": "", "text": text}) for number, text in enumerate(texts)
        )
        (data / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    for split in ("train", "dev"):
        numbers = [number for number, (_, thing) in enumerate(asked) if (thing == "city") == (split == "dev")]
        judged = "".join(f"q{number}\td{number}\t1\n" for number in numbers)
        (data / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
        hits = [(query, hit, (query + 5 * hit) % len(asked)) for query in numbers for hit in range(8)]
        lines = (f"q{query} Q0 d{passage} {hit + 1} {9 - hit} bm25\n" for query, hit, passage in hits)
        (runs / f"{split}.run").write_text("".join(lines))
    model = tiny("bert")
    gpu("pack", data, pack, "--model", model, "--runs", runs, "--no-packages", "--mib", 1)
    return Files(data, runs, model, pack)


@pytest.fixture(scope="module")
def out(files, tmp_path_factory):
    """What a rehearsal left."""
    folder = tmp_path_factory.mktemp("rehearsal") / "out"
    words = ["bash", str(BENCHMARKS / "gpu.sh"), str(folder), str(files.pack), "--rehearse"]
    environment = {**os.environ, "PYTHON": sys.executable, "GPU_SECONDS": SECONDS, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=1_200, check=False, env=environment)
    log = folder / "gpu.log"
    assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
    return folder


@pytest.fixture(scope="module")
def figures(out):
    return json.loads((out / "gpu.json").read_text())


def results(figures, kind):
    return [row for row in figures["tasks"] if row["task"][0] == kind]


def test_a_pack_holds_the_dataset_and_its_runs_in_little_room(files, tmp_path):
    assert files.pack.stat().st_size < 2**20
    shutil.unpack_archive(files.pack, tmp_path)
    packed, whole = open_dataset(str(tmp_path / "qa")), open_dataset(str(files.data))
    for split in ("train", "dev"):
        assert packed.qrels(split) == whole.qrels(split)
        assert packed.queries(split) == whole.queries(split)
    assert {one.doc_id: one.text for one in packed.collection} == {one.doc_id: one.text for one in whole.collection}
    assert len((tmp_path / "runs" / "train.run").read_text().splitlines()) == 24 * 8
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_pack_too_large_is_refused_in_a_sentence(gpu, files, tmp_path):
    words = ("--model", files.model, "--runs", files.runs, "--no-packages", "--mib", 0.01)
    sentence = r"toy\.zip: would be 0\.\d\d MiB, expected at most 0\.01; take fewer of train's questions: --queries\.$"
    with pytest.raises(SystemExit, match=sentence):
        gpu("pack", files.data, tmp_path / "toy.zip", *words)
    assert not (tmp_path / "toy.zip").exists()


def test_fewer_questions_are_taken_evenly_with_their_passages_alone(gpu, files, tmp_path):
    pack = tmp_path / "toy.zip"
    words = ("--model", files.model, "--runs", files.runs, "--no-packages", "--queries", 2)
    gpu("pack", files.data, pack, *words)
    shutil.unpack_archive(pack, tmp_path / "few")
    packed = open_dataset(str(tmp_path / "few" / "qa"))
    assert list(packed.qrels("train")) == ["q0", "q16"]
    assert len(packed.qrels("dev")) == len(PLACES)
    assert len(packed.collection) <= len(PLACES) * len(THINGS)


@pytest.mark.slow
def test_nothing_fails_in_a_rehearsal(figures):
    failed = [row for row in (*figures["tasks"], *figures["training"].values()) if "error" in row]
    assert failed == []
    assert figures["tests"]["failed"] == []
    assert figures["tests"]["passed"] == 0
    assert {re.sub(r".*: ", "", name) for name in figures["tests"]["skipped"]} == {
        "torch finds no CUDA device on this machine"
    }


@pytest.mark.slow
def test_packed_scores_are_within_the_tolerance_of_padded_ones(figures):
    rows = results(figures, "parity")
    assert [row["task"] for row in rows] == [["parity", "cross", "float32"], ["parity", "dual", "float32"]]
    for row in rows:
        assert row["within"]
        assert (row["pairs"], row["spread"] > 1e-3) == (24, True)
        assert row["from_padded"] < 1e-4
        assert row["from_cpu"] < 1e-4


@pytest.mark.slow
def test_every_cell_has_plausible_rates(figures):
    rows = results(figures, "pairs")
    assert len(rows) == 2 * 3
    for row in rows:
        assert row["difference"] < 1e-4
        for name in ("ranker", "ranker, tokens ready", "peer", "peer, tokens ready"):
            assert 1 < row[name] < 1e6
    assert 0 < figures["machine"]["tflops"]["float32"] < 10


@pytest.mark.slow
def test_both_models_learn_and_come_back_whole(gpu, files, out, figures, tmp_path):
    gpu("restore", out, files.pack, tmp_path)
    start = load_model(str(files.model))
    for mode, found in figures["training"].items():
        assert found["steps"] == len(found["losses"]) == 6
        model = load_model(str(tmp_path / mode), mode)
        old, new = (one.encoder.backbone.state_dict() for one in (start, model))
        changed = [name for name in new if (old[name].bfloat16().float() - new[name]).abs().max() > 1e-3]
        assert changed
        assert not any(name.startswith("embeddings.") for name in changed)


@pytest.mark.slow
def test_little_comes_back(out):
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {str(path.relative_to(out)) for path in files} == {
        "gpu.md", "gpu.json", "gpu.log", "cross/learned-1.safetensors", "dual/learned-1.safetensors",
    }  # fmt: skip


@pytest.mark.slow
def test_the_table_has_every_section_and_row(out, figures):
    page = (out / "gpu.md").read_text()
    titles = ["Tests", "Peak", "Packed beside padded scores", "Pairs per second", "Training", "What failed"]
    assert re.findall(r"^### (.*)$", page, re.MULTILINE) == titles
    assert page.startswith("## On a GPU: a rehearsal on a CPU, of no worth as a measurement\n")
    assert figures["machine"]["versions"]["torch"] in page
    assert "### What failed\n\nNothing.\n" in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == (1 + 1) + (2 + 1) + (6 + 1) + (2 + 1)
    assert "| MiniLM-L6 | 16 to 60 | float32 |" in page
