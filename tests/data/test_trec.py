import gzip
import math
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run
from ranker.data.trec import read_qrels, read_run, write_qrels, write_run
from ranker.errors import DataError, OutputError, RankerError
from ranker.files.atomic import atomic_file
from ranker.limits import MAX_DEPTH, MAX_ID_BYTES, MAX_RELEVANCE

SIX = "expected 6 columns (query_id Q0 doc_id rank score name)"
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8)
float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
rankings = st.dictionaries(ids, float32s, min_size=1, max_size=12).map(
    lambda found: Ranking.ordered(list(found), np.array(list(found.values()), dtype=np.float32))
)
runs = st.builds(Run, ids, st.dictionaries(ids, rankings, min_size=1, max_size=5))
all_qrels = st.dictionaries(
    ids, st.dictionaries(ids, st.integers(-MAX_RELEVANCE, MAX_RELEVANCE), min_size=1), min_size=1, max_size=5
)


RELEVANCES = "a whole number from -32768 to 32768; mend the line or take it out"


def refused(message: str, error: type[RankerError] = DataError) -> pytest.RaisesExc[RankerError]:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


def file(folder: Path, content: str | bytes, name: str = "some.run") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(read: Callable[[Path], object], path: Path) -> str | None:
    try:
        read(path)
    except DataError as error:
        return str(error)
    return None


def as_dict(run: Run) -> dict[str, dict[str, float]]:
    return {query: dict(zip(found.doc_ids, found.scores.tolist(), strict=True)) for query, found in run.items()}


def bits(run: Run) -> list[tuple[str, tuple[str, ...], bytes]]:
    return [(query_id, ranking.doc_ids, ranking.scores.tobytes()) for query_id, ranking in run.items()]


# runs, there and back


@pytest.mark.parametrize("name", ["a.run", "a.run.gz"])
@in_one_folder
@given(run=runs)
@example(Run("x", {"q": Ranking.ordered(["a", "b", "c", "d"], [-0.0, 1e-45, 3.4028235e38, 16_777_217])}))
def test_a_written_run_comes_back_bit_for_bit(tmp_path: Path, name: str, run: Run) -> None:
    write_run(run, tmp_path / name, force=True)
    read = read_run(tmp_path / name)
    assert read.name == run.name
    assert bits(read) == bits(run)


@in_one_folder
@given(run=runs)
def test_a_written_run_is_what_ir_measures_reads(tmp_path: Path, run: Run) -> None:
    write_run(run, tmp_path / "a.run", force=True)
    text = (tmp_path / "a.run").read_bytes().decode().split("\n")[:-1]  # ids may hold what Python calls line ends
    hits = [hit for line in text for hit in ir_measures.read_trec_run(line + "\n")]
    found: dict[str, dict[str, float]] = {}
    for hit in hits:
        found.setdefault(hit.query_id, {})[hit.doc_id] = float(np.float32(hit.score))
    assert found == as_dict(run)


def test_a_run_is_written_in_six_columns_with_ranks_from_one(tmp_path: Path) -> None:
    run = Run("bm25", {"q2": Ranking.ordered(["d1", "d2"], [0.1, 12]), "q1": Ranking.ordered(["d1"], [-1e-7])})
    write_run(run, tmp_path / "new" / "a.run")
    lines = ["q2 Q0 d2 1 12 bm25", "q2 Q0 d1 2 0.100000001 bm25", "q1 Q0 d1 1 -1.00000001e-07 bm25", ""]
    assert (tmp_path / "new" / "a.run").read_text() == "\n".join(lines)


def test_a_compressed_run_is_the_same_file_each_time(tmp_path: Path) -> None:
    run = Run("bm25", {"q1": Ranking.ordered(["d1"], [1])})
    write_run(run, tmp_path / "a.run.gz")
    write_run(run, tmp_path / "b.run.gz")
    assert (tmp_path / "a.run.gz").read_bytes() == (tmp_path / "b.run.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.run.gz").read_bytes()) == b"q1 Q0 d1 1 1 bm25\n"


def test_a_run_over_many_chunks_comes_back(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    found = {
        f"q{query}": Ranking.ordered(
            [f"d{doc}" for doc in random.permutation(9_000)[:3_000]], random.normal(size=3_000)
        )
        for query in range(12)
    }
    write_run(Run("x", found), tmp_path / "a.run")
    assert (tmp_path / "a.run").stat().st_size > 3 * 2**18
    assert bits(read_run(tmp_path / "a.run")) == bits(Run("x", found))


def test_a_hit_takes_less_than_100_bytes(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    found = {}
    for query in range(40):
        numbers = np.unique(random.integers(1_000_000, 8_841_823, 1_000))
        found[str(query)] = Ranking.ordered([str(number) for number in numbers], random.normal(size=len(numbers)))
    write_run(Run("x", found), tmp_path / "a.run")
    tracemalloc.start()
    run = read_run(tmp_path / "a.run")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / run.hits < 100


# runs as others write them


LINES = ["q1 Q0 d1 1 2.5 bm25", "q1 Q0 d2 2 1.5 bm25", "q2 Q0 d1 1 0.5 bm25"]
EXPECTED = [("q1", ("d1", "d2"), np.float32([2.5, 1.5]).tobytes()), ("q2", ("d1",), np.float32([0.5]).tobytes())]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(LINES),
        "\n".join(LINES) + "\n",
        "\r\n".join(LINES) + "\r\n",
        "\n".join(LINES).replace(" ", "\t"),
        "\n".join(LINES).replace(" ", "  \t "),
        "\n".join(f"  {line} \t" for line in LINES),
        "\ufeff" + "\n".join(LINES),
        "\n".join([LINES[1], LINES[0], LINES[2]]),
        "\n".join([LINES[0], LINES[2], LINES[1]]).replace("q2 Q0", "q2 0"),
        "\n".join(LINES).replace("2.5", "+25e-1").replace(" 1 ", " x "),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_columns_may_stand_apart_as_they_like(tmp_path: Path, text: str, packed: bool) -> None:
    content = text.encode()
    path = file(tmp_path, gzip.compress(content) if packed else content, "a.run.gz" if packed else "a.run")
    run = read_run(path)
    assert (run.name, sorted(bits(run))) == ("bm25", EXPECTED)


def test_ranks_in_a_file_are_ignored(tmp_path: Path) -> None:
    run = read_run(file(tmp_path, "q Q0 a 1 1 x\nq Q0 b 2 3 x\nq Q0 c 1 1 x\n"))
    assert run["q"].doc_ids == ("b", "c", "a")


def test_a_run_is_called_by_its_first_line(tmp_path: Path) -> None:
    assert read_run(file(tmp_path, "q Q0 a 1 2 one\nq Q0 b 2 1 two\n")).name == "one"


def test_queries_stay_in_the_order_of_the_file_also_where_their_lines_are_mixed(tmp_path: Path) -> None:
    text = "".join(f"q{number % 7} Q0 d{number} 1 {number} x\n" for number in range(3, 40_000))
    run = read_run(file(tmp_path, text))
    assert list(run) == ["q3", "q4", "q5", "q6", "q0", "q1", "q2"]
    assert run["q0"].doc_ids[:3] == ("d39998", "d39991", "d39984")
    assert run.hits == 39_997


@pytest.mark.parametrize("name", ["dl19.bm25.run", "dl20.bm25-rm3.run", "dl19.tas-b.run"])
def test_real_runs_are_read_as_ir_measures_reads_them(shared_data: Path, name: str) -> None:
    path = shared_data / "trec-dl" / "runs" / name
    expected: dict[str, dict[str, float]] = {}
    for hit in ir_measures.read_trec_run(str(path)):
        expected.setdefault(hit.query_id, {})[hit.doc_id] = float(np.float32(hit.score))
    run = read_run(path)
    assert as_dict(run) == expected


# runs that are refused


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1 Q0 d9 3 1.5", f"{SIX}, found 5."),
        ("q1 Q0 d9 3 1.5 bm25 more", f"{SIX}, found 7."),
        (
            "q1 Q0 d9 3 nan bm25",
            "the score is 'nan', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 d9 3 inf bm25",
            "the score is 'inf', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 d9 3 -Infinity bm25",
            "the score is '-Infinity', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 d9 3 1e39 bm25",
            "the score is '1e39', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 d9 3 1,5 bm25",
            "the score is '1,5', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 d9 3 1_000 bm25",
            "the score is '1_000', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 d9 3 \uff11 bm25",
            "the score is '\uff11', expected a finite number; take the line out, or write the run again.",
        ),
        (
            "q1 Q0 d9 3 high bm25",
            "the score is 'high', expected a finite number; take the line out, or write the run again.",
        ),
        ("q1 Q0 d1 3 0.5 bm25", "passage d1 stands twice for query q1, first in line 1; keep one of the lines."),
        ("q1 Q0 d9\x0b 3 0.5 bm25", "holds the control character '\\x0b', expected text."),
        ("q1 Q0 d9\x00 3 0.5 bm25", "holds the control character '\\x00', expected text."),
        (f"q1 Q0 {'d' * 1025} 3 0.5 bm25", "the doc_id has 1025 bytes, at most 1024 are allowed."),
    ],
)
@pytest.mark.parametrize("behind", [[], LINES[2:]])
def test_a_malformed_line_is_refused_with_file_line_and_reason(
    tmp_path: Path, line: str, reason: str, behind: list[str]
) -> None:
    path = file(tmp_path, "\n".join([*LINES[:2], line, *behind]) + "\n")
    with refused(f"{path}:3: {reason}"):
        read_run(path)


@pytest.mark.parametrize("end", ["\n", "\n\n", " \t\r\n", "\n \n"])
def test_blank_lines_are_passed_over_and_the_others_keep_their_numbers(tmp_path: Path, end: str) -> None:
    path = file(tmp_path, "\n" + "\n".join(LINES) + "\n" + end)
    assert read_run(path) == read_run(file(tmp_path, "\n".join(LINES), "plain"))
    lines = path.read_text().count("\n")
    with path.open("a") as run:
        run.write("q1 Q0 d9 3 1.5\n")
    with refused(f"{path}:{lines + 1}: {SIX}, found 5."):
        read_run(path)


def test_a_file_of_blank_lines_is_empty(tmp_path: Path) -> None:
    path = file(tmp_path, "\n \n")
    with refused(f"{path}: is empty, expected lines of 6 columns (query_id Q0 doc_id rank score name)."):
        read_run(path)


def test_a_line_is_named_far_into_a_long_file(tmp_path: Path) -> None:
    lines = [f"q{number // 100} Q0 d{number} 1 0.5 x" for number in range(60_000)]
    lines[54_320] = "q543 Q0 d 1 0.5"
    path = file(tmp_path, "\n".join(lines))
    with refused(f"{path}:54321: {SIX}, found 5."):
        read_run(path)


def test_a_line_that_lacks_a_column_is_not_completed_by_the_next(tmp_path: Path) -> None:
    path = file(tmp_path, "q1 Q0 d1 1 2.5 x\nq1 Q0 d2 2 1.5\ny q1 Q0 d3 3 0.5 x\n")
    with refused(f"{path}:2: {SIX}, found 5."):
        read_run(path)


def test_a_passage_that_returns_far_below_is_refused_with_both_lines(tmp_path: Path) -> None:
    lines = [f"q{number % 2} Q0 d{number} 1 0.5 x" for number in range(50_000)]
    path = file(tmp_path, "\n".join([*lines, "q1 Q0 d77 1 0.25 x"]))
    with refused(f"{path}:50001: passage d77 stands twice for query q1, first in line 78; keep one of the lines."):
        read_run(path)


def test_a_query_with_too_many_passages_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "q0 Q0 d 1 1 x\n" + "".join(f"q1 Q0 d{number} 1 1 x\n" for number in range(MAX_DEPTH + 1)))
    with refused(f"{path}:{MAX_DEPTH + 2}: query q1 has more than the {MAX_DEPTH} passages allowed."):
        read_run(path)


def test_an_encoding_other_than_utf8_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "\n".join(LINES).replace("d2", "dé").encode("latin-1"))
    with refused(f"{path}:2: byte 8 is not UTF-8: found b'\\xe9 2 ', expected UTF-8 text."):
        read_run(path)
    path = file(tmp_path, "\n".join(LINES).encode("utf-16"))
    with refused(f"{path}:1: byte 1 is not UTF-8: found b'\\xff\\xfeq\\x00', expected UTF-8 text."):
        read_run(path)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0)])
def test_an_empty_run_is_refused(tmp_path: Path, content: bytes) -> None:
    path = file(tmp_path, content, "a.gz" if content.startswith(b"\x1f") else "a.run")
    with refused(f"{path}: is empty, expected lines of 6 columns (query_id Q0 doc_id rank score name)."):
        read_run(path)


def test_a_missing_run_or_a_folder_is_refused(tmp_path: Path) -> None:
    with refused(f"{tmp_path / 'a.run'}: cannot be read: No such file or directory."):
        read_run(tmp_path / "a.run")
    with refused(f"{tmp_path}: is a folder, expected a file."):
        read_run(tmp_path)


def test_a_name_with_a_space_of_unicode_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "q Q0 d 1 1 a\u00a0b\n")
    with refused(f"{path}:1: a run is named 'a\\xa0b', expected one word without spaces."):
        read_run(path)


# runs against a reader of one line at a time


def naive_run(content: bytes) -> dict[str, dict[str, float]] | None:
    """What a run file says by the plainest reading, or None where it is to be refused."""
    try:
        lines = content.decode().removeprefix("\ufeff").split("\n")
    except UnicodeDecodeError:
        return None
    found: dict[str, dict[str, float]] = {}
    for line in lines[:-1] if lines[-1] == "" else lines:
        words = [word for word in re.split(r"[ \t\r]", line) if word]
        if not words:
            continue
        if len(words) == 3 and line is lines[0]:
            return naive_ranks(lines)
        if len(words) != 6 or re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", line):
            return None
        query_id, _, doc_id, _, score, _ = words
        value = naive_score(score)
        if not math.isfinite(value) or doc_id in found.setdefault(query_id, {}):
            return None
        found[query_id][doc_id] = value
    return found or None


def naive_ranks(lines: list[str]) -> dict[str, dict[str, float]] | None:
    found: dict[str, dict[str, float]] = {}
    for line in lines[:-1] if lines[-1] == "" else lines:
        words = [word for word in re.split(r"[ \t\r]", line) if word]
        if len(words) != 3 or re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", line):
            return None
        query_id, doc_id, rank = words
        hits = found.setdefault(query_id, {})
        if not re.fullmatch("[0-9]{1,6}", rank) or not 1 <= int(rank) <= MAX_DEPTH:
            return None
        if doc_id in hits or -float(rank) in hits.values():
            return None
        hits[doc_id] = -float(rank)
    return found


def naive_score(word: str) -> float:
    try:
        with np.errstate(over="ignore"):
            return float(np.float32(float(word))) if word.isascii() and "_" not in word else math.nan
    except ValueError:
        return math.nan


_blanks = (b" ", b"  ", b"\t", b"\n", b"\r\n", b"\r")
_oddities = (b"\xc3\xa9", b"\xc2\xa0", b"\xff", b"\x0b", b"\x00")
pieces = st.sampled_from([*b"q1 q Q0 d1 1 2.5 -3 1e9 nan x _".split(), *_blanks, *_oddities])
good_lines = st.tuples(
    st.sampled_from([b"q1 ", b"q2\t", b" q3 ", "q\u00e9 ".encode()]),
    st.integers(0, 99).map(lambda number: b"Q0 d%d 1 " % number),
    st.sampled_from([b"1.5", b"-2", b"3e-2", b"0", b"17.25", b".5"]),
    st.sampled_from([b" x\n", b"\tx\n", b" x\r\n", b" x \n"]),
).map(b"".join)
contents = st.one_of(
    st.binary(max_size=60),
    st.lists(pieces, max_size=30).map(b"".join),
    st.lists(good_lines, max_size=12).map(b"".join),
    st.builds(
        bytes.__add__, st.lists(good_lines, max_size=6).map(b"".join), st.lists(pieces, max_size=8).map(b"".join)
    ),
)


@settings(max_examples=400, parent=in_one_folder)
@given(contents)
def test_a_run_is_read_as_by_the_plainest_reader_or_refused_as_by_it(tmp_path: Path, content: bytes) -> None:
    path = file(tmp_path, content)
    expected = naive_run(content)
    sentence = refusal(read_run, path)
    if sentence is None:
        assert as_dict(read_run(path)) == expected
    else:
        assert sentence.startswith(f"{path}:")
        assert "\n" not in sentence
        assert expected is None or "a run is named" in sentence


@settings(parent=in_one_folder)
@given(st.binary(max_size=80))
def test_random_bytes_are_never_more_than_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("a.run", "a.run.gz"):
        for read in (read_run, read_qrels):
            sentence = refusal(read, file(tmp_path, content, name))
            assert sentence is None or sentence.startswith(str(tmp_path / name))


# writing runs


@pytest.mark.parametrize("wrong", ["", "two words", "a\nb", "a\tb", "a\x0bb", "\ud800", "x" * (MAX_ID_BYTES + 1)])
def test_what_would_not_be_read_back_is_not_written(tmp_path: Path, wrong: str) -> None:
    message = (
        f"{tmp_path / 'a'}: cannot hold {wrong!r}, expected ids of one word without spaces, of at most 1024 bytes."
    )
    ranking = Ranking.ordered(["d1", wrong, "d2"], [3, 2, 1])
    for run in (Run("x", {"q": ranking}), Run("x", {wrong: Ranking.ordered(["d"], [1])})):
        with refused(message):
            write_run(run, tmp_path / "a")
    with refused(message):
        write_qrels({"q": {wrong: 1}}, tmp_path / "a")
    with refused(message):
        write_qrels({wrong: {"d": 1}}, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_long_ids_that_fit_are_written(tmp_path: Path) -> None:
    run = Run("x", {"q": Ranking.ordered(["é" * (MAX_ID_BYTES // 2), "d"], [2, 1])})
    write_run(run, tmp_path / "a.run")
    assert bits(read_run(tmp_path / "a.run")) == bits(run)


@pytest.mark.parametrize("name", ["a.run", "a.run.gz"])
def test_a_run_that_exists_is_replaced_by_force_only(tmp_path: Path, name: str) -> None:
    path = file(tmp_path, "old", name)
    run = Run("x", {"q": Ranking.ordered(["d"], [1])})
    with refused(f"{path}: exists already; give --force to replace it, or another --output.", OutputError):
        write_run(run, path)
    assert path.read_text() == "old"
    write_run(run, path, force=True)
    assert bits(read_run(path)) == bits(run)


class Interrupted(dict[str, Ranking]):
    """Rankings of which the second never comes: somebody pressed Ctrl-C."""

    def __getitem__(self, query_id: str) -> Ranking:
        if query_id == "q2":
            raise KeyboardInterrupt
        return super().__getitem__(query_id)


@pytest.mark.parametrize("name", ["a.run", "a.run.gz"])
def test_ctrl_c_in_the_middle_leaves_the_older_run(tmp_path: Path, name: str) -> None:
    path = file(tmp_path, "old", name)
    ranking = Ranking.ordered(["d"], [1])
    with pytest.raises(KeyboardInterrupt):
        write_run(Run("x", Interrupted(q1=ranking, q2=ranking)), path, force=True)
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [(name, "old")]


def test_two_writers_beside_each_other_do_not_mix(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.run") as one, atomic_file(tmp_path / "b.run") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a.run").read_text() == "one"


# qrels


@pytest.mark.parametrize("name", ["a.qrels", "a.qrels.gz"])
@in_one_folder
@given(qrels=all_qrels)
def test_written_qrels_come_back(tmp_path: Path, name: str, qrels: Qrels) -> None:
    write_qrels(qrels, tmp_path / name, force=True)
    read = read_qrels(tmp_path / name)
    assert read == qrels
    assert [list(judged) for judged in read.values()] == [list(judged) for judged in qrels.values()]


def test_qrels_are_written_in_four_columns(tmp_path: Path) -> None:
    write_qrels({"q2": {"d1": 0, "d2": 3}, "q1": {"d1": -1}}, tmp_path / "a.qrels")
    assert (tmp_path / "a.qrels").read_text() == "q2 0 d1 0\nq2 0 d2 3\nq1 0 d1 -1\n"


@pytest.mark.parametrize(
    "text",
    [
        "q1 0 d1 1\nq1 0 d2 0\nq2 0 d1 -2\n",
        "q1\t0\td1\t1\r\nq1\t0\td2\t0\r\nq2\tQ0\td1\t-2",
        "q1 0 d1 1\nq2 0 d1 -2\nq1 0 d2 0\nq1 0 d1 1\n",
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\t0\nq2\td1\t-2\n",
        "\ufeffquery-id\tcorpus-id\tscore\r\nq1\td1\t1\r\nq1\td2\t0\r\nq2\td1\t-2\r\n",
        "q1\td1\t01\nq1\td2\t0\nq2\td1\t-2\n",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_qrels_of_trec_and_of_beir_are_read(tmp_path: Path, text: str, packed: bool) -> None:
    content = gzip.compress(text.encode()) if packed else text.encode()
    path = file(tmp_path, content, "a.tsv.gz" if packed else "a.tsv")
    assert read_qrels(path) == {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": -2}}


def test_real_qrels_are_read_as_ir_measures_reads_them(shared_data: Path) -> None:
    path = shared_data / "cacm" / "qrels.cacm.txt"
    expected: Qrels = {}
    for judgment in ir_measures.read_trec_qrels(str(path)):
        expected.setdefault(judgment.query_id, {})[judgment.doc_id] = judgment.relevance
    assert read_qrels(path) == expected
    assert len(read_qrels(shared_data / "trec-dl" / "qrels" / "dl19.tsv")) == 43


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("q1 0 d9", "expected 4 columns (query_id 0 doc_id relevance), found 3."),
        ("q1 0 d9 1.0", f"the relevance is '1.0', expected {RELEVANCES}."),
        ("q1 0 d9 32769", f"the relevance is '32769', expected {RELEVANCES}."),
        ("q1 0 d9 +1", f"the relevance is '+1', expected {RELEVANCES}."),
        ("q1 0 d9 --1", f"the relevance is '--1', expected {RELEVANCES}."),
        ("q1 0 d9 -", f"the relevance is '-', expected {RELEVANCES}."),
        ("q1 0 d9 \uff11", f"the relevance is '\uff11', expected {RELEVANCES}."),
        (
            "q1 0 d1 2",
            "relevance 2 of passage d1 for query q1 contradicts the 1 of an earlier line; keep one of the lines.",
        ),
        ("q1 0 d9\x0b 2", "holds the control character '\\x0b', expected text."),
    ],
)
def test_a_malformed_judgment_is_refused_with_file_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = file(tmp_path, f"q1 0 d1 1\nq2 0 d1 1\n{line}\nq3 0 d1 1\n")
    with refused(f"{path}:3: {reason}"):
        read_qrels(path)


def test_blank_lines_among_judgments_are_passed_over(tmp_path: Path) -> None:
    for text in ("q1 0 d1 1\n\nq2 0 d1 0\n\n", "query-id\tcorpus-id\tscore\n\nq1\td1\t1\nq2\td1\t0\n \n"):
        assert read_qrels(file(tmp_path, text)) == {"q1": {"d1": 1}, "q2": {"d1": 0}}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blank_lines_before_the_first_are_passed_over_too(tmp_path: Path, mark: str, end: str) -> None:
    path = tmp_path / "qrels"
    path.write_bytes(
        (mark + end + " " + end + "query-id\tcorpus-id\tscore" + end + "q d 1" + end + "q d 2" + end).encode()
    )
    with pytest.raises(DataError, match=":5: relevance 2 of passage d for query q contradicts"):
        read_qrels(path)
    path.write_bytes((mark + end + "q 0 d 1" + end).encode())
    assert read_qrels(path) == {"q": {"d": 1}}
    with pytest.raises(DataError, match="holds judgments"):
        read_run(path)
    path.write_bytes((mark + end + "q d 1" + end + "q e 2" + end).encode())
    assert [ranking.doc_ids for ranking in read_run(path).values()] == [("d", "e")]


def test_lines_of_beir_are_counted_with_the_header(tmp_path: Path) -> None:
    path = file(tmp_path, "query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td2\n")
    with refused(f"{path}:3: expected 3 columns (query_id doc_id relevance), found 2."):
        read_qrels(path)


def test_a_header_of_other_words_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "query\tdoc\trelevance\nq1\td1\t1\n")
    with refused(f"{path}:1: the relevance is 'relevance', expected {RELEVANCES}."):
        read_qrels(path)


@pytest.mark.parametrize("text", ["", "query-id\tcorpus-id\tscore\n", "query-id\tcorpus-id\tscore"])
def test_qrels_without_judgments_are_refused(tmp_path: Path, text: str) -> None:
    path = file(tmp_path, text)
    with refused(f"{path}: has no judgments, expected lines of query_id 0 doc_id relevance."):
        read_qrels(path)


def test_a_run_given_as_qrels_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "\n".join(LINES))
    what = "is a run (query_id Q0 doc_id rank score name), expected judgments (query_id 0 doc_id relevance)"
    with refused(f"{path}: {what}; were the two given in each other's place?"):
        read_qrels(path)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("q1 0 d1 1\nq1 0 d2 0\n", "query_id 0 doc_id relevance"),
        ("query-id\tcorpus-id\tscore\nq1\td1\t1\n", "query_id doc_id relevance"),
    ],
)
def test_judgments_given_as_a_run_are_refused(tmp_path: Path, text: str, columns: str) -> None:
    path = file(tmp_path, text)
    what = f"holds judgments ({columns}), expected a run (query_id Q0 doc_id rank score name)"
    with refused(f"{path}: {what}; were the two given in each other's place?"):
        read_run(path)


# runs of MS MARCO, of three columns


@pytest.mark.parametrize("packed", [False, True])
def test_a_run_of_three_columns_goes_by_its_ranks(tmp_path: Path, packed: bool) -> None:
    content = b"q1\td2\t1\nq1\td9\t3\nq2\td1\t1\nq1\td1\t2\n"
    path = file(tmp_path, gzip.compress(content) if packed else content, "my run.tsv.gz" if packed else "my run.tsv")
    heard: list[str] = []
    run = read_run(path, heard.append)
    assert bits(run) == [
        ("q1", ("d2", "d1", "d9"), np.float32([-1, -2, -3]).tobytes()),
        ("q2", ("d1",), np.float32([-1]).tobytes()),
    ]
    assert run.name == "my-run"
    assert heard == [f"{path}: read as a run of MS MARCO (query_id doc_id rank), whose scores are its ranks, negated."]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("q1 a 1\nq1 b 0\n", ":2: the rank is '0', expected a whole number from 1 to 100000."),
        ("q1 a 1\nq1 b 1.5\n", ":2: the rank is '1.5', expected a whole number from 1 to 100000."),
        ("q1 a 1\nq1 b 100001\n", ":2: the rank is '100001', expected a whole number from 1 to 100000."),
        ("q1 a 1\nq1 a 2\n", ":2: passage a stands twice for query q1, first in line 1; keep one of the lines."),
        ("q1 a 1\nq1 b\n", ":2: expected 3 columns (query_id doc_id rank), found 2."),
        (
            "q1 a 1\nq1 b 1\n",
            ": query q1 has rank 1 twice, expected each rank once (query_id doc_id rank); if these are judgments, they "
            "were given in the place of a run.",
        ),
    ],
)
def test_three_columns_that_are_no_run_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = file(tmp_path, text)
    with refused(f"{path}{sentence}"):
        read_run(path)


RANKED = "q1 a 1\nq1 b 2\nq1 c 3\nq2 a 1\n"


def test_a_run_of_three_columns_given_as_qrels_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = file(tmp_path, RANKED)
    with refused(
        f"{path}: counts 1, 2, 3 and so on for every query, as a run of MS MARCO does (query_id doc_id rank), expected "
        "judgments; if they are, give them a header: query-id corpus-id score."
    ):
        read_qrels(path)
    graded = file(tmp_path, "query-id corpus-id score\n" + RANKED, "graded.tsv")
    assert read_qrels(graded) == {"q1": {"a": 1, "b": 2, "c": 3}, "q2": {"a": 1}}


@pytest.mark.parametrize("text", ["q1 a 1\nq1 b 2\nq2 a 1\n", RANKED + "q2 b 1\n", RANKED + "q3 a 2\n"])
def test_three_columns_that_hardly_are_ranks_stay_judgments(tmp_path: Path, text: str) -> None:
    assert read_qrels(file(tmp_path, text))["q1"]["a"] == 1


# ranks against scores


def heard_of(folder: Path, text: str) -> list[str]:
    path = file(folder, text)
    heard: list[str] = []
    read_run(path, heard.append)
    return [sentence.removeprefix(f"{path}: ") for sentence in heard]


def test_scores_that_rise_where_ranks_do_are_told_once_and_counted(tmp_path: Path) -> None:
    distances = "".join(f"q{query} Q0 d{rank} {rank} {rank / 10} x\n" for query in (1, 2) for rank in range(1, 4))
    assert heard_of(tmp_path, distances + "q3 Q0 d1 1 2 x\nq3 Q0 d2 2 1 x\n") == [
        "the scores of 2 queries rise where the ranks do, q1's among them; scores alone decide, the highest first, so "
        "negate distances."
    ]


def test_ties_are_told_where_their_ranks_say_another_order(tmp_path: Path) -> None:
    agreeing = "q1 Q0 b 1 5 x\nq1 Q0 a 2 5 x\n"
    assert heard_of(tmp_path, agreeing) == []
    assert heard_of(tmp_path, agreeing + "q2 Q0 a 1 5.00000001 x\nq2 Q0 b 2 5 x\n") == [
        "equal scores of 1 query stand in another order by their ranks, q2's among them; equal scores go by doc_id, "
        "falling."
    ]


def test_all_that_is_odd_about_ranks_is_one_sentence(tmp_path: Path) -> None:
    (heard,) = heard_of(tmp_path, "q1 Q0 a 1 1 x\nq1 Q0 b 2 2 x\nq2 Q0 a 1 5 x\nq2 Q0 b 2 5 x\n")
    assert heard.count("; ") == 3
    assert "q1" in heard
    assert "q2" in heard


@pytest.mark.parametrize("ranks", ["0 0 0", "1 1 1", "x y z", "3 2 1", "1 nan inf"])
def test_ranks_that_say_nothing_or_the_same_are_not_told(tmp_path: Path, ranks: str) -> None:
    first, second, third = ranks.split()
    scores = (1, 2, 3) if ranks == "3 2 1" else (3, 2, 1)
    lines = zip("abc", (first, second, third), scores, strict=True)
    assert heard_of(tmp_path, "".join(f"q Q0 {doc} {rank} {score} x\n" for doc, rank, score in lines)) == []


def test_lines_of_a_query_that_stand_apart_are_held_against_each_other(tmp_path: Path) -> None:
    text = "q1 Q0 a 1 1 x\nq2 Q0 a 1 9 x\nq1 Q0 b 2 2 x\nq2 Q0 b 2 8 x\n"
    (heard,) = heard_of(tmp_path, text)
    assert heard.startswith("the scores of 1 query rise where the ranks do, q1's among them")
    far = "".join(
        f"q{number % 2} Q0 d{number} {number} {number if number % 2 else -number} x\n" for number in range(30_000)
    )
    (heard,) = heard_of(tmp_path, far)
    assert heard.startswith("the scores of 1 query rise")


def test_a_run_that_was_written_here_has_nothing_odd(tmp_path: Path) -> None:
    run = Run("x", {"q": Ranking.ordered(["a", "b", "c"], [1, 1, 2])})
    write_run(run.distinct(), tmp_path / "a.run")
    heard: list[str] = []
    assert read_run(tmp_path / "a.run", heard.append)["q"].doc_ids == ("c", "b", "a")
    assert heard == []


def test_the_order_of_ties_is_not_the_files(tmp_path: Path) -> None:
    run = read_run(file(tmp_path, "".join(f"q Q0 d{number} {number} 1.0 x\n" for number in range(10))))
    assert run["q"].doc_ids == tuple(f"d{number}" for number in reversed(range(10)))
