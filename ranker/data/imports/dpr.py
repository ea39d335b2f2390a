"""The training files of Dense Passage Retrieval: questions, each with passages that answer it or only seem to."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ranker.data.imports.documents import json_records, objects, text
from ranker.data.imports.questions import NO_TEXT
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.records import Judgment, Passage, Query, has_words
from ranker.errors import DataError

_POSITIVE = "positive_ctxs"
_LISTS = (_POSITIVE, "hard_negative_ctxs", "negative_ctxs")
_ID_KEYS = ("passage_id", "psg_id")

UNANSWERED = "questions without a positive passage"


def import_dpr(sources: Sources) -> Imported:
    """Every passage of the three lists once, by its id; the positive ones are judged relevant.

    Negatives enter the collection unjudged: they were mined, not judged. A query_id is the split and the question's
    number in it, from 0: ``train-17``. Questions without a positive passage are left out and counted; their numbers
    are not given to others. Records stream; the ids of passages, and the questions, are held.
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
        self._seen: set[str] = set()
        self._numbers: Counter[str] = Counter()

    def passages(self, split: str, path: Path) -> Iterator[Passage]:
        for place, record in json_records(path):
            positives: dict[str, None] = {}
            for key, passage in _contexts(record, place):
                if not has_words(passage.text):
                    self.skipped["passages without text"] += 1
                    continue
                if key == _POSITIVE:
                    positives[passage.doc_id] = None
                if passage.doc_id not in self._seen:
                    self._seen.add(passage.doc_id)
                    yield passage
            self._ask(split, record, positives, place)

    def _ask(self, split: str, record: dict[str, Any], positives: dict[str, None], place: str) -> None:
        question, answers = text(record, "question", place), record.get("answers", [])
        query_id = f"{split}-{self._numbers[split]}"
        self._numbers[split] += 1
        if not has_words(question):
            self.skipped[NO_TEXT] += 1
            return
        if not positives:
            self.skipped[UNANSWERED] += 1
            return
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise DataError(f"{place}: 'answers' are no list of strings.")
        self.queries.append(Query(query_id, question, tuple(dict.fromkeys(answers))))
        self.judgments.extend(Judgment(split, query_id, doc_id, 1) for doc_id in positives)


def _contexts(record: dict[str, Any], place: str) -> Iterator[tuple[str, Passage]]:
    """The passages of a question, each with the list that has it; a list may be absent."""
    for key in _LISTS:
        if key in record:
            for where, context in objects(record, key, place):
                yield key, _passage(context, where)


def _passage(context: dict[str, Any], place: str) -> Passage:
    doc_id = next((context[key] for key in _ID_KEYS if context.get(key) is not None), None)
    if doc_id is None:
        raise DataError(f"{place}: has no id, expected {' or '.join(_ID_KEYS)}.")
    title = text(context, "title", place) if "title" in context else ""
    return Passage(checked_id(doc_id, place, "passage id"), title, text(context, "text", place))
