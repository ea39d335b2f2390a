"""Train, run and compare BERT rankers of question-passage pairs.

A name of ``__all__`` is imported when it is first used, so that a command loads no more than it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ranker.version import __version__ as __version__

if TYPE_CHECKING:
    from ranker.data.catalogue import open_dataset
    from ranker.data.collection import Collection
    from ranker.data.dataset import Dataset
    from ranker.data.records import Passage, Query
    from ranker.data.run import Ranking, Run
    from ranker.data.trec import read_qrels, read_run, write_qrels, write_run
    from ranker.errors import RankerError
    from ranker.evaluation.fusion import Fusion, Source, fuse
    from ranker.evaluation.measures import evaluate, parse_measures
    from ranker.evaluation.significance import compare
    from ranker.model.loading import load_model
    from ranker.reranking.rerank import rerank
    from ranker.scoring.scorer import Scorer
    from ranker.settings.compute import Compute

__all__ = [
    "Collection",
    "Compute",
    "Dataset",
    "Fusion",
    "Passage",
    "Query",
    "RankerError",
    "Ranking",
    "Run",
    "Scorer",
    "Source",
    "compare",
    "evaluate",
    "fuse",
    "load_model",
    "open_dataset",
    "parse_measures",
    "read_qrels",
    "read_run",
    "rerank",
    "write_qrels",
    "write_run",
]

_HOMES: Final = {
    "Collection": "ranker.data.collection",
    "Compute": "ranker.settings.compute",
    "Dataset": "ranker.data.dataset",
    "Fusion": "ranker.evaluation.fusion",
    "Passage": "ranker.data.records",
    "Query": "ranker.data.records",
    "RankerError": "ranker.errors",
    "Ranking": "ranker.data.run",
    "Run": "ranker.data.run",
    "Scorer": "ranker.scoring.scorer",
    "Source": "ranker.evaluation.fusion",
    "compare": "ranker.evaluation.significance",
    "evaluate": "ranker.evaluation.measures",
    "fuse": "ranker.evaluation.fusion",
    "load_model": "ranker.model.loading",
    "open_dataset": "ranker.data.catalogue",
    "parse_measures": "ranker.evaluation.measures",
    "read_qrels": "ranker.data.trec",
    "read_run": "ranker.data.trec",
    "rerank": "ranker.reranking.rerank",
    "write_qrels": "ranker.data.trec",
    "write_run": "ranker.data.trec",
}


def __getattr__(name: str) -> Any:
    """Imports a name of ``__all__`` from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Lists the exported names."""
    return [*__all__, "__version__"]
