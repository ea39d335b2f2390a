"""The words of an HTML page or of tagged text."""

import html
import re
from html.parser import HTMLParser

_UNREAD = frozenset({"script", "style", "template"})
_INLINE = {
    *("a", "abbr", "acronym", "b", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark"),
    *("q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var"),
}
_TAG = re.compile(r"<[/!?A-Za-z][^>]*>")


def page_words(markup: str) -> tuple[str, str]:
    """The words of the ``<title>``, and all others: entities decoded, blanks run together, scripts and styles left out.

    Elements that start a line keep words apart, inline ones do not, as jsoup's ``text()`` has it, which is what
    Anserini indexes.
    """
    page = _Page()
    page.feed(markup)
    page.close()
    return " ".join("".join(page.title).split()), " ".join("".join(page.body).split())


def tagged_words(markup: str) -> str:
    """The words between tags, for text that is tagged but not a page."""
    return " ".join(html.unescape(_TAG.sub(" ", markup)).split())


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.body: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag == "title" or tag in _UNREAD:
            self._open = self._open or tag
        self._part(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._part(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._open:
            self._open = ""
        self._part(tag)

    def handle_data(self, data: str) -> None:
        if self._open not in _UNREAD:
            (self.title if self._open else self.body).append(data)

    def _part(self, tag: str) -> None:
        if tag not in _INLINE:
            (self.title if self._open else self.body).append(" ")
