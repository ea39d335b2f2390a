"""Does a little of everything on the machine that it is started on, and prints as JSON what came of it.

It is launched by tests: ``job.py MODEL``, with libraries or a processor that have fewer instructions.
"""

import io
import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from ranker.data.records import Query
from ranker.doctor import diagnose
from ranker.errors import SetupError
from ranker.index.dense import build_faiss, open_faiss
from ranker.index.encoding import DOC_IDS, VECTORS
from ranker.model.device import instruction_set
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.compute import PRECISIONS, Compute
from ranker.settings.index import DenseConfig
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training.groups import Candidates, TrainingSet
from ranker.training.loop import train

QUERIES = ["what is the capital of france", "the red stone", "which old river lies by the city of rome"]
PASSAGES = [
    f"{colour} {thing} {place}"
    for colour in ("red", "green", "blue", "old")
    for thing in ("stone", "water of the river", "city")
    for place in ("rome", "in cairo by the nile", "of france and of england")
]
STEPS = 10


def scorer_of(folder: str, mode: str, precision: str) -> Scorer:
    model = create_model(RankerConfig(mode, query_length=12, length=40), folder, seed=3)
    return Scorer(model, Compute(precision, "cpu"))


def reranked(folder: str, precision: str) -> object:
    """A list of logits, or the sentence that refuses the precision."""
    try:
        scorer = scorer_of(folder, "cross", precision)
    except SetupError as error:
        return str(error)
    rows = np.array([(query, passage) for query in range(len(QUERIES)) for passage in range(len(PASSAGES))])
    pairs = Pairs(scorer.queries(QUERIES), scorer.passages(PASSAGES), rows)
    return {"kernels": scorer.backend.kernels, "scores": scorer.scores(pairs, lambda _: None).tolist()}


def trained(folder: str) -> list[float]:
    """The losses of ten steps."""
    scorer = scorer_of(folder, "cross", "float32")
    ids = [f"p{number}" for number in range(len(PASSAGES))]
    data = TrainingSet(
        [Candidates(f"q{number}", (ids[number],), tuple(ids[9:])) for number in range(len(QUERIES))],
        scorer.queries(QUERIES),
        scorer.passages(PASSAGES),
        {f"q{number}": number for number in range(len(QUERIES))},
        {doc_id: row for row, doc_id in enumerate(ids)},
    )
    settings = TrainingConfig(
        negatives=3, groups_per_step=3, learning_rate=1e-3, epochs=99, max_steps=STEPS, validations=0, dropout=False
    )
    [done] = train([scorer], data, settings, [None], lambda _: None)
    return list(done.losses)


def searched(folder: str) -> list[list[str]]:
    """The three passages nearest to each question, by FAISS."""
    scorer = scorer_of(folder, "dual", "float32")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        scorer.vectors(scorer.passages(PASSAGES), lambda _: None).tofile(place / VECTORS)
        (place / DOC_IDS).write_text("".join(f"p{number}\n" for number in range(len(PASSAGES))))
        build_faiss(place, scorer.model.width, DenseConfig())
        queries = {f"q{number}": Query(f"q{number}", text) for number, text in enumerate(QUERIES)}
        vectors = scorer.vectors(scorer.queries(QUERIES), lambda _: None)
        run = open_faiss(place, DenseConfig()).search(queries, vectors, 3)
    return [list(ranking.doc_ids) for ranking in run.values()]


def main(folder: str) -> None:
    with redirect_stdout(io.StringIO()):
        findings = {finding.subject: finding.found for finding in diagnose(Path.cwd(), measure=False)}
    came_of = {
        "instructions": instruction_set(),
        "processor": findings["processor"],
        "precisions": {precision: reranked(folder, precision) for precision in PRECISIONS if precision != "fp16"},
        "losses": trained(folder),
        "nearest": searched(folder),
    }
    sys.stdout.write(json.dumps(came_of) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1])
