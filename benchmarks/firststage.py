"""BM25 beside Pyserini's own: indexing, the first answer of a cold process, and a run of many queries, in turn.

    python benchmarks/firststage.py [--queries 5000] [--depth 1000] [--rounds 3] [--json FILE] DATASET SPLIT

Both read the same passages and search the same Lucene index, on all cores. Indexing is the time of a whole process, for
Pyserini ``python -m pyserini.index.lucene`` with one segment in the end, as ours. The first answer is the time from the
start of Python to the hits of one query. A run is the time of searching all queries and writing the run's file, in a
process that has answered some before: Pyserini's by ``LuceneSearcher.batch_search``. The runs are compared hit by hit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from ranker.data.catalogue import open_dataset
from ranker.data.trec import read_run
from ranker.index.bm25 import cores

HERE = Path(__file__).parent
NAMES = ("ranker", "pyserini")


def main() -> None:
    """Parses, prepares, takes turns, tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("split")
    parser.add_argument("--queries", type=int, default=5_000)
    parser.add_argument("--depth", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        passages = prepare(folder, arguments.dataset, arguments.split, arguments.queries)
        steps: dict[str, Callable[[str], float]] = {
            f"index {passages:,} passages": lambda who: indexed(folder, who, arguments.dataset),
            "first answer": lambda who: answered(folder, who),
            f"run of {arguments.queries:,} queries, {arguments.depth:,} deep": lambda who: searched(
                folder, who, arguments.depth
            ),
        }
        told = {step: in_turn(take, arguments.rounds) for step, take in steps.items()}
        differing = differences(folder)
    print("| step | ranker, s | pyserini, s | pyserini / ranker |\n|---|---|---|---|")
    for step, seconds in told.items():
        medians = [statistics.median(seconds[who]) for who in NAMES]
        ratio = statistics.median(b / a for a, b in zip(*(seconds[who] for who in NAMES), strict=True))
        print(f"| {step} | {medians[0]:.2f} | {medians[1]:.2f} | {ratio:.2f} |")
    print(f"\n{differing} hits differ.")
    if arguments.json:
        arguments.json.write_text(json.dumps({**told, "hits that differ": differing}, indent=2) + "\n")


def prepare(folder: Path, dataset: str, split: str, most: int) -> int:
    """Pyserini's kind of collection, and the queries, each an id and a text in a line."""
    data = open_dataset(dataset)
    (folder / "json").mkdir()
    with (folder / "json" / "corpus.jsonl").open("w") as file:
        for passage in data.collection:
            file.write(json.dumps({"id": passage.doc_id, "contents": passage.contents}) + "\n")
    queries = islice(data.queries(split).values(), most)
    (folder / "queries.json").write_text(json.dumps({query.query_id: query.text for query in queries}))
    return len(data.collection)


def in_turn(take: Callable[[str], float], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other, round by round."""
    seconds: dict[str, list[float]] = {who: [] for who in NAMES}
    for _ in range(rounds):
        for who in NAMES:
            seconds[who].append(take(who))
    return seconds


def indexed(folder: Path, who: str, dataset: str) -> float:
    """A process that indexes; what it makes replaces what it made before."""
    ours = [sys.executable, "-m", "ranker", "index", dataset, "--force", "--output", str(folder / "index")]
    words = ["--collection", "JsonCollection", "--input", str(folder / "json"), "--index", str(folder / "pyserini")]
    words += ["--generator", "DefaultLuceneDocumentGenerator", "--threads", str(cores()), "--optimize"]
    theirs = [sys.executable, str(HERE / "contenders" / "pyserini_index.py"), *words]
    return timed(ours if who == "ranker" else theirs)


def answered(folder: Path, who: str) -> float:
    """A process that answers one query."""
    return timed(search(folder, who, 10, "first"))


def searched(folder: Path, who: str, depth: int) -> float:
    """What a process tells of a run of all queries."""
    done = subprocess.run(search(folder, who, depth, "all"), check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def search(folder: Path, who: str, depth: int, what: str) -> list[str]:
    """The command of a process that searches."""
    script = HERE / "contenders" / f"search_{who}.py"
    return [sys.executable, str(script), str(folder), str(depth), what, str(folder / f"{who}.run")]


def timed(words: list[str]) -> float:
    """Seconds of a process."""
    started = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - started


def differences(folder: Path) -> int:
    """Hits of one run that the other has not at the same rank with the same score, to four digits."""
    ours, theirs = (read_run(folder / f"{who}.run") for who in NAMES)
    count = sum(len(ranking) for query_id, ranking in theirs.items() if query_id not in ours)
    for query_id, ranking in ours.items():
        other = theirs.get(query_id)
        if other is None:
            count += len(ranking)
            continue
        hits = zip(ranking.doc_ids, ranking.scores.round(4), strict=True)
        count += len(set(hits) ^ set(zip(other.doc_ids, other.scores.round(4), strict=True)))
    return count


main()
