"""Imports SQuAD 1.1 and 2.0, and other data in their format: paragraphs of articles, and questions on each."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ranker.data.imports.json_stream import field, objects, read_records, text_field
from ranker.data.imports.queries import QueryFilter
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.records import Judgment, Passage, Query, has_words

UNANSWERABLE = "questions without an answer"


def import_squad(sources: Sources) -> Imported:
    """Imports each paragraph as a passage, and judges each question relevant to its own paragraph.

    A doc_id is the title of the article in the file and the number of the paragraph in that article, from 0, so it does
    not depend on other files: ``Super_Bowl_50/3``. Questions that their paragraph does not answer (SQuAD 2.0) are left
    out and counted. Articles stream; questions and their answers are held.
    """
    reader = _Reader()
    passages = (passage for split, path in sources.by_split("file") for passage in reader.passages(split, path))
    return Imported(passages, reader.queries, reader.judgments, reader.skipped)


class _Reader:
    """Collects queries and judgments while it yields passages."""

    def __init__(self) -> None:
        self.queries: list[Query] = []
        self.judgments: list[Judgment] = []
        self.skipped: Counter[str] = Counter()
        self._filter = QueryFilter(self.skipped)
        self._paragraphs: Counter[str] = Counter()

    def passages(self, split: str, path: Path) -> Iterator[Passage]:
        for location, article in read_records(path, "data"):
            title = text_field(article, "title", location)
            stem = "_".join(title.split()) or "untitled"
            for where, paragraph in objects(article, "paragraphs", location):
                doc_id = checked_id(f"{stem}/{self._paragraphs[stem]}", where, "passage id")
                self._paragraphs[stem] += 1  # also of a paragraph that is left out, so that ids stay what they are
                context = text_field(paragraph, "context", where)
                if not has_words(context):
                    self.skipped["paragraphs without text"] += 1
                    continue
                self._add_questions(split, doc_id, objects(paragraph, "qas", where))
                yield Passage(doc_id, unquote(title).replace("_", " "), context)

    def _add_questions(self, split: str, doc_id: str, questions: Iterator[tuple[str, dict[str, Any]]]) -> None:
        for location, question in questions:
            query = self._filter.query(question.get("id"), text_field(question, "question", location), location)
            if query is None:
                continue
            if question.get("is_impossible") or not question.get("answers"):
                self.skipped[UNANSWERABLE] += 1
                continue
            answers = [field(answer, "text", str, where) for where, answer in objects(question, "answers", location)]
            self.queries.append(query._replace(answers=tuple(dict.fromkeys(answers))))
            self.judgments.append(Judgment(split, query.query_id, doc_id, 1))
