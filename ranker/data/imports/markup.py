"""The words of an HTML page or of tagged text, in time that grows as the text does, whatever stands in it."""

import html
import re
from collections.abc import Iterator

_UNREAD = frozenset({"script", "style", "template"})
_RAW = {name: re.compile(f"</{name}", re.IGNORECASE | re.ASCII) for name in ("script", "style")}
_INLINE = {
    *("a", "abbr", "acronym", "b", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "mark"),
    *("q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var"),
}
_TAG = re.compile(r"<[/!?A-Za-z][^>]*>")
_START = re.compile(r"<(?=[/!?A-Za-z])")
_NAME = re.compile(r"</?([A-Za-z][^\s/>]*)")
_QUOTED_END = re.compile(r"""(?:[^=>]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+>""")
"""What is left of a tag; a value in quotes may hold a ``>``."""

_LONG_NUMBER = re.compile(r"&#[0-9]{4000,};?")
"""A character by a number that no character has, and that Python refuses to read."""


def page_words(markup: str) -> tuple[str, str]:
    """The words of the ``<title>``, and all others: entities decoded, blanks run together, scripts and styles left out.

    Elements that start a line keep words apart, inline ones do not, as jsoup's ``text()`` has it, which is what
    Anserini indexes.
    """
    page = _Page()
    for tag, text in _tokens(markup):
        if tag:
            page.pass_tag(tag)
        else:
            page.take(text)
    return " ".join("".join(page.title).split()), " ".join("".join(page.body).split())


def tagged_words(markup: str) -> str:
    """The words between tags, for text that is tagged but not a page."""
    end = markup.rfind(">") + 1  # behind it no tag ends, and each < would be looked at to the end for nothing
    return " ".join(_unescape(_TAG.sub(" ", markup[:end]) + markup[end:]).split())


class _Page:
    def __init__(self) -> None:
        self.title: list[str] = []
        self.body: list[str] = []
        self._open = ""

    def pass_tag(self, tag: str) -> None:
        """``name``, ``/name`` at its end, or ``name/`` for one that is both."""
        name = tag.strip("/")
        if tag.startswith("/") and name == self._open:
            self._open = ""
        elif tag == name and (name == "title" or name in _UNREAD):
            self._open = self._open or name
        if name not in _INLINE:
            (self.title if self._open else self.body).append(" ")

    def take(self, text: str) -> None:
        """Text as it stands between tags."""
        if self._open not in _UNREAD:
            (self.title if self._open else self.body).append(_unescape(text))


def _tokens(markup: str) -> Iterator[tuple[str, str]]:
    """Tags by their names, as ``_Page.pass_tag`` takes them, and texts; comments and declarations are passed over."""
    place, quotes = 0, True
    while (start := _START.search(markup, place)) is not None:
        yield "", markup[place : start.start()]
        place = start.start()
        name = _NAME.match(markup, place)
        end = _end_of_other(markup, place) if name is None else markup.find(">", name.end()) + 1
        if not end:
            break
        if name is not None:
            whole = _QUOTED_END.match(markup, name.end()) if quotes else None
            quotes = whole is not None  # one search to the end for nothing is enough
            end = whole.end() if whole else end
            tag = name[0][1:].lower() + ("/" if markup[end - 2] == "/" else "")
            yield tag, ""
            end = _end_of_raw(markup, tag, end)
        place = end
    yield "", markup[place:]


def _end_of_raw(markup: str, tag: str, start: int) -> int:
    """Where the code between a tag and its end ends; ``start`` for a tag that has none."""
    if tag not in _RAW:
        return start
    close = _RAW[tag].search(markup, start)
    return close.start() if close else len(markup)


def _end_of_other(markup: str, start: int) -> int:
    """Where a comment or declaration ends, a comment at the latest with the page; 0 where it does not."""
    if markup.startswith("<!--", start):
        end = markup.find("-->", start + 2)
        return end + 3 if end >= 0 else len(markup)
    return markup.find(">", start) + 1


def _unescape(text: str) -> str:
    return html.unescape(_LONG_NUMBER.sub("\ufffd", text))
