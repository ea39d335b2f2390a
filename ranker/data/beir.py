"""The BEIR layout: ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``, plain or ``.gz``."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from ranker.data.files import open_text_lines, written_folder
from ranker.data.objects import DECODER
from ranker.data.records import Judgment, Material, Passage, Query
from ranker.errors import DataError
from ranker.limits import MAX_ID_BYTES

_QRELS_HEADER = "query-id\tcorpus-id\tscore\n"


def parse_passage(line: str, path: Path, number: int) -> Passage:
    """A line of ``corpus.jsonl``.

    Raises: DataError with file and line for broken JSON, a bad id, and a passage with nothing to read.
    """
    record = _record(line, path, number)
    doc_id = _identifier(record, path, number)
    passage = Passage(doc_id, _text(record, "title", path, number), _text(record, "text", path, number))
    if not passage.contents.strip():
        raise DataError(f"{path}:{number}: passage {doc_id} is empty, expected words in 'text' or 'title'.")
    return passage


def parse_query(line: str, path: Path, number: int) -> Query:
    """A line of ``queries.jsonl``.

    Raises: DataError with file and line for broken JSON, a bad id, an empty text, and answers that are no strings.
    """
    record = _record(line, path, number)
    query = Query(
        _identifier(record, path, number), _text(record, "text", path, number), _answers(record, path, number)
    )
    if not query.text.strip():
        raise DataError(f"{path}:{number}: query {query.query_id} is empty, expected words in 'text'.")
    return query


def read_queries(path: Path) -> Iterator[Query]:
    """The queries of a ``queries.jsonl``, in file order.

    Raises: DataError as ``parse_query``, and for an id given twice.
    """
    seen: set[str] = set()
    for number, line in open_text_lines(path):
        query = parse_query(line, path, number)
        if query.query_id in seen:
            raise DataError(f"{path}:{number}: query id {query.query_id} stands twice, expected each id once.")
        seen.add(query.query_id)
        yield query


def write_material(material: Material, folder: Path, force: bool = False) -> None:
    """Writes a dataset's three streams into a new folder, in constant memory.

    Raises: OutputError where ``folder`` is taken or cannot be written; what the streams raise.
    """
    with written_folder(folder, force) as beside:
        fill_folder(material, beside)


def fill_folder(material: Material, folder: Path) -> None:
    """Writes a dataset's three streams into an empty folder, as ``write_material`` does.

    Raises: OSError where it cannot be written; what the streams raise.
    """
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for doc_id, title, text in material.passages:
            _write(file, {"_id": doc_id, "title": title, "text": text})
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        for query_id, text, answers in material.queries:
            known = {"metadata": {"answers": list(answers)}} if answers else {}
            _write(file, {"_id": query_id, "text": text, **known})
    _write_judgments(material, folder / "qrels")


def _write_judgments(material: Material, folder: Path) -> None:
    folder.mkdir()
    files: dict[str, IO[str]] = {}
    with ExitStack() as stack:
        for judgment in material.judgments:
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


def _record(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}:{number}: is not JSON: {error}; expected one object a line.") from error
    if not isinstance(record, dict):
        raise DataError(
            f"{path}:{number}: is a JSON {type(record).__name__}, expected an object with '_id' and 'text'."
        )
    return record


def _identifier(record: dict[str, Any], path: Path, number: int) -> str:
    value = record.get("_id")
    if not isinstance(value, str) or len(value.split()) != 1 or value.strip() != value:
        raise DataError(f"{path}:{number}: '_id' is {_short(value)}, expected a string of one word without spaces.")
    if len(_encoded(value, path, number)) > MAX_ID_BYTES or not value.isprintable():
        raise DataError(f"{path}:{number}: '_id' is {_short(value)}, expected at most {MAX_ID_BYTES} printable bytes.")
    return value


def _text(record: dict[str, Any], key: str, path: Path, number: int) -> str:
    value = record.get(key, "")
    if not isinstance(value, str):
        raise DataError(f"{path}:{number}: '{key}' is {_short(value)}, expected a string.")
    _encoded(value, path, number)
    return value


def _answers(record: dict[str, Any], path: Path, number: int) -> tuple[str, ...]:
    """The answers in a query's ``metadata``, which BEIR leaves to each dataset."""
    metadata = record.get("metadata")
    answers = metadata.get("answers", []) if isinstance(metadata, dict) else []
    if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
        raise DataError(f"{path}:{number}: 'answers' is {_short(answers)}, expected a list of strings.")
    return tuple(dict.fromkeys(answers))


def _encoded(value: str, path: Path, number: int) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{path}:{number}: holds half a surrogate pair, {_short(value[error.start])}.") from error


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
