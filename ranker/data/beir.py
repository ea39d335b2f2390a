"""Datasets in BEIR layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``, plain or ``.gz``.

To this, ``dataset.json`` adds the language of the texts.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from ranker.data.records import DatasetStreams, Oddity, OnOddity, Passage, Query, has_words, ignore_oddity
from ranker.errors import DataError
from ranker.files.atomic import atomic_folder
from ranker.files.json_files import DECODER, read_object
from ranker.files.lines import read_text_lines
from ranker.limits import MAX_ID_BYTES
from ranker.settings.index import LANGUAGES
from ranker.wording import did_you_mean, shortened

KEEP_ONE_ID: Final = "take one of the two out, or give it another id."
"""The advice where an id stands twice."""

_QRELS_HEADER: Final = "query-id\tcorpus-id\tscore\n"
_SETTINGS: Final = "dataset.json"
_JSON_BLANKS: Final = " \t\r\n"
_ADVICE: Final = "mend the line or take it out (ranker validate lists all such)."


# reading


def parse_passage(line: str, path: Path, number: int, on_oddity: OnOddity = ignore_oddity) -> Passage | None:
    """Parses a line of ``corpus.jsonl``; returns None for a line that is blank, and a passage without words.

    A null is read as an empty text, and a whole number as an id. ``on_oddity`` is told of all of these.
    Raises: DataError with file and line for broken JSON, a bad id, and a text that is not a string.
    """
    record = _parse_record(line, path, number, on_oddity)
    if record is None:
        return None
    doc_id = _parse_id(record, path, number, on_oddity)
    title, text = (_parse_text(record, key, path, number, on_oddity) for key in ("title", "text"))
    passage = Passage(doc_id, title, text)
    if not has_words(passage.contents):
        on_oddity(Oddity.EMPTY_PASSAGE, doc_id)
        return None
    return passage


def parse_query(line: str, path: Path, number: int, on_oddity: OnOddity = ignore_oddity) -> Query | None:
    """Parses a line of ``queries.jsonl``; returns None for a line that is blank, and a query without words.

    Raises: DataError as ``parse_passage``, and for answers that are not strings.
    """
    record = _parse_record(line, path, number, on_oddity)
    if record is None:
        return None
    query_id = _parse_id(record, path, number, on_oddity)
    query = Query(query_id, _parse_text(record, "text", path, number, on_oddity), _parse_answers(record, path, number))
    if not has_words(query.text):
        on_oddity(Oddity.EMPTY_QUERY, query_id)
        return None
    return query


def read_queries(path: Path, on_oddity: OnOddity = ignore_oddity) -> Iterator[Query]:
    """Yields the queries of a ``queries.jsonl``, in file order.

    Raises: DataError as ``parse_query``, and for an id that stands twice.
    """
    lines: dict[str, int] = {}
    for number, line in read_text_lines(path):
        query = parse_query(line, path, number, on_oddity)
        if query is None:
            continue
        first = lines.setdefault(query.query_id, number)
        if first != number:
            raise DataError(f"{path}:{number}: {repeated_id(query.query_id, first)}")
        yield query


def repeated_id(identifier: str, first: int) -> str:
    """Returns the error message for an id that stands twice, first in the line of that number."""
    return f"id {identifier} stands twice, first in line {first}; {KEEP_ONE_ID}"


def read_language(folder: Path) -> str:
    """Reads the code of a dataset's language; it is empty where the folder has no ``dataset.json``.

    Raises: DataError for a file that is broken or holds anything else, and for an unknown code.
    """
    path = folder / _SETTINGS
    if not path.is_file():
        return ""
    settings = read_object(path, DataError)
    language = settings.get("language")
    if set(settings) != {"language"} or not isinstance(language, str):
        raise DataError(
            f"{path}: has {shortened(settings)}, expected {{'language': CODE}}, as in {{'language': 'zh'}}."
        )
    if language not in LANGUAGES:
        meant = did_you_mean(language, LANGUAGES)
        raise DataError(f"{path}: language is {shortened(language)}, expected one of {', '.join(LANGUAGES)}.{meant}")
    return language


def _parse_record(line: str, path: Path, number: int, on_oddity: OnOddity) -> dict[str, Any] | None:
    """Parses the JSON object of a line; returns None for a blank line, as many files have at their end."""
    if not line.strip(_JSON_BLANKS):
        on_oddity(Oddity.BLANK_LINE, "")
        return None
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number}: is not JSON: {error}; expected one object a line; {_ADVICE}") from error
    if not isinstance(record, dict):
        kind = type(record).__name__
        raise DataError(f"{path}:{number}: is a JSON {kind}, expected an object with '_id' and 'text'; {_ADVICE}")
    return record


def _parse_id(record: dict[str, Any], path: Path, number: int, on_oddity: OnOddity) -> str:
    value = record.get("_id")
    is_number = type(value) is int  # not isinstance: true of JSON is an int of Python too
    value = str(value) if is_number else value
    if not isinstance(value, str) or len(value.split()) != 1 or value.strip() != value:
        raise DataError(
            f"{path}:{number}: '_id' is {_shown(value)}, expected a string of one word without spaces; {_ADVICE}"
        )
    if len(_encode(value, path, number)) > MAX_ID_BYTES or not value.isprintable():
        raise DataError(
            f"{path}:{number}: '_id' is {_shown(value)}, expected at most {MAX_ID_BYTES} printable bytes; {_ADVICE}"
        )
    if is_number:
        on_oddity(Oddity.NUMBER, value)
    return value


def _parse_text(record: dict[str, Any], key: str, path: Path, number: int, on_oddity: OnOddity) -> str:
    value = record.get(key, "")
    if value is None:
        on_oddity(Oddity.NULL, key)
        return ""
    if not isinstance(value, str):
        raise DataError(f"{path}:{number}: '{key}' is {_shown(value)}, expected a string; {_ADVICE}")
    _encode(value, path, number)
    return value


def _parse_answers(record: dict[str, Any], path: Path, number: int) -> tuple[str, ...]:
    """Returns the answers in the ``metadata`` of a query, the part that BEIR leaves to each dataset."""
    metadata = record.get("metadata")
    answers = metadata.get("answers") if isinstance(metadata, dict) else None
    answers = [] if answers is None else answers
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise DataError(f"{path}:{number}: 'answers' is {_shown(answers)}, expected a list of strings; {_ADVICE}")
    return tuple(dict.fromkeys(answers))


def _encode(value: str, path: Path, number: int) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{path}:{number}: holds half a surrogate pair, {_shown(value[error.start])}; {_ADVICE}"
        ) from error


def _shown(value: object) -> str:
    """Returns a value as a message shows it, from its beginning; ``shortened`` leaves out the middle."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# writing


def write_dataset(streams: DatasetStreams, folder: Path, force: bool = False, language: str = "") -> None:
    """Writes a dataset, and its language where one is given, into a new folder, in constant memory.

    Raises: OutputError where ``folder`` exists already or cannot be written; what the streams raise.
    """
    with atomic_folder(folder, force) as temporary:
        fill_folder(streams, temporary)
        if language:
            (temporary / _SETTINGS).write_text(json.dumps({"language": language}) + "\n", encoding="utf-8")


def fill_folder(streams: DatasetStreams, folder: Path) -> None:
    """Writes the streams of a dataset into an empty folder.

    Raises: OSError where it cannot be written; what the streams raise.
    """
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for doc_id, title, text in streams.passages:
            _write_record(file, {"_id": doc_id, "title": title, "text": text})
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        for query_id, text, answers in streams.queries:
            metadata = {"metadata": {"answers": list(answers)}} if answers else {}
            _write_record(file, {"_id": query_id, "text": text, **metadata})
    _write_judgments(streams, folder / "qrels")


def _write_judgments(streams: DatasetStreams, folder: Path) -> None:
    """Writes the judgments of each split to its file; all files are open at once, since splits may alternate."""
    folder.mkdir()
    files: dict[str, IO[str]] = {}
    with ExitStack() as stack:
        for split, query_id, doc_id, relevance in streams.judgments:
            if split not in files:
                files[split] = stack.enter_context((folder / f"{split}.tsv").open("w", encoding="utf-8"))
                files[split].write(_QRELS_HEADER)
            files[split].write(f"{query_id}\t{doc_id}\t{relevance}\n")


def _write_record(file: IO[str], record: dict[str, Any]) -> None:
    try:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
    except UnicodeEncodeError as error:
        raise DataError(f"{record['_id']!r}: holds half a surrogate pair, expected Unicode text.") from error
