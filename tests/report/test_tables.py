"""What is printed, to the letter, and what a program reads back."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ranker.data.run import Ranking, Run
from ranker.evaluation.measures import Evaluation, evaluate, parse_measures
from ranker.evaluation.significance import Comparison, compare
from ranker.report.page import html_page
from ranker.report.tables import FORMATS, Table, notes, render_comparison, render_evaluations, verdict

QRELS = {"1": {"a": 2, "b": 1}, "2": {"c": 1}, "3": {"c": 1}}
MEASURES = parse_measures(["nDCG@2", "AP", "NumRet"])


def evaluations() -> list[Evaluation]:
    first = Run("bm25", {"1": Ranking.ordered(["a", "x"], [2, 1]), "2": Ranking.ordered(["c"], [1])})
    second = Run("cross|é", {q: Ranking.ordered(["c", "a"], [2, 1]) for q in ("1", "2", "3", "9")})
    return [evaluate(run, QRELS, MEASURES) for run in (first, second)]


def comparison(difference: float = 0.2, queries: int = 20) -> Comparison:
    measures = parse_measures(["nDCG@10"])
    generator = np.random.default_rng(0)

    def made(name: str, shift: float) -> Evaluation:
        values = {"nDCG@10": 0.4 + shift + generator.uniform(-0.05, 0.05, queries)}
        return Evaluation(name, measures, tuple(map(str, range(queries))), values, (), (), {})

    return compare([made("bm25", 0.0), made("cross", difference)], samples=9_999)


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def body(text: str) -> Sequence[str]:
    return text.partition("\n\n")[0].splitlines()


def test_a_table_lines_up_and_says_what_is_missing_and_unjudged() -> None:
    assert render_evaluations(evaluations()) == (
        "run      nDCG@2      AP  NumRet\n"
        "bm25     0.5867  0.5000       3\n"
        "cross|é  0.8265  0.7500       6\n"
        "\n"
        "bm25: 2 of 3 judged queries answered; the missing count 0: 3\n"
        "bm25: unjudged 33.3% of the first 2, 33.3% of all passages\n"
        "cross|é: 3 of 3 judged queries answered\n"
        "cross|é: without judgments and left out: 9\n"
        "cross|é: unjudged 50.0% of the first 2, 50.0% of all passages\n"
    )


def test_per_query_the_table_has_each_query_and_all_of_them() -> None:
    assert body(render_evaluations(evaluations()[:1], per_query=True)) == [
        "run   query  nDCG@2      AP  NumRet",
        "bm25  1      0.7602  0.5000       2",
        "bm25  2      1.0000  1.0000       1",
        "bm25  3      0.0000  0.0000       0",
        "bm25  all    0.5867  0.5000       3",
    ]


def test_markdown_escapes_what_would_split_a_cell() -> None:
    text = render_evaluations(evaluations(), "markdown")
    assert text.startswith("| run | nDCG@2 | AP | NumRet |\n| --- | ---: | ---: | ---: |\n| bm25 | 0.5867 |")
    assert "| cross\\|é | 0.8265 |" in text
    assert "\n- bm25: 2 of 3 judged queries answered" in text


def test_json_keeps_every_digit_and_every_missing_query() -> None:
    first, second = json.loads(render_evaluations(evaluations(), "json", per_query=True))["runs"]
    expected = evaluations()[0]
    assert first["measures"] == {m.name: expected[m] for m in MEASURES}
    assert first["per_query"]["AP"] == {"1": 0.5, "2": 1.0, "3": 0.0}
    assert (first["queries"], first["missing"], first["ignored"]) == (3, ["3"], [])
    assert first["unjudged"] == {"nDCG@2": 1 / 3, "AP": 1 / 3, "NumRet": 1 / 3}
    assert (second["name"], second["ignored"]) == ("cross|é", ["9"])
    assert "per_query" not in render_evaluations(evaluations(), "json")


def test_csv_has_one_value_a_row_which_reads_back_exactly() -> None:
    header, *values = rows(render_evaluations(evaluations(), "csv"))
    assert header == ["run", "query_id", "measure", "value"]
    assert [row[:3] for row in values[:3]] == [["bm25", "all", name] for name in ("nDCG@2", "AP", "NumRet")]
    assert float(values[0][3]) == evaluations()[0].mean("nDCG@2")
    assert len(rows(render_evaluations(evaluations(), "csv", per_query=True))) == 1 + 2 * 3 * (3 + 1)


def test_many_missing_queries_are_counted_rather_than_listed() -> None:
    many = replace(evaluations()[0], missing=tuple(f"q{i}" for i in range(8)), query_ids=tuple("abcdefghij"))
    assert notes(many)[0] == "bm25: 2 of 10 judged queries answered; the missing count 0: q0, q1, q2, q3, q4 and 3 more"


def test_unjudged_shares_stand_from_shallow_to_deep() -> None:
    run = Run("r", {"1": Ranking.ordered(["a", "x", "y", "z"], [4, 3, 2, 1])})
    said = notes(evaluate(run, QRELS, parse_measures(["AP", "P@3", "nDCG@1", "R@3"])))
    assert said[1] == "r: unjudged 0.0% of the first 1, 66.7% of the first 3, 75.0% of all passages"


def test_a_comparison_says_what_was_found_and_how() -> None:
    text = render_comparison(comparison())
    header, row = body(text)
    assert header.split("  ")[0] == "measure"
    assert row.split() == [
        "nDCG@10",
        "cross",
        "0.6061",
        "+0.2049",
        "[+0.1863,",
        "+0.2236]",
        "0.0001",
        "<0.0001",
        "20/0/0",
    ]
    assert "baseline bm25: nDCG@10 0.4012\n" in text
    assert "20 queries; w/t/l" in text
    assert "95% interval: percentile bootstrap over queries, uncorrected" in text
    assert "randomisation test (9,999 samples, seed 0)" in text
    assert "Holm-corrected over 1 run a measure" in text


def test_a_comparison_names_the_queries_that_were_counted_zero() -> None:
    short, full = evaluations()
    text = render_comparison(compare([full, short], missing="zero"))
    assert "\nbm25 lacks 1 judged query, which count 0: 3\n" in text
    assert json.loads(render_comparison(compare([full, short], missing="zero"), "json"))["missing"] == {"bm25": ["3"]}


def test_a_comparison_in_json_is_the_comparison() -> None:
    made = comparison()
    read = json.loads(render_comparison(made, "json"))
    assert (read["baseline"], read["queries"], read["samples"], read["seed"]) == ("bm25", 20, 9_999, 0)
    (difference,) = read["differences"]
    assert difference.pop("outcome") == "won"
    assert type(made.differences[0])(**difference) == made.differences[0]


def test_a_comparison_in_csv_has_a_row_per_run_and_measure() -> None:
    header, row = rows(render_comparison(comparison(), "csv"))
    found = dict(zip(header, row, strict=True))
    assert (found["baseline"], found["measure"], found["run"]) == ("bm25", "nDCG@10", "cross")
    assert float(found["p_t"]) == comparison().differences[0].p_t


def test_nothing_is_printed_as_minus_zero() -> None:
    made = comparison()
    tiny = replace(made, differences=(replace(made.differences[0], low=-1e-18, difference=-0.00001),))
    assert "-0.0000" not in render_comparison(tiny)
    assert "-0.0000" not in verdict(tiny.differences[0], "bm25")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_ends_in_one_newline(form: str) -> None:
    for text in (render_evaluations(evaluations(), form), render_comparison(comparison(), form)):  # type: ignore[arg-type]
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


@pytest.mark.parametrize(
    ("difference", "beginning"),
    [(0.2, "cross beats bm25: "), (-0.2, "cross loses to bm25: "), (0.0, "cross and bm25 are not told apart: ")],
)
def test_a_verdict_is_said_whatever_came_out(difference: float, beginning: str) -> None:
    said = verdict(comparison(difference).differences[0], "bm25")
    assert said.startswith(beginning + "nDCG@10 0.")
    assert said.endswith(".")


def test_a_verdict_has_means_interval_and_p() -> None:
    assert verdict(comparison().differences[0], "bm25") == (
        "cross beats bm25: nDCG@10 0.6061 against 0.4012, difference +0.2049 "
        "(95% interval +0.1863 to +0.2236), p = 0.0001."
    )


def test_one_table_in_every_form() -> None:
    table = Table(["arm", "RR@10"], [["a|<b>", "0.5"]], ["a note"], title="Quality")
    assert table.render("table") == "arm    RR@10\na|<b>    0.5\n\na note\n"
    assert table.render("markdown") == "| arm | RR@10 |\n| --- | ---: |\n| a\\|<b> | 0.5 |\n\n- a note\n"
    assert table.render("csv") == "arm,RR@10\na|<b>,0.5\n"
    assert table.html({"0.5": "held"}) == (
        '<h2>Quality</h2>\n<div class="scroll"><table>\n<tr><th class="words">arm</th><th>RR@10</th></tr>\n'
        '<tr><td class="words">a|&lt;b&gt;</td><td class="held">0.5</td></tr>\n</table></div>\n'
        "<p><small>a note</small></p>"
    )


def test_a_page_escapes_its_title_and_leaves_its_body() -> None:
    page = html_page("a < b", "${x}", "<p>$y</p>")
    assert "<title>a &lt; b</title>" in page
    assert '<p class="soft">${x}</p>\n<p>$y</p>\n</body>' in page
