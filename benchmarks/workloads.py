"""What benchmarks on one model and one workload are given."""

import argparse
from pathlib import Path

from ranker.data.run import Run


def parser_of(page: str) -> argparse.ArgumentParser:
    """MODEL, and the DATASET, RUN and SPLIT that it reranks; ``page`` is the help."""
    parser = argparse.ArgumentParser(description=page, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("run", type=Path)
    parser.add_argument("split")
    parser.add_argument("--model", required=True)
    return parser


def thinned(run: Run, most: int) -> Run:
    """Queries in even steps, whole, so that about so many pairs are left."""
    every = max(1, run.hits // most)
    return Run("first", {query_id: run[query_id] for query_id in list(run)[::every]})
