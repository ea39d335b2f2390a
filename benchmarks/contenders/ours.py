"""``ranker``: FOLDER SETTINGS."""

import json
import os
import sys
import tempfile
from pathlib import Path

from turns import take_turns

from ranker.data.catalogue import open_dataset
from ranker.data.trec import read_run, write_run
from ranker.model.loading import load_model
from ranker.reranking.rerank import rerank
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import build_token_file
from ranker.settings.compute import Compute

DEPTH = 1_000


def main(folder: Path, settings: dict[str, object]) -> None:
    """With ``tokens`` the collection's token ids lie on disk beforehand."""
    os.environ["RANKER_CACHE"] = tempfile.mkdtemp(prefix="ranker-benchmark-")
    scorer = Scorer(load_model((folder / "model").read_text(), "cross"), Compute(precision=str(settings["precision"])))
    if settings.get("tokens"):
        build_token_file(scorer.encoding, open_dataset(str(folder)).collection, lambda _: None)

    def once() -> None:
        data = open_dataset(str(folder))
        run = read_run(folder / "first.run")
        done = rerank(scorer, run, data.queries("test"), data.collection, DEPTH)
        write_run(done.run, folder / f"{os.getpid()}.run", force=True)

    take_turns(once)


main(Path(sys.argv[1]), json.loads(sys.argv[2]))
