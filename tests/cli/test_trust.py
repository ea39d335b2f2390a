"""A model's own code runs where ``--trust-remote-code`` is given, and nowhere else; no message is an order."""

import json
import shutil

import pytest

from ranker.cli.main import cli

CODE = """from pathlib import Path
from transformers import BertModel
Path({ran!r}).touch()
class OwnModel(BertModel):
    pass
"""
TEXTS = ("--query", "where is rome", "--passage", "rome lies by the tiber")
COMMANDS = {
    "explain": ("explain", "--mode", "dual", "--model", "OWN", *TEXTS),
    "tokens": ("index", "DATASET", "--kind", "tokens", "--model", "OWN"),
    "dense": ("index", "DATASET", "--kind", "dense", "--model", "OWN", "-o", "OUT"),
    "rerank": ("rerank", "DATASET", "--run", "RUN", "--mode", "dual", "--model", "OWN", "-o", "OUT"),
    "train": ("train", "DATASET", "--run", "FIRST", "--mode", "dual", "--model", "OWN", "--max-steps", "1",
              "--length", "40", "--query-length", "12", "--negatives", "1", "-o", "OUT"),
}  # fmt: skip


@pytest.fixture
def own(tiny, tmp_path, monkeypatch):
    """A tiny BERT that brings a class of its own, and the file that appears when it is loaded."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "own"
    shutil.copytree(tiny(), folder)
    (folder / "own.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "own.OwnModel"}}))
    return folder, tmp_path / "ran"


@pytest.fixture
def places(own, dataset, first_run, run_of_test, tmp_path):
    return {"OWN": own[0], "DATASET": dataset, "RUN": run_of_test, "FIRST": first_run, "OUT": tmp_path / "out"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_models_code_runs_where_it_is_trusted_and_nowhere_else(name, own, places, ranker):
    folder, ran = own
    words = [places.get(word, word) for word in COMMANDS[name]]
    said = ranker(*words)
    brings = "brings Python code (auto_map in config.json), which runs only where --trust-remote-code is given."
    assert (said.status, said.err.splitlines()[-1]) == (1, f"Error: {folder}: {brings}")
    assert not ran.exists()
    said = ranker(*words, "--trust-remote-code")
    assert (said.status, ran.exists()) == (0, True), said.err


def test_every_command_that_opens_a_model_says_what_trust_does():
    told = {
        name: {option.name: option for option in command.params}
        for name, command in cli.commands.items()
        if any("--model" in option.opts for option in command.params)
    }
    assert set(told) == {"index", "retrieve", "train", "rerank", "study", "explain", "reproduce", "verify"}
    for options in told.values():
        assert options["trust_remote_code"].is_flag
        assert options["trust_remote_code"].help.startswith("Run the Python code that a model brings (auto_map in its")


def test_what_a_message_quotes_is_never_an_order_to_the_terminal(ranker, tmp_path):
    path = tmp_path / "a\x1b[2J\n\u2028.run"
    path.write_text("q Q0 d\x7f\u0085 1 1 x\nq Q0 d\x7f\u0085 1 1 x\n")
    said = ranker("evaluate", tmp_path, path)
    assert said.status == 1
    said = ranker("evaluate", path, path)
    assert said.err.startswith(
        f"Error: {tmp_path}/a\\x1b[2J\\n\\u2028.run: is a run (query_id Q0 doc_id rank score name), "
    )
    assert said.err.count("\n") == 1


def test_what_a_line_of_success_names_is_none_either(ranker, tmp_path):
    run, folder = tmp_path / "first.run", tmp_path / "a\x1b[31m\nError: b"
    run.write_text("q Q0 d 1 1 x\n")
    other = tmp_path / "second.run"
    other.write_text("q Q0 e 1 1 x\n")
    said = ranker("fuse", run, other, "--output", folder / "fused.run")
    assert said.status == 0
    assert said.err.startswith(f"{tmp_path}/a\\x1b[31m\\nError: b/fused.run: 1 query ")
    assert said.err.count("\n") == 1
