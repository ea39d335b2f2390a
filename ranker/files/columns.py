"""Words in columns, a chunk of lines at a time: a run has millions of lines, too many for steps of Python at each."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranker.errors import DataError
from ranker.files.lines import decode_line
from ranker.limits import MAX_ID_BYTES

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_CONTROLS = bytes(sorted(set(range(ord(" "))) - set(b"\t\n\r")))

_EXACT_DIGITS = 15
"""Digits of a whole number that a float64 always holds exactly."""

_PLAIN_WIDTH = _EXACT_DIGITS + len("-.")
_POWERS = 10.0 ** np.arange(_EXACT_DIGITS + 1)

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]
Lengths = NDArray[np.int16]


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Lines of a file with one blank behind each word; ``first`` is the number of the first line.

    Shape: blanks (LINES, COLUMNS), the places in ``text`` of the blanks.
    """

    text: bytes
    first: int
    blanks: Places

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self.blanks)

    def word(self, line: int, column: int) -> bytes:
        """One word; ``line`` counts from 0."""
        before = self.blanks[line, column - 1] if column else self.blanks[line - 1, -1] if line else -1
        return self.text[before + 1 : self.blanks[line, column]]

    def words(self, column: int) -> list[str]:
        """The words of a column."""
        joined = self._padded(column, fill=ord(" ")).tobytes()
        if joined.isascii():
            return joined.decode().split()
        return [word.decode() for word in joined.split()]  # str.split would also split at the spaces of Unicode

    def stretches(self, column: int) -> list[int]:
        """Lines, from 0, at which another word begins in the column, and the number of lines."""
        cells = self._padded(column, fill=0)
        words = cells.view(f"S{cells.shape[1]}")[:, 0]
        changes = np.flatnonzero(words[1:] != words[:-1]) + 1
        return [0, *changes.tolist(), len(self)]

    def numbers(self, column: int) -> NDArray[np.float64]:
        """A column of decimal numbers, each as ``float`` reads it; NaN for what is none."""
        cells, lengths = self._windows(column, _PLAIN_WIDTH)
        values, plain = _plain_numbers(np.ascontiguousarray(cells.T), lengths)
        if not plain.all():
            others = self._padded(column, fill=ord(" "))[~plain].tobytes().split()
            values[~plain] = _numbers(others)
        return values

    def _padded(self, column: int, fill: int) -> Bytes:
        """The words of a column, each followed by at least one ``fill``.

        Shape: (LINES, WIDTH).
        """
        cells, lengths = self._windows(column, MAX_ID_BYTES + 1)
        width = cells.shape[1]
        if lengths.min() == lengths.max():
            cells[:, -1] = fill
            return cells
        return np.where(np.arange(width, dtype=np.int16) < lengths[:, None], cells, np.uint8(fill))

    def _windows(self, column: int, widest: int) -> tuple[Bytes, Lengths]:
        """As many bytes from the start of each word as the longest has and one more, and the words' lengths.

        Shape: (LINES, WIDTH) and (LINES,).
        """
        before = self.blanks[:, column - 1] if column else np.concatenate(([-1], self.blanks[:-1, -1]))
        lengths = (self.blanks[:, column] - before - 1).astype(np.int16)
        width = min(int(lengths.max()) + 1, widest)
        padded = np.frombuffer(self.text + bytes(width), dtype=np.uint8)
        # strings that overlap, one beginning at each byte: taking some of them copies no others
        windows = np.ndarray(len(self.text), dtype=f"S{width}", buffer=padded, strides=(1,))
        return windows[before + 1].view(np.uint8).reshape(-1, width), lengths


def read_blocks(path: Path, chunks: Iterable[bytes], columns: tuple[str, ...], first: int = 1) -> Iterator[Block]:
    """Whole lines as blocks of words; ``first`` is the number of the first line of the first chunk.

    Blank lines, as a file may have at its end, are passed over.
    Raises: DataError with file and line for another number of columns, control characters, bytes that are not UTF-8,
    and words above ``MAX_ID_BYTES``.
    """
    for chunk in chunks:
        text = chunk.removeprefix(BYTE_ORDER_MARK) if first == 1 else chunk
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        if not text:
            continue
        block = _block(text if text.endswith(b"\n") else text + b"\n", first, len(columns))
        if block is not None:
            yield block
            first += len(block)
            continue
        lines = text.removesuffix(b"\n").split(b"\n")
        yield from _blocks_of_lines(path, lines, first, columns)
        first += len(lines)


def _block(text: bytes, first: int, columns: int) -> Block | None:
    """The block of a text with one blank behind each word, as most files have it; None for any other."""
    raw = np.frombuffer(text, dtype=np.uint8)
    blank = raw <= ord(" ")
    places = np.flatnonzero(blank)
    if len(places) % columns or blank[0] or (blank[1:] & blank[:-1]).any() or not _is_utf8(text):
        return None
    block = Block(text, first, places.reshape(-1, columns))
    line_ends = block.blanks[:, -1]
    others = np.count_nonzero(raw < ord(" ")) - len(block)
    if (raw[line_ends] != ord("\n")).any() or (others and others != text.count(b"\t")):
        return None
    long_lines = np.diff(line_ends, prepend=-1).max() > MAX_ID_BYTES
    return None if long_lines and np.diff(places, prepend=-1).max() > MAX_ID_BYTES + 1 else block


def _blocks_of_lines(path: Path, lines: list[bytes], first: int, columns: tuple[str, ...]) -> Iterator[Block]:
    """The blocks of lines with blanks in any number, line by line; a blank line ends a block."""
    start = 0
    for blank, group in groupby(lines, is_blank):
        held = list(group)
        if not blank:
            yield _block_of_lines(path, held, first + start, columns)
        start += len(held)


def _block_of_lines(path: Path, lines: list[bytes], first: int, columns: tuple[str, ...]) -> Block:
    tidy = [b" ".join(checked_words(path, number, line, columns)) for number, line in enumerate(lines, start=first)]
    block = _block(b"\n".join(tidy) + b"\n", first, len(columns))
    if block is None:
        raise ValueError("lines that were checked are in columns")
    return block


def first_words(text: bytes) -> list[bytes]:
    """The words of the first line of a text that has any."""
    return text.removeprefix(BYTE_ORDER_MARK).lstrip(_BLANKS).partition(b"\n")[0].split()


def is_blank(line: bytes) -> bool:
    """Whether a line holds nothing but the blanks between words."""
    return not line.strip(_BLANKS)


def checked_words(path: Path, number: int, line: bytes, columns: tuple[str, ...]) -> list[bytes]:
    """The words of one line without its end.

    Raises: DataError as ``read_blocks``.
    """
    decode_line(path, number, line)
    if len(line.translate(None, _CONTROLS)) != len(line):
        control = next(chr(byte) for byte in line if byte in _CONTROLS)
        raise DataError(f"{path}:{number}: holds the control character {control!r}, expected text.")
    words = line.split()
    if len(words) != len(columns):
        raise DataError(f"{path}:{number}: expected {len(columns)} columns ({' '.join(columns)}), found {len(words)}.")
    if max(map(len, words)) > MAX_ID_BYTES:
        size, column = max(zip(map(len, words), columns, strict=True))
        raise DataError(f"{path}:{number}: the {column} has {size} bytes, at most {MAX_ID_BYTES} are allowed.")
    return words


def _is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or bool(text.decode())
    except UnicodeDecodeError:
        return False


def _plain_numbers(cells: Bytes, lengths: Lengths) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Decimals without exponent and of few digits, and which of the words are such.

    Exact as ``float``: digits and power of ten are exact in float64, and a division rounds once (Clinger 1990).
    Shape: cells (WIDTH, LINES); what stands behind a word's length is not read.
    """
    width, lines = cells.shape
    inside = np.arange(width, dtype=np.int16)[:, None] < lengths
    digits = cells - np.uint8(ord("0"))
    is_digit, is_point, negative = (digits < 10) & inside, (cells == ord(".")) & inside, cells[0] == ord("-")
    digits *= is_digit
    factors = is_digit * np.uint8(9) + np.uint8(1)
    whole, decimals, behind_point = np.zeros(lines), np.zeros(lines, np.uint8), np.zeros(lines, np.bool_)
    for place in range(width):
        whole *= factors[place]
        whole += digits[place]
        decimals += is_digit[place] & behind_point
        behind_point |= is_point[place]
    count, points = is_digit.sum(axis=0, dtype=np.uint8), is_point.sum(axis=0, dtype=np.uint8)
    plain = (count >= 1) & (count <= _EXACT_DIGITS) & (points <= 1) & (count + points + negative == lengths)
    values = whole / _POWERS[np.minimum(decimals, _EXACT_DIGITS)]
    return np.where(negative, -values, values), plain


def _numbers(words: list[bytes]) -> list[float]:
    with suppress(ValueError):
        if b"_" not in b"".join(words):
            return list(map(float, words))
    return [_number(word) for word in words]


def _number(word: bytes) -> float:
    """Python's own reading, less the underscores that it allows."""
    try:
        return float("nan") if b"_" in word else float(word)
    except ValueError:
        return float("nan")
