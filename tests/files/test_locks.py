"""One process at a time makes something, and what a killed one held is free."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ranker.errors import OutputError
from ranker.files.locks import acquire, build_lock, output_lock, release

HOLDER = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from ranker.files.locks import output_lock\n"
    "with output_lock(Path(sys.argv[1])):\n"
    "    print('mine', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def holder(output: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(output)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    return process


def test_an_output_that_another_process_writes_is_refused_until_that_ends(tmp_path):
    output = tmp_path / "a.run"
    process = holder(output)
    sentence = f"^{output}: another process is writing it; wait for it, or give another --output.$"
    with pytest.raises(OutputError, match=sentence), output_lock(output):
        pytest.fail("two have it")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with output_lock(output):
        pass
    assert not list(tmp_path.glob("*.run*"))


def test_an_output_has_one_lock_by_whatever_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    for other in (tmp_path / "link" / "a.run", tmp_path / "b" / ".." / "a.run"):
        with output_lock(tmp_path / "a.run"), pytest.raises(OutputError, match="another process"), output_lock(other):
            pytest.fail("two have it")


def test_two_outputs_have_two_locks_and_leave_none(tmp_path, cache):
    with output_lock(tmp_path / "a.run"), output_lock(tmp_path / "b.run"):
        assert len(list((cache / "locks").iterdir())) == 2
    assert not list((cache / "locks").iterdir())


def test_without_a_cache_there_is_no_lock_and_the_work_goes_on(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "file"))
    with output_lock(tmp_path / "a.run"), output_lock(tmp_path / "a.run"):
        pass


def test_who_waits_is_next_and_what_the_killed_left_is_removed(tmp_path):
    made, order = tmp_path / "made", []
    left = tmp_path / ".made.123.tmp"
    left.mkdir()
    inside, over = threading.Event(), threading.Event()

    def first() -> None:
        with build_lock(made):
            inside.set()
            over.wait(10)
            order.append("first")

    def second() -> None:
        with build_lock(made):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    assert not left.exists()
    threads[1].start()
    over.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]
    assert not list(tmp_path.glob(".made*"))


def test_a_lock_that_its_owner_removed_meanwhile_is_not_taken_for_held(tmp_path):
    lock = tmp_path / "lock"
    first = acquire(lock, wait=False)
    with pytest.raises(TimeoutError):
        acquire(lock, wait=False)
    with lock.open() as opened_before:
        release(first)
        again = acquire(lock, wait=True)
        assert not os.path.samestat(os.fstat(opened_before.fileno()), lock.stat())
    with pytest.raises(TimeoutError):
        acquire(lock, wait=False)
    release(again)
    assert not lock.exists()
