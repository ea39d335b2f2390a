"""Files that must not change while a command uses them."""

from pathlib import Path

from ranker.errors import DataError
from ranker.files.lines import reason


class Unchanged:
    """Files as they were when each was read first, so that a result is not made of what has changed meanwhile."""

    def __init__(self) -> None:
        self._stamps: dict[Path, str] = {}

    def note(self, path: Path) -> Path:
        """The path, of a file that is about to be read."""
        self._stamps.setdefault(path, stamp(path))
        return path

    def check(self) -> None:
        """Holds that all are what they were.

        Raises: DataError naming the first that is not.
        """
        for path, before in self._stamps.items():
            if stamp(path) != before:
                raise DataError(
                    f"{path}: has changed while it was used, so nothing was written; give the command again."
                )


def stamp(path: Path) -> str:
    """What changes whenever a file does: its size, the times of its last change, and which file it is.

    All but one of these can be set by whoever copies (``cp -p``, archives): the time of the last change of any kind is
    the system's own.

    Raises: DataError where it is not there.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}.") from error
    return f"{state.st_size}|{state.st_mtime_ns}|{state.st_ctime_ns}|{state.st_ino}"
