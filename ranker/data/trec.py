"""TREC run files and qrels: read exactly, or refused with file, line and reason."""

import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count, pairwise, repeat
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from ranker.data.columns import BYTE_ORDER_MARK, Block, read_blocks
from ranker.data.files import read_chunks, written
from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run, Scores, to_float32
from ranker.errors import DataError
from ranker.limits import MAX_DEPTH, MAX_ID_BYTES, MAX_RELEVANCE

RUN_COLUMNS = ("query_id", "Q0", "doc_id", "rank", "score", "name")
_QUERY_ID, _, _RUN_DOC_ID, _, _SCORE, _NAME = range(len(RUN_COLUMNS))

TREC_QRELS_COLUMNS = ("query_id", "0", "doc_id", "relevance")
BEIR_QRELS_COLUMNS = ("query_id", "doc_id", "relevance")
BEIR_HEADER = [b"query-id", b"corpus-id", b"score"]

RELEVANCES = f"a whole number from {-MAX_RELEVANCE} to {MAX_RELEVANCE}"

FINITE = "a finite number; take the line out, or write the run again"
KEEP_ONE = "keep one of the lines"

_Part = tuple[tuple[str, ...], Scores]


def read_run(path: Path) -> Run:
    """The run in a file of six columns, spaces or tabs between them, ``.gz`` or plain; ranks in it are ignored.

    The run's name is the last column of the first line. Scores are read as float32, as trec_eval does.
    Raises: DataError with file and line for a line that is malformed, or names a passage again.
    """
    parts: dict[str, list[_Part]] = {}
    hits = Counter[str]()
    name = ""
    for block in read_blocks(path, read_chunks(path), RUN_COLUMNS):
        name = name or block.word(0, _NAME).decode()
        doc_ids, scores = tuple(block.words(_RUN_DOC_ID)), _scores(path, block)
        for start, end in pairwise(block.stretches(_QUERY_ID)):
            query_id = block.word(start, _QUERY_ID).decode()
            hits[query_id] += end - start
            if hits[query_id] > MAX_DEPTH:  # lines that repeat must not fill memory first
                _refuse_ranking(path, query_id, DataError("its lines change while they are read."))
            parts.setdefault(query_id, []).append((doc_ids[start:end], scores[start:end]))
    if not name:
        raise DataError(f"{path}: is empty, expected lines of {len(RUN_COLUMNS)} columns ({' '.join(RUN_COLUMNS)}).")
    rankings = {query_id: _ranking(path, query_id, pieces) for query_id, pieces in parts.items()}
    try:
        return Run(name, rankings)
    except DataError as error:
        raise DataError(f"{path}:1: {error}") from error


def write_run(run: Run, path: Path, force: bool = False) -> None:
    """Writes six columns a line, ranks from 1, and scores with the 9 digits that bring each float32 back.

    Raises: OutputError where ``path`` is taken or cannot be written; DataError for an id that is not one word.
    """
    _check_words(path, [run.name, *run])
    with _opened(path, force) as file:
        for query_id, ranking in run.items():
            _check_words(path, ranking.doc_ids)
            file.write(_run_lines(query_id, ranking, run.name).encode())


def read_qrels(path: Path) -> Qrels:
    """Judgments from TREC qrels (query_id 0 doc_id relevance) or BEIR's (query_id doc_id relevance, header or none).

    Raises: DataError with file and line for a malformed line, or one that contradicts an earlier line.
    """
    qrels: Qrels = {}
    for block in _qrels_blocks(path):
        doc_ids, relevances = block.words(-2), _relevances(path, block)
        for start, end in pairwise(block.stretches(_QUERY_ID)):
            query_id = block.word(start, _QUERY_ID).decode()
            judged = qrels.setdefault(query_id, {})
            for line, doc_id, relevance in zip(count(start), doc_ids[start:end], relevances[start:end], strict=False):
                if judged.setdefault(doc_id, relevance) != relevance:
                    raise DataError(
                        f"{path}:{block.first + line}: relevance {relevance} of passage {doc_id} for query "
                        f"{query_id} contradicts the {judged[doc_id]} of an earlier line; {KEEP_ONE}."
                    )
    if not qrels:
        raise DataError(f"{path}: has no judgments, expected lines of {' '.join(TREC_QRELS_COLUMNS)}.")
    return qrels


def write_qrels(qrels: Qrels, path: Path, force: bool = False) -> None:
    """Writes judgments in TREC's four columns.

    Raises: OutputError where ``path`` is taken or cannot be written; DataError for an id that is not one word.
    """
    _check_words(path, list(qrels))
    with _opened(path, force) as file:
        for query_id, judged in qrels.items():
            _check_words(path, list(judged))
            file.write("".join(f"{query_id} 0 {doc_id} {grade}\n" for doc_id, grade in judged.items()).encode())


def _scores(path: Path, block: Block) -> Scores:
    scores = to_float32(block.numbers(_SCORE))
    finite = np.isfinite(scores)
    if not finite.all():
        line = int(np.argmin(finite))
        score = block.word(line, _SCORE).decode()
        raise DataError(f"{path}:{block.first + line}: the score is {score!r}, expected {FINITE}.")
    return scores


def _ranking(path: Path, query_id: str, parts: list[_Part]) -> Ranking:
    """The ranking of a query whose lines stood together, or in several parts."""
    if len(parts) > 1:
        all_ids = tuple(chain.from_iterable(ids for ids, _ in parts))
        parts = [(all_ids, np.concatenate([scores for _, scores in parts]))]
    try:
        return Ranking.ordered(*parts[0])
    except DataError as error:
        _refuse_ranking(path, query_id, error)


def _refuse_ranking(path: Path, query_id: str, error: DataError) -> NoReturn:
    """Reads again to name the line with which the ranking became what none may be."""
    seen: dict[str, int] = {}
    for block in read_blocks(path, read_chunks(path), RUN_COLUMNS):
        for line, (query, doc_id) in enumerate(zip(block.words(_QUERY_ID), block.words(_RUN_DOC_ID), strict=True)):
            if query != query_id:
                continue
            number = block.first + line
            if doc_id in seen:
                earlier = f"first in line {seen[doc_id]}"
                raise DataError(
                    f"{path}:{number}: passage {doc_id} stands twice for query {query_id}, {earlier}; {KEEP_ONE}."
                )
            seen[doc_id] = number
            if len(seen) > MAX_DEPTH:
                raise DataError(f"{path}:{number}: query {query_id} has more than the {MAX_DEPTH} passages allowed.")
    raise DataError(f"{path}: query {query_id}: {error}") from error


def _qrels_blocks(path: Path) -> Iterator[Block]:
    """The judgments' lines, in the columns that the first line has, without the header."""
    chunks = read_chunks(path)
    chunk = next(chunks, b"")
    first, _, rest = chunk.partition(b"\n")
    words = first.removeprefix(BYTE_ORDER_MARK).split()
    columns = BEIR_QRELS_COLUMNS if len(words) == len(BEIR_QRELS_COLUMNS) else TREC_QRELS_COLUMNS
    if words == BEIR_HEADER:
        return read_blocks(path, chain([rest], chunks), columns, first=2)
    return read_blocks(path, chain([chunk], chunks), columns)


def _relevances(path: Path, block: Block) -> list[int]:
    words = block.words(-1)
    grades = {word: parse_relevance(word) for word in set(words)}
    if None in grades.values():
        line = next(line for line, word in enumerate(words) if grades[word] is None)
        raise DataError(f"{path}:{block.first + line}: the relevance is {words[line]!r}, expected {RELEVANCES}.")
    return [grade for grade in map(grades.__getitem__, words) if grade is not None]


def parse_relevance(word: str) -> int | None:
    """A grade; None for what is none, or out of bounds."""
    digits = word.removeprefix("-")
    whole = digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_RELEVANCE))
    return int(word) if whole and int(digits) <= MAX_RELEVANCE else None


def _run_lines(query_id: str, ranking: Ranking, name: str) -> str:
    ranks = range(1, len(ranking) + 1)
    rows = zip(repeat(query_id), ranking.doc_ids, ranks, ranking.scores.tolist(), repeat(name))
    return "".join(map("%s Q0 %s %d %.9g %s\n".__mod__, rows))


@contextmanager
def _opened(path: Path, force: bool) -> Iterator[IO[bytes]]:
    """A file to write at ``path``, compressed where its name ends in ``.gz``, the same bytes each time."""
    with written(path, force) as beside, beside.open("wb") as plain:
        if path.suffix != ".gz":
            yield plain
            return
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=plain, mtime=0) as packed:
            yield packed  # type: ignore[misc]  # typeshed's GzipFile is no IO


def _check_words(path: Path, words: Sequence[str]) -> None:
    """Refuses ids that would not be read back as they are."""
    joined = "\n".join(words).encode(errors="surrogatepass")
    blanks = np.count_nonzero(np.frombuffer(joined, dtype=np.uint8) <= ord(" "))
    if blanks == len(words) - 1 and all(words) and joined.isascii() and max(map(len, words)) <= MAX_ID_BYTES:
        return
    wrong = next((word for word in words if not _is_word(word)), None)
    if wrong is not None:
        raise DataError(
            f"{path}: cannot hold {wrong!r}, expected ids of one word without spaces, of at most {MAX_ID_BYTES} bytes."
        )


def _is_word(word: str) -> bool:
    encoded = word.encode(errors="replace")
    return word != "" and encoded.decode() == word and min(encoded) > ord(" ") and len(encoded) <= MAX_ID_BYTES
