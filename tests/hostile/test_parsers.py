"""Whatever bytes a file holds, its parser gives a value or one sentence that names the file."""

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsers import PARSERS, Parser, outcome

EXAMPLES = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SECONDS = 2.0

INSERTED = [
    b"\0", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\xe2\x80\xa8", b"\x85", b"\x1b[2J", b"\n", b"\r", b" ", b"[" * 2_000,
    b'{"a":' * 2_000, b"9" * 5_000, b"-1e999", b"NaN", b"1_0", b"null", b"true", b"{}", b'"', b"\\", b"..", b"/",
    b"\xef\xbb\xbf", b"\x1f\x8b", b"<", b"<!--", b"</DOC>", b"<DOCNO>", b"&#99999999999;", b"x" * 2_000, b"=",
]  # fmt: skip

cuts = st.tuples(st.just("cut"), st.floats(0, 1), st.floats(0, 1), st.just(b""))
repeats = st.tuples(st.just("repeat"), st.floats(0, 1), st.floats(0, 1), st.just(b""))
flips = st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7), st.just(b""))
insertions = st.tuples(st.just("insert"), st.floats(0, 1), st.just(0), st.sampled_from(INSERTED))
mutations = st.lists(st.one_of(insertions, flips, cuts, repeats), min_size=1, max_size=4)


def mutated(content: bytes, changes: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, share, other, inserted in changes:
        at = int(share * len(content))
        first, last = sorted((at, int(other * len(content)) if kind != "flip" else at))
        if kind == "cut":
            content = content[:first] + content[last:]
        elif kind == "repeat":
            content = content[:last] + content[first:]
        elif kind == "insert":
            content = content[:at] + inserted + content[at:]
        elif content:
            at = min(at, len(content) - 1)
            content = content[:at] + bytes([content[at] ^ 1 << int(other)]) + content[at + 1 :]
    return content


@contextmanager
def timed() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError("still at it")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def refusal(parser: Parser, content: bytes) -> str:
    """Holds the refusal, if it is one, to what every refusal must be."""
    with tempfile.TemporaryDirectory() as folder, timed():
        sentence = outcome(parser, Path(folder), content)
        assert not sentence or folder in sentence
    assert not sentence or sentence.endswith((".", "?"))
    assert len(sentence.splitlines()) <= 1
    assert len(sentence) < 8_000
    return sentence


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
def test_a_well_formed_file_is_read(parser: Parser) -> None:
    assert refusal(parser, parser.valid) == ""


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
@EXAMPLES
@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_a_sentence(parser: Parser, content: bytes) -> None:
    refusal(parser, content)


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
@EXAMPLES
@given(changes=mutations)
def test_a_damaged_file_is_read_or_refused_in_a_sentence(parser: Parser, changes: list) -> None:
    refusal(parser, mutated(parser.valid, changes))


@pytest.mark.parametrize("parser", PARSERS.values(), ids=PARSERS)
def test_nothing_that_is_put_into_a_file_is_more_than_refused(parser: Parser) -> None:
    for number, inserted in enumerate(INSERTED):
        place = len(parser.valid) * (number % 7) // 7
        refusal(parser, parser.valid[:place] + inserted + parser.valid[place:])
