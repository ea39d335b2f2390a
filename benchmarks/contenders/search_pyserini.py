"""Pyserini's search: FOLDER DEPTH first|all RUN."""

import json
import os
import sys
import time
from pathlib import Path

from pyserini_java import start

WARM = 500
"""Queries answered before it is timed."""


def main(folder: Path, depth: int, what: str, output: Path) -> None:
    """Prints the seconds that a run took."""
    start()
    from pyserini.search.lucene import LuceneSearcher  # noqa: PLC0415  # it starts Java at its import

    searcher = LuceneSearcher(str(folder / "index" / "lucene"))
    queries = json.loads((folder / "queries.json").read_text())
    ids, texts = list(queries), list(queries.values())
    if what == "first":
        searcher.search(texts[0], depth)
        return
    searcher.batch_search(texts[:WARM], ids[:WARM], depth, os.cpu_count())
    started = time.perf_counter()
    found = searcher.batch_search(texts, ids, depth, os.cpu_count())
    with output.open("w") as file:
        for query_id in ids:
            for rank, hit in enumerate(found[query_id], 1):
                file.write(f"{query_id} Q0 {hit.docid} {rank} {hit.score} pyserini\n")
    sys.stdout.write(f"{time.perf_counter() - started}\n")


main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
