"""ranker's search: FOLDER DEPTH first|all RUN."""

import json
import sys
import time
from pathlib import Path

from ranker.data.records import Query
from ranker.data.trec import write_run
from ranker.index.bm25 import LexicalIndex

WARM = 500
"""Queries answered before it is timed."""


def main(folder: Path, depth: int, what: str, output: Path) -> None:
    """Prints the seconds that a run took."""
    texts = json.loads((folder / "queries.json").read_text())
    queries = {query_id: Query(query_id, text) for query_id, text in texts.items()}
    first = dict(list(queries.items())[: 1 if what == "first" else WARM])
    index = LexicalIndex.open(folder / "index")
    index.search(first, depth)
    if what == "all":
        started = time.perf_counter()
        write_run(index.search(queries, depth), output, force=True)
        sys.stdout.write(f"{time.perf_counter() - started}\n")


main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
