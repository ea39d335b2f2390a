"""rerankers' ``Reranker.rank``: FOLDER SETTINGS."""

import os
import sys
from pathlib import Path

from rerankers import Reranker
from turns import read_pairs, take_turns, write_scores


def main(folder: Path) -> None:
    """A query at a time, which is all that it offers."""
    model = Reranker((folder / "model").read_text(), model_type="cross-encoder", device="cpu", verbose=0)

    def once() -> None:
        scored = {}
        for query_id, hits in read_pairs(folder).items():
            ranked = model.rank(query=hits[0][0], docs=[text for _, _, text in hits], doc_ids=[i for _, i, _ in hits])
            scored[query_id] = [(str(one.doc_id), float(one.score)) for one in ranked.results]
        write_scores(folder / f"{os.getpid()}.run", scored)

    take_turns(once)


main(Path(sys.argv[1]))
