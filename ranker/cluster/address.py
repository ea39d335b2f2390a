"""Addresses of Ray clusters: whether one answers, and errors that name it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ranker.errors import RankerError, SetupError

_ANSWER_SECONDS: Final = 10


def check_address(address: str) -> None:
    """Refuses an address at which nobody answers, for which Ray would wait for minutes.

    Raises: SetupError.
    """
    if address in ("local", "auto"):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise SetupError(f"--cluster {address}: is no address, expected local, auto or HOST:PORT.")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:  # the last for a host that none can be called
        raise SetupError(
            f"--cluster {address}: does not answer: {error}; expected the head of a Ray cluster."
        ) from error


@contextmanager
def said_of(address: str) -> Iterator[None]:
    """Turns what Ray raises into a sentence that names the address; a worker's own error is raised as it is."""
    try:
        yield
    except Exception as error:  # Ray raises whatever a cluster leads it to
        # of what a task raises Ray makes an error whose words are a traceback, and its cause what was raised
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, RankerError):
            raise cause from None
        raise SetupError(f"--cluster {address}: {_words(cause)}.") from error


def _words(error: BaseException) -> str:
    """Gives the line with the reason: the first, or the last where an error quotes another with its frames."""
    lines = _lines(error)
    if isinstance(error, ConnectionError) and error.__cause__ is not None:
        return f"{lines[0]}: {_lines(error.__cause__)[-1]}"
    return lines[-1 if "raised in its creation task" in lines[0] else 0]


def _lines(error: BaseException) -> list[str]:
    return [line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
