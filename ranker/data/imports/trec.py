"""Imports TREC collections, of tagged text or HTML pages, with topics and qrels."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import starmap
from pathlib import Path
from typing import NamedTuple

from ranker.data.imports.archive import members
from ranker.data.imports.markup import page_words, tagged_words
from ranker.data.imports.msmarco import read_two_columns
from ranker.data.imports.queries import QueryFilter, judged_ids, match_numbers
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.records import Passage, Query
from ranker.errors import DataError
from ranker.files.lines import read_text_lines
from ranker.limits import MAX_DOCUMENT_BYTES

NO_TEXT = "passages without text"

_DOCNO = re.compile(r"\A(?>.*?<DOCNO>)(.*?)</DOCNO>", re.IGNORECASE | re.DOTALL)
"""Matches the first id alone: searching for the end of each would take quadratic time on a hostile file."""

_TITLES = ("HEADLINE", "TITLE", "HL", "HEAD", "TTL")
_TEXTS = ("TEXT", "DD", "DATE", "LP", "LEADPARA")
_TAG = re.compile(rf"<(/?)({'|'.join(_TITLES + _TEXTS)})>", re.IGNORECASE | re.ASCII)

_TOP_ID = re.compile(r"<num>\s*+(?:Number:\s*+)?+([^\s<]++)", re.IGNORECASE)
_TOP_TEXT = re.compile(r"<title>\s*+(?:Topic:)?+(.*?)(?=<[/a-z])", re.IGNORECASE | re.DOTALL)
_DOC_ID = re.compile(r"<DOCNO>\s*([^\s<]+)\s*</DOCNO>", re.IGNORECASE)
_DOC_TEXT = re.compile(r"\A(?>.*?</DOCNO>)(.*)</DOC>", re.IGNORECASE | re.DOTALL)

_TOPIC_BLOCKS = {"<top": ("</top>", _TOP_ID, _TOP_TEXT), "<doc>": ("</doc>", _DOC_ID, _DOC_TEXT)}
"""The end of a topic's block, and the patterns of its id and its question, by the start of the block."""


class Topic(NamedTuple):
    """A question in a file of topics, and its location."""

    location: str
    query_id: str
    text: str


def import_trec(sources: Sources) -> Imported:
    """Imports a collection of ``<DOC>`` blocks: the elements that Anserini indexes, with headlines as the title."""
    skipped = Counter[str]()
    queries = QueryFilter(skipped)
    passages = _tagged_passages(sources, skipped)
    return Imported(passages, _queries(sources, queries), queries.judgments(sources), skipped)


def import_trec_html(sources: Sources) -> Imported:
    """Imports a collection of HTML pages, each a passage whose doc_id is the name of its file without ``.html``."""
    skipped = Counter[str]()
    queries = QueryFilter(skipped)
    return Imported(_pages(sources, skipped), _queries(sources, queries), queries.judgments(sources), skipped)


# passages


def _pages(sources: Sources, skipped: Counter[str]) -> Iterator[Passage]:
    locations: dict[str, str] = {}  # by doc_id, since two folders may have a page of one name
    for path in sources.paths("collection"):
        for member in members(path, skipped):
            stem, dot, ending = member.name.rpartition(".")
            if not dot or ending.lower() not in {"html", "htm"}:
                skipped["files that are no .html"] += 1
                continue
            doc_id = checked_id(stem, member.location, "name")
            if doc_id in locations:
                raise DataError(f"{member.location}: has the name of {locations[doc_id]}, expected each name once.")
            locations[doc_id] = member.location
            title, text = page_words(member.content())
            yield from _with_text(doc_id, title, text, skipped)
    if not locations:
        path = sources.paths("collection")[0]
        raise DataError(f"{path}: has no .html files, expected a folder or tar archive of them.")


def _tagged_passages(sources: Sources, skipped: Counter[str]) -> Iterator[Passage]:
    has_blocks = False
    for path in sources.paths("collection"):
        for member in members(path, skipped):
            number = 0
            for number, block in _blocks(member.location, member.lines(), "<doc>", "</DOC>", "<DOC>"):
                yield from _tagged_passage(f"{member.location}:{number}", block, skipped)
            if not number:
                skipped["files without <DOC>"] += 1
            has_blocks = has_blocks or number > 0
    if not has_blocks:
        path = sources.paths("collection")[0]
        raise DataError(f"{path}: has no <DOC>, expected TREC text; pages of HTML are imported as trec-html.")


def _tagged_passage(location: str, block: str, skipped: Counter[str]) -> Iterator[Passage]:
    docno = _DOCNO.search(block)
    if docno is None:
        raise DataError(f"{location}: the <DOC> that starts here has no id, expected <DOCNO>.")
    elements = [(name, tagged_words(content)) for name, content in _elements(block)]
    title = " ".join(words for name, words in elements if name in _TITLES and words)
    text = " ".join(words for name, words in elements if name in _TEXTS and words)
    yield from _with_text(checked_id(docno[1].strip(), location, "passage id"), title, text, skipped)


def _elements(block: str) -> Iterator[tuple[str, str]]:
    """Yields the name and content of each element that is indexed, up to its first end; one without an end is none."""
    ends = {tag[2].upper(): tag.start() for tag in _TAG.finditer(block) if tag[1]}  # the last end of each name
    name, start = "", 0
    for tag in _TAG.finditer(block):
        is_end, tag_name = tag[1], tag[2].upper()
        if not name and not is_end and ends.get(tag_name, 0) > tag.start():
            name, start = tag_name, tag.end()
        elif is_end and tag_name == name:
            yield name, block[start : tag.start()]
            name = ""


def _with_text(doc_id: str, title: str, text: str, skipped: Counter[str]) -> Iterator[Passage]:
    """Yields a passage, with its title as the text where it has no other; none where it has no words."""
    if text:
        yield Passage(doc_id, title, text)
    elif title:
        yield Passage(doc_id, "", title)
    else:
        skipped[NO_TEXT] += 1


# topics


def _queries(sources: Sources, queries: QueryFilter) -> Iterator[Query]:
    # all topics are read before the first is yielded, since their ids are matched with those of the qrels
    topics = [topic for path in sources.paths("topics") for topic in read_topics(path)]
    judged = match_numbers([topic.query_id for topic in topics], judged_ids(sources))
    for topic in topics:
        query = queries.query(judged.get(topic.query_id, topic.query_id), topic.text, topic.location)
        if query is not None:
            yield query


def read_topics(path: Path) -> Iterator[Topic]:
    """Yields the topics of a file: the titles of ``<top>`` blocks, or all words of ``<DOC>`` blocks, as CACM has them.

    A file whose first line with words starts no block is read as lines of id, tab and text. Ids are kept as written.
    Raises: DataError with file and line for a block that does not end, or lacks its id or question.
    """
    first = next((line.strip().lower() for _, line in read_text_lines(path) if line.strip()), "")
    start = next((start for start in _TOPIC_BLOCKS if first.startswith(start)), None)
    if not first:
        raise DataError(f"{path}: is empty, expected topics.")
    if start is None:
        yield from starmap(Topic, read_two_columns(path))
        return
    end, id_pattern, text_pattern = _TOPIC_BLOCKS[start]
    expected = "<num> and <title>" if start == "<top" else "<DOCNO> and words after it"
    lines = ((number, f"{line}\n") for number, line in read_text_lines(path))
    for number, block in _blocks(str(path), lines, start, end, "topic"):
        identifier, text = id_pattern.search(block), text_pattern.search(block)
        if identifier is None:
            raise DataError(f"{path}:{number}: the topic that starts here has no id, expected {expected}.")
        if text is None:
            raise DataError(f"{path}:{number}: the topic that starts here has no question, expected {expected}.")
        yield Topic(f"{path}:{number}", identifier[1], " ".join(text[1].split()))


def _blocks(
    location: str, lines: Iterable[tuple[int, str]], start: str, end: str, name: str
) -> Iterator[tuple[int, str]]:
    """Yields each block of lines with the number of its first line; lines between blocks are skipped.

    ``start`` is in lower case; case is ignored. ``name`` names a block in messages.
    """
    first, block = 0, StringIO()
    for number, line in lines:
        if not first and line.lstrip().lower().startswith(start):
            first, block = number, StringIO()
        if not first:
            continue
        if block.tell() + len(line) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{location}:{first}: the {name} is larger than the {MAX_DOCUMENT_BYTES} bytes allowed.")
        block.write(line)
        if end.lower() in line.lower():
            yield first, block.getvalue()
            first = 0
    if first:
        raise DataError(f"{location}:{first}: the {name} that starts here does not end, expected {end}.")
