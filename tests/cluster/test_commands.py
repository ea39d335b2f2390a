"""Commands that share their work on a real Ray cluster write what they write alone."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ranker.data.trec import read_run

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    return tmp_path_factory.mktemp("cluster")


def start(folder, *words, cache="cache"):
    environment = {**os.environ, "RANKER_CACHE": str(folder / cache)}
    command = [sys.executable, "-m", "ranker", *map(str, words)]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def done(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def ranker(folder, *words, cache="cache"):
    return done(start(folder, *words, cache=cache))


@pytest.fixture(scope="module")
def first_run(folder):
    """BM25's run over it."""
    ranker(folder, "index", SMALL, "--output", "bm25")
    ranker(folder, "retrieve", SMALL, "--index", "bm25", "--depth", 20, "--output", "bm25.run")
    return "bm25.run"


SMALL = "almanac:size=100"
SHARED = ("--cluster", "local", "--workers", 2)


def same(one, other):
    first, second = read_run(one), read_run(other)
    assert first.keys() == second.keys()
    for query_id in first:
        assert first[query_id].doc_ids == second[query_id].doc_ids
        np.testing.assert_allclose(first[query_id].scores, second[query_id].scores, atol=1e-5)


def killed_worker():
    """Kills the first worker that does a shard, as soon as there is one."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if path.read_bytes().startswith(b"ray::MapWorker"):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    return
            except OSError:  # it ended meanwhile
                continue
        time.sleep(0.05)
    raise AssertionError("no worker came")


@pytest.mark.parametrize("killing", [False, True])
def test_a_rerank_writes_the_run_of_one_process(folder, first_run, tiny, killing):
    words = ("rerank", SMALL, "--run", first_run, "--depth", 20, "--mode", "dual", "--model", tiny())
    words = (*words, "--precision", "float32", "--force")
    ranker(folder, *words, "--output", "alone.run")
    process = start(folder, *words, "--output", "shared.run", *SHARED, cache="killing" if killing else "shared")
    if killing:
        killed_worker()
    assert done(process)[0] == ""
    same(folder / "alone.run", folder / "shared.run")
    assert json.loads((folder / "shared.run.json").read_text())["cluster"] == {"workers": 2, "nodes": 1}


def test_scores_of_a_cluster_are_remembered(folder, first_run, tiny):
    words = ("rerank", SMALL, "--run", first_run, "--depth", 20, "--mode", "dual", "--model", tiny())
    words = (*words, *SHARED, "--output", "again.run")
    ranker(folder, *words, cache="twice")
    assert "100% remembered" in ranker(folder, *words, "--force", cache="twice")[1]


def test_a_dense_index_has_the_vectors_of_one_process(folder, tiny):
    words = ("index", SMALL, "--kind", "dense", "--model", tiny(), "--precision", "float32")
    ranker(folder, *words, "--output", "alone.dense")
    ranker(folder, *words, "--output", "shared.dense", *SHARED)
    alone, shared = (np.fromfile(folder / f"{name}.dense" / "vectors.f32", np.float32) for name in ("alone", "shared"))
    np.testing.assert_allclose(shared, alone, atol=1e-5)
    doc_ids = [(folder / f"{name}.dense" / "doc_ids.txt").read_text() for name in ("alone", "shared")]
    assert doc_ids[0] == doc_ids[1]


def test_a_study_has_the_runs_of_one_process_and_its_report_on_stdout(folder, first_run, tiny):
    words = ("study", SMALL, "--run", first_run, "--mode", "cross", "--mode", "dual", "--seed", 1)
    words = (*words, "--model", tiny(), "--steps-each", 2, "--groups-per-step", 2, "--negatives", 2, "--depth", 5)
    words = (*words, "--length", 40, "--query-length", 12, "--precision", "float32", "--no-dropout")
    alone = ranker(folder, *words, "--output", "alone")
    shared = ranker(folder, *words, "--output", "shared", *SHARED)
    assert shared[0].startswith(f"# {SMALL} test: ways to use BERT for ranking\n")
    assert "1 of 6: " in shared[1]
    assert alone[0].split("## Costs")[0] == shared[0].split("## Costs")[0]
    runs = sorted(path.name for path in (folder / "alone").glob("*.run.gz"))
    assert runs == sorted(path.name for path in (folder / "shared").glob("*.run.gz"))
    for name in runs:
        one, other = (gzip.decompress((folder / output / name).read_bytes()) for output in ("alone", "shared"))
        assert one == other
    told = json.loads((folder / "shared" / "cross.seed1.run.gz.json").read_text())["command"]
    assert told.startswith(f"ranker study {SMALL} --run bm25.run")
