import errno
import gzip
import hashlib
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.errors import DataError, OutputError, RankerError
from ranker.files.lines import (
    check_output,
    digest,
    open_binary,
    open_text_lines,
    read_chunks,
    read_lines,
    reason,
    written,
    written_folder,
)
from ranker.limits import MAX_LINE_BYTES

NOBODY = 65_534


def refused(error: type[RankerError], message: str) -> pytest.RaisesExc[RankerError]:
    return pytest.raises(error, match=f"^{re.escape(message)}$")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read and write everything; nobody may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that nobody can reach, unlike those of pytest, but not write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755 if os.geteuid() == 0 else 0o555)
        yield Path(folder)
        Path(folder).chmod(0o755)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def gzipped(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


def stop(path: Path, error: type[BaseException]) -> None:
    path.write_text("half")
    raise error


# reading


def test_lines_are_numbered_from_one_and_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\r\n\ntwo\xff")
    assert list(read_lines(path)) == [(1, b"one\r\n"), (2, b"\n"), (3, b"two\xff")]


def test_text_lines_have_no_line_ends_and_no_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes("\ufeffone\r\n\nzwei ü\u2028x\n\ufeffdrei".encode())
    assert list(open_text_lines(path)) == [(1, "one"), (2, ""), (3, "zwei ü\u2028x"), (4, "\ufeffdrei")]


def test_gzip_is_told_by_the_name(tmp_path: Path) -> None:
    path = gzipped(tmp_path / "lines.gz", b"one\ntwo\n")
    assert list(open_text_lines(path)) == [(1, "one"), (2, "two")]
    assert b"".join(read_chunks(path)) == b"one\ntwo\n"


def test_bytes_that_are_not_utf8_are_refused_with_their_place(tmp_path: Path) -> None:
    path = tmp_path / "latin1.txt"
    path.write_bytes("good\ncafé au lait\n".encode("latin-1"))
    with refused(DataError, f"{path}:2: byte 4 is not UTF-8: found b'\\xe9 au', expected UTF-8 text."):
        list(open_text_lines(path))


@pytest.mark.parametrize("read", [read_lines, open_text_lines, read_chunks])
class TestEveryReader:
    def test_a_missing_file_is_refused(self, read: type, tmp_path: Path) -> None:
        path = tmp_path / "none.txt"
        with refused(DataError, f"{path}: cannot be read: No such file or directory."):
            list(read(path))

    def test_a_folder_is_refused(self, read: type, tmp_path: Path) -> None:
        with refused(DataError, f"{tmp_path}: is a folder, expected a file."):
            list(read(tmp_path))

    def test_an_unreadable_file_is_refused(self, read: type, public: Path) -> None:
        public.chmod(0o755)
        path = public / "secret"
        path.write_text("x")
        path.chmod(0)
        with without_privileges(), refused(DataError, f"{path}: cannot be read: Permission denied."):
            list(read(path))

    def test_a_file_in_an_unreadable_folder_is_refused(self, read: type, public: Path) -> None:
        public.chmod(0)
        with without_privileges(), refused(DataError, f"{public / 'x'}: cannot be read: Permission denied."):
            list(read(public / "x"))
        public.chmod(0o755)


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


def test_a_digest_is_sha256_of_what_is_inside(tmp_path: Path) -> None:
    content = b"line\n" * 300_000
    (tmp_path / "plain").write_bytes(content)
    assert digest(tmp_path / "plain") == hashlib.sha256(content).hexdigest()
    assert digest(gzipped(tmp_path / "packed.gz", content)) == hashlib.sha256(content).hexdigest()


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


# writing


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    with written(path) as beside:
        beside.write_text("half")
        assert not path.exists()
        assert beside.parent == path.parent
    assert path.read_text() == "half"
    assert names(path.parent) == ["out.txt"]


def test_a_file_that_exists_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    message = f"{path}: exists already; give --force to replace it, or another --output."
    with refused(OutputError, message), written(path):
        pytest.fail("no work is done")
    with refused(OutputError, message):
        check_output(path, force=False)
    check_output(path, force=True)
    assert path.read_text() == "old"


def test_a_file_is_replaced_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with written(path, force=True) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_link_that_leads_nowhere_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "nowhere")
    with refused(OutputError, f"{path}: exists already; give --force to replace it, or another --output."):
        check_output(path, force=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, MemoryError])
@pytest.mark.parametrize("old", [None, "old"])
def test_what_stops_the_writing_leaves_the_file_as_it_was(
    tmp_path: Path, error: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "out.txt"
    if old:
        path.write_text(old)
    with pytest.raises(error), written(path, force=True) as beside:
        stop(beside, error)
    assert names(tmp_path) == (["out.txt"] if old else [])
    assert not old or path.read_text() == old


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom ranker.files.lines import written, written_folder\n"
        "with written_folder(Path(sys.argv[1], 'folder')) as folder, written(Path(sys.argv[1], 'file')) as file:\n"
        "    file.write_text('half'); (folder / 'part').write_text('half')\n"
        "    print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        assert len(names(tmp_path)) == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode != 0
    assert names(tmp_path) == []


def test_a_full_disk_is_one_sentence_and_leaves_nothing(small_disk: Path) -> None:
    path = small_disk / "out.txt"
    with refused(OutputError, f"{path}: the disk is full; nothing was written."), written(path) as beside:
        beside.write_bytes(bytes(2**20))
    with refused(OutputError, f"{path}: the disk is full; nothing was written."), written_folder(path) as beside:
        (beside / "part").write_bytes(bytes(2**20))
    assert names(small_disk) == []


def test_a_full_disk_leaves_the_older_file(small_disk: Path) -> None:
    path = small_disk / "out.txt"
    path.write_text("old")
    with pytest.raises(OutputError), written(path, force=True) as beside:
        beside.write_bytes(bytes(2**20))
    assert (names(small_disk), path.read_text()) == (["out.txt"], "old")


def test_a_bound_on_file_sizes_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom ranker.files.lines import written\n"
        "from ranker.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    with written(Path(sys.argv[1])) as beside: beside.write_bytes(bytes(5000))\n"
        "except OutputError as error: print(error)\n"
    )
    path = tmp_path / "out.txt"
    done = subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True, text=True)
    assert done.stdout == f"{path}: cannot be written: File too large; nothing was written.\n"
    assert names(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.parametrize("write", [written, written_folder])
def test_a_folder_that_may_not_be_written_is_refused(write: type, public: Path) -> None:
    path = public / "out"
    message = f"{path}: cannot be written: Permission denied; nothing was written."
    with without_privileges(), refused(OutputError, message), write(path) as beside:
        beside.write_text("x")


@pytest.mark.parametrize("write", [written, written_folder])
def test_a_file_where_a_folder_should_be_is_refused(write: type, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "out"
    message = r"out: cannot be written: (Not a directory|File exists); nothing was written\.$"
    with pytest.raises(OutputError, match=message), write(path) as beside:
        beside.write_text("x")


@pytest.mark.parametrize("write", [written, written_folder])
@pytest.mark.parametrize("place", ["/", "."])
@pytest.mark.parametrize("force", [False, True])
def test_a_place_without_a_name_is_refused(write: type, place: str, force: bool) -> None:
    with refused(OutputError, f"{place}: is no place to write to; give another --output."), write(Path(place), force):
        pytest.fail("no work is done")


@pytest.mark.parametrize("write", [written, written_folder])
def test_standard_output_is_no_place_for_a_result(write: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    message = "-: a result is a file, not standard output; give its name as --output."
    with refused(OutputError, message), write(Path("-")):
        pytest.fail("no work is done")


def test_a_file_never_replaces_a_folder_or_a_device(tmp_path: Path) -> None:
    folder, device = tmp_path / "folder", tmp_path / "device"
    folder.mkdir()
    os.mkfifo(device)
    for path in (folder, device):
        message = f"{path}: is not a file, so a file cannot replace it; give another --output."
        with refused(OutputError, message), written(path, force=True):
            pytest.fail("no work is done")
    assert folder.is_dir()
    assert stat.S_ISFIFO(device.stat().st_mode)


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    with written_folder(path) as beside:
        (beside / "deep").mkdir()
        (beside / "deep" / "part").write_text("x")
        assert not path.exists()
    assert (path / "deep" / "part").read_text() == "x"
    assert names(path.parent) == ["out"]


def test_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path}: exists already; give --force to replace it, or another --output."
    with refused(OutputError, message), written_folder(tmp_path):
        pytest.fail("no work is done")


def test_a_folder_is_replaced_by_force_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("x")
    with written_folder(path, force=True) as beside:
        (beside / "new").write_text("x")
        assert names(path) == ["old"]
    assert (names(path), names(tmp_path)) == (["new"], ["out"])


def test_a_folder_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    message = f"{path}: is not a folder, so a folder cannot replace it; remove it, or give another --output."
    with refused(OutputError, message), written_folder(path, force=True):
        pass
    assert (names(tmp_path), path.read_text()) == (["out"], "old")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_stops_the_filling_leaves_the_folder_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("x")
    with pytest.raises(error), written_folder(path, force=True) as beside:
        stop(beside / "new", error)
    assert (names(path), names(tmp_path)) == (["old"], ["out"])


def test_what_an_earlier_crash_left_beside_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with written_folder(path) as beside:
        pass
    path.rmdir()
    beside.mkdir()
    (beside / "left").write_text("x")
    with written_folder(path) as beside:
        (beside / "new").write_text("x")
    assert names(path) == ["new"]


def test_an_error_of_ours_goes_through_unchanged(tmp_path: Path) -> None:
    with refused(DataError, "as it was."), written(tmp_path / "out"):
        raise DataError("as it was.")
