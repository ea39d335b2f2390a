import math
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ranker.errors import DataError
from ranker.files.columns import Block, read_blocks
from ranker.limits import MAX_ID_BYTES

PATH = Path("some.txt")


def block(text: bytes, columns: int = 2) -> Block:
    (only,) = read_blocks(PATH, [text], tuple("abcdef"[:columns]))
    return only


def refused(message: str) -> pytest.RaisesExc[DataError]:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


numerals = st.one_of(
    st.from_regex(r"-?[0-9]{0,9}\.?[0-9]{1,9}", fullmatch=True),
    st.from_regex(r"[-+]?[0-9]{1,20}\.?[0-9]{0,20}([eE][-+]?[0-9]{1,3})?", fullmatch=True),
    st.floats(allow_nan=False).map(repr),
    st.floats(width=32, allow_nan=False).map("{:.9g}".format),
)


@given(st.lists(numerals, min_size=1, max_size=20))
@example(["-0", "-.5", "5.", "00.10", "123456789012345", "1234567890123456", ".000000000000001", "inf", "1e5"])
def test_a_number_is_the_one_that_python_reads_to_the_last_bit(words: list[str]) -> None:
    numbers = block("".join(f"x {word}\n" for word in words).encode()).numbers(1)
    assert [number.hex() for number in numbers.tolist()] == [float(word).hex() for word in words]


@pytest.mark.parametrize(
    "word", [".", "-", "-.", "1.2.3", "1-2", "--1", "1e", "x", "1_0", "0x10", "\uff11\uff12", "1,5", "+-1"]
)
def test_what_is_no_number_is_nan(word: str) -> None:
    assert math.isnan(block(f"x 1.5\nx {word}\n".encode()).numbers(1)[1])
    assert block(f"x 1.5\nx {word}\n".encode()).numbers(1)[0] == 1.5


words_of_text = st.text(st.characters(exclude_categories=("C", "Zs", "Zl", "Zp")), min_size=1, max_size=9)


@given(st.lists(st.tuples(words_of_text, words_of_text, words_of_text), min_size=1, max_size=12))
def test_words_come_back_by_column_whatever_their_lengths(rows: list[tuple[str, str, str]]) -> None:
    found = block("".join(" ".join(row) + "\n" for row in rows).encode(), 3)
    assert len(found) == len(rows)
    for column in range(3):
        assert found.words(column) == [row[column] for row in rows]
        assert [found.word(line, column).decode() for line in range(len(rows))] == [row[column] for row in rows]


@given(st.lists(st.sampled_from(["a", "ab", "b", "é"]), min_size=1, max_size=20))
def test_stretches_begin_where_the_word_changes(words: list[str]) -> None:
    changes = [line for line in range(1, len(words)) if words[line] != words[line - 1]]
    text = "".join(f"{word} {'xyz'[: line % 3 + 1]}\n" for line, word in enumerate(words))
    assert block(text.encode()).group_edges(0) == [0, *changes, len(words)]


@pytest.mark.parametrize(
    "text",
    [b"a b\nc d\n", b"a b\nc d", b"a\tb\nc d\n", b"  a  b \nc\t\td\n", b"a b\r\nc d\r\n", b"\xef\xbb\xbfa b\nc d"],
)
def test_blanks_line_ends_and_a_byte_order_mark_make_no_difference(text: bytes) -> None:
    found = block(text)
    assert (found.words(0), found.words(1)) == (["a", "c"], ["b", "d"])


def test_spaces_of_unicode_are_part_of_a_word() -> None:
    assert block("a\u00a0b c\u2003d\n".encode()).words(1) == ["c\u2003d"]


def test_lines_are_counted_over_blocks() -> None:
    blocks = list(read_blocks(PATH, [b"a b\nc d\n", b" e f\n", b"g h"], ("a", "b")))
    assert [one.first for one in blocks] == [1, 3, 4]
    with refused("some.txt:4: expected 2 columns (a b), found 1."):
        list(read_blocks(PATH, [b"a b\nc d\n", b"e f\n", b"g\n"], ("a", "b")))


def test_nothing_has_no_blocks() -> None:
    assert list(read_blocks(PATH, [], ("a",))) == []
    assert list(read_blocks(PATH, [b"\xef\xbb\xbf"], ("a",))) == []


@pytest.mark.parametrize("text", [b"a b\nc\nd e f\n", b"a b\nc \nd e\nf"])
def test_a_missing_word_is_not_made_up_for_by_the_next_line(text: bytes) -> None:
    with refused("some.txt:2: expected 2 columns (a b), found 1."):
        block(text)


def test_a_blank_line_is_passed_over_and_ends_a_block() -> None:
    blocks = list(read_blocks(PATH, [b"a b\n\nc d\n \t\n\n", b"e f\n\n"], ("a", "b")))
    assert [(one.first, one.words(0)) for one in blocks] == [(1, ["a"]), (3, ["c"]), (6, ["e"])]


@pytest.mark.parametrize("control", ["\x00", "\x0b", "\x0c", "\x1c", "\x1f"])
def test_a_control_character_is_refused(control: str) -> None:
    with refused(f"some.txt:2: holds the control character {control!r}, expected text."):
        block(f"a b\nc{control}d e\n".encode())


def test_a_control_character_between_words_is_refused() -> None:
    with refused("some.txt:1: holds the control character '\\x0c', expected text."):
        block(b"a\x0cb\n")


def test_bytes_that_are_not_utf8_are_refused_in_any_column() -> None:
    with refused("some.txt:2: byte 3 is not UTF-8: found b'\\xff', expected UTF-8 text."):
        block(b"a b\nc \xff\n")


def test_a_word_above_the_bound_is_refused() -> None:
    longest = "x" * MAX_ID_BYTES
    assert block(f"a {longest}\n".encode()).words(1) == [longest]
    with refused(f"some.txt:1: the b has {MAX_ID_BYTES + 1} bytes, at most {MAX_ID_BYTES} are allowed."):
        block(f"a {longest}x\n".encode())


def test_a_long_line_of_short_words_is_read() -> None:
    word = "x" * 600
    assert block(f"{word} {word}\na b\n".encode()).words(0) == [word, "a"]
