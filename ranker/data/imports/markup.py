"""Reads the words of HTML pages and tagged text, in time linear in their length.

html.parser takes seconds for a page of open comments or tags, whose end it looks for again and again.
"""

import html
import re
from collections.abc import Iterator

_SKIPPED = frozenset({"script", "style", "template"})
_RAW = {name: re.compile(f"</{name}", re.IGNORECASE | re.ASCII) for name in ("script", "style")}
_INLINE = {
    *("a", "abbr", "acronym", "b", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark"),
    *("q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var"),
}
_TAG = re.compile(r"<[/!?A-Za-z][^>]*>")
_START = re.compile(r"<(?=[/!?A-Za-z])")
_NAME = re.compile(r"</?([A-Za-z][^\s/>]*)")
_QUOTED_END = re.compile(r"""(?:[^=>]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+>""")
"""The rest of a tag behind its name; a value in quotes may hold a ``>``."""

_LONG_NUMBER = re.compile(r"&#[0-9]{4000,};?")
"""A character reference with more digits than any character has, and than Python converts to an int."""


def page_words(markup: str) -> tuple[str, str]:
    """Returns the words of the ``<title>``, and all others, without scripts and styles.

    Entities are decoded, and blanks collapse. Block elements separate words and inline elements do not, as in jsoup's
    ``text()``, which Anserini indexes.
    """
    page = _Page()
    for tag, text in _tokens(markup):
        if tag:
            page.add_tag(tag)
        else:
            page.add_text(text)
    return " ".join("".join(page.title).split()), " ".join("".join(page.body).split())


def tagged_words(markup: str) -> str:
    """Returns the words between the tags of text that is not HTML."""
    end = markup.rfind(">") + 1  # no tag ends behind it, and each < there would be searched to the end
    return " ".join(_unescape(_TAG.sub(" ", markup[:end]) + markup[end:]).split())


class _Page:
    """Collects the words of a page, those of the title apart."""

    def __init__(self) -> None:
        self.title: list[str] = []
        self.body: list[str] = []
        self._open = ""

    def add_tag(self, tag: str) -> None:
        """Takes a start tag ``name``, an end tag ``/name``, or ``name/`` for an element without content."""
        name = tag.strip("/")
        if tag.startswith("/") and name == self._open:
            self._open = ""
        elif tag == name and (name == "title" or name in _SKIPPED):
            self._open = self._open or name
        if name not in _INLINE:
            (self.title if self._open else self.body).append(" ")

    def add_text(self, text: str) -> None:
        """Takes the text between two tags."""
        if self._open not in _SKIPPED:
            (self.title if self._open else self.body).append(_unescape(text))


def _tokens(markup: str) -> Iterator[tuple[str, str]]:
    """Yields tags, as ``_Page.add_tag`` takes them, and texts; comments and declarations are skipped."""
    position, quotes_end = 0, True
    while (start := _START.search(markup, position)) is not None:
        yield "", markup[position : start.start()]
        position = start.start()
        name = _NAME.match(markup, position)
        end = _declaration_end(markup, position) if name is None else markup.find(">", name.end()) + 1
        if not end:
            break
        if name is not None:
            # once a tag's quotes do not end, those of later tags are not searched: each would be read to the end
            quoted = _QUOTED_END.match(markup, name.end()) if quotes_end else None
            quotes_end = quoted is not None
            end = quoted.end() if quoted else end
            tag = name[0][1:].lower() + ("/" if markup[end - 2] == "/" else "")
            yield tag, ""
            end = _code_end(markup, tag, end)
        position = end
    yield "", markup[position:]


def _code_end(markup: str, tag: str, start: int) -> int:
    """Returns where the code of a script or style ends; ``start`` for any other tag."""
    if tag not in _RAW:
        return start
    close = _RAW[tag].search(markup, start)
    return close.start() if close else len(markup)


def _declaration_end(markup: str, start: int) -> int:
    """Returns where a comment or declaration ends, or 0; a comment that does not end goes on to the end of the page."""
    if markup.startswith("<!--", start):
        end = markup.find("-->", start + 2)
        return end + 3 if end >= 0 else len(markup)
    return markup.find(">", start) + 1


def _unescape(text: str) -> str:
    return html.unescape(_LONG_NUMBER.sub("\ufffd", text))
