"""The score cache's file beside sqlite3: microseconds to append a batch, milliseconds to look all records up.

    python benchmarks/score_cache.py [--batches 600] [--rows 24] [--rounds 3]

The median of several rounds, in turn, for single scores and for vectors of 384 numbers.
"""

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ranker.scoring.cache import RecordFile

WIDTHS = (1, 384)
SYNCHRONOUS = ("OFF", "NORMAL")


def record_file(path: Path, keys: Any, values: Any) -> tuple[float, float]:
    """Seconds to append every batch, and to look all keys up again."""
    records, started = RecordFile(path, values.shape[-1]), time.perf_counter()
    for batch_keys, batch_values in zip(keys, values, strict=True):
        records.add(batch_keys, batch_values)
    appended = time.perf_counter()
    again = RecordFile(path, values.shape[-1])
    again.values(again.find(keys.reshape(-1, 2)))
    return appended - started, time.perf_counter() - appended


def sqlite(path: Path, keys: Any, values: Any, synchronous: str) -> tuple[float, float]:
    """The same by a table of keys and values with a write-ahead log."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(f"PRAGMA synchronous={synchronous}")
    database.execute("CREATE TABLE scores (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
    started = time.perf_counter()
    for batch_keys, batch_values in zip(keys, values, strict=True):
        rows = [(key.tobytes(), value.tobytes()) for key, value in zip(batch_keys, batch_values, strict=True)]
        database.execute("BEGIN")
        database.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?)", rows)
        database.execute("COMMIT")
    appended = time.perf_counter()
    known = dict(database.execute("SELECT key, value FROM scores"))
    np.frombuffer(b"".join(known[key.tobytes()] for key in keys.reshape(-1, 2)), dtype=np.float32)
    return appended - started, time.perf_counter() - appended


def main() -> None:
    """Prints a line for each width and way."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    print(f"{'numbers':>8} {'way':<16} {'append µs':>10} {'look up ms':>11}")
    for width in WIDTHS:
        keys = rng.integers(0, 2**63, (given.batches, given.rows, 2), dtype=np.uint64)
        values = rng.random((given.batches, given.rows, width), dtype=np.float32)
        seconds: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for _ in range(given.rounds):
            with tempfile.TemporaryDirectory() as folder:
                seconds["file"].append(record_file(Path(folder, "records"), keys, values))
                for how in SYNCHRONOUS:
                    seconds[f"sqlite3 {how}"].append(sqlite(Path(folder, f"{how}.db"), keys, values, how))
        for way, rounds in seconds.items():
            append, look_up = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{width:>8} {way:<16} {append / given.batches * 1e6:>10.0f} {look_up * 1e3:>11.1f}")


if __name__ == "__main__":
    main()
