"""Imports the training files of Dense Passage Retrieval: questions, each with positive and negative passages."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ranker.data.imports.json_stream import objects, read_records, text_field
from ranker.data.imports.queries import NO_TEXT
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.records import Judgment, Passage, Query, has_words
from ranker.errors import DataError

_POSITIVE = "positive_ctxs"
_LISTS = (_POSITIVE, "hard_negative_ctxs", "negative_ctxs")
_ID_KEYS = ("passage_id", "psg_id")

UNANSWERED = "questions without a positive passage"


def import_dpr(sources: Sources) -> Imported:
    """Imports the passages of all three lists, each id once, and judges the positive ones relevant.

    Negatives are unjudged, since they were mined by a machine. A query_id is the split and the number of the question
    in it, from 0: ``train-17``. Questions without a positive passage are left out and counted, and their numbers are
    not used again. Records stream; the doc_ids and the questions are held.
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
        self._doc_ids: set[str] = set()
        self._questions: Counter[str] = Counter()

    def passages(self, split: str, path: Path) -> Iterator[Passage]:
        for location, record in read_records(path):
            positives: dict[str, None] = {}
            for key, passage in _passages_by_list(record, location):
                if not has_words(passage.text):
                    self.skipped["passages without text"] += 1
                    continue
                if key == _POSITIVE:
                    positives[passage.doc_id] = None
                if passage.doc_id not in self._doc_ids:
                    self._doc_ids.add(passage.doc_id)
                    yield passage
            self._add_question(split, record, positives, location)

    def _add_question(self, split: str, record: dict[str, Any], positives: dict[str, None], location: str) -> None:
        question, answers = text_field(record, "question", location), record.get("answers", [])
        query_id = f"{split}-{self._questions[split]}"
        self._questions[split] += 1  # also of a question that is left out
        if not has_words(question):
            self.skipped[NO_TEXT] += 1
            return
        if not positives:
            self.skipped[UNANSWERED] += 1
            return
        if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
            raise DataError(f"{location}: 'answers' are no list of strings.")
        self.queries.append(Query(query_id, question, tuple(dict.fromkeys(answers))))
        self.judgments.extend(Judgment(split, query_id, doc_id, 1) for doc_id in positives)


def _passages_by_list(record: dict[str, Any], location: str) -> Iterator[tuple[str, Passage]]:
    """Yields the passages of a question, each with the key of its list; a list may be absent."""
    for key in _LISTS:
        if key in record:
            for where, context in objects(record, key, location):
                yield key, _passage(context, where)


def _passage(context: dict[str, Any], location: str) -> Passage:
    doc_id = next((context[key] for key in _ID_KEYS if context.get(key) is not None), None)
    if doc_id is None:
        raise DataError(f"{location}: has no id, expected {' or '.join(_ID_KEYS)}.")
    title = text_field(context, "title", location) if "title" in context else ""
    return Passage(checked_id(doc_id, location, "passage id"), title, text_field(context, "text", location))
