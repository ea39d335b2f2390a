"""A dataset: a collection, queries, and judgments by split, in a folder of BEIR layout."""

import os
from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

from ranker.data.beir import read_queries
from ranker.data.collection import Collection
from ranker.data.languages import read_language
from ranker.data.oddities import Oddities, Oddity
from ranker.data.records import Qrels, Query
from ranker.data.trec import read_qrels
from ranker.errors import DataError
from ranker.files.digests import ChangeGuard, content_digest
from ranker.files.lines import reason

ALL: Final = ""
"""Every query there is, judged or not: the split of a dataset without judgments."""


class Dataset:
    """A collection, its queries, and the judgments of each split."""

    def __init__(self, name: str, folder: Path, language: str = "", source: str = "") -> None:
        """``open_dataset`` finds the folder of a name; ``language`` is what BM25 analyses it as where none is given.

        Without, it is what the folder says, or English.
        ``source`` opens it again; without, it is the folder.
        """
        self.name = name
        self.source = source or str(folder)
        self.folder = folder
        self._corpus = existing(folder, "corpus.jsonl")
        self._queries = existing(folder, "queries.jsonl")
        self.language = language or read_language(folder) or "en"
        self._guard = ChangeGuard()
        self._oddities: dict[str, Oddities] = {}

    @cached_property
    def collection(self) -> Collection:
        """The passages; opened on first use."""
        with self._mendable():
            return Collection.open(self._corpus)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have judgments.

        Raises: DataError where their folder cannot be read.
        """
        folder = self.folder / "qrels"
        try:
            names = [file.name.removesuffix(".gz") for file in folder.iterdir()] if folder.is_dir() else []
        except OSError as error:
            raise DataError(f"{folder}: cannot be read: {reason(error)}.") from error
        return tuple(sorted({name.removesuffix(".tsv") for name in names if name.endswith(".tsv")}))

    def qrels_path(self, split: str) -> Path:
        """The file of a split's judgments.

        Raises: DataError where there is no such split.
        """
        if split not in self.splits:
            given = f"expected one of {', '.join(self.splits)}" if self.splits else "nor any other in qrels/"
            raise DataError(f"{self.folder}: has no split {split!r}, {given}.")
        return existing(self.folder / "qrels", f"{split}.tsv")

    def qrels(self, split: str) -> Qrels:
        """The judgments of a split.

        Raises: DataError where there is no such split, or its file is malformed.
        """
        with self._mendable():
            return read_qrels(self._guard.watch(self.qrels_path(split)))

    def queries(self, split: str) -> dict[str, Query]:
        """The queries with judgments in a split, by query_id, in file order; of ``ALL``, every query.

        A query without words is left out, and so is a judged one without a text; ``oddities`` counts them.
        Raises: DataError where there is no such split, and where none of its queries has a text.
        """
        oddities, wordless = Oddities(), set[str]()

        def note(kind: Oddity, query_id: str) -> None:
            oddities[kind] += 1
            if kind is Oddity.EMPTY_QUERY:
                wordless.add(query_id)

        judged = None if split == ALL else self.qrels(split)
        with self._mendable():
            queries = {
                query.query_id: query
                for query in read_queries(self._guard.watch(self._queries), note)
                if judged is None or query.query_id in judged
            }
        self._oddities[ALL] = oddities
        if judged is not None:
            self._oddities[split] = self._lost(judged, queries.keys() | wordless)
        if not queries:
            raise DataError(self._none_asked(split))
        return queries

    def _lost(self, judged: Qrels, known: Set[str]) -> Oddities:
        """Of a split's judgments, the queries that are not ``known``, and positives that are not in the collection."""
        positives = dict.fromkeys(doc_id for grades in judged.values() for doc_id in grades if grades[doc_id] > 0)
        return Oddities(
            {
                Oddity.UNKNOWN_QUERY: sum(query_id not in known for query_id in judged),
                Oddity.LOST_POSITIVE: len(self.collection.lacking(positives)),
            }
        )

    def _none_asked(self, split: str) -> str:
        """Why there are no queries."""
        if split == ALL:
            return f"{self.source}: has no query with words in queries.jsonl, expected at least one."
        judged = f"none of the queries that split {split!r} judges has a text in queries.jsonl"
        return f"{self.source}: {judged}; expected the qrels and the queries of one dataset."

    @property
    def oddities(self) -> Oddities:
        """What was left out, or read otherwise than written, of all that has been read so far."""
        collection = self.collection.oddities if "collection" in self.__dict__ else Oddities()
        return sum(self._oddities.values(), collection)

    def record(self, split: str) -> dict[str, str]:
        """What the manifest of a result says of it."""
        return {"name": self.name, "source": self.source, "split": split, **self.digests(split)}

    def digests(self, split: str) -> dict[str, str]:
        """SHA-256 of the collection, the queries and a split's judgments, for the manifests of results.

        ``ALL`` has no judgments. All are of the bytes as they are now, none is remembered.
        Raises: DataError as ``check_unchanged`` and ``Collection.digest_now``.
        """
        self.check_unchanged()
        judged = {} if split == ALL else {"qrels": content_digest(self.qrels_path(split))}
        return {"collection": self.collection.digest_now(), "queries": content_digest(self._queries), **judged}

    def check_unchanged(self) -> None:
        """Holds that all files read so far are what they were when they were read first.

        Raises: DataError where one is not, so that no result names texts and judgments that it was not made of.
        """
        self._guard.check()
        if "collection" in self.__dict__:
            self.collection.check_unchanged()

    @contextmanager
    def _mendable(self) -> Iterator[None]:
        """Turns the refusal of a file in the cache, which nobody should mend there, into one of the dataset by name."""
        try:
            yield
        except DataError as error:
            place = f"{self.folder}{os.sep}"
            sentence = str(error)
            if self.source == str(self.folder) or not sentence.startswith(place):
                raise
            raise DataError(
                f"{self.source}: {sentence.removeprefix(place).removesuffix('.')}; "
                f"mend a copy of its folder, {self.folder}, and give that as the DATASET."
            ) from error


def existing(folder: Path, name: str) -> Path:
    """The file of that name, plain or ``.gz``.

    Raises: DataError where there is neither, and where there are both.
    """
    plain, packed = folder / name, folder / f"{name}.gz"
    found = [path for path in (plain, packed) if _is_file(path)]
    if not found:
        raise DataError(f"{folder}: has no {name} or {name}.gz, which a folder in BEIR layout must have.")
    if len(found) > 1:
        raise DataError(f"{folder}: has {name} and {name}.gz, of which one would not be read; take one away.")
    return found[0]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {reason(error)}.") from error
