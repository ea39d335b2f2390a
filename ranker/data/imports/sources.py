"""The formats of an import: which files a format consists of, and how the command line names them."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ranker.data.records import DatasetStreams
from ranker.errors import DataError
from ranker.limits import MAX_ID_BYTES
from ranker.wording import shortened

DEFAULT_SPLIT = "test"
"""The split of a source that names none; the one that ``--split`` has by default."""

_PREFIX = re.compile(r"([A-Za-z0-9][\w.-]*)(?::([A-Za-z0-9][\w.-]*))?=(.+)", re.DOTALL | re.ASCII)
"""Matches ROLE=PATH, ROLE:SPLIT=PATH and SPLIT=PATH."""


@dataclass(frozen=True)
class Imported(DatasetStreams):
    """The streams of a dataset that is imported.

    ``skipped`` counts what is left out, by a description; it is complete once the streams are read.
    """

    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Role:
    """A kind of file in a format.

    ``has_split``: such a file belongs to one split; ``optional``: a dataset may have none.
    """

    name: str
    meaning: str
    has_split: bool = False
    optional: bool = False

    @property
    def usage(self) -> str:
        """Its spelling on the command line, in a format of several roles."""
        spelling = f"{self.name}{'[:SPLIT]' if self.has_split else ''}=PATH"
        return f"[{spelling}]" if self.optional else spelling


@dataclass(frozen=True)
class Source:
    """A path, its role, and the split that it belongs to."""

    role: str
    split: str
    path: Path


@dataclass(frozen=True)
class Sources:
    """The sources of one import, in the order of the command line."""

    all: tuple[Source, ...]

    def paths(self, role: str) -> tuple[Path, ...]:
        """Returns the paths of a role."""
        return tuple(source.path for source in self.all if source.role == role)

    def by_split(self, role: str) -> tuple[tuple[str, Path], ...]:
        """Returns the split and the path of each source of a role."""
        return tuple((source.split, source.path) for source in self.all if source.role == role)


@dataclass(frozen=True)
class Format:
    """A format of data: a summary, the roles of its files, and the function that reads them lazily."""

    summary: str
    roles: tuple[Role, ...]
    read: Callable[[Sources], Imported]

    @property
    def usage(self) -> str:
        """The spelling of its sources on the command line."""
        if len(self.roles) == 1:
            return "[SPLIT=]PATH..."
        return " ".join(role.usage for role in self.roles)

    def sources(self, words: Iterable[str]) -> Sources:
        """Parses the sources of a command line.

        Each is ROLE=PATH, or ROLE:SPLIT=PATH where a role has splits; a format of one role takes PATH or SPLIT=PATH.
        A role may be given several times, and must be given at least once if it is not optional.
        Raises: DataError for an unknown role, a role that is missing, and a source given twice.
        """
        sources = tuple(self._parse_source(word) for word in words)
        for index, source in enumerate(sources):
            if source in sources[:index]:
                raise DataError(f"{source.path}: is given twice as {source.role}, expected each source once.")
        given = {source.role for source in sources}
        missing = [role for role in self.roles if role.name not in given and not role.optional]
        if missing:
            role = missing[0]
            raise DataError(f"no source is given for {role.name} ({role.meaning}), expected {self.usage}.")
        return Sources(sources)

    def _parse_source(self, word: str) -> Source:
        prefix = _PREFIX.fullmatch(word)
        if len(self.roles) == 1:
            if prefix is None or prefix[2] is not None:
                return Source(self.roles[0].name, DEFAULT_SPLIT, Path(word))
            return Source(self.roles[0].name, prefix[1], Path(prefix[3]))
        if prefix is None:
            raise DataError(f"{word}: does not say what it is for, expected {self.usage}.")
        role = next((role for role in self.roles if role.name == prefix[1]), None)
        if role is None:
            raise DataError(f"{word}: the role {prefix[1]} is unknown, expected {self.usage}.")
        if prefix[2] is not None and not role.has_split:
            raise DataError(f"{word}: the role {role.name} goes by no split, expected {role.name}=PATH.")
        return Source(role.name, prefix[2] or DEFAULT_SPLIT, Path(prefix[3]))


def checked_id(value: object, location: str, kind: str) -> str:
    """Returns an id as a string, which may be given as a whole number; ``kind`` and ``location`` are for the message.

    Raises: DataError where it is neither, empty, too long, or holds a blank or control character.
    """
    value = str(value) if type(value) is int else value  # not isinstance: true of JSON is an int of Python too
    if not isinstance(value, str) or len(value.split()) != 1 or value.strip() != value or not value.isprintable():
        raise DataError(f"{location}: the {kind} is {shortened(value)}, expected one word without spaces.")
    if len(value.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        raise DataError(f"{location}: the {kind} is {shortened(value)}, expected at most {MAX_ID_BYTES} bytes.")
    return value
