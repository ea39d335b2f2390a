"""``ranker explain`` in the terminal, as JSON and as a page."""

import json
import os
import pty
import re
import subprocess
import sys
import termios

import pytest
from click.testing import CliRunner

from ranker.cli.main import cli

TEXTS = ("--query", "where is the capital of paris", "--passage", "the capital of paris lies <b>by</b> the seine")


def explain(ranker, tiny, *more):
    return ranker("explain", "--mode", "cross", "--model", tiny("bert", 1), *more)


def test_the_terminal_has_the_score_the_words_and_each_layer(ranker, tiny):
    said = explain(ranker, tiny, *TEXTS)
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert re.match(r"cross of \S+ scores -?\d\.\d{4}; \d+% of the words make half of all change\.$", lines[0])
    assert "question: where is the capital of paris" in lines
    assert "passage:  the capital of paris lies <b>by</b> the seine" in lines
    changes = [float(line.split()[0]) for line in lines if re.match(r"  +[+-]\d", line)]
    assert changes == sorted(changes, key=abs, reverse=True)
    assert [line.split()[0] for line in lines[-3:]] == ["1", "2", "3"]
    assert all(line.count("%") == 4 for line in lines[-3:])


def test_the_attention_is_headed_by_what_its_numbers_are(ranker, tiny):
    lines = explain(ranker, tiny, *TEXTS).out.splitlines()
    assert lines[-4].split() == ["layer", "marker", "stopword", "content", "punctuation"]
    assert lines[-4].index("layer") + len("layer") == lines[-3].index("1") + 1


def test_texts_without_words_say_so(ranker, tiny, tmp_path):
    said = explain(ranker, tiny, "--query", "?", "--passage", "!!!", "--output", tmp_path / "why.html")
    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert lines[lines.index("change of the score by the words that matter most") + 1] == "  none"
    assert '<td class="words">none</td>' in (tmp_path / "why.html").read_text()


HOSTILE = "the \x1b]0;X\x07 capital \x1b[2J of \x9b31m paris\u202e lies"


@pytest.mark.parametrize("form", ["table", "json"])
def test_no_text_gives_orders_to_the_terminal(ranker, tiny, form):
    said = explain(ranker, tiny, "--query", "where\x1b[2J is", "--passage", HOSTILE, "--format", form)
    assert said.status == 0, said.err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", said.out)
    if form == "json":
        assert json.loads(said.out)["passage"] == HOSTILE
    else:
        shown = "the \\x1b]0;X\\x07 capital \\x1b[2J of \\x9b31m paris\\u202e lies"
        assert f"passage:  {shown}" in said.out.splitlines()


def test_coloured_words_bring_no_orders_either(tiny):
    words = ["explain", "--mode", "cross", "--model", str(tiny("bert", 1)), "--query", "where", "--passage", HOSTILE]
    coloured = CliRunner().invoke(cli, words, color=True).output
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", re.sub(r"\x1b\[[\d;]+m", "", coloured))


@pytest.mark.slow
def test_a_terminal_sees_how_far_it_is(tiny):
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 100))
    words = ["explain", "--mode", "cross", "--model", str(tiny("bert", 1)), *TEXTS]
    done = subprocess.run([sys.executable, "-m", "ranker", *words], stdout=subprocess.PIPE, stderr=theirs, check=True)
    os.write(theirs, b"end")
    shown = os.read(ours, 65_536).decode()
    os.close(theirs)
    os.close(ours)
    assert re.search(r"explain: +\d+%\|.*/17.0 .*pair", shown)
    assert done.stdout.startswith(b"cross of ")


def test_words_are_coloured_where_colours_are_shown(tiny):
    words = ["explain", "--mode", "cross", "--model", str(tiny("bert", 1)), *TEXTS]
    coloured = CliRunner().invoke(cli, words, color=True).output
    plain = CliRunner().invoke(cli, words).output
    assert "\x1b[30m\x1b[48;5;" in coloured
    assert re.sub(r"\x1b\[[\d;]+m", "", coloured) == plain


def test_json_has_every_word_with_its_place(ranker, tiny):
    said = explain(ranker, tiny, *TEXTS, "--format", "json")
    record = json.loads(said.out)
    texts = {"query": TEXTS[1], "passage": TEXTS[3]}
    assert len(record["words"]) == 6 + 10
    for word in record["words"]:
        assert texts[word["part"]][word["start"] : word["end"]] == word["text"]
    assert [one["layer"] for one in record["attention"]] == [1, 2, 3]
    assert record["tokens_unread"] == 0


def test_the_page_needs_nothing_else_and_lets_no_text_become_markup(ranker, tiny, tmp_path):
    page = tmp_path / "why.html"
    said = explain(ranker, tiny, *TEXTS, "--output", page)
    assert said.status == 0, said.err
    assert said.err.splitlines()[-1] == f"{page}: 16 words explained."
    text = page.read_text()
    assert "<b>by" not in text
    assert text.count('<div class="layer">') == 3
    assert not re.findall(r"(?:src|href)=|@import|url\(", text)
    assert not re.search(r"\$[a-z]", text)
    shown = re.sub(r"<[^>]+>", "", text)
    assert "the capital of paris lies &lt;b&gt;by&lt;/b&gt; the seine" in shown


def test_a_page_that_exists_is_kept(ranker, tiny, tmp_path):
    page = tmp_path / "why.html"
    page.write_text("mine")
    said = explain(ranker, tiny, *TEXTS, "--output", page)
    assert said.status == 1
    assert page.read_text() == "mine"


def test_a_pair_of_a_dataset_is_that_pair(ranker, tiny, dataset):
    of_dataset = explain(ranker, tiny, dataset, "--query-id", "q4", "--doc-id", "d4", "--format", "json")
    assert of_dataset.status == 0, of_dataset.err
    record = json.loads(of_dataset.out)
    texts = ("--query", record["query"], "--passage", record["passage"])
    assert record["passage"] == "the capital of paris lies by the old capital"
    assert json.loads(explain(ranker, tiny, *texts, "--format", "json").out) == record


def test_the_score_is_the_one_that_rerank_writes(ranker, tiny, dataset, first_run, tmp_path):
    part, output = tmp_path / "one.run", tmp_path / "cross.run"
    part.write_text("q4 Q0 d4 1 1.0 hand\n")
    words = ("--mode", "cross", "--model", tiny("bert", 1), "--precision", "float32", "--output", output)
    assert ranker("rerank", dataset, "--run", part, *words).status == 0
    found = explain(ranker, tiny, dataset, "--query-id", "q4", "--doc-id", "d4", "--format", "json")
    assert json.loads(found.out)["score"] == pytest.approx(float(output.read_text().split()[4]), abs=1e-6)


def test_a_mode_without_attention_says_so(ranker, tiny):
    said = ranker("explain", "--mode", "dual", "--model", tiny(), *TEXTS)
    assert said.status == 0, said.err
    assert said.out.startswith("dual of ")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("--query", "x"), 2, "give a DATASET with --query-id and --doc-id, or --query and --passage without one"),
        (("--query-id", "q4", "--doc-id", "d4"), 2, "give a DATASET"),
        ((*TEXTS, "--doc-id", "d4"), 2, "give a DATASET"),
        (("--query", " ", "--passage", "x"), 1, "--query: is empty, expected a text."),
    ],
)
def test_what_cannot_be_explained_is_one_sentence(ranker, tiny, words, status, sentence):
    said = explain(ranker, tiny, *words)
    assert said.status == status
    assert sentence in said.err


def test_ids_that_the_dataset_lacks_are_named(ranker, tiny, dataset):
    said = explain(ranker, tiny, dataset, "--query-id", "q1", "--doc-id", "d4")
    assert (said.status, said.err) == (1, "Error: dataset toy: split 'test' has no query 'q1'.\n")
    said = explain(ranker, tiny, dataset, "--query-id", "q4", "--doc-id", "d400")
    assert (said.status, said.err) == (1, "Error: dataset toy: has no passage 'd400'.\n")
