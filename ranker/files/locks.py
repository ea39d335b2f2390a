"""One process at a time: a lock is released by the system when its process ends, however it ends."""

import fcntl
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ranker.errors import OutputError
from ranker.files.cache import cache_folder
from ranker.files.lines import said_as_output_error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """What is made at ``path`` is made by one process at a time; others wait. What a killed one left is removed.

    Raises: OutputError where nothing can be written there.
    """
    lock = path.with_name(f".{path.name}.lock")
    with said_as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while (file := take(lock, wait=True)) is None:
            pass
    try:
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(file)


@contextmanager
def claimed(output: Path) -> Iterator[None]:
    """What is written to ``output`` in the end is one process's from the beginning.

    The lock lies in the cache, so that who is killed leaves nothing beside the output; without a cache there is none.
    Raises: OutputError where another process has it.
    """
    name = hashlib.sha256(os.fsencode(os.path.realpath(output))).hexdigest()[:24]
    lock = cache_folder() / "locks" / name
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = take(lock, wait=False)
    except OSError:
        yield
        return
    if file is None:
        raise OutputError(f"{output}: another process is writing it; wait for it, or give another --output.")
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(file)


def take(lock: Path, wait: bool) -> int | None:
    """The lock's file, open; None where another has it, or has removed it since.

    Raises: OSError where it cannot be written.
    """
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(file), lock.stat()):
            return file
    os.close(file)
    return None
