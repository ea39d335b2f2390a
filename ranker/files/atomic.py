"""Writes files and folders whole or not at all, and names the folder of the cache."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranker.errors import OutputError
from ranker.files.lines import reason


def cache_folder() -> Path:
    """Returns the folder of files that can be made again, which may not exist yet.

    It is ``RANKER_CACHE``, else ``XDG_CACHE_HOME/ranker``, else ``~/.cache/ranker``.
    """
    chosen = os.environ.get("RANKER_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranker"


def check_output(path: Path, force: bool) -> None:
    """Refuses an output path that cannot be used, before any work is done for it.

    Raises: OutputError where it exists and ``force`` is false, or is no name of a file.
    """
    if not path.name:
        raise OutputError(f"{path}: is no place to write to; give another --output.")
    if str(path) == "-":
        raise OutputError("-: a result is a file, not standard output; give its name as --output.")
    if not force and os.path.lexists(path):
        raise OutputError(f"{path}: exists already; give --force to replace it, or another --output.")


@contextmanager
def atomic_file(path: Path, force: bool = False) -> Iterator[Path]:
    """Yields a temporary path to write a file at, which is renamed to ``path`` if the block succeeds.

    Raises: OutputError for a path that exists already, a folder that cannot be written, and a full disk.
    """
    check_output(path, force)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            raise OutputError(f"{path}: is not a file, so a file cannot replace it; give another --output.")
        try:
            yield temporary
            _sync_to_disk(temporary)
            check_output(path, force)  # another process may have written there during the work
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, force: bool = False) -> Iterator[Path]:
    """Yields a new temporary folder to fill, which is renamed to ``path`` if the block succeeds.

    Raises: OutputError as ``atomic_file``.
    """
    check_output(path, force)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with as_output_error(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            set_default_modes(temporary)
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync_to_disk(file)
            check_output(path, force)
            _replace_folder(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def set_default_modes(folder: Path) -> None:
    """Gives every file of a folder the permissions that a new file there has.

    safetensors writes files that only their owner can read.
    """
    probe = folder / f".mode.{os.getpid()}"
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_mode != mode:
            file.chmod(mode)


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """Turns an OSError of the block into an OutputError that names ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(f"{path}: the disk is full; nothing was written.") from error
        raise OutputError(f"{path}: cannot be written: {reason(error)}; nothing was written.") from error


def _sync_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _replace_folder(new: Path, old: Path) -> None:
    """Renames ``new`` to ``old``; an old folder is put back if that fails."""
    if not os.path.lexists(old):
        new.rename(old)
        return
    if not old.is_dir() or old.is_symlink():
        raise OutputError(
            f"{old}: is not a folder, so a folder cannot replace it; remove it, or give another --output."
        )
    backup = old.with_name(f".{old.name}.{os.getpid()}.old")
    old.rename(backup)
    try:
        new.rename(old)
    except BaseException:
        backup.rename(old)
        raise
    shutil.rmtree(backup)
