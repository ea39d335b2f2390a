"""JSON files too large to hold: the objects of one long list, one at a time."""

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from ranker.errors import DataError
from ranker.files.json_files import DECODER
from ranker.files.lines import open_binary, reason
from ranker.limits import MAX_LINE_BYTES
from ranker.wording import shortened

_T = TypeVar("_T")

_KINDS: dict[type[object], str] = {str: "a string", list: "a list"}
_CHUNK = 2**20
_BLANKS = re.compile(r"[ \t\r\n]*")


def json_records(path: Path, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of the list that the file is, or that is at ``key`` of the object that it is.

    With each comes its place: the file and the object's number, from 1.
    Raises: DataError for a file that is not JSON or has no such list, and an element that is not an object.
    """
    number = 0
    with open_binary(path) as file:
        text = _Text(file)
        try:
            elements = text.elements_at(key) if key else text.elements()
            for number, element in enumerate(elements, start=1):
                if not isinstance(element, dict):
                    raise DataError(f"{path}: record {number}: is {shortened(element)}, expected an object.")
                yield f"{path}: record {number}", element
        except (ValueError, RecursionError, EOFError, OSError, zlib.error) as error:
            said = error.msg if isinstance(error, json.JSONDecodeError) else reason(error)
            raise DataError(f"{path}: cannot be read as JSON after {number} records: {said}.") from error
    if not number:
        where = f"a list of objects at {key!r}" if key else "a list of objects"
        raise DataError(f"{path}: has no records, expected {where}.")


def field(record: dict[str, Any], key: str, kind: type[_T], place: str) -> _T:
    """The value of a key that must be there.

    Raises: DataError where it is absent or of another kind, or text that no file can hold.
    """
    value = record.get(key)
    if not isinstance(value, kind):
        raise DataError(f"{place}: {key!r} is {shortened(value)}, expected {_KINDS[kind]}.")
    if isinstance(value, str) and not _is_unicode(value):
        raise DataError(f"{place}: {key!r} holds half a surrogate pair, expected Unicode text.")
    return value


def text(record: dict[str, Any], key: str, place: str) -> str:
    """The text at a key that must be there; a null is an empty one.

    Raises: DataError as ``field``.
    """
    return "" if record.get(key, "") is None else field(record, key, str, place)


def objects(record: dict[str, Any], key: str, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects in the list at a key that must be there, each with its place.

    Raises: DataError where the list is absent, or an element of it is not an object.
    """
    for number, element in enumerate(field(record, key, list, place), start=1):
        inner = f"{place}, {key} {number}"
        if not isinstance(element, dict):
            raise DataError(f"{inner}: is {shortened(element)}, expected an object.")
        yield inner, element


class _Text:
    """JSON of which only the value now read is held.

    Raises: json.JSONDecodeError, of what the file holds or lacks.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._held = ""
        self._place = 0
        self._ended = False

    def elements(self) -> Iterator[Any]:
        """The elements of the list that comes next."""
        self._take("[")
        if self._next() == "]":
            return
        while True:
            yield self._value()
            if self._next() == "]":
                return
            self._take(",")

    def elements_at(self, key: str) -> Iterator[Any]:
        """The elements of the list at a key of the object that comes next."""
        self._take("{")
        while self._next() != "}":
            found = self._value()
            self._take(":")
            if found == key:
                yield from self.elements()
                return
            self._value()
            if self._next() != "}":
                self._take(",")

    def _value(self) -> Any:  # noqa: ANN401  # any JSON
        self._next()
        while True:
            try:
                value, end = DECODER.raw_decode(self._held, self._place)
            except json.JSONDecodeError:
                if not self._read():  # the value may only be cut off by the end of what is held
                    raise
                continue
            if end < len(self._held) or not self._read():
                self._place = end
                return value

    def _next(self) -> str:
        """The next character that is not blank, without passing it; empty at the end."""
        while True:
            self._place = _BLANKS.match(self._held, self._place).end()  # type: ignore[union-attr]  # it always matches
            if self._place < len(self._held) or not self._read():
                return self._held[self._place : self._place + 1]

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise json.JSONDecodeError(f"found {self._next()!r}, expected {character!r}", self._held, self._place)
        self._place += 1

    def _read(self) -> bool:
        """Holds as much again, so that a long value is tried few times; false at the end and at the bound."""
        self._held = self._held[self._place :]
        self._place = 0
        if self._ended or len(self._held) > MAX_LINE_BYTES:
            return False
        data = self._file.read(max(_CHUNK, len(self._held)))
        self._ended = not data
        self._held += self._decoder.decode(data, final=self._ended)
        return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
