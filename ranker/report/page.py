"""Pages of HTML that need nothing else: all share one style sheet, for light and for dark."""

from html import escape
from importlib import resources
from string import Template


def html_page(title: str, summary: str, body: str) -> str:
    """A whole page with a title and a summary, which are text, over a body of HTML."""
    template = Template(resources.files("ranker.report").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), summary=escape(summary), body=body)
