"""What hostile input is held to: an end in seconds, and memory that has a bound."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest


@pytest.fixture
def seconds() -> Iterator[Callable[[float], None]]:
    """Sets how much processor time is left; what needs more fails instead of hanging."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("still at it")

    before = signal.signal(signal.SIGVTALRM, stop)
    yield lambda left: signal.setitimer(signal.ITIMER_VIRTUAL, left)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, before)


_GIVEN = 500 * 2**20
_SCRIPT = """
import resource, sys
from pathlib import Path
{imports}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {given}, used + {given}))
from ranker.errors import RankerError
path = Path(sys.argv[1])
try:
    print("read:", {read})
except RankerError as error:
    print(error)
"""


@pytest.fixture
def answer() -> Callable[[str, str, Path], str]:
    """What reading a path says, value or refusal, in a process of its own that may take 500 MB more than it has."""

    def ask(imports: str, read: str, path: Path) -> str:
        script = _SCRIPT.format(imports=imports, read=read, given=_GIVEN)
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], check=False, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        return done.stdout.strip()

    return ask
