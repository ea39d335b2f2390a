import hashlib
import json
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from ranker import __version__
from ranker.data.manifest import command, manifest_path, read_manifest, versions, write_manifest
from ranker.errors import DataError, OutputError


def test_the_manifest_lies_beside_the_run() -> None:
    assert manifest_path(Path("runs/bm25.run.gz")) == Path("runs/bm25.run.gz.json")


def test_a_manifest_says_what_how_and_with_which_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ranker", "rerank", "set", "-o", "über.run"])
    (tmp_path / "über.run").write_text("q Q0 d 1 1 n\n")
    write_manifest(tmp_path / "über.run", {"seed": 7, "inputs": {"collection": "ab"}})
    text = (tmp_path / "über.run.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "ranker": __version__,
        "command": "ranker rerank set -o 'über.run'",
        "sha256": hashlib.sha256(b"q Q0 d 1 1 n\n").hexdigest(),
        "seed": 7,
        "inputs": {"collection": "ab"},
        "versions": versions(),
    }
    assert "über" in text
    assert text.endswith("}\n")


def test_an_older_manifest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    for seed in (1, 2):
        write_manifest(tmp_path / "a.run", {"seed": seed})
    assert json.loads((tmp_path / "a.run.json").read_text())["seed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.run", "a.run.json"]


def test_a_manifest_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    (tmp_path / "a.run.json").mkdir()
    with pytest.raises(OutputError, match=r"a\.run\.json: is not a file, so a file cannot replace it; give another"):
        write_manifest(tmp_path / "a.run", {})


@pytest.mark.parametrize("argument", ["plain", "two words", "almanac:size=10", "it's", "*.run", ""])
def test_the_command_can_be_typed_again(monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ranker", "evaluate", argument])
    assert shlex.split(command()) == ["ranker", "evaluate", argument]


def test_a_file_name_that_is_not_utf8_can_be_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.run").touch()
    monkeypatch.setattr(sys, "argv", ["ranker", "evaluate", "caf\udce9"])
    write_manifest(tmp_path / "a.run", {})
    assert "caf\udce9" in json.loads((tmp_path / "a.run.json").read_text())["command"]


def test_versions_are_of_what_decides_a_score() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert {name: metadata.version(name) for name in found if name != "python"} == {
        name: version for name, version in found.items() if name != "python"
    }
    assert {"torch", "transformers", "numpy", "ir-measures"} <= set(found)


def test_what_is_not_installed_is_left_out() -> None:
    assert not {"faiss-cpu", "faiss-gpu"} <= set(versions())


def test_a_manifest_that_was_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    write_manifest(tmp_path / "a.run", {"seed": 3})
    assert read_manifest(tmp_path / "a.run")["seed"] == 3


def test_a_run_without_manifest_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "a.run") == {}


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"3", b"[]"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.run.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.run\.json: (cannot be read as JSON|is a JSON)"):
        read_manifest(tmp_path / "a.run")
