"""Reading and writing TREC runs: lines per second of processor time, memory per hit, and the same by ir_measures.

    python benchmarks/runs.py [--queries 1000] [--depth 1000] [--rounds 5]

Processor time of this one thread, so that what else a machine does counts little; of several rounds, in turn, the best.
"""

import argparse
import gc
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np

from ranker import Ranking, Run, read_run, write_run

COLLECTION = 8_841_823
"""Passages of MS MARCO, whose ids are the numbers below it."""


def made_run(queries: int, depth: int) -> Run:
    """Ids of up to 7 digits, and scores as of BM25."""
    random = np.random.default_rng(7)
    rankings = {}
    for query in range(queries):
        numbers = np.unique(random.integers(0, COLLECTION, 2 * depth))
        doc_ids = [str(number) for number in random.permutation(numbers)[:depth]]
        rankings[str(1_000_000 + query)] = Ranking.ordered(doc_ids, random.gamma(9, 2, depth).astype(np.float32))
    return Run("bm25", rankings)


def read_by_ir_measures(path: Path) -> Run:
    """The same structure from ir_measures' reader: each line checked by nobody, the order decided as ours."""
    found: dict[str, tuple[list[str], list[float]]] = {}
    for hit in ir_measures.read_trec_run(str(path)):
        doc_ids, scores = found.setdefault(hit.query_id, ([], []))
        doc_ids.append(hit.doc_id)
        scores.append(hit.score)
    return Run("bm25", {query_id: Ranking.ordered(*columns) for query_id, columns in found.items()})


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of one call, its result thrown away."""
    gc.collect()
    start = time.process_time()
    result = work()
    spent = time.process_time() - start
    del result
    return spent


def bytes_per_hit(path: Path) -> tuple[float, float]:
    """What a run that was read holds, and the most that reading it took."""
    gc.collect()
    tracemalloc.start()
    run = read_run(path)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / run.hits, most / run.hits


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description="Speed and memory of reading and writing TREC runs.")
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--depth", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    run = made_run(options.queries, options.depth)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bm25.run")
        write_run(run, path)
        works: dict[str, Callable[[], Any]] = {
            "read": lambda: read_run(path),
            "write": lambda: write_run(run, path, force=True),
            "read by ir_measures": lambda: read_by_ir_measures(path),
        }
        taken: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(options.rounds):
            for name, work in works.items():
                taken[name].append(seconds(work))
        held, most = bytes_per_hit(path)
        megabytes = path.stat().st_size / 1e6
    print(f"{run.hits:,} lines, {megabytes:.0f} MB; best of {options.rounds} rounds")
    for name, times in taken.items():
        print(f"{name:<22}{run.hits / min(times) / 1e6:8.2f} M lines/s")
    print(f"{'read / ir_measures':<22}{min(taken['read by ir_measures']) / min(taken['read']):8.2f} times")
    print(f"{'memory held':<22}{held:8.1f} bytes a hit")
    print(f"{'memory at most':<22}{most:8.1f} bytes a hit")


if __name__ == "__main__":
    main()
