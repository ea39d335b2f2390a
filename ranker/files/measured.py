"""Answers that are measured on a machine once, and remembered: what is fastest must not change from run to run."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress

from ranker.errors import OutputError
from ranker.files.cache import cache_folder
from ranker.files.lines import written
from ranker.files.sealed import read_sealed, write_sealed


def measured(kind: str, facts: Iterable[object], measure: Callable[[], int], allowed: Iterable[int]) -> int:
    """What ``measure`` said when it was first asked for these facts, among the answers ``allowed``.

    Where the answer cannot be written it is measured again the next time.
    """
    key = hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:24]
    path = cache_folder() / "measured" / f"{kind}-{key}.json"
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        known = read_sealed(path)["answer"]
        if type(known) is int and known in allowed:
            return known
    answer = measure()
    with suppress(OutputError), written(path, force=True) as beside:
        write_sealed(beside, {"kind": kind, "answer": answer})
    return answer
