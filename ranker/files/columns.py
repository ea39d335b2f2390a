"""Reads words in columns, a chunk of lines at a time: a run has millions of lines, too many for a loop in Python."""

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
"""The most digits of which a float64 holds every whole number exactly."""

_PLAIN_WIDTH = _EXACT_DIGITS + len("-.")
_POWERS = 10.0 ** np.arange(_EXACT_DIGITS + 1)


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Lines of a file in which one blank ends each word; ``first`` is the number of the first line.

    Shape: blanks (LINES, COLUMNS), the offsets in ``text`` of the blanks.
    """

    text: bytes
    first: int
    blanks: NDArray[np.int64]

    def __len__(self) -> int:
        """Returns the number of lines."""
        return len(self.blanks)

    def word(self, line: int, column: int) -> bytes:
        """Returns one word; ``line`` counts from 0, and a ``column`` of -1 is the last."""
        before = self.blanks[line, column - 1] if column else self.blanks[line - 1, -1] if line else -1
        return self.text[before + 1 : self.blanks[line, column]]

    def words(self, column: int) -> list[str]:
        """Returns the words of a column."""
        joined = self._padded(column, fill=ord(" ")).tobytes()
        if joined.isascii():
            return joined.decode().split()
        return [word.decode() for word in joined.split()]  # str.split would also split at the spaces of Unicode

    def group_edges(self, column: int) -> list[int]:
        """Returns the lines, from 0, at which another word begins in a column, and the number of lines at the end."""
        cells = self._padded(column, fill=0)
        words = cells.view(f"S{cells.shape[1]}")[:, 0]
        changes = np.flatnonzero(words[1:] != words[:-1]) + 1
        return [0, *changes.tolist(), len(self)]

    def numbers(self, column: int) -> NDArray[np.float64]:
        """Returns a column of decimal numbers, each as ``float`` reads it; NaN for a word that is not a number."""
        cells, lengths = self._windows(column, _PLAIN_WIDTH)
        values, plain = _plain_numbers(np.ascontiguousarray(cells.T), lengths)
        if not plain.all():
            others = self._padded(column, fill=ord(" "))[~plain].tobytes().split()
            values[~plain] = _other_numbers(others)
        return values

    def _padded(self, column: int, fill: int) -> NDArray[np.uint8]:
        """Returns the bytes of a column's words, each followed by at least one ``fill``.

        Shape: (LINES, WIDTH).
        """
        cells, lengths = self._windows(column, MAX_ID_BYTES + 1)
        width = cells.shape[1]
        if lengths.min() == lengths.max():  # then only the last byte of each cell is behind its word
            cells[:, -1] = fill
            return cells
        return np.where(np.arange(width, dtype=np.int16) < lengths[:, None], cells, np.uint8(fill))

    def _windows(self, column: int, widest: int) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
        """Returns WIDTH bytes from the start of each word, and the lengths of the words.

        WIDTH is one more than the longest word has, at most ``widest``.
        Shape: (LINES, WIDTH) and (LINES,).
        """
        before = self.blanks[:, column - 1] if column else np.concatenate(([-1], self.blanks[:-1, -1]))
        lengths = (self.blanks[:, column] - before - 1).astype(np.int16)
        width = min(int(lengths.max()) + 1, widest)
        padded = np.frombuffer(self.text + bytes(width), dtype=np.uint8)
        # overlapping strings of WIDTH bytes, one from each byte of the text; indexing copies only those taken
        windows = np.ndarray(len(self.text), dtype=f"S{width}", buffer=padded, strides=(1,))
        return windows[before + 1].view(np.uint8).reshape(-1, width), lengths


def read_blocks(path: Path, chunks: Iterable[bytes], columns: tuple[str, ...], first: int = 1) -> Iterator[Block]:
    """Yields chunks of whole lines as blocks of words; ``first`` is the number of the first line.

    Blank lines are skipped.
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
        # irregular blanks, or an error, which line by line can be named
        lines = text.removesuffix(b"\n").split(b"\n")
        yield from _blocks_of_lines(path, lines, first, columns)
        first += len(lines)


def _block(text: bytes, first: int, columns: int) -> Block | None:
    """Returns the block of a text in which one blank ends each word, as in most files; None for any other text."""
    raw = np.frombuffer(text, dtype=np.uint8)
    blank = raw <= ord(" ")
    offsets = np.flatnonzero(blank)
    # as many blanks as words, none at the start, and no two together
    if len(offsets) % columns or blank[0] or (blank[1:] & blank[:-1]).any() or not _is_utf8(text):
        return None
    block = Block(text, first, offsets.reshape(-1, columns))
    line_ends = block.blanks[:, -1]  # and no line may end anywhere else
    controls = np.count_nonzero(raw < ord(" ")) - len(block)  # besides the line ends
    if (raw[line_ends] != ord("\n")).any() or (controls and controls != text.count(b"\t")):
        return None
    long_lines = np.diff(line_ends, prepend=-1).max() > MAX_ID_BYTES
    return None if long_lines and np.diff(offsets, prepend=-1).max() > MAX_ID_BYTES + 1 else block


def _blocks_of_lines(path: Path, lines: list[bytes], first: int, columns: tuple[str, ...]) -> Iterator[Block]:
    """Yields blocks of lines whose words may have several blanks between them; a blank line ends a block."""
    for blank, group in groupby(lines, is_blank):
        group_lines = list(group)
        if not blank:
            tidy = [b" ".join(split_line(path, n, line, columns)) for n, line in enumerate(group_lines, start=first)]
            block = _block(b"\n".join(tidy) + b"\n", first, len(columns))
            if block is None:
                raise ValueError("lines that were checked are in columns")
            yield block
        first += len(group_lines)


def first_words(text: bytes) -> list[bytes]:
    """Returns the words of the first line of a text that has any."""
    return text.removeprefix(BYTE_ORDER_MARK).lstrip(_BLANKS).partition(b"\n")[0].split()


def is_blank(line: bytes) -> bool:
    """Returns whether a line holds no words."""
    return not line.strip(_BLANKS)


def split_line(path: Path, number: int, line: bytes, columns: tuple[str, ...]) -> list[bytes]:
    """Returns the words of one line without its end.

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


def _plain_numbers(
    cells: NDArray[np.uint8], lengths: NDArray[np.int16]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Parses decimals of few digits without exponent, and returns which of the words are such.

    The values are those of ``float``: the digits as a whole number and the power of ten are exact in float64, and one
    division rounds once (Clinger 1990).
    Shape: cells (WIDTH, LINES), of which bytes beyond a word's length are ignored; lengths (LINES,).
    """
    width, lines = cells.shape
    inside = np.arange(width, dtype=np.int16)[:, None] < lengths
    digits = cells - np.uint8(ord("0"))
    is_digit, is_point, negative = (digits < 10) & inside, (cells == ord(".")) & inside, cells[0] == ord("-")
    digits *= is_digit
    factors = is_digit * np.uint8(9) + np.uint8(1)  # 10 for a digit, else 1
    whole, decimals, behind_point = np.zeros(lines), np.zeros(lines, np.uint8), np.zeros(lines, np.bool_)
    # byte by byte, for all lines at once: a digit multiplies the value by ten and adds itself
    for column in range(width):
        whole *= factors[column]
        whole += digits[column]
        decimals += is_digit[column] & behind_point
        behind_point |= is_point[column]
    count, points = is_digit.sum(axis=0, dtype=np.uint8), is_point.sum(axis=0, dtype=np.uint8)
    plain = (count >= 1) & (count <= _EXACT_DIGITS) & (points <= 1) & (count + points + negative == lengths)
    values = whole / _POWERS[np.minimum(decimals, _EXACT_DIGITS)]
    return np.where(negative, -values, values), plain


def _other_numbers(words: list[bytes]) -> list[float]:
    with suppress(ValueError):
        if b"_" not in b"".join(words):
            return list(map(float, words))
    return [_number(word) for word in words]


def _number(word: bytes) -> float:
    """Returns what ``float`` reads, but NaN for a word that is not a number or has underscores."""
    try:
        return float("nan") if b"_" in word else float(word)
    except ValueError:
        return float("nan")
