"""Finds everything that is wrong with a run, qrels or a dataset, where the readers refuse at the first error."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from ranker.data.beir import parse_passage, parse_query, read_language, repeated_id
from ranker.data.dataset import Dataset, find_file
from ranker.data.records import Oddity, OnOddity, Passage, Query
from ranker.data.run import RankCheck
from ranker.data.trec import (
    BEIR_HEADER,
    EXPECTED_RANK,
    EXPECTED_RELEVANCE,
    EXPECTED_SCORE,
    KEEP_ONE_LINE,
    MSMARCO_RUN_COLUMNS,
    RUN_COLUMNS,
    TREC_QRELS_COLUMNS,
    are_ranks,
    check_are_no_ranks,
    check_is_qrels,
    check_is_run,
    parse_rank,
    parse_relevance,
    qrels_columns,
    repeated_rank,
    run_columns,
)
from ranker.errors import DataError
from ranker.files.columns import BYTE_ORDER_MARK, first_words, is_blank, split_line
from ranker.files.lines import line_text, read_lines
from ranker.limits import MAX_DEPTH
from ranker.wording import counted

_SHOWN_CHARACTERS: Final = 60
"""Characters of an id that a sentence about it shows."""

_ODDITIES: Final = {
    Oddity.EMPTY_PASSAGE: "passage {} has no words, so it is left out",
    Oddity.EMPTY_QUERY: "query {} has no words, so it is left out",
    Oddity.NULL: "'{}' is null, and read as an empty text",
    Oddity.NUMBER: "'_id' is the number {}, and read as a word",
    Oddity.BLANK_LINE: "the line is blank, and passed over",
}
"""The sentence about each oddity of a line."""


class Problem(NamedTuple):
    """A sentence about what is wrong; if it is no error, readers accept the file, but it is seldom meant so."""

    sentence: str
    is_error: bool = True


class Kind(NamedTuple):
    """The kind of data in a file or folder, and the function that finds its problems."""

    name: str
    problems: Callable[[Path], Iterator[Problem]]


def kind_of(path: Path) -> Kind:
    """Tells a dataset by its folder, and a run or qrels by the columns of their first line.

    Three columns are qrels, as in BEIR, unless the last counts from 1 for each query, as the ranks of MS MARCO do.
    Raises: DataError where there is nothing to read, or the file holds JSON.
    """
    if path.is_dir():
        return Kind("a dataset", problems_of_dataset)
    first = _first_words(path)
    if first and first[0].startswith((b"{", b"[")):
        raise DataError(f"{path}: holds JSON, expected a run, judgments, or the folder of the dataset that it is of.")
    if len(first) > len(TREC_QRELS_COLUMNS):
        return Kind(f"a run ({' '.join(RUN_COLUMNS)})", problems_of_run)
    if len(first) == len(MSMARCO_RUN_COLUMNS):
        qrels = _QrelsCheck(path)
        has_errors = any(problem.is_error for problem in qrels.line_problems(first))
        if not has_errors and are_ranks(first, qrels.judged):
            return Kind(f"a run of MS MARCO ({' '.join(MSMARCO_RUN_COLUMNS)})", problems_of_run)
    return Kind(f"judgments ({' '.join(qrels_columns(first))})", problems_of_qrels)


def problems(path: Path) -> Iterator[Problem]:
    """Finds all problems of a run, qrels, or the folder of a dataset, in the order of the file.

    Raises: DataError as ``kind_of``.
    """
    return kind_of(path).problems(path)


# runs


def problems_of_run(path: Path) -> Iterator[Problem]:
    """Finds each line that ``read_run`` refuses, and scores that are equal or rise where the ranks say otherwise."""
    first = _first_words(path)
    refusals = list(_refusal(lambda: check_is_run(path, first)))
    if refusals:
        yield from refusals
    elif run_columns(first) is MSMARCO_RUN_COLUMNS:
        yield from _problems_of_msmarco_run(path)
    else:
        yield from _problems_of_trec_run(path)


def _problems_of_trec_run(path: Path) -> Iterator[Problem]:
    lines_by_query: dict[str, dict[str, int]] = {}
    rank_check = RankCheck()
    lines = 0
    for number, words in _read_words(path, RUN_COLUMNS):
        lines += not isinstance(words, Problem) or words.is_error
        if isinstance(words, Problem):
            yield words
            continue
        query_id, _, doc_id, rank_word, score_word, _ = words
        yield from _problems_of_hit(path, number, query_id, doc_id, lines_by_query.setdefault(query_id, {}))
        score, rank = _parse_score(score_word), _parse_whole_number(rank_word)
        if score is None:
            yield Problem(f"{path}:{number}: the score is {score_word!r}, expected {EXPECTED_SCORE}.")
        elif rank is None:
            yield Problem(f"{path}:{number}: the rank is {rank_word!r}, expected a whole number.", is_error=False)
        else:
            rank_check.add(query_id, doc_id, rank, score)
    if not lines:
        yield Problem(f"{path}: is empty, expected lines of {len(RUN_COLUMNS)} columns ({' '.join(RUN_COLUMNS)}).")
    for note in rank_check.notes():
        yield Problem(f"{path}: {note}.", is_error=False)


def _problems_of_msmarco_run(path: Path) -> Iterator[Problem]:
    lines_by_query: dict[str, dict[str, int]] = {}
    ranks_by_query: dict[str, set[int]] = {}
    for number, words in _read_words(path, MSMARCO_RUN_COLUMNS):
        if isinstance(words, Problem):
            yield words
            continue
        query_id, doc_id, word = words
        yield from _problems_of_hit(path, number, query_id, doc_id, lines_by_query.setdefault(query_id, {}))
        rank, ranks = parse_rank(word), ranks_by_query.setdefault(query_id, set())
        if rank is None:
            yield Problem(f"{path}:{number}: the rank is {word!r}, expected {EXPECTED_RANK}.")
        elif rank in ranks:
            yield Problem(repeated_rank(path, query_id, rank))
        else:
            ranks.add(rank)


def _problems_of_hit(path: Path, number: int, query_id: str, doc_id: str, lines: dict[str, int]) -> Iterator[Problem]:
    """Finds a passage that stands twice for a query, and one too many; ``lines`` are the query's, by doc_id."""
    first = lines.setdefault(doc_id, number)
    if first != number:
        earlier = f"first in line {first}; {KEEP_ONE_LINE}"
        yield Problem(f"{path}:{number}: passage {doc_id} stands twice for query {query_id}, {earlier}.")
    elif len(lines) == MAX_DEPTH + 1:
        yield Problem(f"{path}:{number}: query {query_id} has more than the {MAX_DEPTH} passages allowed.")


def _parse_score(word: str) -> float | None:
    """Parses a score as float32, in which scores are compared; returns None for what is not a finite number."""
    try:
        with np.errstate(over="ignore"):
            score = float("nan") if "_" in word else float(np.float32(float(word)))
    except ValueError:
        return None
    return score if np.isfinite(score) else None


def _parse_whole_number(word: str) -> int | None:
    digits = word.removeprefix("-")
    return int(word) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


# qrels


def problems_of_qrels(path: Path) -> Iterator[Problem]:
    """Finds each line that ``read_qrels`` refuses, and judgments that stand twice."""
    yield from _QrelsCheck(path).problems()


class _QrelsCheck:
    """The judgments of a file as far as it has been checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.judged: dict[str, dict[str, int]] = {}

    def problems(self) -> Iterator[Problem]:
        """Finds what is wrong with the file by itself."""
        first = _first_words(self.path)
        has_errors = False
        for problem in self.line_problems(first):
            has_errors = has_errors or problem.is_error
            yield problem
        if not self.judged and not has_errors:
            yield Problem(f"{self.path}: has no judgments, expected lines of {' '.join(TREC_QRELS_COLUMNS)}.")
        if not has_errors:
            yield from _refusal(lambda: check_are_no_ranks(self.path, first, self.judged))

    def line_problems(self, first: list[bytes]) -> Iterator[Problem]:
        """Finds what is wrong with the lines of the file, the first of which has these words."""
        refusals = list(_refusal(lambda: check_is_qrels(self.path, first)))
        if refusals:
            yield from refusals
            return
        is_header = list(first) == BEIR_HEADER
        for number, words in _read_words(self.path, qrels_columns(first)):
            if isinstance(words, Problem):
                yield words
            elif not is_header:
                yield from self._add(number, words[0], words[-2], words[-1])
            else:
                is_header = False

    def unknown_ids(self, queries: Path, query_ids: "_IdCheck", corpus: Path, doc_ids: "_IdCheck") -> Iterator[Problem]:
        """Finds judged queries that have no text, and relevant passages that are not in the collection."""
        missing = (
            query_ids.missing(self.judged) if query_ids.lines else []
        )  # a file without queries has its own problem
        if missing and len(missing) == len(self.judged):
            yield Problem(f"{self.path}: judges no query that {queries} has, expected those of one dataset.")
            missing = []
        for query_id in missing:
            sentence = f"{queries}: has no query {query_id}, which {self.path} judges, so it is left out."
            yield Problem(sentence, is_error=False)
        relevant = {
            doc_id: query_id for query_id, judged in self.judged.items() for doc_id in judged if judged[doc_id] > 0
        }
        for doc_id in doc_ids.missing(relevant) if doc_ids.lines else []:
            shown = f"passage {doc_id}, relevant to query {relevant[doc_id]} by {self.path}"
            yield Problem(f"{corpus}: lacks {shown}; no run can find it.", is_error=False)

    def _add(self, number: int, query_id: str, doc_id: str, word: str) -> Iterator[Problem]:
        relevance = parse_relevance(word)
        location = f"{self.path}:{number}"
        if relevance is None:
            yield Problem(f"{location}: the relevance is {word!r}, expected {EXPECTED_RELEVANCE}.")
            return
        earlier = self.judged.setdefault(query_id, {}).get(doc_id)
        if earlier is None:
            self.judged[query_id][doc_id] = relevance
        elif earlier == relevance:
            yield Problem(f"{location}: passage {doc_id} is judged twice for query {query_id}.", is_error=False)
        else:
            contradicted = f"contradicts the {earlier} of an earlier line; {KEEP_ONE_LINE}"
            yield Problem(f"{location}: relevance {relevance} of passage {doc_id} for query {query_id} {contradicted}.")


# datasets


def problems_of_dataset(folder: Path) -> Iterator[Problem]:
    """Finds the problems of passages, queries and every split; and ids that are unknown, or in two splits.

    Raises: DataError for a folder without its files.
    """
    corpus, queries = find_file(folder, "corpus.jsonl"), find_file(folder, "queries.jsonl")
    doc_ids, query_ids = _IdCheck(), _IdCheck()
    yield from _refusal(lambda: read_language(folder))
    yield from _problems_of_records(corpus, parse_passage, doc_ids)
    yield from _problems_of_records(queries, parse_query, query_ids)
    splits: dict[str, str] = {}
    dataset = Dataset(folder.name, folder, language="en")  # a language, so that a broken dataset.json is not read again
    for split in dataset.splits:
        qrels = _QrelsCheck(dataset.qrels_path(split))
        yield from qrels.problems()
        yield from qrels.unknown_ids(queries, query_ids, corpus, doc_ids)
        repeated = [query_id for query_id in qrels.judged if splits.setdefault(query_id, split) != split]
        if repeated:
            are = "is" if len(repeated) == 1 else "are"
            other = f"{repeated[0]} in {splits[repeated[0]]}"
            shown = f"{counted(len(repeated), 'query')} {are} judged in another split too, {other}"
            yield Problem(f"{qrels.path}: {shown}; expected each in one.", is_error=False)
    if not splits:
        yield Problem(f"{folder}: has no judgments in qrels/.", is_error=False)


class _IdCheck:
    """The line of each id, by the id's hash, and the number of lines whose id could not be read."""

    def __init__(self) -> None:
        self.lines: dict[int, int] = {}
        self.unread = 0.0

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Returns the ids that have no line; none where all of them may stand in lines that could not be read."""
        missing = [identifier for identifier in ids if hash(identifier) not in self.lines]
        return missing if len(missing) > self.unread else []


def _problems_of_records(
    path: Path, parse: Callable[[str, Path, int, OnOddity], Passage | Query | None], ids: _IdCheck
) -> Iterator[Problem]:
    """Finds malformed and irregular lines, and ids that stand twice; adds each id to ``ids``."""
    oddities: list[tuple[Oddity, str]] = []

    def add_oddity(kind: Oddity, name: str) -> None:
        oddities.append((kind, name))

    number = 0
    left_out: dict[int, int] = {}
    try:
        for number, line in read_lines(path):
            oddities.clear()
            try:
                text = line_text(path, number, line)
                record = parse(text, path, number, add_oddity)
            except DataError as error:
                ids.unread += 1
                yield Problem(str(error))
                continue
            for kind, name in oddities:
                sentence = _ODDITIES[kind].format(name[:_SHOWN_CHARACTERS])
                yield Problem(f"{path}:{number}: {sentence}.", is_error=False)
            if record is None:
                left_out |= {hash(name): number for _, name in oddities}
            elif (first := ids.lines.setdefault(hash(record[0]), number)) != number:
                yield Problem(f"{path}:{number}: {repeated_id(record[0], first)}")
    except DataError as error:
        ids.unread = float("inf")
        yield Problem(str(error))
    if not (ids.lines or ids.unread):
        yield Problem(f"{path}: has no {'words' if number else 'lines'}, expected one JSON object a line.")
    # the ids of records that are left out are known too, so that judgments of them are no problem of their own
    for identifier, number in left_out.items():
        ids.lines.setdefault(identifier, number)


# lines


def _refusal(check: Callable[[], object]) -> Iterator[Problem]:
    """Yields the error of a check that a reader makes, if it raises one."""
    try:
        check()
    except DataError as error:
        yield Problem(str(error))


def _first_words(path: Path) -> list[bytes]:
    """Returns the words of the first line that is not blank."""
    return next((words for _, line in read_lines(path) if (words := first_words(line))), [])


def _read_words(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str] | Problem]]:
    """Yields the words of each line, or the problem it has; if the file cannot be read on, that is the last problem."""
    number = 0
    try:
        for number, line in read_lines(path):
            try:
                text = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                text = text.rstrip(b"\n").removesuffix(b"\r")
                if is_blank(text):
                    sentence = f"{path}:{number}: {_ODDITIES[Oddity.BLANK_LINE]}."
                    yield number, Problem(sentence, is_error=False)
                else:
                    yield number, [word.decode() for word in split_line(path, number, text, columns)]
            except DataError as error:
                yield number, Problem(str(error))
    except DataError as error:
        yield number + 1, Problem(str(error))
