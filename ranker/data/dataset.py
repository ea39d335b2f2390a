"""A dataset: a collection, queries, and judgments by split, in a folder of BEIR layout."""

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

from ranker.data.beir import read_language, read_queries
from ranker.data.collection import Collection
from ranker.data.records import Oddities, Oddity, Qrels, Query
from ranker.data.trec import read_qrels
from ranker.errors import DataError
from ranker.files.digests import ChangeGuard, content_digest
from ranker.files.lines import reason

ALL: Final = ""
"""The split of all queries, judged or not, for a dataset without judgments."""


class Dataset:
    """A collection, its queries, and the judgments of each split."""

    def __init__(self, name: str, folder: Path, language: str = "", source: str = "") -> None:
        """Use ``open_dataset``, which finds the folder of a name.

        ``language`` is the code of the analyser of BM25; by default it is what the folder says, or English.
        ``source`` is the name that opens the dataset again; by default it is the folder.
        """
        self.name = name
        self.source = source or str(folder)
        self.folder = folder
        self._corpus = find_file(folder, "corpus.jsonl")
        self._queries = find_file(folder, "queries.jsonl")
        self.language = language or read_language(folder) or "en"
        self._guard = ChangeGuard()
        self._oddities: dict[str, Oddities] = {}

    @cached_property
    def collection(self) -> Collection:
        """The passages, opened on first use."""
        with self._errors_by_name():
            return Collection.open(self._corpus)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have judgments, in alphabetical order.

        Raises: DataError where their folder cannot be read.
        """
        folder = self.folder / "qrels"
        try:
            names = [file.name.removesuffix(".gz") for file in folder.iterdir()] if folder.is_dir() else []
        except OSError as error:
            raise DataError(f"{folder}: cannot be read: {reason(error)}.") from error
        return tuple(sorted({name.removesuffix(".tsv") for name in names if name.endswith(".tsv")}))

    def qrels_path(self, split: str) -> Path:
        """Returns the file of a split's judgments.

        Raises: DataError where there is no such split.
        """
        if split not in self.splits:
            expected = f"expected one of {', '.join(self.splits)}" if self.splits else "nor any other in qrels/"
            raise DataError(f"{self.folder}: has no split {split!r}, {expected}.")
        return find_file(self.folder / "qrels", f"{split}.tsv")

    def qrels(self, split: str) -> Qrels:
        """Reads the judgments of a split.

        Raises: DataError where there is no such split, or its file is malformed.
        """
        with self._errors_by_name():
            return read_qrels(self._guard.watch(self.qrels_path(split)))

    def queries(self, split: str) -> dict[str, Query]:
        """Reads the queries that have judgments in a split, or all queries for ``ALL``, by query_id, in file order.

        Queries without words, and judged ones without a text, are left out; ``oddities`` counts them.
        Raises: DataError where there is no such split, and where none of its queries has a text.
        """
        oddities, wordless = Oddities(), set[str]()

        def count_oddity(kind: Oddity, query_id: str) -> None:
            oddities[kind] += 1
            if kind is Oddity.EMPTY_QUERY:
                wordless.add(query_id)

        qrels = None if split == ALL else self.qrels(split)
        queries: dict[str, Query] = {}
        with self._errors_by_name():
            for query in read_queries(self._guard.watch(self._queries), count_oddity):
                if qrels is None or query.query_id in qrels:
                    queries[query.query_id] = query
        self._oddities[ALL] = oddities
        if qrels is not None:
            self._oddities[split] = self._unknown_ids(qrels, queries.keys() | wordless)
        if not queries:
            raise DataError(self._no_queries(split))
        return queries

    def _unknown_ids(self, qrels: Qrels, query_ids: Set[str]) -> Oddities:
        """Counts judged queries that are not in ``query_ids``, and positives that are not in the collection."""
        positives = dict.fromkeys(doc_id for judged in qrels.values() for doc_id in judged if judged[doc_id] > 0)
        return Oddities(
            {
                Oddity.UNKNOWN_QUERY: sum(query_id not in query_ids for query_id in qrels),
                Oddity.LOST_POSITIVE: len(self.collection.missing(positives)),
            }
        )

    def _no_queries(self, split: str) -> str:
        if split == ALL:
            return f"{self.source}: has no query with words in queries.jsonl, expected at least one."
        judged = f"none of the queries that split {split!r} judges has a text in queries.jsonl"
        return f"{self.source}: {judged}; expected the qrels and the queries of one dataset."

    @property
    def oddities(self) -> Oddities:
        """Counts of the irregular records in everything that has been read so far."""
        # a cached_property is in __dict__ once it has been used; asking for it would open the collection
        collection = self.collection.oddities if "collection" in self.__dict__ else Oddities()
        return sum(self._oddities.values(), collection)

    def record(self, split: str) -> dict[str, str]:
        """Returns the entry of the dataset in a manifest: its name, source, split and digests."""
        return {"name": self.name, "source": self.source, "split": split, **self.digests(split)}

    def digests(self, split: str) -> dict[str, str]:
        """Computes the SHA-256 of the collection, the queries and the judgments of a split, for a manifest.

        All files are read again, and none of a cache is trusted. ``ALL`` has no judgments.
        Raises: DataError where a file has changed since it was first read.
        """
        self.check_unchanged()
        qrels = {} if split == ALL else {"qrels": content_digest(self.qrels_path(split))}
        return {"collection": self.collection.digest_now(), "queries": content_digest(self._queries), **qrels}

    def check_unchanged(self) -> None:
        """Checks that no file has changed since it was first read, so that a result names the data it was made from.

        Raises: DataError where one has.
        """
        self._guard.check()
        if "collection" in self.__dict__:
            self.collection.check_unchanged()

    @contextmanager
    def _errors_by_name(self) -> Iterator[None]:
        """Puts the dataset's name before an error about a file in the cache, which the reader should not edit there."""
        try:
            yield
        except DataError as error:
            prefix = f"{self.folder}{os.sep}"
            sentence = str(error)
            if self.source == str(self.folder) or not sentence.startswith(prefix):
                raise
            raise DataError(
                f"{self.source}: {sentence.removeprefix(prefix).removesuffix('.')}; "
                f"mend a copy of its folder, {self.folder}, and give that as the DATASET."
            ) from error


def find_file(folder: Path, name: str) -> Path:
    """Returns the file of that name in a folder, plain or ``.gz``.

    Raises: DataError where there is neither, and where there are both.
    """
    paths = [path for path in (folder / name, folder / f"{name}.gz") if _is_file(path)]
    if not paths:
        raise DataError(f"{folder}: has no {name} or {name}.gz, which a folder in BEIR layout must have.")
    if len(paths) > 1:
        raise DataError(f"{folder}: has {name} and {name}.gz, of which one would not be read; take one away.")
    return paths[0]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}.") from error
