"""Locks between processes, which the system releases when their holder ends, however it ends.

A module of its own, since importing filelock takes 40 ms.
"""

import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from ranker.errors import OutputError
from ranker.files.atomic import as_output_error, cache_folder


@contextmanager
def build_lock(path: Path) -> Iterator[None]:
    """Lets one process at a time build what will lie at ``path``; the others wait.

    Temporary folders that a killed process left there are removed.
    Raises: OutputError where nothing can be written there.
    """
    with as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire(path.with_name(f".{path.name}.lock"), wait=True)
    try:
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        release(lock)


@contextmanager
def output_lock(output: Path) -> Iterator[None]:
    """Lets one process at a time work on an output, from the start of a command to its end.

    The lock lies in the cache, so that a killed process leaves nothing at the output; without a cache there is none.
    Raises: OutputError where another process has it.
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(output))).hexdigest()[:24]
    path = cache_folder() / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = acquire(path, wait=False)
    except TimeoutError as error:
        message = f"{output}: another process is writing it; wait for it, or give another --output."
        raise OutputError(message) from error
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            release(lock)


def acquire(path: Path, wait: bool) -> FileLock:
    """Creates and locks the file at ``path``.

    Raises: TimeoutError where another process has the lock and ``wait`` is false; OSError where it cannot be written.
    """
    lock = FileLock(path, blocking=wait, fallback_to_soft=False)
    lock.acquire()
    return lock


def release(lock: FileLock) -> None:
    """Removes and unlocks the file of a lock.

    Removed first, while it is locked: a process that waits for it finds that the file it opened has no name any more,
    and creates a new one.
    """
    try:
        Path(lock.lock_file).unlink(missing_ok=True)
    finally:
        lock.release()
