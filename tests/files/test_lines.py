"""Lines and chunks of text files are read whole, or refused with file, line and reason."""

import errno
import gzip
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.errors import DataError, RankerError
from ranker.files.lines import open_binary, read_chunks, read_lines, read_text_lines, reason
from ranker.limits import MAX_LINE_BYTES


def refused(error: type[RankerError], message: str) -> pytest.RaisesExc[RankerError]:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def gzipped(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


def test_lines_are_numbered_from_one_and_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\r\n\ntwo\xff")
    assert list(read_lines(path)) == [(1, b"one\r\n"), (2, b"\n"), (3, b"two\xff")]


def test_text_lines_have_no_line_ends_and_no_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes("\ufeffone\r\n\nzwei ü\u2028x\n\ufeffdrei".encode())
    assert list(read_text_lines(path)) == [(1, "one"), (2, ""), (3, "zwei ü\u2028x"), (4, "\ufeffdrei")]


def test_gzip_is_told_by_the_name(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "lines.gz", b"one\ntwo\n")
    assert list(read_text_lines(path)) == [(1, "one"), (2, "two")]
    assert b"".join(read_chunks(path)) == b"one\ntwo\n"


def test_bytes_that_are_not_utf8_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "latin1.txt"
    path.write_bytes("good\ncafé au lait\n".encode("latin-1"))
    with refused(DataError, f"{path}:2: byte 4 is not UTF-8: found b'\\xe9 au', expected UTF-8 text."):
        list(read_text_lines(path))


def test_a_gzip_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.gz"
    path.write_bytes(b"q1 Q0 d1")
    with refused(DataError, f"{path}: is not a whole gzip file: Not a gzipped file (b'q1')."):
        list(read_lines(path))
    with refused(DataError, f"{path}: cannot be read to its end: Not a gzipped file (b'q1')."):
        list(read_chunks(path))


def test_a_gzip_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "cut.gz", os.urandom(9_000))
    path.write_bytes(path.read_bytes()[:5_000])
    ended = "Compressed file ended before the end-of-stream marker was reached."
    with refused(DataError, f"{path}: is not a whole gzip file: {ended}"):
        list(read_lines(path))
    with refused(DataError, f"{path}: cannot be read to its end: {ended}"):
        list(read_chunks(path))


def test_a_gzip_file_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "broken.gz", b"abcdefgh" * 1_000)
    content = bytearray(path.read_bytes())
    content[12:20] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.gz: is not a whole gzip file: .+\.$"):
        list(read_lines(path))


def test_a_line_above_the_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "long.gz"
    gzipped(path, b"short\n" + bytes(MAX_LINE_BYTES + 1))
    with refused(DataError, f"{path}:2: the line is longer than the {MAX_LINE_BYTES} bytes allowed."):
        list(read_lines(path))
    with refused(DataError, f"{path}: has a line longer than the {MAX_LINE_BYTES} bytes allowed."):
        list(read_chunks(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40).map(lambda line: line * 20_000), max_size=4), st.booleans())
def test_chunks_are_the_file_and_end_where_lines_do(tmp_path: Path, lines: list[bytes], ended: bool) -> None:
    path = tmp_path / "chunks"
    content = b"\n".join(lines) + b"\n" * ended
    path.write_bytes(content)
    chunks = list(read_chunks(path))
    assert b"".join(chunks) == content
    assert all(chunk.endswith(b"\n") for chunk in chunks[:-1])
    assert all(chunks)


def test_a_reason_is_words_without_the_path() -> None:
    assert (
        reason(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/some/path")) == "No such file or directory"
    )
    assert reason(EOFError("cut")) == "cut"
    assert reason(EOFError()) == "EOFError"


def test_an_opened_file_can_be_closed_early(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one\ntwo\n")
    with open_binary(tmp_path / "x") as file:
        assert file.readline() == b"one\n"
