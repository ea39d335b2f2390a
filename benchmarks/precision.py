"""What precision costs in quality: one trained model, the same pairs, in each precision; a table on stdout.

    python benchmarks/precision.py --model MODEL [--depth 50] DATASET RUN SPLIT ...

RUN has the questions that SPLIT judges. MODEL is a ``cross`` that was trained: the scores of a random head lie so close
that any rounding moves them. tau is Kendall's, the mean over queries, and the change of a score is the largest of all
pairs, both against float32.
"""

import argparse
from pathlib import Path

from agreement import largest_change, tau

from ranker.data.catalogue import open_dataset
from ranker.data.run import Run
from ranker.data.trec import read_run
from ranker.evaluation.measures import evaluate, parse_measures
from ranker.model.loading import load_model
from ranker.reranking.rerank import rerank
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute

PRECISIONS = ("float32", "auto", "bf16", "int8")
MEASURE = "nDCG@10"


def main() -> None:
    """Parses, scores, tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="+", metavar="DATASET RUN SPLIT")
    parser.add_argument("--model", required=True)
    parser.add_argument("--depth", type=int, default=50)
    arguments = parser.parse_args()
    print(f"| workload | precision | {MEASURE} | change | tau | largest change of a score |")
    print("|---|---|---|---|---|---|")
    for dataset, run, split in zip(*[iter(arguments.workloads)] * 3, strict=True):
        compare(arguments.model, (dataset, Path(run), split), arguments.depth)


def compare(model: str, workload: tuple[str, Path, str], depth: int) -> None:
    """A row for each precision."""
    name, path, split = workload
    data, run = open_dataset(name), read_run(path)
    found: dict[str, Run] = {}
    for precision in PRECISIONS:
        scorer = Scorer(load_model(model, "cross"), Compute(precision))
        if scorer.precision not in found:
            done = rerank(scorer, run, data.queries(split), data.collection, depth)
            found[scorer.precision] = Run(
                "run", {query_id: ranking.head(depth) for query_id, ranking in done.run.items()}
            )
        now, then = found[scorer.precision], found["float32"]
        value, exact = (
            evaluate(one, data.qrels(split), parse_measures([MEASURE])).mean(MEASURE) for one in (now, then)
        )
        told = f"{precision} ({scorer.precision})" if precision == "auto" else precision
        agreed, changed = f"{tau(then, now):.4f}", f"{largest_change(then, now):.4f}"
        print(
            f"| {path.name.split('.')[0]} | {told} | {value:.4f} | {value - exact:+.4f} | {agreed} | {changed} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
