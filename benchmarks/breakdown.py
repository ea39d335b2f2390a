"""Where the time of a reranking goes: one process under torch's profiler, in each precision; a table on stdout.

    python benchmarks/breakdown.py --model MODEL [--pairs 500] [--precision float32 ...] DATASET RUN SPLIT

Shares of the time from texts and a run to scores, after one reranking that warmed everything up. What the profiler saw
of an operator is its own time in the thread that computes; the tokenizer is timed by itself; and the rest is what no
operator was busy in: Python, putting together, sorting, waiting.
"""

import time
from collections import Counter

from torch.profiler import ProfilerActivity, profile
from workloads import parser_of, thinned

from ranker.data.catalogue import open_dataset
from ranker.data.dataset import Dataset
from ranker.data.run import Run
from ranker.data.trec import read_run
from ranker.model.loading import load_model
from ranker.reranking.rerank import candidates, rerank
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute

KINDS = {
    "linear maps": ("linear", "addmm", "aten::mm"),
    "attention": ("attention", "bmm", "softmax"),
    "normalisation": ("norm",),
    "embeddings": ("embedding", "index"),
    "activations": ("gelu", "relu", "tanh"),
}
COPIES, TOKENIZER, REST = "copies and sums", "tokenizer", "the rest"
DEPTH = 1_000


def main() -> None:
    """Parses, profiles, tells."""
    parser = parser_of(str(__doc__))
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--precision", action="append", help="float32, bf16 and int8 if not given")
    arguments = parser.parse_args()
    data, run = open_dataset(arguments.dataset), thinned(read_run(arguments.run), arguments.pairs)
    kinds = (*KINDS, COPIES, TOKENIZER, REST)
    print(f"| precision | pairs/s | {' | '.join(kinds)} |\n|---|---|{'---|' * len(kinds)}")
    for precision in arguments.precision or ("float32", "bf16", "int8"):
        scorer = Scorer(load_model(arguments.model, "cross"), Compute(precision))
        seconds, spent = profiled(scorer, run, data, arguments.split)
        shares = " | ".join(f"{spent[kind] / seconds:.1%}" for kind in kinds)
        print(f"| {precision} | {run.hits / seconds:.0f} | {shares} |", flush=True)


def profiled(scorer: Scorer, run: Run, data: Dataset, split: str) -> tuple[float, Counter[str]]:
    """Seconds of a reranking, and of each kind of work in it."""
    queries = data.queries(split)

    def once() -> float:
        started = time.perf_counter()
        rerank(scorer, run, queries, data.collection, DEPTH)
        return time.perf_counter() - started

    once()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
        seconds = once()
    spent: Counter[str] = Counter()
    for event in seen.key_averages():
        if "::" in event.key:
            spent[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    started = time.perf_counter()
    candidates(scorer, run, queries, data.collection, DEPTH)
    spent[TOKENIZER] = time.perf_counter() - started
    spent[REST] = seconds - spent.total()
    return seconds, spent


def kind_of(operator: str) -> str:
    """Whose work an operator does."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), COPIES)


if __name__ == "__main__":
    main()
