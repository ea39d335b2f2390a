"""SQuAD 1.1 and 2.0, and what is shaped like them: paragraphs of articles, and questions on each."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ranker.data.imports.documents import field, json_records, objects, text
from ranker.data.imports.questions import Questions
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.records import Judgment, Passage, Query, has_words

UNANSWERABLE = "questions without an answer"


def import_squad(sources: Sources) -> Imported:
    """Each paragraph a passage, and each question judged relevant to its own paragraph.

    A doc_id is the article's title as the file has it and the paragraph's number in that article, from 0, so it stays
    what it is whatever else is imported: ``Super_Bowl_50/3``. Questions that have no answer in their paragraph
    (SQuAD 2.0) are left out and counted: no passage is known to answer them. Articles stream, questions are held, with
    their answers.
    """
    reader = _Reader()
    passages = (passage for split, path in sources.by_split("file") for passage in reader.passages(split, path))
    return Imported(passages, reader.queries, reader.judgments, reader.skipped)


class _Reader:
    """Fills in queries and judgments while it yields passages."""

    def __init__(self) -> None:
        self.queries: list[Query] = []
        self.judgments: list[Judgment] = []
        self.skipped: Counter[str] = Counter()
        self._questions = Questions(self.skipped)
        self._paragraphs: Counter[str] = Counter()

    def passages(self, split: str, path: Path) -> Iterator[Passage]:
        for place, article in json_records(path, "data"):
            title = text(article, "title", place)
            stem = "_".join(title.split()) or "untitled"
            for where, paragraph in objects(article, "paragraphs", place):
                doc_id = checked_id(f"{stem}/{self._paragraphs[stem]}", where, "passage id")
                self._paragraphs[stem] += 1
                context = text(paragraph, "context", where)
                if not has_words(context):
                    self.skipped["paragraphs without text"] += 1
                    continue
                self._ask(split, doc_id, objects(paragraph, "qas", where))
                yield Passage(doc_id, unquote(title).replace("_", " "), context)

    def _ask(self, split: str, doc_id: str, questions: Iterator[tuple[str, dict[str, Any]]]) -> None:
        for place, question in questions:
            query = self._questions.query(question.get("id"), text(question, "question", place), place)
            if query is None:
                continue
            if question.get("is_impossible") or not question.get("answers"):
                self.skipped[UNANSWERABLE] += 1
                continue
            answers = [field(answer, "text", str, where) for where, answer in objects(question, "answers", place)]
            self.queries.append(query._replace(answers=tuple(dict.fromkeys(answers))))
            self.judgments.append(Judgment(split, query.query_id, doc_id, 1))
