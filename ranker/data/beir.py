"""The BEIR layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``, plain or ``.gz``."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from ranker.data.languages import write_language
from ranker.data.oddities import Note, Oddity, ignored
from ranker.data.records import DatasetStreams, Judgment, Passage, Query, has_words
from ranker.errors import DataError
from ranker.files.atomic import atomic_folder
from ranker.files.json_files import DECODER
from ranker.files.lines import read_text_lines
from ranker.limits import MAX_ID_BYTES

_QRELS_HEADER = "query-id\tcorpus-id\tscore\n"

_BLANKS = " \t\r\n"
"""Of JSON."""

TWICE = "take one of the two out, or give it another id."
"""What to do about an id that stands twice."""

_WAY_OUT = "mend the line or take it out (ranker validate lists all such)."


def parse_passage(line: str, path: Path, number: int, note: Note = ignored) -> Passage | None:
    """A line of ``corpus.jsonl``; None for one that is left out, without words or blank.

    A null is read as an empty text, and a whole number as an id; ``note`` is told of both, and of what is left out.
    Raises: DataError with file and line for broken JSON, a bad id, and a text that is no string.
    """
    record = _record(line, path, number, note)
    if record is None:
        return None
    doc_id = _identifier(record, path, number, note)
    title, text = (_text(record, key, path, number, note) for key in ("title", "text"))
    passage = Passage(doc_id, title, text)
    if not has_words(passage.contents):
        note(Oddity.EMPTY_PASSAGE, doc_id)
        return None
    return passage


def parse_query(line: str, path: Path, number: int, note: Note = ignored) -> Query | None:
    """A line of ``queries.jsonl``; None for one that is left out, as in ``parse_passage``.

    Raises: DataError as ``parse_passage``, and for answers that are no strings.
    """
    record = _record(line, path, number, note)
    if record is None:
        return None
    query_id = _identifier(record, path, number, note)
    query = Query(query_id, _text(record, "text", path, number, note), _answers(record, path, number))
    if not has_words(query.text):
        note(Oddity.EMPTY_QUERY, query_id)
        return None
    return query


def read_queries(path: Path, note: Note = ignored) -> Iterator[Query]:
    """The queries of a ``queries.jsonl``, in file order; ``note`` is told as in ``parse_query``.

    Raises: DataError as ``parse_query``, and for an id given twice.
    """
    lines: dict[str, int] = {}
    for number, line in read_text_lines(path):
        query = parse_query(line, path, number, note)
        if query is None:
            continue
        first = lines.setdefault(query.query_id, number)
        if first != number:
            raise DataError(f"{path}:{number}: {repeated(query.query_id, first)}")
        yield query


def repeated(identifier: str, first: int) -> str:
    """That an id stands twice, first in that line, and what to do."""
    return f"id {identifier} stands twice, first in line {first}; {TWICE}"


def write_dataset(streams: DatasetStreams, folder: Path, force: bool = False, language: str = "") -> None:
    """Writes a dataset's three streams into a new folder, in constant memory, and its language where one is given.

    Raises: OutputError where ``folder`` is taken or cannot be written; what the streams raise.
    """
    with atomic_folder(folder, force) as beside:
        fill_folder(streams, beside)
        if language:
            write_language(language, beside)


def fill_folder(streams: DatasetStreams, folder: Path) -> None:
    """Writes a dataset's three streams into an empty folder, as ``write_dataset`` does.

    Raises: OSError where it cannot be written; what the streams raise.
    """
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for doc_id, title, text in streams.passages:
            _write(file, {"_id": doc_id, "title": title, "text": text})
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        for query_id, text, answers in streams.queries:
            known = {"metadata": {"answers": list(answers)}} if answers else {}
            _write(file, {"_id": query_id, "text": text, **known})
    _write_judgments(streams, folder / "qrels")


def _write_judgments(streams: DatasetStreams, folder: Path) -> None:
    folder.mkdir()
    files: dict[str, IO[str]] = {}
    with ExitStack() as stack:
        for judgment in streams.judgments:
            if judgment.split not in files:
                file = stack.enter_context((folder / f"{judgment.split}.tsv").open("w", encoding="utf-8"))
                file.write(_QRELS_HEADER)
                files[judgment.split] = file
            files[judgment.split].write(_judgment_line(judgment))


def _judgment_line(judgment: Judgment) -> str:
    return f"{judgment.query_id}\t{judgment.doc_id}\t{judgment.relevance}\n"


def _write(file: IO[str], record: dict[str, Any]) -> None:
    try:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
    except UnicodeEncodeError as error:
        raise DataError(f"{record['_id']!r}: holds half a surrogate pair, expected Unicode text.") from error


def _record(line: str, path: Path, number: int, note: Note) -> dict[str, Any] | None:
    """The object of a line; None for a blank line, as many a file has at its end."""
    if not line.strip(_BLANKS):
        note(Oddity.BLANK_LINE, "")
        return None
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number}: is not JSON: {error}; expected one object a line; {_WAY_OUT}") from error
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise DataError(f"{path}:{number}: is a JSON {kind}, expected an object with '_id' and 'text'; {_WAY_OUT}")
    return record


def _identifier(record: dict[str, Any], path: Path, number: int, note: Note) -> str:
    value = record.get("_id")
    whole = type(value) is int  # JSON's true is a Python int too
    value = str(value) if whole else value
    if not isinstance(value, str) or len(value.split()) != 1 or value.strip() != value:
        raise DataError(
            f"{path}:{number}: '_id' is {_short(value)}, expected a string of one word without spaces; {_WAY_OUT}"
        )
    if len(_encoded(value, path, number)) > MAX_ID_BYTES or not value.isprintable():
        raise DataError(
            f"{path}:{number}: '_id' is {_short(value)}, expected at most {MAX_ID_BYTES} printable bytes; {_WAY_OUT}"
        )
    if whole:
        note(Oddity.NUMBER, value)
    return value


def _text(record: dict[str, Any], key: str, path: Path, number: int, note: Note) -> str:
    value = record.get(key, "")
    if value is None:
        note(Oddity.NULL, key)
        return ""
    if not isinstance(value, str):
        raise DataError(f"{path}:{number}: '{key}' is {_short(value)}, expected a string; {_WAY_OUT}")
    _encoded(value, path, number)
    return value


def _answers(record: dict[str, Any], path: Path, number: int) -> tuple[str, ...]:
    """The answers in a query's ``metadata``, which BEIR leaves to each dataset."""
    metadata = record.get("metadata")
    answers = metadata.get("answers") if isinstance(metadata, dict) else None
    answers = [] if answers is None else answers
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise DataError(f"{path}:{number}: 'answers' is {_short(answers)}, expected a list of strings; {_WAY_OUT}")
    return tuple(dict.fromkeys(answers))


def _encoded(value: str, path: Path, number: int) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}:{number}: holds half a surrogate pair, {_short(value[error.start])}; {_WAY_OUT}"
        ) from error


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
