"""Every command with words that make trouble, on terminals that cannot show them: a sentence, never a traceback."""

import io
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from ranker.cli.main import cli, main

WORDS = {
    "accents": "café",
    "Chinese": "北京",
    "beyond the first plane": "\U0001f43c",
    "right to left": "\u202eabc",
    "an order to the terminal": "\x1b[2J",
    "two lines": "a\nb",
    "a NEL": "a\x85b",
    "bytes that are no UTF-8": "caf\udce9",
    "half a character": "\ud83d",
    "nothing": "",
    "a blank": " ",
    "an option": "--",
    "standard input": "-",
    "a folder": ".",
    "a name too long": "n" * 5_000,
    "a form": "{0} %s %(x)s \\",
}
ENCODINGS = ("ascii", "cp1252", "utf-8")


@pytest.fixture
def terminal(monkeypatch) -> Callable[..., tuple[int, str, str]]:
    """Runs ``ranker`` with these words on a terminal of an encoding; what it exited with, and wrote on both streams."""

    def run(encoding: str, *words: object) -> tuple[int, str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
        monkeypatch.setattr("sys.argv", ["ranker", *map(str, words)])
        monkeypatch.setattr("sys.stdout", streams[0])
        monkeypatch.setattr("sys.stderr", streams[1])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        finally:
            monkeypatch.setattr("sys.stdout", sys.__stdout__)
            monkeypatch.setattr("sys.stderr", sys.__stderr__)
        written = []
        for stream in streams:
            stream.flush()
            written.append(stream.buffer.getvalue().decode(encoding))  # type: ignore[attr-defined]
        return status, written[0], written[1]

    return run


def needed(command: click.Command, word: str) -> list[str]:
    """A command with a word for all that it needs and that is text, and a choice or number for the rest."""
    words: list[str] = []
    for parameter in command.params:
        kind = parameter.type
        free = word if isinstance(kind, click.Path) or kind is click.STRING else None
        value = kind.choices[0] if isinstance(kind, click.Choice) else free if free is not None else "1"
        if isinstance(parameter, click.Argument):
            words.append(value)
        elif parameter.required:
            words += [parameter.opts[-1], value]
    return words


def optional(command: click.Command) -> list[str]:
    return [
        parameter.opts[-1]
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.required and not parameter.is_flag
    ]


NOT_WALKED = {"reproduce", "doctor"}
"""Which need nothing, and so would begin to work."""


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", [name for name in cli.commands if name not in NOT_WALKED])
def test_a_word_that_makes_trouble_is_refused_in_a_sentence(terminal, monkeypatch, tmp_path, name, encoding):
    monkeypatch.chdir(tmp_path)
    for word in WORDS.values():
        status, out, err = terminal(encoding, name, *needed(cli.commands[name], word))
        assert status in (1, 2), (word, out, err)
        assert "Error: " in err, (word, err)
        assert "\x1b" not in err + out
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("name", [name for name in cli.commands if name not in NOT_WALKED])
def test_a_value_that_makes_trouble_is_refused_in_a_sentence(terminal, monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    command = cli.commands[name]
    for (option, word), encoding in zip(
        itertools.product(optional(command), ("北京\U0001f43c", "caf\udce9")), itertools.cycle(ENCODINGS), strict=False
    ):
        status, out, err = terminal(encoding, name, *needed(command, "none"), option, word)
        assert status in (1, 2), (option, word, out, err)
        assert "Error: " in err


@pytest.mark.parametrize("name", list(cli.commands))
def test_help_can_be_shown_anywhere(terminal, name):
    assert terminal("ascii", name, "--help")[0] == 0


@pytest.mark.parametrize(("word", "shown"), [("caf\udce9", "'caf\\xe9'"), ("\ud83d", "'\\xed\\xa0\\xbd'")])
def test_bytes_that_are_no_text_are_named_by_their_place(terminal, word, shown):
    words = ("explain", "--mode", "cross", "--model", "m", "--passage", "p", "--query", word)
    assert terminal("utf-8", *words) == (
        1,
        "",
        f"Error: argument 9, {shown}: holds bytes that are no UTF-8, expected text and names of files in UTF-8.\n",
    )


QUERY, PASSAGE = "qé北\U0001f43c", "dé京"


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A run, judgments and a dataset whose ids and texts no narrow terminal can show."""
    monkeypatch.chdir(tmp_path)
    Path("ü.qrels").write_text(f"{QUERY} 0 {PASSAGE} 1\nq2 0 {PASSAGE} 1\n", encoding="utf-8")
    for name in ("ö.run", "ä.run"):
        lines = [f"{QUERY} Q0 {PASSAGE} 1 1 x\n", f"{QUERY} Q0 ß{name} 2 2 x\n"]
        Path(name).write_text("".join(lines), encoding="utf-8")
    folder = Path("données")
    (folder / "qrels").mkdir(parents=True)
    record = {"_id": PASSAGE, "title": "京", "text": "the river é"}
    other = {"_id": "ß", "title": "", "text": "the city \U0001f43c"}
    texts = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in (record, other))
    (folder / "corpus.jsonl").write_text(texts, encoding="utf-8")
    question = json.dumps({"_id": QUERY, "text": "where is the é"}, ensure_ascii=False)
    (folder / "queries.jsonl").write_text(question + "\n", encoding="utf-8")
    (folder / "qrels" / "test.tsv").write_text(f"{QUERY}\t{PASSAGE}\t1\n", encoding="utf-8")
    Path("base.run").write_text(f"{QUERY} Q0 {PASSAGE} 1 2 x\n{QUERY} Q0 ß 2 1 x\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("form", ["table", "markdown", "json", "csv"])
def test_results_of_ids_that_cannot_be_shown_are_escaped(terminal, files, encoding, form):
    words = ("ü.qrels", "ö.run", "-m", "RR@10", "--per-query", "--format", form)
    status, out, err = terminal(encoding, "evaluate", *words)
    assert status == 0, err
    assert ("\\u00e9" in out, "\\ud83d\\udc3c" in out) == (encoding == "ascii", encoding != "utf-8")
    if form == "json":
        (run,) = json.loads(out)["runs"]
        assert (run["name"], list(run["per_query"]["RR@10"])) == ("ö", [QUERY, "q2"])
    compared = terminal(encoding, "compare", "ü.qrels", "ö.run", "ä.run", "--missing", "zero", "--format", form)
    assert compared[0] == 0, compared


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_commands_that_write_files_do_so_wherever_they_are_shown(terminal, files, tiny, encoding):
    model = tiny("bert", labels=1)
    reranked = ("rerank", "données", "--run", "base.run", "--mode", "cross", "--model", model, "--device", "cpu")
    for words in (
        ("validate", "données", "ö.run", "ü.qrels"),
        ("fuse", "ö.run", "ä.run", "-o", "fusionné.run"),
        (*reranked, "--precision", "float32", "-o", "classé.run"),
        ("depth", "ü.qrels", "classé.run"),
        (
            "explain",
            "--mode",
            "cross",
            "--model",
            model,
            "--query",
            "é 京",
            "--passage",
            "the \U0001f43c",
            "-o",
            "p.html",
        ),
    ):
        status, _, err = terminal(encoding, *words)
        assert status == 0, (words, err)
    written = Path("classé.run").read_text(encoding="utf-8")
    assert sorted(line.split()[2] for line in written.splitlines()) == [PASSAGE, "ß"]


def test_a_process_without_utf8_says_what_to_set(files):
    """Whose own arguments Python decodes as ASCII, and whose output is that."""
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    Path("plain.qrels").write_bytes(Path("ü.qrels").read_bytes())
    Path("plain.run").write_bytes(Path("ö.run").read_bytes())
    start = [sys.executable, "-m", "ranker", "evaluate"]
    done = subprocess.run(
        [*start, "plain.qrels", "plain.run", "--per-query"], env=plain, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"q\\u00e9\\u5317\\ud83d\\udc3c" in done.stdout
    done = subprocess.run([*start, "ü.qrels", "plain.run"], env=plain, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.endswith(b"reads arguments as ascii; set PYTHONUTF8=1, or LC_ALL=C.UTF-8.\n")
