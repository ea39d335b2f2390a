"""A study's report as Markdown, and as one page of HTML that needs nothing else."""

import json
from html import escape
from importlib import resources
from string import Template
from typing import Final

from ranker.experiments.plots import all_plots
from ranker.experiments.results import StudyResult
from ranker.experiments.rows import RANDOM
from ranker.experiments.tables import Table, all_tables, summary

_CLASSES: Final = {"held": "held", "not held": "lost", "undecided": "open"}

_LONG: Final = 24
"""Letters from which a cell of words needs some width of its own, or a narrow screen breaks it after each word."""


def markdown(result: StudyResult) -> str:
    """The tables of the study."""
    parts = [f"# {result.frame.title}", summary(result)]
    for table in all_tables(result):
        parts += [f"## {table.title}", _markdown_table(table), "\n".join(f"- {note}" for note in table.notes)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    ruler = ["---" if place in table.words else "---:" for place in range(len(table.head))]
    rows = [table.head, ruler, *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def page(result: StudyResult) -> str:
    """Tables and plots, each query's values of any two arms, and the settings, in one file."""
    tables = all_tables(result)
    figures = [f"<h2>{escape(title)}</h2>\n<figure>{svg}</figure>" for title, svg in all_plots(result).items()]
    quality, *differences, costs, published = map(_html_table, tables)
    body = [quality, figures[0], *differences, *figures[1:], costs, published]
    template = Template(resources.files("ranker.experiments").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(result.frame.title),
        summary=escape(summary(result)),
        body="\n".join(body),
        settings=escape(json.dumps(result.frame.settings, indent=2, ensure_ascii=False)),
        values=_values(result),
    )


def _html_table(table: Table) -> str:
    head = "".join(_cell("th", text, place in table.words) for place, text in enumerate(table.head))
    rows = ("".join(_cell("td", text, place in table.words) for place, text in enumerate(row)) for row in table.rows)
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    notes = "<br>".join(map(escape, table.notes))
    return (
        f'<h2>{escape(table.title)}</h2>\n<div class="scroll"><table>\n<tr>{head}</tr>\n{body}\n</table></div>\n'
        f"<p><small>{notes}</small></p>"
    )


def _cell(tag: str, text: str, words: bool) -> str:
    classes = ("words" if words else "", "long" if words and len(text) > _LONG else "", _CLASSES.get(text, ""))
    name = " ".join(filter(None, classes))
    return f'<{tag} class="{name}">{escape(text)}</{tag}>' if name else f"<{tag}>{escape(text)}</{tag}>"


def _values(result: StudyResult) -> str:
    """JSON that no ``</script>`` in an id can end."""
    headline = result.frame.headline
    best, *others = [arm.name for arm in result.arms]
    record = {
        "measure": headline,
        "queries": result.rows[best].mean.query_ids,
        "values": {
            name: [round(value, 6) for value in row.mean.values[headline].tolist()]
            for name, row in result.rows.items()
            if name != RANDOM
        },
        "pair": [best, "bm25" if not others or "dual" not in others else "dual"],
    }
    return json.dumps(record, ensure_ascii=False).replace("<", "\\u003c")
