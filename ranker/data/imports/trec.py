"""TREC collections, of tagged text or of HTML pages, with topics and qrels."""

import re
from collections import Counter
from collections.abc import Iterator

from ranker.data.imports.archive import Member, members
from ranker.data.imports.markup import page_words, tagged_words
from ranker.data.imports.questions import Questions
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.imports.topics import read_topics
from ranker.data.records import Passage, Query
from ranker.errors import DataError
from ranker.limits import MAX_DOCUMENT_BYTES

_DOCNO = re.compile(r"<DOCNO>\s*(.*?)\s*</DOCNO>", re.IGNORECASE | re.DOTALL)
_TITLES = ("HEADLINE", "TITLE", "HL", "HEAD", "TTL")
_TEXTS = ("TEXT", "DD", "DATE", "LP", "LEADPARA")
_PART = re.compile(rf"<({'|'.join(_TITLES + _TEXTS)})>(.*?)</\1>", re.IGNORECASE | re.DOTALL)

NO_TEXT = "passages without text"


def import_trec(sources: Sources) -> Imported:
    """A collection of ``<DOC>`` blocks, many to a file: the elements that Anserini indexes, headlines as the title."""
    questions, skipped = Questions(), Counter[str]()
    passages = _tagged_passages(sources, skipped)
    return Imported(passages, _queries(sources, questions), questions.judgments(sources), skipped)


def import_trec_html(sources: Sources) -> Imported:
    """A collection of HTML pages, each a passage whose doc_id is its file's name without ``.html``."""
    questions, skipped = Questions(), Counter[str]()
    return Imported(_pages(sources, skipped), _queries(sources, questions), questions.judgments(sources), skipped)


def _queries(sources: Sources, questions: Questions) -> Iterator[Query]:
    for path in sources.paths("topics"):
        yield from read_topics(path, questions)


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
    began, size, lines = 0, 0, list[str]()
    for number, line in member.lines():
        if not began and line.lstrip()[:5].upper() == "<DOC>":
            began, size = number, 0
        if not began:
            continue
        lines.append(line)
        size += len(line)
        if size > MAX_DOCUMENT_BYTES:
            raise DataError(f"{member.place}:{began}: the <DOC> is larger than the {MAX_DOCUMENT_BYTES} bytes allowed.")
        if "</DOC>" in line.upper():
            yield began, "".join(lines)
            began, lines = 0, []
    if began:
        raise DataError(f"{member.place}:{began}: the <DOC> that starts here does not end, expected </DOC>.")


def _tagged_passage(place: str, block: str, skipped: Counter[str]) -> Iterator[Passage]:
    docno = _DOCNO.search(block)
    if docno is None:
        raise DataError(f"{place}: the <DOC> that starts here has no id, expected <DOCNO>.")
    parts = [(part[1].upper(), tagged_words(part[2])) for part in _PART.finditer(block)]
    title = " ".join(words for name, words in parts if name in _TITLES and words)
    text = " ".join(words for name, words in parts if name in _TEXTS and words)
    yield from _readable(checked_id(docno[1], place, "passage id"), title, text, skipped)


def _readable(doc_id: str, title: str, text: str, skipped: Counter[str]) -> Iterator[Passage]:
    """The passage, with its title as the text where it has no other; nothing where it has no words at all."""
    if text:
        yield Passage(doc_id, title, text)
    elif title:
        yield Passage(doc_id, "", title)
    else:
        skipped[NO_TEXT] += 1
