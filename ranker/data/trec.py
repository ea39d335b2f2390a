"""Reads TREC run files and qrels exactly, or refuses them with file, line and reason; and writes them."""

import gzip
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, count, pairwise, repeat
from pathlib import Path
from typing import IO, Final, NoReturn

import numpy as np

from ranker.data.records import Qrels
from ranker.data.run import RankCheck, Ranking, Run, Scores, to_float32
from ranker.errors import DataError
from ranker.files.atomic import atomic_file
from ranker.files.columns import Block, first_words, read_blocks
from ranker.files.lines import read_chunks
from ranker.limits import MAX_DEPTH, MAX_ID_BYTES, MAX_RELEVANCE

RUN_COLUMNS: Final = ("query_id", "Q0", "doc_id", "rank", "score", "name")
MSMARCO_RUN_COLUMNS: Final = ("query_id", "doc_id", "rank")
TREC_QRELS_COLUMNS: Final = ("query_id", "0", "doc_id", "relevance")
BEIR_QRELS_COLUMNS: Final = ("query_id", "doc_id", "relevance")
BEIR_HEADER: Final = [b"query-id", b"corpus-id", b"score"]
_QUERY_ID: Final = 0

EXPECTED_RELEVANCE: Final = f"a whole number from {-MAX_RELEVANCE} to {MAX_RELEVANCE}; mend the line or take it out"
EXPECTED_RANK: Final = f"a whole number from 1 to {MAX_DEPTH}"
EXPECTED_SCORE: Final = "a finite number; take the line out, or write the run again"
KEEP_ONE_LINE: Final = "keep one of the lines"

_MIN_RANKS: Final = 3
"""Passages of some query that must count 1, 2, 3 to be ranks: fewer may be relevances by chance."""

Warn = Callable[[str], object]
"""Is given a sentence about what was read otherwise than it may be meant."""

Part = tuple[tuple[str, ...], Scores]
"""Doc_ids and scores of lines that stand together."""


# runs


def read_run(path: Path, warn: Warn | None = None) -> Run:
    """Reads a run of six columns, or of MS MARCO's three, with spaces or tabs between them, plain or ``.gz``.

    Scores become float32, as in trec_eval, and alone decide the order. The run's name is the last column of the first
    line. In MS MARCO's columns (query_id doc_id rank) the score is the rank, negated, and the name that of the file.
    ``warn`` is given a sentence about such columns, and about ranks that contradict the scores.
    Raises: DataError with file and line for a malformed line and a passage that stands twice; and for qrels.
    """
    chunks, first = _start(path)
    check_is_run(path, first)
    columns = run_columns(first)
    has_scores = columns is RUN_COLUMNS
    parts: dict[str, list[Part]] = {}
    hits, rank_check = Counter[str](), RankCheck()
    name = ""
    for block in read_blocks(path, chunks, columns):
        name = name or (block.word(0, -1).decode() if has_scores else _name_from_path(path))
        doc_ids, edges = tuple(block.words(columns.index("doc_id"))), block.group_edges(_QUERY_ID)
        query_ids = [block.word(start, _QUERY_ID).decode() for start in edges[:-1]]
        scores = _scores(path, block) if has_scores else _scores_from_ranks(path, block)
        if has_scores:
            rank_check.add_lines(query_ids, edges, doc_ids, block.numbers(columns.index("rank")), scores)
        for query_id, (start, end) in zip(query_ids, pairwise(edges), strict=True):
            hits[query_id] += end - start
            if hits[query_id] > MAX_DEPTH:  # here, so that lines that repeat do not fill memory first
                _refuse_ranking(path, query_id, DataError("its lines change while they are read."))
            parts.setdefault(query_id, []).append((doc_ids[start:end], scores[start:end]))
    if not name:
        raise DataError(f"{path}: is empty, expected lines of {len(RUN_COLUMNS)} columns ({' '.join(RUN_COLUMNS)}).")
    rankings = {query_id: _ranking(path, query_id, query_parts) for query_id, query_parts in parts.items()}
    notes = list(rank_check.notes())
    if not has_scores:
        _check_ranks_are_distinct(path, rankings)
        notes.append(f"read as a run of MS MARCO ({' '.join(columns)}), whose scores are its ranks, negated")
    if notes and warn is not None:
        warn(f"{path}: {'; '.join(notes)}.")
    try:
        return Run(name, rankings)
    except DataError as error:
        raise DataError(f"{path}:1: {error}") from error


def write_run(run: Run, path: Path, force: bool = False) -> None:
    """Writes a run in six columns, with ranks from 1, and scores of the 9 digits that restore each float32.

    Raises: OutputError where ``path`` exists already or cannot be written; DataError for an id that is not one word.
    """
    _check_words(path, [run.name, *run])
    with _open_output(path, force) as file:
        for query_id, ranking in run.items():
            _check_words(path, ranking.doc_ids)
            ranks = range(1, len(ranking) + 1)
            rows = zip(repeat(query_id), ranking.doc_ids, ranks, ranking.scores.tolist(), repeat(run.name))
            file.write("".join(map("%s Q0 %s %d %.9g %s\n".__mod__, rows)).encode())


def run_columns(first: Sequence[bytes]) -> tuple[str, ...]:
    """Returns the columns of a run whose first line has these words."""
    return MSMARCO_RUN_COLUMNS if len(first) == len(MSMARCO_RUN_COLUMNS) else RUN_COLUMNS


def check_is_run(path: Path, first: Sequence[bytes]) -> None:
    """Refuses qrels by the words of their first line.

    Raises: DataError that says what the file is.
    """
    is_trec = len(first) == len(TREC_QRELS_COLUMNS) and parse_relevance(first[-1].decode(errors="replace")) is not None
    if is_trec or list(first) == BEIR_HEADER:
        raise DataError(
            f"{path}: holds judgments ({' '.join(TREC_QRELS_COLUMNS if is_trec else BEIR_QRELS_COLUMNS)}), expected a "
            f"run ({' '.join(RUN_COLUMNS)}); were the two given in each other's place?"
        )


def parse_rank(word: str) -> int | None:
    """Parses a rank; returns None for a word that is not a number from 1 to ``MAX_DEPTH``."""
    is_whole = word.isascii() and word.isdigit() and len(word) <= len(str(MAX_DEPTH))
    return int(word) if is_whole and 1 <= int(word) <= MAX_DEPTH else None


def repeated_rank(path: Path, query_id: str, rank: int) -> str:
    """Returns the error message for two passages of a query that have one rank."""
    return (
        f"{path}: query {query_id} has rank {rank} twice, expected each rank once ({' '.join(MSMARCO_RUN_COLUMNS)}); "
        "if these are judgments, they were given in the place of a run."
    )


def _start(path: Path) -> tuple[Iterator[bytes], list[bytes]]:
    """Returns all chunks of a file, and the words of its first line that is not blank."""
    chunks = read_chunks(path)
    chunk = next(chunks, b"")
    return chain([chunk], chunks), first_words(chunk)


def _name_from_path(path: Path) -> str:
    return "-".join(path.name.partition(".")[0].split()) or "run"


def _scores(path: Path, block: Block) -> Scores:
    column = RUN_COLUMNS.index("score")
    scores = to_float32(block.numbers(column))
    finite = np.isfinite(scores)
    if not finite.all():
        line = int(np.argmin(finite))
        score = block.word(line, column).decode()
        raise DataError(f"{path}:{block.first + line}: the score is {score!r}, expected {EXPECTED_SCORE}.")
    return scores


def _scores_from_ranks(path: Path, block: Block) -> Scores:
    """Returns the ranks, negated, which float32 holds exactly."""
    words = block.words(-1)
    ranks = {word: parse_rank(word) for word in set(words)}
    if None in ranks.values():
        line = next(line for line, word in enumerate(words) if ranks[word] is None)
        raise DataError(f"{path}:{block.first + line}: the rank is {words[line]!r}, expected {EXPECTED_RANK}.")
    return to_float32([-float(ranks[word] or 0) for word in words])


def _check_ranks_are_distinct(path: Path, rankings: Mapping[str, Ranking]) -> None:
    for query_id, ranking in rankings.items():
        ties = np.flatnonzero(ranking.scores[1:] == ranking.scores[:-1])
        if len(ties):
            raise DataError(repeated_rank(path, query_id, int(-ranking.scores[ties[0]])))


def _ranking(path: Path, query_id: str, parts: list[Part]) -> Ranking:
    """Returns the ranking of a query, whose lines may stand in several parts of the file."""
    doc_ids, scores = parts[0]
    if len(parts) > 1:
        doc_ids = tuple(chain.from_iterable(ids for ids, _ in parts))
        scores = np.concatenate([part for _, part in parts])
    try:
        return Ranking.ordered(doc_ids, scores)
    except DataError as error:
        _refuse_ranking(path, query_id, error)


def _refuse_ranking(path: Path, query_id: str, error: DataError) -> NoReturn:
    """Reads the file again to name the line at which the ranking of a query becomes wrong."""
    lines: dict[str, int] = {}
    chunks, first = _start(path)
    columns = run_columns(first)
    for block in read_blocks(path, chunks, columns):
        words = zip(block.words(_QUERY_ID), block.words(columns.index("doc_id")), strict=True)
        for number, (query, doc_id) in enumerate(words, start=block.first):
            if query != query_id:
                continue
            if doc_id in lines:
                earlier = f"first in line {lines[doc_id]}"
                raise DataError(
                    f"{path}:{number}: passage {doc_id} stands twice for query {query_id}, {earlier}; {KEEP_ONE_LINE}."
                )
            lines[doc_id] = number
            if len(lines) > MAX_DEPTH:
                raise DataError(f"{path}:{number}: query {query_id} has more than the {MAX_DEPTH} passages allowed.")
    raise DataError(f"{path}: query {query_id}: {error}") from error


# qrels


def read_qrels(path: Path) -> Qrels:
    """Reads TREC qrels (query_id 0 doc_id relevance) or BEIR's (query_id doc_id relevance, header or none).

    Raises: DataError with file and line for a malformed line, or one that contradicts an earlier line; and for a run.
    """
    qrels: Qrels = {}
    chunks, first = _start(path)
    for block in _qrels_blocks(path, chunks, first):
        doc_ids, relevances = block.words(-2), _relevances(path, block)
        for start, end in pairwise(block.group_edges(_QUERY_ID)):
            query_id = block.word(start, _QUERY_ID).decode()
            judged = qrels.setdefault(query_id, {})
            for line, doc_id, relevance in zip(count(start), doc_ids[start:end], relevances[start:end], strict=False):
                if judged.setdefault(doc_id, relevance) != relevance:
                    raise DataError(
                        f"{path}:{block.first + line}: relevance {relevance} of passage {doc_id} for query "
                        f"{query_id} contradicts the {judged[doc_id]} of an earlier line; {KEEP_ONE_LINE}."
                    )
    if not qrels:
        raise DataError(f"{path}: has no judgments, expected lines of {' '.join(TREC_QRELS_COLUMNS)}.")
    check_are_no_ranks(path, first, qrels)
    return qrels


def write_qrels(qrels: Qrels, path: Path, force: bool = False) -> None:
    """Writes qrels in TREC's four columns.

    Raises: OutputError where ``path`` exists already or cannot be written; DataError for an id that is not one word.
    """
    _check_words(path, list(qrels))
    with _open_output(path, force) as file:
        for query_id, judged in qrels.items():
            _check_words(path, list(judged))
            lines = [f"{query_id} 0 {doc_id} {relevance}\n" for doc_id, relevance in judged.items()]
            file.write("".join(lines).encode())


def qrels_columns(first: Sequence[bytes]) -> tuple[str, ...]:
    """Returns the columns of qrels whose first line has these words."""
    return BEIR_QRELS_COLUMNS if len(first) == len(BEIR_QRELS_COLUMNS) else TREC_QRELS_COLUMNS


def check_is_qrels(path: Path, first: Sequence[bytes]) -> None:
    """Refuses a run of six columns by the words of its first line.

    Raises: DataError that says what the file is.
    """
    if len(first) == len(RUN_COLUMNS):
        raise DataError(
            f"{path}: is a run ({' '.join(RUN_COLUMNS)}), expected judgments ({' '.join(TREC_QRELS_COLUMNS)}); were "
            "the two given in each other's place?"
        )


def check_are_no_ranks(path: Path, first: Sequence[bytes], qrels: Qrels) -> None:
    """Refuses a run of MS MARCO that was read as qrels.

    Raises: DataError where ``are_ranks``.
    """
    if are_ranks(first, qrels):
        raise DataError(
            f"{path}: counts 1, 2, 3 and so on for every query, as a run of MS MARCO does "
            f"({' '.join(MSMARCO_RUN_COLUMNS)}), expected judgments; if they are, give them a header: "
            f"{b' '.join(BEIR_HEADER).decode()}."
        )


def are_ranks(first: Sequence[bytes], qrels: Qrels) -> bool:
    """Returns whether the relevances of each query are 1, 2, 3 and so on, once each, as the ranks of a run are.

    ``first`` are the words of the first line: a header, or another number of columns, shows that these are qrels.
    """
    longest = max(map(len, qrels.values()), default=0)
    if len(first) != len(MSMARCO_RUN_COLUMNS) or list(first) == BEIR_HEADER or longest < _MIN_RANKS:
        return False
    return all(sorted(judged.values()) == list(range(1, len(judged) + 1)) for judged in qrels.values())


def parse_relevance(word: str) -> int | None:
    """Parses a relevance; returns None for a word that is not a whole number within ``MAX_RELEVANCE``."""
    digits = word.removeprefix("-")
    is_whole = digits.isascii() and digits.isdigit() and len(digits) <= len(str(MAX_RELEVANCE))
    return int(word) if is_whole and int(digits) <= MAX_RELEVANCE else None


def _qrels_blocks(path: Path, chunks: Iterator[bytes], first: Sequence[bytes]) -> Iterator[Block]:
    """Yields the lines of qrels, in the columns that the first line has, without the header."""
    check_is_qrels(path, first)
    if list(first) == BEIR_HEADER:
        chunk = next(chunks)
        # the header ends at the first line end behind its first word; only blank lines are before it
        end = chunk.find(b"\n", chunk.index(BEIR_HEADER[0])) + 1 or len(chunk)
        lines = chunk.count(b"\n", 0, end)
        return read_blocks(path, chain([chunk[end:]], chunks), BEIR_QRELS_COLUMNS, first=max(1, lines) + 1)
    return read_blocks(path, chunks, qrels_columns(first))


def _relevances(path: Path, block: Block) -> list[int]:
    words = block.words(-1)
    relevances = {word: parse_relevance(word) for word in set(words)}
    if None in relevances.values():
        line = next(line for line, word in enumerate(words) if relevances[word] is None)
        value = words[line]
        raise DataError(f"{path}:{block.first + line}: the relevance is {value!r}, expected {EXPECTED_RELEVANCE}.")
    return [relevance for relevance in map(relevances.__getitem__, words) if relevance is not None]


# writing


@contextmanager
def _open_output(path: Path, force: bool) -> Iterator[IO[bytes]]:
    """Opens a file for writing, compressed where its name ends in ``.gz``, with the same bytes each time."""
    with atomic_file(path, force) as temporary, temporary.open("wb") as plain:
        if path.suffix != ".gz":
            yield plain
            return
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=plain, mtime=0) as packed:
            yield packed  # type: ignore[misc]  # typeshed's GzipFile is no IO


def _check_words(path: Path, words: Sequence[str]) -> None:
    """Refuses ids that would not be read back as they are."""
    # most ids are ASCII: all at once, they have no blank but the line ends between them
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
