"""Everything that is wrong with a run, qrels or a dataset, where the readers refuse at the first."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ranker.data.beir import parse_passage, parse_query, repeated
from ranker.data.dataset import Dataset, existing
from ranker.data.languages import read_language
from ranker.data.oddities import Note, Oddity
from ranker.data.records import Passage, Query
from ranker.data.run_order import RankCheck
from ranker.data.trec import (
    BEIR_HEADER,
    FINITE,
    KEEP_ONE,
    RANK_COLUMNS,
    RANKS,
    RELEVANCES,
    RUN_COLUMNS,
    TREC_QRELS_COLUMNS,
    are_ranks,
    check_are_relevances,
    check_is_qrels,
    check_is_run,
    parse_rank,
    parse_relevance,
    qrels_columns,
    repeated_rank,
    run_columns,
)
from ranker.errors import DataError
from ranker.files.columns import BYTE_ORDER_MARK, checked_words, first_words, is_blank
from ranker.files.lines import decode_line, read_lines
from ranker.limits import MAX_DEPTH
from ranker.wording import counted

_Words = list[str]
_Parse = Callable[[str, Path, int, Note], Passage | Query | None]

_SHOWN = 60
"""Characters of an id that a sentence about it shows."""

_ODD = {
    Oddity.EMPTY_PASSAGE: "passage {} has no words, so it is left out",
    Oddity.EMPTY_QUERY: "query {} has no words, so it is left out",
    Oddity.NULL: "'{}' is null, and read as an empty text",
    Oddity.NUMBER: "'_id' is the number {}, and read as a word",
    Oddity.BLANK_LINE: "the line is blank, and passed over",
}
"""What is said of a line; of queries and positives that judgments name alone, it is said in their place."""


class Problem(NamedTuple):
    """One thing that is wrong, as a sentence; what is not ``grave`` is read all the same, but seldom meant so."""

    sentence: str
    grave: bool = True


class Kind(NamedTuple):
    """What something is taken for, in words, and what finds its problems."""

    name: str
    problems: Callable[[Path], Iterator[Problem]]


def kind_of(path: Path) -> Kind:
    """What a folder or file is taken for: a dataset, or a run or judgments by the columns of its first line.

    Three columns are judgments, as BEIR has them, unless the last counts as the ranks of a run of MS MARCO do.
    Raises: DataError where there is nothing to read, or what is there is JSON.
    """
    if path.is_dir():
        return Kind("a dataset", problems_of_dataset)
    first = _first_words(path)
    if first and first[0].startswith((b"{", b"[")):
        raise DataError(f"{path}: holds JSON, expected a run, judgments, or the folder of the dataset that it is of.")
    if len(first) > len(TREC_QRELS_COLUMNS):
        return Kind(f"a run ({' '.join(RUN_COLUMNS)})", problems_of_run)
    if len(first) == len(RANK_COLUMNS) and _has_ranks(path, first):
        return Kind(f"a run of MS MARCO ({' '.join(RANK_COLUMNS)})", problems_of_run)
    return Kind(f"judgments ({' '.join(qrels_columns(first))})", problems_of_qrels)


def problems(path: Path) -> Iterator[Problem]:
    """All problems of a run, of qrels, or of a dataset's folder, in the order of the file; told apart by ``kind_of``.

    Raises: DataError as ``kind_of``.
    """
    return kind_of(path).problems(path)


def _first_words(path: Path) -> list[bytes]:
    """Of the first line that is not blank."""
    return next((words for _, line in read_lines(path) if (words := first_words(line))), [])


def _has_ranks(path: Path, first: list[bytes]) -> bool:
    """Whether a file of three columns, read as judgments, has ranks where their relevances would be."""
    judgments = _Judgments(path)
    return not any(problem.grave for problem in judgments.lines(first)) and are_ranks(first, judgments.grades)


def problems_of_run(path: Path) -> Iterator[Problem]:
    """What ``read_run`` refuses, line by line; and scores equal or rising where ranks say otherwise."""
    first = _first_words(path)
    judgments = list(_refusal(lambda: check_is_run(path, first)))
    if judgments:
        yield from judgments
        return
    yield from _problems_of_ranks(path) if run_columns(first) is RANK_COLUMNS else _problems_of_scores(path)


def _problems_of_scores(path: Path) -> Iterator[Problem]:
    places: dict[str, dict[str, int]] = {}
    order = RankCheck()
    lines = 0
    for number, words in _worded(path, RUN_COLUMNS):
        lines += not isinstance(words, Problem) or words.grave
        if isinstance(words, Problem):
            yield words
            continue
        query_id, _, doc_id, rank_word, score_word, _ = words
        yield from _repeated(path, number, doc_id, query_id, places.setdefault(query_id, {}))
        score, rank = _finite(score_word), _whole(rank_word)
        if score is None:
            yield Problem(f"{path}:{number}: the score is {score_word!r}, expected {FINITE}.")
        elif rank is None:
            yield Problem(f"{path}:{number}: the rank is {rank_word!r}, expected a whole number.", grave=False)
        else:
            order.add(query_id, doc_id, rank, score)
    if not lines:
        yield Problem(f"{path}: is empty, expected lines of {len(RUN_COLUMNS)} columns ({' '.join(RUN_COLUMNS)}).")
    for note in order.notes():
        yield Problem(f"{path}: {note}.", grave=False)


def _problems_of_ranks(path: Path) -> Iterator[Problem]:
    """Of a run of MS MARCO."""
    places: dict[str, dict[str, int]] = {}
    ranks: dict[str, set[int]] = {}
    for number, words in _worded(path, RANK_COLUMNS):
        if isinstance(words, Problem):
            yield words
            continue
        query_id, doc_id, word = words
        yield from _repeated(path, number, doc_id, query_id, places.setdefault(query_id, {}))
        rank, taken = parse_rank(word), ranks.setdefault(query_id, set())
        if rank is None:
            yield Problem(f"{path}:{number}: the rank is {word!r}, expected {RANKS}.")
        elif rank in taken:
            yield Problem(repeated_rank(path, query_id, rank))
        else:
            taken.add(rank)


def problems_of_qrels(path: Path) -> Iterator[Problem]:
    """What ``read_qrels`` refuses, line by line; and judgments that stand twice."""
    yield from _Judgments(path).read()


def problems_of_dataset(folder: Path) -> Iterator[Problem]:
    """Of passages, queries and every split; and judgments of what is not there, and queries of two splits.

    Raises: DataError for a folder without its files.
    """
    corpus, queries = existing(folder, "corpus.jsonl"), existing(folder, "queries.jsonl")
    passages, asked = _Ids(), _Ids()
    yield from _refusal(lambda: read_language(folder))
    yield from _records(corpus, parse_passage, passages)
    yield from _records(queries, parse_query, asked)
    splits: dict[str, str] = {}
    dataset = Dataset(folder.name, folder, language="en")  # which nothing here depends on
    for split in dataset.splits:
        judged = _Judgments(dataset.qrels_path(split))
        yield from judged.read()
        yield from judged.unknown(queries, asked, corpus, passages)
        twice = [query_id for query_id in judged.grades if splits.setdefault(query_id, split) != split]
        if twice:
            other = splits[twice[0]]
            are = "is" if len(twice) == 1 else "are"
            shown = f"{counted(len(twice), 'query')} {are} judged in another split too, {twice[0]} in {other}"
            yield Problem(f"{judged.path}: {shown}; expected each in one.", grave=False)
    if not splits:
        yield Problem(f"{folder}: has no judgments in qrels/.", grave=False)


class _Ids:
    """The line of each id, by the id's hash, and how many lines, to the end, hold ids that nobody knows."""

    def __init__(self) -> None:
        self.lines: dict[int, int] = {}
        self.unread = 0.0

    def lacks(self, ids: Iterable[str]) -> list[str]:
        """Those that are not there; none where all of them may stand in lines that could not be read."""
        lost = [one for one in ids if hash(one) not in self.lines]
        return lost if len(lost) > self.unread else []


class _Judgments:
    """A file of qrels as it is gone through."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.grades: dict[str, dict[str, int]] = {}

    def read(self) -> Iterator[Problem]:
        """What is wrong with the file in itself."""
        first = _first_words(self.path)
        wrong = False
        for problem in self.lines(first):
            wrong = wrong or problem.grave
            yield problem
        if not self.grades and not wrong:
            yield Problem(f"{self.path}: has no judgments, expected lines of {' '.join(TREC_QRELS_COLUMNS)}.")
        if not wrong:
            yield from _refusal(lambda: check_are_relevances(self.path, first, self.grades))

    def lines(self, first: list[bytes]) -> Iterator[Problem]:
        """What is wrong with the lines, the words of the first given."""
        of_run = list(_refusal(lambda: check_is_qrels(self.path, first)))
        if of_run:
            yield from of_run
            return
        is_header = list(first) == BEIR_HEADER
        for number, words in _worded(self.path, qrels_columns(first)):
            if isinstance(words, Problem):
                yield words
            elif not is_header:
                yield from self._judgment(number, words[0], words[-2], words[-1])
            else:
                is_header = False

    def _judgment(self, number: int, query_id: str, doc_id: str, word: str) -> Iterator[Problem]:
        relevance = parse_relevance(word)
        place = f"{self.path}:{number}"
        if relevance is None:
            yield Problem(f"{place}: the relevance is {word!r}, expected {RELEVANCES}.")
            return
        judged = self.grades.setdefault(query_id, {})
        if doc_id not in judged:
            judged[doc_id] = relevance
        elif judged[doc_id] == relevance:
            yield Problem(f"{place}: passage {doc_id} is judged twice for query {query_id}.", grave=False)
        else:
            contradicted = f"contradicts the {judged[doc_id]} of an earlier line; {KEEP_ONE}"
            yield Problem(f"{place}: relevance {relevance} of passage {doc_id} for query {query_id} {contradicted}.")

    def unknown(self, queries: Path, asked: _Ids, corpus: Path, passages: _Ids) -> Iterator[Problem]:
        """Judged queries without text, and relevant passages that the collection has not."""
        without = asked.lacks(self.grades) if asked.lines else []  # of a file without queries that is said
        if without and len(without) == len(self.grades):
            yield Problem(f"{self.path}: judges no query that {queries} has, expected those of one dataset.")
            without = []
        for query_id in without:
            shown = f"has no query {query_id}, which {self.path} judges"
            yield Problem(f"{queries}: {shown}, so it is left out.", grave=False)
        relevant = {
            doc_id: query_id for query_id, judged in self.grades.items() for doc_id in judged if judged[doc_id] > 0
        }
        for doc_id in passages.lacks(relevant) if passages.lines else []:
            shown = f"passage {doc_id}, relevant to query {relevant[doc_id]} by {self.path}"
            yield Problem(f"{corpus}: lacks {shown}; no run can find it.", grave=False)


def _refusal(check: Callable[[], object]) -> Iterator[Problem]:
    """What a reader's check refuses, if it does."""
    try:
        check()
    except DataError as error:
        yield Problem(str(error))


def _worded(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, _Words | Problem]]:
    """The words of each line, or what is wrong with it; a file that cannot be read further is the last problem."""
    number = 0
    try:
        for number, line in read_lines(path):
            try:
                text = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                text = text.rstrip(b"\n").removesuffix(b"\r")
                if is_blank(text):
                    yield number, Problem(f"{path}:{number}: {_ODD[Oddity.BLANK_LINE]}.", grave=False)
                else:
                    yield number, [word.decode() for word in checked_words(path, number, text, columns)]
            except DataError as error:
                yield number, Problem(str(error))
    except DataError as error:
        yield number + 1, Problem(str(error))


def _records(path: Path, parse: _Parse, seen: _Ids) -> Iterator[Problem]:
    """Lines that are no record or odd, and ids that stand twice; ``seen`` comes to know each."""
    number = 0
    left_out: dict[int, int] = {}
    try:
        for number, line in read_lines(path):
            odd: list[tuple[Oddity, str]] = []
            try:
                text = decode_line(path, number, line.rstrip(b"\r\n"))
                text = text.removeprefix("\ufeff") if number == 1 else text
                record = parse(text, path, number, lambda *noted, odd=odd: odd.append(noted))
            except DataError as error:
                seen.unread += 1
                yield Problem(str(error))
                continue
            for kind, name in odd:
                yield Problem(f"{path}:{number}: {_ODD[kind].format(name[:_SHOWN])}.", grave=False)
            if record is None:
                left_out |= {hash(name): number for _, name in odd}
            elif (first := seen.lines.setdefault(hash(record[0]), number)) != number:
                yield Problem(f"{path}:{number}: {repeated(record[0], first)}")
    except DataError as error:
        seen.unread = float("inf")
        yield Problem(str(error))
    if not (seen.lines or seen.unread):
        yield Problem(f"{path}: has no {'words' if number else 'lines'}, expected one JSON object a line.")
    for identifier, line_number in left_out.items():
        seen.lines.setdefault(identifier, line_number)  # what follows from it is no problem of its own


def _repeated(path: Path, number: int, doc_id: str, query_id: str, places: dict[str, int]) -> Iterator[Problem]:
    first = places.setdefault(doc_id, number)
    if first != number:
        earlier = f"first in line {first}"
        yield Problem(f"{path}:{number}: passage {doc_id} stands twice for query {query_id}, {earlier}; {KEEP_ONE}.")
    elif len(places) == MAX_DEPTH + 1:
        yield Problem(f"{path}:{number}: query {query_id} has more than the {MAX_DEPTH} passages allowed.")


def _finite(word: str) -> float | None:
    """As float32, in which scores are compared."""
    try:
        with np.errstate(over="ignore"):
            score = float("nan") if "_" in word else float(np.float32(float(word)))
    except ValueError:
        return None
    return score if np.isfinite(score) else None


def _whole(word: str) -> int | None:
    digits = word.removeprefix("-")
    return int(word) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
