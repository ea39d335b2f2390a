"""What size costs: synthetic collections through the whole of the first stage, each command a process of its own.

    python benchmarks/scale.py [--sizes 10000 100000 1000000] [--queries 1000] [--json FILE]

Passages are words of a Zipfian vocabulary, as many in each as MS MARCO's have (56 in the mean), and a question is some
six of the words of one passage; all from a seed. The table shows seconds, passages (of retrieval queries, of evaluation
hits) per second, the peak memory of each command's process, and what it wrote to disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

VOCABULARY = 200_000
EXPONENT = 1.07
"""Of Zipf's law, about that of English."""

MEAN_WORDS, SPREAD = 56.0, 0.35
QUERY_WORDS = 5
DEPTH = 1_000
SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in "aeiou"]


class Measured(NamedTuple):
    """A command's cost; ``units`` is what its rate counts."""

    step: str
    units: int
    seconds: float
    mib: float
    written: float
    """Megabytes of what it made."""


def main() -> None:
    """Parses, makes each collection, and takes it through every step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    told: dict[str, Any] = {}
    print("| passages | step | seconds | per second | MiB | MB on disk |\n|---|---|---|---|---|---|")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as name:
            measured = list(taken_through(Path(name), size, arguments.queries))
        told[str(size)] = [one._asdict() for one in measured]
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


def taken_through(folder: Path, size: int, queries: int) -> Iterator[Measured]:
    """Every step on a collection of that size."""
    write_collection(folder, size, queries)
    sources = [f"{role}={folder / role}.tsv" for role in ("collection", "queries", "qrels")]
    data, index, run = (str(folder / name) for name in ("data", "index", "bm25.run"))
    cache = folder / "cache"
    steps = (
        ("import", size, ["import", "msmarco", *sources, "--output", data]),
        ("index bm25", size, ["index", data, "--output", index]),
        ("retrieve", queries, ["retrieve", data, "--index", index, "--depth", str(DEPTH), "--output", run]),
        ("tokens", size, ["index", data, "--kind", "tokens", "--model", "offline"]),
        ("evaluate", 0, ["evaluate", data, run, "--measure", "RR@10", "--measure", "R@1000"]),
    )
    for step, count, words in steps:
        before = bytes_in(folder)
        seconds, mib = cost([sys.executable, "-m", "ranker", *words], cache)
        units = count or sum(1 for _ in (folder / "bm25.run").open())
        done = Measured(step, units, seconds, mib, (bytes_in(folder) - before) / 1e6)
        rate = units / seconds
        print(f"| {size:,} | {step} | {seconds:.1f} | {rate:,.0f} | {mib:,.0f} | {done.written:,.1f} |", flush=True)
        yield done


def bytes_in(folder: Path) -> int:
    """Of all files below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def cost(words: list[str], cache: Path) -> tuple[float, float]:
    """Seconds, and MiB at the peak, of a command with a cache of its own."""
    started = time.perf_counter()
    with subprocess.Popen(
        words, env={**os.environ, "RANKER_CACHE": str(cache)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)}: {said.decode()}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def write_collection(folder: Path, size: int, queries: int, seed: int = 7) -> None:
    """The three files of MS MARCO's passage task."""
    rng = np.random.default_rng(seed)
    words = np.array(list(vocabulary(rng)), dtype=object)
    shares = np.cumsum(1.0 / np.arange(1, VOCABULARY + 1) ** EXPONENT)
    asked = set(np.linspace(0, size - 1, queries, dtype=np.int64).tolist())
    with (
        (folder / "collection.tsv").open("w") as collection,
        (folder / "queries.tsv").open("w") as questions,
        (folder / "qrels.tsv").open("w") as judged,
    ):
        for start in range(0, size, 10_000):
            count = min(10_000, size - start)
            lengths = np.maximum(8, rng.lognormal(np.log(MEAN_WORDS) - SPREAD**2 / 2, SPREAD, count)).astype(np.int64)
            drawn = np.searchsorted(shares, rng.random(int(lengths.sum())) * shares[-1])
            for number, passage in enumerate(np.split(drawn, np.cumsum(lengths)[:-1]), start):
                collection.write(f"{number}\t{' '.join(words[passage])}\n")
                if number in asked:
                    # from the frequent to the rare, as people ask
                    chosen = np.sort(passage)[:: max(1, len(passage) // QUERY_WORDS)]
                    questions.write(f"q{number}\t{' '.join(words[chosen])}\n")
                    judged.write(f"q{number}\t0\t{number}\t1\n")


def vocabulary(rng: np.random.Generator) -> Iterator[str]:
    """Different words, the frequent ones short."""
    seen: set[str] = set()
    while len(seen) < VOCABULARY:
        syllables = 1 + int(np.log(1 + len(seen)) / np.log(12))
        word = "".join(SYLLABLES[place] for place in rng.integers(len(SYLLABLES), size=syllables + rng.integers(2)))
        if word not in seen:
            seen.add(word)
            yield word


if __name__ == "__main__":
    main()
