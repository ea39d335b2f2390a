"""The command as a user runs it, and a dataset small enough to run all of it on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ranker.cli.main import main

PLACES = ["paris", "london", "rome", "cairo", "france", "england", "italy", "egypt"]
THINGS = ["stone", "water", "river", "city", "capital"]


class Said(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def ranker(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs ``ranker`` with these words; what it exited with and said."""

    def run(*words: object) -> Said:
        monkeypatch.setattr("sys.argv", ["ranker", *map(str, words)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True, scope="session")
def shortly_timed() -> Iterator[None]:
    """Studies time each of their models for a moment, not for seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ranker.experiments.run._TIMED_SECONDS", 0.05)
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty passages of a place and a thing, and a question for each pair of them; splits by thing."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    (folder / "qrels").mkdir(parents=True)
    passages, queries = [], []
    judged: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for number, (place, thing) in enumerate((place, thing) for place in PLACES for thing in THINGS):
        passages.append({"_id": f"d{number}", "title": "", "text": f"the {thing} of {place} lies by the old {thing}"})
        queries.append({"_id": f"q{number}", "text": f"where is the {thing} of {place}"})
        split = {"capital": "test", "city": "dev"}.get(thing, "train")
        judged[split].append(f"q{number}\td{number}\t1\n")
    (folder / "corpus.jsonl").write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    for split, lines in judged.items():
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


@pytest.fixture(scope="session")
def first_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every query over passages that share a word with it, made by hand."""
    path = tmp_path_factory.mktemp("runs") / "first.run"
    lines = []
    for number in range(len(PLACES) * len(THINGS)):
        same_place = [i for i in range(len(PLACES) * len(THINGS)) if i // len(THINGS) == number // len(THINGS)]
        for rank, found in enumerate(same_place, start=1):
            lines.append(f"q{number} Q0 d{found} {rank} {10 - rank} hand\n")
    path.write_text("".join(lines))
    return path


@pytest.fixture
def run_of_test(first_run: Path, tmp_path: Path) -> Path:
    """The part of the run by hand that answers test."""
    wanted = {f"q{number}" for number in range(4, 40, 5)}
    lines = [line for line in first_run.read_text().splitlines(keepends=True) if line.split()[0] in wanted]
    (tmp_path / "test.run").write_text("".join(lines))
    return tmp_path / "test.run"
