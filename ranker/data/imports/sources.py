"""What an import reads: paths by role and split, as the command line names them."""

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


@dataclass(frozen=True)
class Imported(DatasetStreams):
    """A dataset on its way in.

    ``skipped`` counts, by a name in words, what is left out; it is whole when the streams are read.
    """

    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Role:
    """One kind of file that a format is made of.

    ``has_split``: whether such a file belongs to one split; ``optional``: whether a dataset may do without.
    """

    name: str
    meaning: str
    has_split: bool = False
    optional: bool = False

    @property
    def usage(self) -> str:
        """How it is written where a format has several."""
        written = f"{self.name}{'[:SPLIT]' if self.has_split else ''}=PATH"
        return f"[{written}]" if self.optional else written


@dataclass(frozen=True)
class Source:
    """A path, what it is for, and the split it belongs to."""

    role: str
    split: str
    path: Path


@dataclass(frozen=True)
class Sources:
    """The sources of one import, in the order in which they were named."""

    all: tuple[Source, ...]

    def paths(self, role: str) -> tuple[Path, ...]:
        """The paths of a role."""
        return tuple(source.path for source in self.all if source.role == role)

    def by_split(self, role: str) -> tuple[tuple[str, Path], ...]:
        """The paths of a role, each with its split."""
        return tuple((source.split, source.path) for source in self.all if source.role == role)


@dataclass(frozen=True)
class Format:
    """A shape of data: what it is, the files it is made of, and the function that reads them lazily."""

    summary: str
    roles: tuple[Role, ...]
    read: Callable[[Sources], Imported]

    @property
    def usage(self) -> str:
        """How its sources are written on the command line."""
        if len(self.roles) == 1:
            return "[SPLIT=]PATH..."
        return " ".join(role.usage for role in self.roles)

    def sources(self, words: Iterable[str]) -> Sources:
        """The sources that the command line names.

        Each is ROLE=PATH, or ROLE:SPLIT=PATH for a role that goes by split; a format of one role leaves it out, and
        takes PATH or SPLIT=PATH. A role may be given several times, and every role at least once that is not optional.
        Raises: DataError for an unknown role, a role that is missing, and a source given twice.
        """
        found = tuple(self._source(word) for word in words)
        for number, source in enumerate(found):
            if source in found[:number]:
                raise DataError(f"{source.path}: is given twice as {source.role}, expected each source once.")
        given = {source.role for source in found}
        missing = [role for role in self.roles if role.name not in given and not role.optional]
        if missing:
            role = missing[0]
            raise DataError(f"no source is given for {role.name} ({role.meaning}), expected {self.usage}.")
        return Sources(found)

    def _source(self, word: str) -> Source:
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


def checked_id(value: object, place: str, kind: str) -> str:
    """The id, where it is one that a dataset may hold, or a whole number as a word; ``kind`` names it in the message.

    Raises: DataError where it is neither, empty, too long, or holds a blank or control character.
    """
    value = str(value) if type(value) is int else value  # JSON's true is a Python int too
    if not isinstance(value, str) or len(value.split()) != 1 or value.strip() != value or not value.isprintable():
        raise DataError(f"{place}: the {kind} is {shortened(value)}, expected one word without spaces.")
    if len(value.encode(errors="surrogatepass")) > MAX_ID_BYTES:
        raise DataError(f"{place}: the {kind} is {shortened(value)}, expected at most {MAX_ID_BYTES} bytes.")
    return value
