"""The manifest of a run: written and read in one place, with a type for each of its values."""

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker import __version__
from ranker.data.manifest import (
    BudgetRecord,
    DatasetRecord,
    ModelRecord,
    RunManifest,
    RunRecord,
    ScoringRecord,
    manifest_path,
    read_manifest,
    versions,
    write_manifest,
)
from ranker.errors import DataError, OutputError

RUN = Path("a.run")
SCORING = ScoringRecord(
    ModelRecord("models/cross", "ab", {"mode": "cross", "length": 160}), "cpu (x86_64)", "float32", "oneDNN float32"
)
FULL = RunManifest(
    dataset=DatasetRecord("almanac", "almanac", "test", "c0", "c1", "c2"),
    run=RunRecord("bm25", "runs/bm25.run", "cd"),
    depth=30,
    scoring=SCORING,
    budget=BudgetRecord(60.0, "time", 10, 20, 30),
    counts={"pairs": 900, "tokens_cut": 3},
    facts={"remembered": 0.5, "seconds": 1.5},
    command="ranker rerank almanac",
    sha256="ef",
)


def test_the_manifest_lies_beside_the_run() -> None:
    assert manifest_path(Path("runs/bm25.run.gz")) == Path("runs/bm25.run.gz.json")


def test_a_manifest_says_what_how_and_with_which_versions(tmp_path: Path) -> None:
    (tmp_path / "über.run").write_text("q Q0 d 1 1 n\n")
    facts = {"seed": 7, "inputs": {"collection": "ab"}}
    write_manifest(tmp_path / "über.run", RunManifest(facts=facts, command="ranker rerank set -o 'über.run'"))
    text = (tmp_path / "über.run.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "ranker": __version__,
        "command": "ranker rerank set -o 'über.run'",
        "sha256": hashlib.sha256(b"q Q0 d 1 1 n\n").hexdigest(),
        **facts,
        "versions": versions(),
    }
    assert "über" in text
    assert text.endswith("}\n")


def test_the_settings_of_a_model_and_the_facts_of_a_scoring_stand_flat() -> None:
    assert FULL.record() == {
        "ranker": __version__,
        "command": "ranker rerank almanac",
        "sha256": "ef",
        "dataset": {
            "name": "almanac",
            "source": "almanac",
            "split": "test",
            "collection": "c0",
            "queries": "c1",
            "qrels": "c2",
        },
        "run": {"name": "bm25", "path": "runs/bm25.run", "sha256": "cd"},
        "depth": 30,
        "model": {"source": "models/cross", "sha256": "ab", "mode": "cross", "length": 160},
        "device": "cpu (x86_64)",
        "precision": "float32",
        "kernels": "oneDNN float32",
        "overflow": "cut",
        "stride": 0,
        "padding": 0.0,
        "unknown_tokens": {},
        "out_of_memory": 0,
        "budget": {"seconds": 60.0, "stopped": "time", "ranks_scored": {"least": 10, "median": 20, "most": 30}},
        "pairs": 900,
        "tokens_cut": 3,
        "remembered": 0.5,
        "seconds": 1.5,
        "versions": versions(),
    }


@pytest.mark.parametrize(
    "manifest",
    [
        FULL,
        RunManifest(),
        RunManifest(dataset=DatasetRecord("a", "b", "", "c", "d"), depth=5),
        RunManifest(scoring=SCORING, facts={"arm": {"name": "cross"}, "seed": 1}),
    ],
)
def test_what_is_written_is_read_back(manifest: RunManifest) -> None:
    assert RunManifest.parse(RUN, json.loads(json.dumps(manifest.record()))) == manifest


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("runs/**/*.run*.json")), ids=str)
def test_the_manifests_of_published_runs_are_read(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    written = RunManifest.parse(path, record).record()
    assert {name: written[name] for name in record if name not in ("ranker", "versions")} == {
        name: value for name, value in record.items() if name not in ("ranker", "versions")
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"depth": "4"}, "its manifest says depth '4', expected a whole number."),
        ({"depth": True}, "its manifest says depth True, expected a whole number."),
        ({"dataset": 3}, "its manifest says dataset 3, expected an object."),
        ({"dataset": {"name": "a"}}, "its manifest does not say 'dataset.source'."),
        ({"run": {"name": "a", "path": 3, "sha256": "b"}}, "its manifest says run.path 3, expected text."),
        ({"model": {"source": "a"}}, "its manifest does not say 'model.sha256'."),
        ({"model": None}, "its manifest says model None, expected an object."),
        ({"overflow": ["cut"]}, "its manifest says overflow ['cut'], expected text."),
        ({"unknown_tokens": 3}, "its manifest says unknown_tokens 3, expected an object."),
        ({"pairs": 1.5}, "its manifest says pairs 1.5, expected a whole number."),
        ({"budget": 3}, "its manifest says budget 3, expected an object."),
        ({"budget": {"seconds": "1"}}, "its manifest says budget.seconds '1', expected a number."),
        ({"sha256": None}, "its manifest says sha256 None, expected text."),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_key(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError) as error:
        RunManifest.parse(RUN, {**FULL.record(), **change})
    assert str(error.value) == f"a.run: {sentence}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(list(FULL.record())), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(change=st.dictionaries(st.sampled_from([*FULL.record(), "other"]), JSON, max_size=4))
def test_any_json_is_read_or_refused_in_a_sentence(change: dict[str, Any]) -> None:
    try:
        RunManifest.parse(RUN, {**FULL.record(), **change})
    except DataError as error:
        assert str(error).startswith("a.run: its manifest ")  # noqa: PT017


@pytest.mark.parametrize(
    ("manifest", "depth"),
    [(RunManifest(depth=30), 30), (RunManifest(depth=30, budget=BudgetRecord(1.0, "time", 10, 20, 30)), 10)],
)
def test_scores_reach_as_deep_as_every_query_was_scored(manifest: RunManifest, depth: int) -> None:
    assert manifest.scored_depth(RUN) == depth


@pytest.mark.parametrize("manifest", [RunManifest(), RunManifest(depth=0)])
def test_a_manifest_that_says_no_depth_is_refused(manifest: RunManifest) -> None:
    with pytest.raises(DataError, match=rf"^a\.run: its manifest says depth {manifest.depth}; expected 1 or more"):
        manifest.scored_depth(RUN)


def test_an_older_manifest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    for seed in (1, 2):
        write_manifest(tmp_path / "a.run", RunManifest(facts={"seed": seed}))
    assert json.loads((tmp_path / "a.run.json").read_text())["seed"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.run", "a.run.json"]


def test_a_manifest_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    (tmp_path / "a.run.json").mkdir()
    with pytest.raises(OutputError, match=r"a\.run\.json: is not a file, so a file cannot replace it; give another"):
        write_manifest(tmp_path / "a.run", RunManifest())


def test_a_file_name_that_is_not_utf8_can_be_recorded(tmp_path: Path) -> None:
    (tmp_path / "a.run").touch()
    write_manifest(tmp_path / "a.run", RunManifest(command="ranker evaluate 'caf\udce9'"))
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
    write_manifest(tmp_path / "a.run", RunManifest(facts={"seed": 3}))
    found = read_manifest(tmp_path / "a.run")
    assert found is not None
    assert found.facts == {"seed": 3}
    assert found.sha256 == hashlib.sha256(b"").hexdigest()


@pytest.mark.parametrize("content", [None, "{}", '{"model": 3, "depth": "x"}'])
def test_a_run_without_a_manifest_of_ours_has_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "a.run.json").write_text(content)
    assert read_manifest(tmp_path / "a.run") is None


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b"3", b"[]"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.run.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.run\.json: (cannot be read as JSON|is a JSON)"):
        read_manifest(tmp_path / "a.run")
