"""TREC topics: ``<top>`` blocks, ``<DOC>`` blocks as CACM has them, or tab-separated lines."""

import re
from collections.abc import Iterator
from io import StringIO
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from ranker.data.imports.msmarco import two_columns
from ranker.errors import DataError
from ranker.files.lines import read_text_lines
from ranker.limits import MAX_DOCUMENT_BYTES

_TOP_ID = re.compile(r"<num>\s*+(?:Number:\s*+)?+([^\s<]++)", re.IGNORECASE)
_TOP_TEXT = re.compile(r"<title>\s*+(?:Topic:)?+(.*?)(?=<[/a-z])", re.IGNORECASE | re.DOTALL)
_DOC_ID = re.compile(r"<DOCNO>\s*([^\s<]+)\s*</DOCNO>", re.IGNORECASE)
_DOC_TEXT = re.compile(r"\A(?>.*?</DOCNO>)(.*)</DOC>", re.IGNORECASE | re.DOTALL)

_BLOCKS = {"<top": ("</top>", _TOP_ID, _TOP_TEXT), "<doc>": ("</doc>", _DOC_ID, _DOC_TEXT)}
"""By how a block starts: how it ends, where its id is, and where its question."""


class Topic(NamedTuple):
    """A question as a file of topics asks it, and where it stands."""

    place: str
    query_id: str
    text: str


def read_topics(path: Path) -> Iterator[Topic]:
    """The topics of a file, ids as they are written; of a ``<top>`` its title, of CACM's ``<DOC>`` all its words.

    A file whose first line with words starts a block is read as blocks, any other as lines of id, tab and text.
    Raises: DataError with file and line for a block that does not end or lacks its id or question.
    """
    first = next((line.strip().lower() for _, line in read_text_lines(path) if line.strip()), "")
    start = next((start for start in _BLOCKS if first.startswith(start)), None)
    if not first:
        raise DataError(f"{path}: is empty, expected topics.")
    if start is None:
        yield from starmap(Topic, two_columns(path))
        return
    for number, block in _blocks(path, start):
        yield _topic(block, start, f"{path}:{number}")


def _blocks(path: Path, start: str) -> Iterator[tuple[int, str]]:
    """Each block with the number of its first line; lines between blocks say nothing."""
    end = _BLOCKS[start][0]
    began, block = 0, StringIO()
    for number, line in read_text_lines(path):
        if not began and line.strip().lower().startswith(start):
            began, block = number, StringIO()
        if not began:
            continue
        if block.tell() + len(line) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{path}:{began}: the topic is larger than the {MAX_DOCUMENT_BYTES} bytes allowed.")
        block.write(f"{line}\n")
        if end in line.lower():
            yield began, block.getvalue()
            began = 0
    if began:
        raise DataError(f"{path}:{began}: the topic that starts here does not end, expected {end}.")


def _topic(block: str, start: str, place: str) -> Topic:
    _, id_pattern, text_pattern = _BLOCKS[start]
    identifier, text = id_pattern.search(block), text_pattern.search(block)
    if identifier is None:
        raise DataError(f"{place}: the topic that starts here has no id, expected {_said(start)}.")
    if text is None:
        raise DataError(f"{place}: the topic that starts here has no question, expected {_said(start)}.")
    return Topic(place, identifier[1], " ".join(text[1].split()))


def _said(start: str) -> str:
    return "<num> and <title>" if start == "<top" else "<DOCNO> and words after it"
