"""Candidates where none are given: BM25 over a dataset's collection, its index kept in the cache."""

from collections.abc import Iterable
from pathlib import Path

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.run import Run
from ranker.errors import SearchIndexError
from ranker.files.cache import cache_folder
from ranker.index.bm25 import LexicalIndex, build_lexical_index
from ranker.index.store import read_manifest
from ranker.settings.lexical import LexicalConfig


def bm25_index(collection: Collection, language: str = "en") -> Path:
    """The folder of a collection's BM25 index with default settings, built where there is none that is whole."""
    folder = cache_folder() / "indexes" / f"bm25-{language}-{collection.digest[:24]}"
    try:
        read_manifest(folder, "bm25")
    except SearchIndexError:  # nobody's result, and older formats are left behind by older versions
        build_lexical_index(collection, LexicalConfig(language), folder, force=True)
    return folder


def bm25_run(dataset: Dataset, splits: Iterable[str], depth: int) -> Run:
    """The best ``depth`` passages by BM25 for every query of the splits."""
    queries = {query_id: query for split in splits for query_id, query in dataset.queries(split).items()}
    index = LexicalIndex.open(bm25_index(dataset.collection, dataset.language))
    return Run("bm25", index.search(queries, depth).rankings)
