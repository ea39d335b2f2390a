"""Commands that take a moment, each a process of its own, and folders that fail as disks do."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from forked import RANKER, Forked

PLACES = [f"{first}{second}" for first in ("north", "south", "east", "west") for second in ("port", "ham", "field")]
THINGS = ["stone", "water", "river", "city", "capital"]


class ScoringJob(NamedTuple):
    """A command and the name of what it writes; ``--output`` and a cache are added when it is run."""

    name: str
    words: tuple[str, ...]

    def start(self, output: Path, cache: Path, before: str = "") -> Forked:
        """The command in a process of its own, after some lines of Python."""
        words = [*self.words, "--output", str(output)]
        return Forked(words, before + RANKER, {**os.environ, "RANKER_CACHE": str(cache)})

    def run(self, output: Path, cache: Path, before: str = "") -> tuple[int, str]:
        """Exit status and what was said on stderr."""
        process = self.start(output, cache, before)
        said = process.communicate(timeout=300)[1]
        return process.returncode, said


@pytest.fixture(scope="session")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty passages of a place and a thing, with a question for each; every fifth is of test."""
    folder = tmp_path_factory.mktemp("faults") / "places"
    (folder / "qrels").mkdir(parents=True)
    passages, queries, judged = [], [], {"train": [], "test": []}
    for number, (place, thing) in enumerate((place, thing) for place in PLACES for thing in THINGS):
        passages.append({"_id": f"d{number}", "title": "", "text": f"the {thing} of {place} lies by the old {thing}"})
        queries.append({"_id": f"q{number}", "text": f"where is the {thing} of {place}"})
        judged["test" if thing == "capital" else "train"].append(f"q{number}\td{number}\t1\n")
    (folder / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    for split, lines in judged.items():
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


@pytest.fixture(scope="session")
def work(places: Path, tiny, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ScoringJob]:
    """The commands that write, by name."""
    made = tmp_path_factory.mktemp("made")
    run, index = made / "first.run", made / "bm25"
    lines = [f"q{query} Q0 d{(query + n) % 60} 1 {60 - n} hand\n" for query in range(60) for n in range(20)]
    run.write_text("".join(lines))
    test = made / "test.run"
    test.write_text("".join(line for line in lines if int(line.split()[0][1:]) % 5 == 4))
    small = ("--precision", "float32", "--tokens-per-batch", "64")
    steps = ("--length", "40", "--query-length", "12", "--negatives", "2", "--max-steps", "40", "--epochs", "100")
    data, model = str(places), str(tiny("bert", labels=1))
    commands = {
        "import": ("import", "dpr", str(_dpr(made))),
        "bm25": ("index", data),
        "dense": ("index", data, "--kind", "dense", "--model", str(tiny()), *small),
        "retrieve": ("retrieve", data, "--index", str(index), "--depth", "20"),
        "rerank": ("rerank", data, "--run", str(test), "--mode", "cross", "--model", model, "--depth", "20", *small),
        "train": ("train", data, "--run", str(run), "--mode", "cross", "--model", str(tiny()), *steps, *small),
    }

    def make(name: str) -> ScoringJob:
        if name == "retrieve" and not index.exists():
            assert ScoringJob("bm25", commands["bm25"]).run(index, made / "cache")[0] == 0
        return ScoringJob(name, commands[name])

    return make


def _dpr(folder: Path) -> Path:
    """Questions as Dense Passage Retrieval's files have them, each with a passage."""
    path = folder / "dpr.json"
    entries = [
        {
            "question": f"where is {place}",
            "answers": [place],
            "positive_ctxs": [{"title": "", "text": f"{place} lies by the sea " * 20, "passage_id": str(number)}],
        }
        for number, place in enumerate(PLACES)
    ]
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts file systems in memory, with options as ``mount`` has them; skipped where only root may."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if subprocess.run(words, check=False, capture_output=True).returncode:
            pytest.skip("mounting a file system needs root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
