"""The embedded dataset ``pydoc``: what a docstring's first sentence asks for is what the rest of it describes.

Real English that every installation carries, so that training and its evaluation need no download. The collection
depends on the version of Python and on which of ``pydoc_sources.PACKAGES`` are installed.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from ranker.data.pydoc.questions import QUESTIONS
from ranker.data.pydoc.sources import Docstring, docstrings
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError
from ranker.limits import MAX_PYDOC_WORDS, MIN_PYDOC_WORDS

TRAIN, DEV, TEST, QUESTIONS_SPLIT = "train", "dev", "test", "questions"

_QUERY_WORDS: Final = range(4, 33)
"""Shorter first sentences name nothing, longer ones are no question."""

_MIN_REST: Final = 8
"""Words after the first sentence. Fewer are a cross-reference."""

_SHINGLE: Final = 5
_MAX_SEEN: Final = 0.5
"""A passage with more than this share of its five-word sequences in earlier ones says nothing new."""

_CALL = r"[\w.]+\((?:[^()]|\([^()]*\))*\)"
_RESULT = r"(?:[ \t]*[-=]{1,2}>[^,.:;\n]*)?"
_SIGNATURE = re.compile(rf"{_CALL}{_RESULT}(?:[ \t]*[,.:;]\s+|[ \t]*-+[ \t]+|\s*\n(?:--\n)?\s*|$)")
_STARTS_AS_CALL = re.compile(r"[\w.]+\(")
_ROLE = re.compile(r":[\w:]+:`~?([^`]*)`")
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)(?<!\betc)[.!?](?=\s|$)|\n\s*\n|$")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class PydocConfig:
    """``words``: how many words a passage has at most; fewer train faster.

    Raises: DataError where it is outside ``MIN_PYDOC_WORDS`` to ``MAX_PYDOC_WORDS``.
    """

    words: int = 64

    def __post_init__(self) -> None:
        if not MIN_PYDOC_WORDS <= self.words <= MAX_PYDOC_WORDS:
            raise DataError(f"pydoc: words is {self.words}, expected {MIN_PYDOC_WORDS} to {MAX_PYDOC_WORDS}.")


def pydoc(config: PydocConfig) -> DatasetStreams:
    """First sentences as queries, the rest of their docstrings as passages, by qualified name, such as ``shutil.move``.

    A module's pairs are all in one split: train, dev or test (8 : 1 : 1 of the modules, by hash). The passage never
    contains the query, and near-duplicates are left out. The split ``questions`` asks ``QUESTIONS``; the passages
    that answer those hold the whole docstring, since some are a single sentence, and are in no other split.
    """
    return described(docstrings(), config)


def described(found: Iterable[Docstring], config: PydocConfig) -> DatasetStreams:
    """The dataset that these docstrings make; ``found`` is read with the first passage.

    Raises: DataError where an answer to one of the ``QUESTIONS`` is not among them.
    """
    reader = _Reader(config.words)
    return DatasetStreams(reader.passages(found), reader.queries, reader.judgments)


@dataclass
class _Reader:
    """Fills in queries and judgments while it yields passages."""

    words: int
    queries: list[Query] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _asked: set[str] = field(default_factory=set)
    _shingles: set[str] = field(default_factory=set)

    def passages(self, found: Iterable[Docstring]) -> Iterator[Passage]:
        known = list(found)
        yield from self._answers({docstring.name: docstring.text for docstring in reversed(known)})
        for docstring in known:
            yield from self._pair(docstring)

    def _answers(self, texts: dict[str, str]) -> Iterator[Passage]:
        for number, (question, answers) in enumerate(QUESTIONS.items(), start=1):
            query_id = question_id(number)
            self.queries.append(Query(query_id, question))
            for name in answers:
                self.judgments.append(Judgment(QUESTIONS_SPLIT, query_id, name, 1))
                if name in self._names:
                    continue
                if name not in texts:
                    raise DataError(f"pydoc: this Python has no docstring of {name}; it must not run with -OO.")
                text = self._cut(texts[name])
                self._names.add(name)
                self._shingles |= _shingles(text)
                yield Passage(name, name, text)

    def _pair(self, docstring: Docstring) -> Iterator[Passage]:
        first, rest = split_docstring(docstring.text)
        query, text, name = first.rstrip(" ,.!?:"), self._cut(rest), docstring.name
        key = _normalised(query)
        if name in self._names or key in self._asked or not _readable(query, text):
            return
        if key in _normalised(f"{name} {text}") or self._seen(text):
            return
        self._names.add(name)
        self._asked.add(key)
        self._shingles |= _shingles(text)
        self.queries.append(Query(name, query))
        self.judgments.append(Judgment(split_of(docstring.module), name, name, 1))
        yield Passage(name, name, text)

    def _cut(self, text: str) -> str:
        return " ".join(_plain(text).split()[: self.words])

    def _seen(self, text: str) -> bool:
        shingles = _shingles(text)
        return len(shingles & self._shingles) > _MAX_SEEN * len(shingles)


def question_id(number: int) -> str:
    """The query_id of a question of ``QUESTIONS``, counted from 1."""
    return f"question-{number:02}"


def split_of(module: str) -> str:
    """The split of a module's pairs; one digest for every machine, unlike ``hash``."""
    tenth = int.from_bytes(hashlib.sha256(module.encode()).digest()[:8], "big") % 10
    return (DEV, TEST, TRAIN)[min(tenth, 2)]


def split_docstring(text: str) -> tuple[str, str]:
    """The first sentence, without the signatures that stand before it in what is written in C, and the rest."""
    start = 0
    while signature := _SIGNATURE.match(text, start):
        start = signature.end()
        if start == len(text):
            break
    text = _plain(text[start:].lstrip())
    end = _SENTENCE_END.search(text)
    place = end.end() if end else len(text)
    return " ".join(text[:place].split()), text[place:].strip()


def _plain(text: str) -> str:
    """Without the marks of reStructuredText around names."""
    return _ROLE.sub(r"\1", text).replace("`", "")


def _readable(query: str, text: str) -> bool:
    words = query.split()
    prose = query[:1].isalpha() and not _STARTS_AS_CALL.match(query)
    return prose and len(words) in _QUERY_WORDS and len(_WORD.findall(text)) >= _MIN_REST


def _normalised(text: str) -> str:
    return " ".join(_WORD.findall(text.lower()))


def _shingles(text: str) -> set[str]:
    words = _WORD.findall(text.lower())
    return {" ".join(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1))}
