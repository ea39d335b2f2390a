"""What a user waits for when nothing is warm: processes from their start to their end, the median of several.

    python benchmarks/coldstart.py --model MODEL [--times 5] DATASET RUN SPLIT

Reranks the first query of RUN, a hundred passages deep, with a new cache each time, so that nothing is remembered; asks
for the help; and, for what none can do without who computes with transformers, imports its BERT.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from workloads import parser_of

from ranker.data.run import Run
from ranker.data.trec import read_run, write_run

DEPTH = 100


def main() -> None:
    """Parses, measures, tells."""
    parser = parser_of(str(__doc__))
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        query_id, ranking = next(iter(read_run(arguments.run).items()))
        write_run(Run("first", {query_id: ranking.head(DEPTH)}), folder / "first.run", force=False)
        rerank = ["rerank", arguments.dataset, "--split", arguments.split, "--run", str(folder / "first.run")]
        rerank += ["--mode", "cross", "--model", arguments.model, "--output", str(folder / "cross.run"), "--force"]
        print("| command | seconds |\n|---|---|")
        ranker, python = str(Path(sys.executable).with_name("ranker")), sys.executable
        commands = {
            "ranker --help": [ranker, "--help"],
            f"ranker rerank, 1 query x {min(DEPTH, len(ranking))} passages": [ranker, *rerank],
            "from transformers import BertModel": [python, "-c", "from transformers import BertModel"],
        }
        for shown, words in commands.items():
            print(f"| {shown} | {waited(words, arguments.times):.2f} |", flush=True)


def waited(words: list[str], times: int) -> float:
    """Seconds of a command, the median."""
    found = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as cache:
            started = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True, env={**os.environ, "RANKER_CACHE": cache})
            found.append(time.perf_counter() - started)
    return statistics.median(found)


if __name__ == "__main__":
    main()
