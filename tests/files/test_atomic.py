"""A file or folder is written whole or not at all, with the permissions that its neighbours have."""

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
import torch
from safetensors.torch import save_file

from ranker.errors import DataError, OutputError, RankerError
from ranker.files.atomic import atomic_file, atomic_folder, check_output
from ranker.model.loading import create_model
from ranker.settings.model import RankerConfig
from ranker.training.checkpoint import Checkpoint, State

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


def stop(path: Path, error: type[BaseException]) -> None:
    path.write_text("half")
    raise error


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    with atomic_file(path) as beside:
        beside.write_text("half")
        assert not path.exists()
        assert beside.parent == path.parent
    assert path.read_text() == "half"
    assert names(path.parent) == ["out.txt"]


def test_a_file_that_exists_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    message = f"{path}: exists already; give --force to replace it, or another --output."
    with refused(OutputError, message), atomic_file(path):
        pytest.fail("no work is done")
    with refused(OutputError, message):
        check_output(path, force=False)
    check_output(path, force=True)
    assert path.read_text() == "old"


def test_a_file_is_replaced_by_force(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    path.write_text("old")
    with atomic_file(path, force=True) as beside:
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
    with pytest.raises(error), atomic_file(path, force=True) as beside:
        stop(beside, error)
    assert names(tmp_path) == (["out.txt"] if old else [])
    assert not old or path.read_text() == old


def test_ctrl_c_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom ranker.files.atomic import atomic_file, atomic_folder\n"
        "with atomic_folder(Path(sys.argv[1], 'folder')) as folder, atomic_file(Path(sys.argv[1], 'file')) as file:\n"
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
    with refused(OutputError, f"{path}: the disk is full; nothing was written."), atomic_file(path) as beside:
        beside.write_bytes(bytes(2**20))
    with refused(OutputError, f"{path}: the disk is full; nothing was written."), atomic_folder(path) as beside:
        (beside / "part").write_bytes(bytes(2**20))
    assert names(small_disk) == []


def test_a_full_disk_leaves_the_older_file(small_disk: Path) -> None:
    path = small_disk / "out.txt"
    path.write_text("old")
    with pytest.raises(OutputError), atomic_file(path, force=True) as beside:
        beside.write_bytes(bytes(2**20))
    assert (names(small_disk), path.read_text()) == (["out.txt"], "old")


def test_a_bound_on_file_sizes_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom ranker.files.atomic import atomic_file\n"
        "from ranker.errors import OutputError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    with atomic_file(Path(sys.argv[1])) as beside: beside.write_bytes(bytes(5000))\n"
        "except OutputError as error: print(error)\n"
    )
    path = tmp_path / "out.txt"
    done = subprocess.run([sys.executable, "-c", script, path], check=True, capture_output=True, text=True)
    assert done.stdout == f"{path}: cannot be written: File too large; nothing was written.\n"
    assert names(tmp_path) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_a_folder_that_may_not_be_written_is_refused(write: type, public: Path) -> None:
    path = public / "out"
    message = f"{path}: cannot be written: Permission denied; nothing was written."
    with without_privileges(), refused(OutputError, message), write(path) as beside:
        beside.write_text("x")


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_a_file_where_a_folder_should_be_is_refused(write: type, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" / "out"
    message = r"out: cannot be written: (Not a directory|File exists); nothing was written\.$"
    with pytest.raises(OutputError, match=message), write(path) as beside:
        beside.write_text("x")


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
@pytest.mark.parametrize("place", ["/", "."])
@pytest.mark.parametrize("force", [False, True])
def test_a_place_without_a_name_is_refused(write: type, place: str, force: bool) -> None:
    with refused(OutputError, f"{place}: is no place to write to; give another --output."), write(Path(place), force):
        pytest.fail("no work is done")


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
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
        with refused(OutputError, message), atomic_file(path, force=True):
            pytest.fail("no work is done")
    assert folder.is_dir()
    assert stat.S_ISFIFO(device.stat().st_mode)


def test_a_folder_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out"
    with atomic_folder(path) as beside:
        (beside / "deep").mkdir()
        (beside / "deep" / "part").write_text("x")
        assert not path.exists()
    assert (path / "deep" / "part").read_text() == "x"
    assert names(path.parent) == ["out"]


def test_a_folder_that_exists_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path}: exists already; give --force to replace it, or another --output."
    with refused(OutputError, message), atomic_folder(tmp_path):
        pytest.fail("no work is done")


def test_a_folder_is_replaced_by_force_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("x")
    with atomic_folder(path, force=True) as beside:
        (beside / "new").write_text("x")
        assert names(path) == ["old"]
    assert (names(path), names(tmp_path)) == (["new"], ["out"])


def test_a_folder_never_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    message = f"{path}: is not a folder, so a folder cannot replace it; remove it, or give another --output."
    with refused(OutputError, message), atomic_folder(path, force=True):
        pass
    assert (names(tmp_path), path.read_text()) == (["out"], "old")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_stops_the_filling_leaves_the_folder_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out"
    path.mkdir()
    (path / "old").write_text("x")
    with pytest.raises(error), atomic_folder(path, force=True) as beside:
        stop(beside / "new", error)
    assert (names(path), names(tmp_path)) == (["old"], ["out"])


def test_what_an_earlier_crash_left_beside_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with atomic_folder(path) as beside:
        pass
    path.rmdir()
    beside.mkdir()
    (beside / "left").write_text("x")
    with atomic_folder(path) as beside:
        (beside / "new").write_text("x")
    assert names(path) == ["new"]


def test_an_error_of_ours_goes_through_unchanged(tmp_path: Path) -> None:
    with refused(DataError, "as it was."), atomic_file(tmp_path / "out"):
        raise DataError("as it was.")


# permissions


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_was_written_has_files_as_the_umask_wants_them(tmp_path, umask):
    with atomic_folder(tmp_path / "model") as beside:
        save_file({"a": torch.zeros(1)}, beside / "a.safetensors")
        (beside / "inner").mkdir()
        (beside / "inner" / "b").write_bytes(b"b")
        (beside / "inner" / "b").chmod(0o600)
    assert modes(tmp_path / "model") == {0o666 & ~umask}
    assert sorted(path.name for path in (tmp_path / "model").rglob("*")) == ["a.safetensors", "b", "inner"]


@pytest.mark.parametrize("mode", ["cross", "layer-attention"])
def test_all_files_of_a_saved_model_can_be_read_by_the_same_people(tmp_path, tiny, mode):
    create_model(RankerConfig(mode, length=40, query_length=12), str(tiny()), seed=1).save(tmp_path / mode)
    new = tmp_path / "new"
    new.touch()
    assert modes(tmp_path / mode) == {new.stat().st_mode & 0o777}
    assert (tmp_path / mode / "model.safetensors").is_file()


def test_a_state_of_a_training_is_as_readable_as_the_rest(tmp_path, umask):
    Checkpoint(tmp_path / "state", {}, 1.0).save(State({"a": torch.zeros(1)}, {}))
    assert modes(tmp_path / "state") == {0o666 & ~umask}
