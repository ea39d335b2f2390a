"""The embedded dataset ``pydoc``: the first sentence of a docstring is a query, which the rest of it answers.

This is real English that every installation has, so training and evaluation need no download. The collection depends on
the version of Python and on which of ``docstrings.PACKAGES`` are installed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ranker.data.pydoc.docstrings import Docstring, docstrings
from ranker.data.pydoc.questions import QUESTIONS
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError
from ranker.limits import MAX_PYDOC_WORDS, MIN_PYDOC_WORDS

TRAIN, DEV, TEST, QUESTIONS_SPLIT = "train", "dev", "test", "questions"

_QUERY_WORDS: Final = range(4, 33)
"""Words of a first sentence: shorter ones name nothing, longer ones are no question."""

_MIN_REST: Final = 8
"""Words after the first sentence: fewer are a cross-reference."""

_SHINGLE: Final = 5
_MAX_SEEN: Final = 0.5
"""The share of a passage's five-word sequences in earlier passages above which it is a near-duplicate."""

_CALL = r"[\w.]+\((?:[^()]|\([^()]*\))*\)"
_RESULT = r"(?:[ \t]*[-=]{1,2}>[^,.:;\n]*)?"
_SIGNATURE = re.compile(rf"{_CALL}{_RESULT}(?:[ \t]*[,.:;]\s+|[ \t]*-+[ \t]+|\s*\n(?:--\n)?\s*|$)")
_STARTS_AS_CALL = re.compile(r"[\w.]+\(")
_ROLE = re.compile(r":[\w:]+:`~?([^`]*)`")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)[.!?](?=\s|$)|\n\s*\n|$")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class PydocConfig:
    """The settings of pydoc: ``words`` is the greatest number of words of a passage; fewer train faster.

    Raises: DataError where it is outside ``MIN_PYDOC_WORDS`` to ``MAX_PYDOC_WORDS``.
    """

    words: int = 64

    def __post_init__(self) -> None:
        if not MIN_PYDOC_WORDS <= self.words <= MAX_PYDOC_WORDS:
            raise DataError(f"pydoc: words is {self.words}, expected {MIN_PYDOC_WORDS} to {MAX_PYDOC_WORDS}.")


def pydoc(config: PydocConfig) -> DatasetStreams:
    """Makes the dataset of all docstrings; ids are qualified names, such as ``shutil.move``.

    All pairs of a module are in one split: train, dev or test (8 : 1 : 1 of the modules, by hash). No passage contains
    its query, and near-duplicates are left out. The split ``questions`` asks ``QUESTIONS``; the passages that answer
    them hold the whole docstring, since some are a single sentence, and are in no other split.
    """
    return dataset_of(docstrings(), config)


def dataset_of(documented: Iterable[Docstring], config: PydocConfig) -> DatasetStreams:
    """Makes the dataset of these docstrings, which are read with the first passage.

    Raises: DataError where an answer to one of the ``QUESTIONS`` is not among them.
    """
    reader = _Reader(config.words)
    return DatasetStreams(reader.passages(documented), reader.queries, reader.judgments)


@dataclass
class _Reader:
    """Collects queries and judgments while it yields passages."""

    words: int
    queries: list[Query] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _queries_seen: set[str] = field(default_factory=set)
    _shingles: set[str] = field(default_factory=set)

    def passages(self, documented: Iterable[Docstring]) -> Iterator[Passage]:
        all_docstrings = list(documented)
        # reversed, so that of docstrings of one name the first counts
        yield from self._answers({docstring.name: docstring.text for docstring in reversed(all_docstrings)})
        for docstring in all_docstrings:
            yield from self._pair(docstring)

    def _answers(self, texts: dict[str, str]) -> Iterator[Passage]:
        """Adds ``QUESTIONS``, and yields the passages that answer them."""
        for number, (question, answers) in enumerate(QUESTIONS.items(), start=1):
            query_id = question_id(number)
            self.queries.append(Query(query_id, question))
            for name in answers:
                self.judgments.append(Judgment(QUESTIONS_SPLIT, query_id, name, 1))
                if name in self._names:
                    continue
                if name not in texts:
                    raise DataError(f"pydoc: this Python has no docstring of {name}; it must not run with -OO.")
                text = self._truncated(texts[name])
                self._names.add(name)
                self._shingles |= _shingles(text)
                yield Passage(name, name, text)

    def _pair(self, docstring: Docstring) -> Iterator[Passage]:
        """Adds the first sentence as a query, and yields the rest as its passage; nothing where either is unusable."""
        first, rest = split_docstring(docstring.text)
        query, text, name = first.rstrip(" ,.!?:"), self._truncated(rest), docstring.name
        key = _normalised(query)
        if name in self._names or key in self._queries_seen or not _is_usable(query, text):
            return
        if key in _normalised(f"{name} {text}") or self._is_near_duplicate(text):
            return
        self._names.add(name)
        self._queries_seen.add(key)
        self._shingles |= _shingles(text)
        self.queries.append(Query(name, query))
        self.judgments.append(Judgment(split_of(docstring.module), name, name, 1))
        yield Passage(name, name, text)

    def _truncated(self, text: str) -> str:
        return " ".join(_plain(text).split()[: self.words])

    def _is_near_duplicate(self, text: str) -> bool:
        shingles = _shingles(text)
        return len(shingles & self._shingles) > _MAX_SEEN * len(shingles)


def question_id(number: int) -> str:
    """Returns the query_id of a question of ``QUESTIONS``, counted from 1."""
    return f"question-{number:02}"


def split_of(module: str) -> str:
    """Returns the split of a module's pairs, by SHA-256, since ``hash`` differs from process to process."""
    tenth = int.from_bytes(hashlib.sha256(module.encode()).digest()[:8], "big") % 10
    return (DEV, TEST, TRAIN)[min(tenth, 2)]


def split_docstring(text: str) -> tuple[str, str]:
    """Splits a docstring into its first sentence and the rest, without signatures before them.

    Modules that are written in C have signatures there.
    """
    start = 0
    while signature := _SIGNATURE.match(text, start):
        start = signature.end()
        if start == len(text):
            break
    text = _plain(text[start:].lstrip())
    end = _SENTENCE_END.search(text)
    length = end.end() if end else len(text)
    return " ".join(text[:length].split()), text[length:].strip()


def _plain(text: str) -> str:
    """Removes the marks of reStructuredText around names."""
    return _ROLE.sub(r"\1", text).replace("`", "")


def _is_usable(query: str, text: str) -> bool:
    words = query.split()
    prose = query[:1].isalpha() and not _STARTS_AS_CALL.match(query)
    return prose and len(words) in _QUERY_WORDS and len(_WORD.findall(text)) >= _MIN_REST


def _normalised(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _shingles(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    return {" ".join(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1))}
