"""Reads the objects of a long JSON list one at a time; json.load would hold all of a file of gigabytes.

The standard library has no reader of a stream, so ``_JsonStream`` decodes one value at a time with its decoder.
"""

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


def read_records(path: Path, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects of the list that the file holds, or that its object holds at ``key``, with their locations.

    A location is the file and the number of the object, from 1.
    Raises: DataError for a file that is not JSON or has no such list, and an element that is not an object.
    """
    number = 0
    with open_binary(path) as file:
        stream = _JsonStream(file)
        try:
            elements = stream.elements_at(key) if key else stream.elements()
            for number, element in enumerate(elements, start=1):
                if not isinstance(element, dict):
                    raise DataError(f"{path}: record {number}: is {shortened(element)}, expected an object.")
                yield f"{path}: record {number}", element
        except (ValueError, RecursionError, EOFError, OSError, zlib.error) as error:
            cause = error.msg if isinstance(error, json.JSONDecodeError) else reason(error)
            raise DataError(f"{path}: cannot be read as JSON after {number} records: {cause}.") from error
    if not number:
        expected = f"a list of objects at {key!r}" if key else "a list of objects"
        raise DataError(f"{path}: has no records, expected {expected}.")


def field(record: dict[str, Any], key: str, kind: type[_T], location: str) -> _T:
    """Returns the value of a key that must be there.

    Raises: DataError where it is absent or of another type, or text that is not Unicode.
    """
    value = record.get(key)
    if not isinstance(value, kind):
        raise DataError(f"{location}: {key!r} is {shortened(value)}, expected {_KINDS[kind]}.")
    if isinstance(value, str) and not _is_unicode(value):
        raise DataError(f"{location}: {key!r} holds half a surrogate pair, expected Unicode text.")
    return value


def text_field(record: dict[str, Any], key: str, location: str) -> str:
    """Returns the text of a key that must be there; a null is an empty text.

    Raises: DataError as ``field``.
    """
    return "" if record.get(key, "") is None else field(record, key, str, location)


def objects(record: dict[str, Any], key: str, location: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the objects in the list of a key that must be there, each with its location.

    Raises: DataError where the list is absent, or an element of it is not an object.
    """
    for number, element in enumerate(field(record, key, list, location), start=1):
        inner = f"{location}, {key} {number}"
        if not isinstance(element, dict):
            raise DataError(f"{inner}: is {shortened(element)}, expected an object.")
        yield inner, element


class _JsonStream:
    """Decodes JSON from a file, holding only the value that is being read.

    Raises: json.JSONDecodeError for malformed JSON, and a value above ``MAX_LINE_BYTES``.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._position = 0
        self._ended = False

    def elements(self) -> Iterator[Any]:
        """Yields the elements of the list that comes next."""
        self._take("[")
        if self._next() == "]":
            return
        while True:
            yield self._value()
            if self._next() == "]":
                return
            self._take(",")

    def elements_at(self, key: str) -> Iterator[Any]:
        """Yields the elements of the list at a key of the object that comes next."""
        self._take("{")
        while self._next() != "}":
            name = self._value()
            self._take(":")
            if name == key:
                yield from self.elements()
                return
            self._value()
            if self._next() != "}":
                self._take(",")

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer, self._position)
            except json.JSONDecodeError:
                if not self._read():  # the end of the buffer may have cut the value off
                    raise
                continue
            # a number at the end of the buffer may go on behind it
            if end < len(self._buffer) or not self._read():
                self._position = end
                return value

    def _next(self) -> str:
        """Returns the next character that is not blank, without taking it; empty at the end."""
        while True:
            self._position = _BLANKS.match(self._buffer, self._position).end()  # type: ignore[union-attr]  # it always matches
            if self._position < len(self._buffer) or not self._read():
                return self._buffer[self._position : self._position + 1]

    def _take(self, character: str) -> None:
        if self._next() != character:
            raise json.JSONDecodeError(f"found {self._next()!r}, expected {character!r}", self._buffer, self._position)
        self._position += 1

    def _read(self) -> bool:
        """Doubles the buffer, so that a long value is tried few times; returns False at the end and at the bound."""
        self._buffer = self._buffer[self._position :]
        self._position = 0
        if self._ended or len(self._buffer) > MAX_LINE_BYTES:
            return False
        data = self._file.read(max(_CHUNK, len(self._buffer)))
        self._ended = not data
        self._buffer += self._decoder.decode(data, final=self._ended)
        return True


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
