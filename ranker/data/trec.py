"""TREC run files and qrels: read exactly, or refused with file, line and reason."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count, pairwise, repeat
from pathlib import Path
from typing import IO, Final, NoReturn

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run, Scores, to_float32
from ranker.data.run_order import RankCheck
from ranker.errors import DataError
from ranker.files.atomic import atomic_file
from ranker.files.columns import Block, first_words, read_blocks
from ranker.files.lines import read_chunks
from ranker.limits import MAX_DEPTH, MAX_ID_BYTES, MAX_RELEVANCE

RUN_COLUMNS: Final = ("query_id", "Q0", "doc_id", "rank", "score", "name")
RANK_COLUMNS: Final = ("query_id", "doc_id", "rank")
"""Of a run as MS MARCO has it."""

TREC_QRELS_COLUMNS: Final = ("query_id", "0", "doc_id", "relevance")
BEIR_QRELS_COLUMNS: Final = ("query_id", "doc_id", "relevance")
BEIR_HEADER: Final = [b"query-id", b"corpus-id", b"score"]
_QUERY_ID: Final = 0

RELEVANCES: Final = f"a whole number from {-MAX_RELEVANCE} to {MAX_RELEVANCE}; mend the line or take it out"
RANKS: Final = f"a whole number from 1 to {MAX_DEPTH}"

_LIKE_RANKS: Final = 3
"""Passages of some query that count 1, 2, 3 in a third column: fewer may be grades of relevance by chance."""

FINITE = "a finite number; take the line out, or write the run again"
KEEP_ONE = "keep one of the lines"

_Part = tuple[tuple[str, ...], Scores]
Tell = Callable[[str], object]


def _silently(_: str) -> None:
    """Where nobody listens."""


def read_run(path: Path, tell: Tell = _silently) -> Run:
    """The run in a file of six columns, spaces or tabs between them, ``.gz`` or plain; ranks in it are ignored.

    Scores are read as float32, as trec_eval does. The run's name is the last column of the first line. Of MS MARCO's
    three columns (query_id doc_id rank) the score is the rank, negated, and the name that of the file. ``tell`` is
    given one sentence where that is so, or where ranks say another order than scores do.
    Raises: DataError with file and line for a line that is malformed, or names a passage again, and for judgments.
    """
    chunks, first = _begun(path)
    check_is_run(path, first)
    columns = run_columns(first)
    parts: dict[str, list[_Part]] = {}
    hits, order = Counter[str](), RankCheck()
    name = ""
    for block in read_blocks(path, chunks, columns):
        name = name or (block.word(0, -1).decode() if columns is RUN_COLUMNS else _name_by(path))
        doc_ids, edges = tuple(block.words(columns.index("doc_id"))), block.stretches(_QUERY_ID)
        query_ids = [block.word(start, _QUERY_ID).decode() for start in edges[:-1]]
        scores = _scores(path, block) if columns is RUN_COLUMNS else _scores_by_rank(path, block)
        if columns is RUN_COLUMNS:
            order.look(query_ids, edges, doc_ids, block.numbers(columns.index("rank")), scores)
        for query_id, (start, end) in zip(query_ids, pairwise(edges), strict=True):
            hits[query_id] += end - start
            if hits[query_id] > MAX_DEPTH:  # lines that repeat must not fill memory first
                _refuse_ranking(path, query_id, DataError("its lines change while they are read."))
            parts.setdefault(query_id, []).append((doc_ids[start:end], scores[start:end]))
    if not name:
        raise DataError(f"{path}: is empty, expected lines of {len(RUN_COLUMNS)} columns ({' '.join(RUN_COLUMNS)}).")
    rankings = {query_id: _ranking(path, query_id, pieces) for query_id, pieces in parts.items()}
    if columns is RANK_COLUMNS:
        _check_ranks(path, rankings)
    _tell_of(path, columns, order, tell)
    try:
        return Run(name, rankings)
    except DataError as error:
        raise DataError(f"{path}:1: {error}") from error


def run_columns(first: Sequence[bytes]) -> tuple[str, ...]:
    """The columns of a run whose first line has these words."""
    return RANK_COLUMNS if len(first) == len(RANK_COLUMNS) else RUN_COLUMNS


def check_is_run(path: Path, first: Sequence[bytes]) -> None:
    """Refuses judgments by the words of their first line.

    Raises: DataError that says what the file is.
    """
    of_trec = len(first) == len(TREC_QRELS_COLUMNS) and parse_relevance(first[-1].decode(errors="replace")) is not None
    if of_trec or list(first) == BEIR_HEADER:
        raise DataError(
            f"{path}: holds judgments ({' '.join(TREC_QRELS_COLUMNS if of_trec else BEIR_QRELS_COLUMNS)}), expected a "
            f"run ({' '.join(RUN_COLUMNS)}); were the two given in each other's place?"
        )


def check_is_qrels(path: Path, first: Sequence[bytes]) -> None:
    """Refuses a run by the words of its first line.

    Raises: DataError that says what the file is.
    """
    if len(first) == len(RUN_COLUMNS):
        raise DataError(
            f"{path}: is a run ({' '.join(RUN_COLUMNS)}), expected judgments ({' '.join(TREC_QRELS_COLUMNS)}); were "
            "the two given in each other's place?"
        )


def _begun(path: Path) -> tuple[Iterator[bytes], list[bytes]]:
    """All chunks of a file, and the words of its first line that is not blank."""
    chunks = read_chunks(path)
    chunk = next(chunks, b"")
    return chain([chunk], chunks), first_words(chunk)


def _name_by(path: Path) -> str:
    return "-".join(path.name.partition(".")[0].split()) or "run"


def _tell_of(path: Path, columns: tuple[str, ...], order: RankCheck, tell: Tell) -> None:
    notes = list(order.notes())
    if columns is RANK_COLUMNS:
        notes.append(f"read as a run of MS MARCO ({' '.join(RANK_COLUMNS)}), whose scores are its ranks, negated")
    if notes:
        tell(f"{path}: {'; '.join(notes)}.")


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

    Raises: DataError with file and line for a malformed line, or one that contradicts an earlier line; and for a run.
    """
    qrels: Qrels = {}
    chunks, first = _begun(path)
    for block in _qrels_blocks(path, chunks, first):
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
    check_are_relevances(path, first, qrels)
    return qrels


def check_are_relevances(path: Path, first: Sequence[bytes], qrels: Qrels) -> None:
    """Refuses a run of MS MARCO.

    Raises: DataError where ``are_ranks``.
    """
    if are_ranks(first, qrels):
        raise DataError(
            f"{path}: counts 1, 2, 3 and so on for every query, as a run of MS MARCO does ({' '.join(RANK_COLUMNS)}), "
            f"expected judgments; if they are, give them a header: {b' '.join(BEIR_HEADER).decode()}."
        )


def are_ranks(first: Sequence[bytes], qrels: Qrels) -> bool:
    """Whether what was read for judgments is a run of MS MARCO: for each query all numbers from 1 up, once.

    ``first`` is the first line: a header, or another number of columns, says that these are judgments.
    """
    longest = max(map(len, qrels.values()), default=0)
    if len(first) != len(RANK_COLUMNS) or list(first) == BEIR_HEADER or longest < _LIKE_RANKS:
        return False
    return all(sorted(judged.values()) == list(range(1, len(judged) + 1)) for judged in qrels.values())


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
    column = RUN_COLUMNS.index("score")
    scores = to_float32(block.numbers(column))
    finite = np.isfinite(scores)
    if not finite.all():
        line = int(np.argmin(finite))
        score = block.word(line, column).decode()
        raise DataError(f"{path}:{block.first + line}: the score is {score!r}, expected {FINITE}.")
    return scores


def _scores_by_rank(path: Path, block: Block) -> Scores:
    """The ranks, negated: whole numbers of this size float32 holds exactly."""
    words = block.words(-1)
    ranks = {word: parse_rank(word) for word in set(words)}
    if None in ranks.values():
        line = next(line for line, word in enumerate(words) if ranks[word] is None)
        raise DataError(f"{path}:{block.first + line}: the rank is {words[line]!r}, expected {RANKS}.")
    return to_float32([-float(ranks[word] or 0) for word in words])


def parse_rank(word: str) -> int | None:
    """A rank; None for what is none, or out of bounds."""
    whole = word.isascii() and word.isdigit() and len(word) <= len(str(MAX_DEPTH))
    return int(word) if whole and 1 <= int(word) <= MAX_DEPTH else None


def _check_ranks(path: Path, rankings: Mapping[str, Ranking]) -> None:
    for query_id, ranking in rankings.items():
        again = np.flatnonzero(ranking.scores[1:] == ranking.scores[:-1])
        if len(again):
            raise DataError(repeated_rank(path, query_id, int(-ranking.scores[again[0]])))


def repeated_rank(path: Path, query_id: str, rank: int) -> str:
    """The sentence that refuses two passages of one rank."""
    return (
        f"{path}: query {query_id} has rank {rank} twice, expected each rank once ({' '.join(RANK_COLUMNS)}); "
        "if these are judgments, they were given in the place of a run."
    )


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
    chunks, first = _begun(path)
    columns = run_columns(first)
    doc_id_column = columns.index("doc_id")
    for block in read_blocks(path, chunks, columns):
        for line, (query, doc_id) in enumerate(zip(block.words(_QUERY_ID), block.words(doc_id_column), strict=True)):
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


def _qrels_blocks(path: Path, chunks: Iterator[bytes], first: Sequence[bytes]) -> Iterator[Block]:
    """The judgments' lines, in the columns that the first line has, without the header."""
    check_is_qrels(path, first)
    if list(first) == BEIR_HEADER:
        chunk = next(chunks)
        end = chunk.find(b"\n", chunk.index(BEIR_HEADER[0])) + 1 or len(chunk)
        lines = chunk.count(b"\n", 0, end)
        return read_blocks(path, chain([chunk[end:]], chunks), BEIR_QRELS_COLUMNS, first=max(1, lines) + 1)
    return read_blocks(path, chunks, qrels_columns(first))


def qrels_columns(first: Sequence[bytes]) -> tuple[str, ...]:
    """The columns of judgments whose first line has these words."""
    return BEIR_QRELS_COLUMNS if len(first) == len(BEIR_QRELS_COLUMNS) else TREC_QRELS_COLUMNS


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
    with atomic_file(path, force) as beside, beside.open("wb") as plain:
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
