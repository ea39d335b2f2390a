"""Processes to kill, to limit and to race, without the seconds that imports take.

Each is forked from a server that has imported torch, transformers and the package; what it runs and how it ends is its
own. Where the start of an interpreter is what is tested, ``subprocess`` is the right thing.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

RANKER: Final = "from ranker.cli.main import main\nmain()\n"
"""The command itself, as ``python -m ranker`` runs it."""

_IMPORTED: Final = (
    "ranker.cli.main",
    "ranker.cli.rerank",
    "ranker.index.dense",
    "ranker.index.bm25",
    "ranker.model.loading",
    "ranker.training.loop",
    "transformers.models.bert.modeling_bert",
    "faiss",
)
_SERVER: Final = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(list(_IMPORTED))


class _Text:
    """The text that comes out of a pipe, which closes with the connection that it belongs to."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readline(self) -> str:
        """The text up to the end of a line."""
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._connection.fileno(), 1)):
            line += byte
        return line.decode()

    def read(self) -> str:
        """The text up to its end."""
        return b"".join(iter(lambda: os.read(self._connection.fileno(), 65_536), b"")).decode()


class Forked:
    """A process that runs some lines of Python, with the part of ``subprocess.Popen`` that tests need."""

    def __init__(self, words: Sequence[object], code: str = RANKER, env: Mapping[str, str] = os.environ) -> None:
        ours, theirs = zip(*(_SERVER.Pipe(duplex=False) for _ in range(2)), strict=True)
        arguments = (code, ["ranker", *map(str, words)], dict(env), str(Path.cwd()), *theirs)
        self._process = _SERVER.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        for end in theirs:
            end.close()
        self.stdout, self.stderr = map(_Text, ours)

    @property
    def returncode(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit status as ``returncode``."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 300) -> int:
        """Its exit status, once it has ended."""
        self._process.join(timeout)
        if self.returncode is None:
            self.kill()
            raise TimeoutError(f"a process went on for {timeout} s")
        return self.returncode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """All that it writes to stdout and stderr, once it has ended."""
        with ThreadPoolExecutor(2) as readers:
            texts = [readers.submit(file.read) for file in (self.stdout, self.stderr)]
            self.wait(timeout)
            return texts[0].result(), texts[1].result()


def _run(code: str, words: list[str], env: dict[str, str], folder: str, out: Connection, err: Connection) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for connection, descriptor in ((out, 1), (err, 2)):
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.argv = words
    exec(compile(code, "<forked>", "exec"), {"__name__": "__main__"})  # the test's own lines
