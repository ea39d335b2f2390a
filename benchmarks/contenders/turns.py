"""What contenders do: say that they are ready, rerank for every line read or train once, and tell time and memory."""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def take_turns(rerank: Callable[[], None]) -> None:
    """Answers each line on stdin; the first reranking is not timed, since all pay for it once."""
    rerank()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        started = time.perf_counter()
        rerank()
        told = {
            "seconds": time.perf_counter() - started,
            "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def say_trained(seconds: float, losses: list[float]) -> None:
    """Tells what a training took, and each step's loss."""
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "mib": mib, "losses": losses}) + "\n")
    sys.stdout.flush()


def read_pairs(folder: Path) -> dict[str, list[tuple[str, str, str]]]:
    """Of each query_id: its text, and doc_id and text of its candidates in the run's order."""
    queries = _texts(folder / "queries.jsonl")
    passages = _texts(folder / "corpus.jsonl")
    found: dict[str, list[tuple[str, str, str]]] = {}
    for line in (folder / "first.run").read_text().splitlines():
        query_id, _, doc_id, *_ = line.split()
        found.setdefault(query_id, []).append((queries[query_id], doc_id, passages[doc_id]))
    return found


def write_scores(path: Path, scored: dict[str, list[tuple[str, float]]]) -> None:
    """A TREC run."""
    with path.open("w") as file:
        for query_id, hits in scored.items():
            ranked = sorted(hits, key=lambda hit: -hit[1])
            for rank, (doc_id, score) in enumerate(ranked, 1):
                file.write(f"{query_id} Q0 {doc_id} {rank} {score} peer\n")


def _texts(path: Path) -> dict[str, str]:
    records = map(json.loads, path.read_text().splitlines())
    return {one["_id"]: f"{one.get('title', '')} {one['text']}".strip() for one in records}
