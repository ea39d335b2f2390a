"""Training beside sentence-transformers' trainer: one model, the same groups in the same order, in turn.

    python benchmarks/training.py --environments FOLDER [--steps 30] [--rounds 3] DATASET RUN

FOLDER holds the peers' virtual environments, which are made when they are not there yet. RUN holds candidates for
the DATASET's split train. Both train the embedded backbone without dropout, by binary cross-entropy, from the same
new head; the table shows pairs per second and both loss curves.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from environments import python_of
from transformers import AutoConfig

from ranker.data.catalogue import open_dataset
from ranker.data.run import Run
from ranker.data.trec import read_run, write_run
from ranker.model.loading import create_model
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.model import RankerConfig
from ranker.settings.training import TrainingConfig
from ranker.training.fit import training_split
from ranker.training.groups import find_candidates, training_set
from ranker.training.loop import training_steps

HERE = Path(__file__).parent
LENGTH = 160


def main() -> None:
    """Parses, prepares, takes turns, tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("run", type=Path)
    parser.add_argument("--environments", type=Path, required=True, help="where the peers are installed")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", action="append", help="float32 and bf16 if not given")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config = TrainingConfig(
        loss="pointwise", negatives=3, learning_rate=1e-4, max_steps=arguments.steps, validations=0, dropout=False
    )
    peers = python_of(arguments.environments, "peers")
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), arguments.dataset, arguments.run, config)
        pairs = arguments.steps * config.groups_per_step * (1 + config.negatives)
        for precision in arguments.precision or ["float32", "bf16"]:
            turns: dict[str, list[dict[str, Any]]] = {"ranker": [], "sentence-transformers": []}
            for _ in range(arguments.rounds):
                turns["ranker"].append(taken(sys.executable, "train_ours.py", Path(name), precision))
                turns["sentence-transformers"].append(taken(peers, "train_st.py", Path(name), precision))
            told[precision] = turns
            say(precision, pairs, turns)
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


def prepare(folder: Path, dataset: str, run_path: Path, config: TrainingConfig) -> None:
    """A BEIR folder with the first queries of train, the model, and the pairs of every step for those who need them."""
    data, run = open_dataset(dataset), read_run(run_path)
    asked = data.queries("train")
    first = [query_id for query_id in run if query_id in asked][: 2 * config.max_steps * config.groups_per_step]
    kept = Run("first", {query_id: run[query_id].head(20) for query_id in first})
    judged = {query_id: data.qrels("train")[query_id] for query_id in first}
    wanted = {doc_id for ranking in kept.values() for doc_id in ranking.doc_ids} | {
        i for one in judged.values() for i in one
    }
    passages = ({"_id": i, "title": data.collection[i].title, "text": data.collection[i].text} for i in sorted(wanted))
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in passages))
    queries = ({"_id": i, "text": asked[i].text} for i in first)
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    (folder / "qrels").mkdir()
    lines = [f"{query_id}\t{i}\t{value}\n" for query_id, one in judged.items() for i, value in one.items()]
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{''.join(lines)}")
    write_run(kept, folder / "first.run", force=False)
    (folder / "training.json").write_text(json.dumps(asdict(config)))
    (folder / "length").write_text(str(LENGTH))
    (folder / "model").write_text(str(folder / "start"))
    model = create_model(RankerConfig("cross", length=LENGTH), "offline", seed=1)
    (folder / "start").mkdir()
    model.save(folder / "start")
    settings = AutoConfig.from_pretrained(folder / "start")
    settings.hidden_dropout_prob = settings.attention_probs_dropout_prob = 0.0
    settings.save_pretrained(folder / "start")
    write_pairs(folder, Scorer(model, Compute("float32", "cpu")), config)


def write_pairs(folder: Path, scorer: Scorer, config: TrainingConfig) -> None:
    """The pairs of every step in ranker's order, as texts."""
    data = open_dataset(str(folder))
    split = training_split(data, "train", read_run(folder / "first.run"))
    found = find_candidates(split.run, split.queries, split.qrels, data.collection, 1_000)
    groups = training_set(scorer, found, split.queries, data.collection)
    with (folder / "pairs.jsonl").open("w") as file:
        for _, step in training_steps(groups, config, time.monotonic()):
            for group in step:
                for place, doc_id in enumerate(group.doc_ids):
                    texts = {"query": split.queries[group.query_id].text, "passage": data.collection[doc_id].contents}
                    file.write(json.dumps({**texts, "label": float(place == 0)}) + "\n")


def taken(python: str, script: str, folder: Path, precision: str) -> dict[str, Any]:
    """A training's time, memory and losses."""
    words = [python, str(HERE / "contenders" / script), str(folder), json.dumps({"precision": precision})]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(json.loads(said.splitlines()[-1]))


def say(precision: str, pairs: int, turns: dict[str, list[dict[str, Any]]]) -> None:
    """A table, and the losses of the first turns."""
    ours, theirs = turns.values()
    ratio = statistics.median(their["seconds"] / our["seconds"] for our, their in zip(ours, theirs, strict=True))
    print(f"\n{precision}, {pairs} pairs of at most {LENGTH} tokens; ranker is {ratio:.2f} times as fast\n")
    print("| trainer | pairs/s | MiB | loss of steps 1, 10, 20, ... |\n|---|---|---|---|")
    for name, times in turns.items():
        losses = times[0]["losses"]
        shown = ", ".join(f"{value:.4f}" for value in (losses[0], *losses[9::10]))
        rate = pairs / statistics.median(one["seconds"] for one in times)
        print(f"| {name} | {rate:.1f} | {max(one['mib'] for one in times):.0f} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
