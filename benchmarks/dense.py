"""Dense search: a run of ours against FAISS's own call for the same vectors, in turn, by the median of the ratios.

    python benchmarks/dense.py [--passages 20000] [--width 384] [--queries 5000] [--depth 100] [--faiss HNSW]

Processor time of the whole process, so that what else a machine does counts little. FAISS's columns of numbers are no
run yet: ours also says which passages they are, in the one order that a ranking has, and refuses what none may be.
With `--digests`, the speed at which an index's files are held against their digests when they are read through.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranker import Query
from ranker.files.digests import file_digest
from ranker.index.dense import build_faiss, open_faiss
from ranker.settings.index import FAISS_KINDS, DenseConfig

CLUSTERS = 200
"""Topics that vectors lie around: those of texts are no even cloud, in which no list or graph finds anything."""

DIGEST_BYTES = 2**29


def made_vectors(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors around the same centres whatever the seed."""
    centres = np.random.default_rng(7).standard_normal((CLUSTERS, width), dtype=np.float32)
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, CLUSTERS, count)] + random.standard_normal((count, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seconds(work: Callable[[], Any]) -> float:
    """Processor time of one call, its result thrown away."""
    start = time.process_time()
    result = work()
    spent = time.process_time() - start
    del result
    return spent


def compare(kind: str, vectors: NDArray[np.float32], asked: NDArray[np.float32], depth: int, rounds: int) -> None:
    """Prints a line of the table for a kind of index."""
    queries = {f"q{number}": Query(f"q{number}", "") for number in range(len(asked))}
    config = DenseConfig(kind)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        vectors.tofile(folder / "vectors.f32")
        (folder / "doc_ids.txt").write_text("".join(f"{number}\n" for number in range(len(vectors))))
        build_faiss(folder, vectors.shape[1], config)
        index = open_faiss(folder, config)
    raw, ours = [], []
    index.search(queries, asked, depth)  # threads and pages come first, once
    for _ in range(rounds):
        raw.append(seconds(lambda: index.find(asked, depth)))
        ours.append(seconds(lambda: index.search(queries, asked, depth)))
    ratio = statistics.median(one / other for one, other in zip(raw, ours, strict=True))
    each = [1e6 * statistics.median(times) / len(asked) for times in (raw, ours)]
    print(f"{kind:<12}{each[0]:12.1f}{each[1]:12.1f}{ratio:12.1%}")


def digests() -> None:
    """Prints how fast a file is read through."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(np.random.default_rng(1).bytes(DIGEST_BYTES))
        file.flush()
        spent = seconds(lambda: file_digest(Path(file.name)))
    print(f"digest of a file: {DIGEST_BYTES / spent / 1e9:.2f} GB/s")


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description="Speed of dense search against FAISS's own.")
    parser.add_argument("--passages", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--faiss", action="append", help="a kind; without, all that have names")
    parser.add_argument("--digests", action="store_true")
    options = parser.parse_args()
    vectors = made_vectors(options.passages, options.width, seed=1)
    asked = made_vectors(options.queries, options.width, seed=2)
    print(f"{options.queries:,} queries, {options.passages:,} passages, depth {options.depth}; {options.rounds} rounds")
    print(f"{'µs a query':<12}{'FAISS':>12}{'a run':>12}{'raw speed':>12}")
    for kind in options.faiss or FAISS_KINDS:
        compare(kind, vectors, asked, options.depth, options.rounds)
    if options.digests:
        digests()


if __name__ == "__main__":
    main()
