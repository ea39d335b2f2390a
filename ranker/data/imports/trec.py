"""TREC collections, of tagged text or of HTML pages, with topics and qrels."""

import re
from collections import Counter
from collections.abc import Iterator
from io import StringIO

from ranker.data.imports.archive import Member, members
from ranker.data.imports.markup import page_words, tagged_words
from ranker.data.imports.questions import Questions, judged_ids, matched
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.imports.topics import read_topics
from ranker.data.records import Passage, Query
from ranker.errors import DataError
from ranker.limits import MAX_DOCUMENT_BYTES

_DOCNO = re.compile(r"\A(?>.*?<DOCNO>)(.*?)</DOCNO>", re.IGNORECASE | re.DOTALL)
"""Of the first alone: what looks for the end of each anew does not end on a hostile file."""

_TITLES = ("HEADLINE", "TITLE", "HL", "HEAD", "TTL")
_TEXTS = ("TEXT", "DD", "DATE", "LP", "LEADPARA")
_TAG = re.compile(rf"<(/?)({'|'.join(_TITLES + _TEXTS)})>", re.IGNORECASE | re.ASCII)

NO_TEXT = "passages without text"


def import_trec(sources: Sources) -> Imported:
    """A collection of ``<DOC>`` blocks, many to a file: the elements that Anserini indexes, headlines as the title."""
    skipped = Counter[str]()
    questions = Questions(skipped)
    passages = _tagged_passages(sources, skipped)
    return Imported(passages, _queries(sources, questions), questions.judgments(sources), skipped)


def import_trec_html(sources: Sources) -> Imported:
    """A collection of HTML pages, each a passage whose doc_id is its file's name without ``.html``."""
    skipped = Counter[str]()
    questions = Questions(skipped)
    return Imported(_pages(sources, skipped), _queries(sources, questions), questions.judgments(sources), skipped)


def _queries(sources: Sources, questions: Questions) -> Iterator[Query]:
    """All topics are read before the first is given, since the judgments' ids decide about zeros before a number."""
    topics = [topic for path in sources.paths("topics") for topic in read_topics(path)]
    judged = matched([topic.query_id for topic in topics], judged_ids(sources))
    for topic in topics:
        query = questions.query(judged.get(topic.query_id, topic.query_id), topic.text, topic.place)
        if query is not None:
            yield query


def _pages(sources: Sources, skipped: Counter[str]) -> Iterator[Passage]:
    """Names are held, since two folders may have a page of one name."""
    seen: dict[str, str] = {}
    for path in sources.paths("collection"):
        for member in members(path, skipped):
            stem, dot, ending = member.name.rpartition(".")
            if not dot or ending.lower() not in {"html", "htm"}:
                skipped["files that are no .html"] += 1
                continue
            doc_id = checked_id(stem, member.place, "name")
            if doc_id in seen:
                raise DataError(f"{member.place}: has the name of {seen[doc_id]}, expected each name once.")
            seen[doc_id] = member.place
            title, text = page_words(member.content())
            yield from _readable(doc_id, title, text, skipped)
    if not seen:
        place = sources.paths("collection")[0]
        raise DataError(f"{place}: has no .html files, expected a folder or tar archive of them.")


def _tagged_passages(sources: Sources, skipped: Counter[str]) -> Iterator[Passage]:
    found = False
    for path in sources.paths("collection"):
        for member in members(path, skipped):
            blocks = 0
            for line, block in _blocks(member):
                yield from _tagged_passage(f"{member.place}:{line}", block, skipped)
                blocks += 1
            if not blocks:
                skipped["files without <DOC>"] += 1
            found = found or blocks > 0
    if not found:
        place = sources.paths("collection")[0]
        raise DataError(f"{place}: has no <DOC>, expected TREC text; pages of HTML are imported as trec-html.")


def _blocks(member: Member) -> Iterator[tuple[int, str]]:
    """Each ``<DOC>`` to ``</DOC>`` with the number of its first line."""
    began, block = 0, StringIO()
    for number, line in member.lines():
        if not began and line.lstrip()[:5].upper() == "<DOC>":
            began, block = number, StringIO()
        if not began:
            continue
        if block.tell() + len(line) > MAX_DOCUMENT_BYTES:
            raise DataError(f"{member.place}:{began}: the <DOC> is larger than the {MAX_DOCUMENT_BYTES} bytes allowed.")
        block.write(line)
        if "</DOC>" in line.upper():
            yield began, block.getvalue()
            began = 0
    if began:
        raise DataError(f"{member.place}:{began}: the <DOC> that starts here does not end, expected </DOC>.")


def _tagged_passage(place: str, block: str, skipped: Counter[str]) -> Iterator[Passage]:
    docno = _DOCNO.search(block)
    if docno is None:
        raise DataError(f"{place}: the <DOC> that starts here has no id, expected <DOCNO>.")
    parts = [(name, tagged_words(part)) for name, part in _parts(block)]
    title = " ".join(words for name, words in parts if name in _TITLES and words)
    text = " ".join(words for name, words in parts if name in _TEXTS and words)
    yield from _readable(checked_id(docno[1].strip(), place, "passage id"), title, text, skipped)


def _parts(block: str) -> Iterator[tuple[str, str]]:
    """The elements that are read, each by its name up to its first end; one that does not end is none."""
    last = {tag[2].upper(): tag.start() for tag in _TAG.finditer(block) if tag[1]}
    name, start = "", 0
    for tag in _TAG.finditer(block):
        found = tag[2].upper()
        if not name and not tag[1] and last.get(found, 0) > tag.start():
            name, start = found, tag.end()
        elif tag[1] and found == name:
            yield name, block[start : tag.start()]
            name = ""


def _readable(doc_id: str, title: str, text: str, skipped: Counter[str]) -> Iterator[Passage]:
    """The passage, with its title as the text where it has no other; nothing where it has no words at all."""
    if text:
        yield Passage(doc_id, title, text)
    elif title:
        yield Passage(doc_id, "", title)
    else:
        skipped[NO_TEXT] += 1
