"""Reranking beside the peers: one model, the same pairs, in turn; a table on stdout and, with --json, every time.

    python benchmarks/rerank.py --model MODEL [--environments FOLDER] DATASET RUN SPLIT ...

MODEL is a stock sequence classifier, such as any ``cross`` trained here. Peers run in environments of their own,
which are made in FOLDER from PyPI when they are not there yet; without a FOLDER they are left out. Each contender
is a process that loads the model once and then, whenever its turn comes, goes from texts and a run to a run on
disk. The machine's limit is the largest matrix product, measured between the turns; tau says how far a contender's
order is that of the first.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from agreement import tau
from environments import python_of
from workloads import thinned

from ranker.data.catalogue import open_dataset
from ranker.data.run import Run
from ranker.data.trec import read_run, write_run
from ranker.model.loading import load_model
from ranker.reranking.rerank import candidates
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute

HERE = Path(__file__).parent


class Contender(NamedTuple):
    """A way to rerank: its script, how it is set, and the environment that it needs."""

    name: str
    script: str
    settings: dict[str, Any]
    environment: str = "ours"


QINT8 = "avx512_vnni"
OURS = (
    Contender("ranker float32", "ours.py", {"precision": "float32"}),
    Contender("ranker float32, tokens ready", "ours.py", {"precision": "float32", "tokens": True}),
    Contender("ranker bf16", "ours.py", {"precision": "bf16"}),
    Contender("ranker bf16, tokens ready", "ours.py", {"precision": "bf16", "tokens": True}),
    Contender("ranker int8", "ours.py", {"precision": "int8"}),
)
PEERS = (
    Contender("sentence-transformers float32, batches of 8", "peer_st.py", {"batch": 8}, "peers"),
    Contender("sentence-transformers float32, batches of 32", "peer_st.py", {"batch": 32}, "peers"),
    Contender("sentence-transformers bf16, batches of 8", "peer_st.py", {"batch": 8, "dtype": "bfloat16"}, "peers"),
    Contender("sentence-transformers bf16, batches of 32", "peer_st.py", {"batch": 32, "dtype": "bfloat16"}, "peers"),
    Contender("rerankers, a query at a time", "peer_rerankers.py", {}, "peers"),
    Contender("Lightning-IR, a query at a time", "peer_lightning.py", {}, "lightning"),
    Contender("a loop over queries, as PyTerrier's", "peer_st.py", {"batch": 32, "by_query": True}, "peers"),
    Contender("sentence-transformers ONNX float32, batches of 8", "peer_onnx.py", {"batch": 8}, "onnx"),
    Contender("sentence-transformers ONNX float32, batches of 32", "peer_onnx.py", {"batch": 32}, "onnx"),
    Contender(
        "sentence-transformers ONNX int8, batches of 8", "peer_onnx.py", {"batch": 8, "quantized": QINT8}, "onnx"
    ),
)


class Turn:
    """A contender's process: says ``ready`` when it has loaded, then a line of JSON for every line that it reads."""

    def __init__(self, contender: Contender, python: str, job: Path) -> None:
        self.name, self._job = contender.name, job
        words = [python, str(HERE / "contenders" / contender.script), str(job), json.dumps(contender.settings)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.failed = self._line() != "ready"

    def take(self) -> dict[str, float]:
        """Seconds and peak memory of one reranking."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return dict(json.loads(self._line()))

    def run(self) -> Run:
        """What it wrote last."""
        return read_run(self._job / f"{self._process.pid}.run")

    def end(self) -> None:
        """Lets the process go."""
        self._process.kill()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith(("ready", "{")):
                return line.strip()
        return ""


def main() -> None:
    """Parses, prepares, takes turns, tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="+", metavar="DATASET RUN SPLIT")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--environments", type=Path, help="where the peers are installed; without, they are left out")
    parser.add_argument("--pairs", type=int, default=1_500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    wanted = (*OURS, *PEERS) if arguments.environments else OURS
    pythons = {name: python_of(arguments.environments, name) for name in {one.environment for one in wanted}}
    told = {}
    for dataset, run, split in zip(*[iter(arguments.workloads)] * 3, strict=True):
        with tempfile.TemporaryDirectory() as name:
            size = prepared(Path(name), (dataset, Path(run), split), arguments.model, arguments.pairs)
            told[Path(dataset).name] = {
                **size,
                "contenders": raced(Path(name), pythons, arguments.rounds, size),
            }
            say(Path(dataset).name, told[Path(dataset).name])
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2) + "\n")


def prepared(folder: Path, workload: tuple[str, Path, str], model: Path, most: int) -> dict[str, float]:
    """A BEIR folder with the pairs alone, and the arithmetic that a model does on them."""
    dataset, run_path, split = workload
    data, kept = open_dataset(dataset), thinned(read_run(run_path), most)
    queries = data.queries(split)
    doc_ids = sorted({doc_id for ranking in kept.values() for doc_id in ranking.doc_ids})
    passages = ({"_id": i, "title": data.collection[i].title, "text": data.collection[i].text} for i in doc_ids)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in passages))
    asked = ({"_id": i, "text": queries[i].text} for i in kept)
    (folder / "queries.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    (folder / "qrels").mkdir()
    judged = "".join(f"{query_id}\t{kept[query_id].doc_ids[0]}\t1\n" for query_id in kept)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    write_run(kept, folder / "first.run", force=False)
    scorer = Scorer(load_model(str(model), "cross"), Compute("float32", "cpu"))
    (folder / "model").write_text(str(model.resolve()))
    (folder / "length").write_text(str(scorer.model.config.length))
    lengths = scorer.encoding.pair_lengths(candidates(scorer, kept, queries, data.collection, 1_000).whole)
    config: Any = scorer.model.encoder.backbone.config
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    products = 2 * layers * (lengths * (4 * width**2 + 2 * width * inner) + 2 * lengths**2 * width)
    return {"pairs": len(lengths), "tokens": float(lengths.mean()), "gflop": float(products.sum()) / 1e9}


def raced(folder: Path, pythons: dict[str, str], rounds: int, size: dict[str, float]) -> dict[str, Any]:
    """Every contender's times, in turn, and the machine's."""
    wanted = [one for one in (*OURS, *PEERS) if one.environment in pythons]
    started = [Turn(one, pythons[one.environment], folder) for one in wanted]
    turns = [turn for turn in started if not turn.failed]
    found: dict[str, Any] = {turn.name: [] for turn in turns}
    peaks: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for _ in range(rounds):
        for turn in turns:
            found[turn.name].append(turn.take())
        for name, rates in peaks.items():
            rates.append(largest_product(name))
    agreed = {turn.name: tau(turns[0].run(), turn.run()) for turn in turns}
    for turn in started:
        turn.end()
    limits = {name: max(rates) for name, rates in peaks.items()}
    return {name: {**summary(times, name, size, limits), "tau": agreed[name]} for name, times in found.items()}


def summary(
    times: list[dict[str, float]], name: str, size: dict[str, float], limits: dict[str, float]
) -> dict[str, Any]:
    """Medians, and the share of the machine's limit in the contender's precision."""
    seconds = statistics.median(one["seconds"] for one in times)
    limit = limits["bfloat16" if "bf16" in name else "float32"]
    return {
        "pairs_per_second": size["pairs"] / seconds,
        "of_the_machine": size["gflop"] / seconds / limit,
        "mib": max(one["mib"] for one in times),
        "seconds": [one["seconds"] for one in times],
    }


def largest_product(dtype: str) -> float:
    """GFLOP/s of 4,096 x 4,096 matrices, the best of three."""
    left, right = (torch.randn(4_096, 4_096).to(getattr(torch, dtype)) for _ in range(2))
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        left @ right
        best = max(best, 2 * 4_096**3 / (time.perf_counter() - started) / 1e9)
    return best


def say(name: str, told: dict[str, Any]) -> None:
    """A table; ratios are medians over rounds of times taken in the same round."""
    contenders = told["contenders"]
    base = next((one for one in contenders if one.startswith("sentence-transformers float32")), next(iter(contenders)))
    print(f"\n{name}: {told['pairs']} pairs of {told['tokens']:.0f} tokens in the mean\n")
    print(f"| contender | pairs/s | times {base} | of the machine's limit | MiB | tau |\n|---|---|---|---|---|---|")
    for one, facts in contenders.items():
        pairs = zip(contenders[base]["seconds"], facts["seconds"], strict=True)
        ratio = statistics.median(theirs / ours for theirs, ours in pairs)
        figures = (f"{facts['of_the_machine']:.0%}", f"{facts['mib']:.0f}", f"{facts['tau']:.4f}")
        print(f"| {one} | {facts['pairs_per_second']:.0f} | {ratio:.2f} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
