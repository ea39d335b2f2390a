"""Where a Ray cluster is looked for."""

import socket
from typing import Final

from ranker.errors import SetupError

_ANSWER_SECONDS: Final = 10


def check_address(address: str) -> None:
    """Refuses where nobody answers, for whom Ray would wait for minutes.

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
