"""A dataset: a collection, queries, and judgments by split, in a folder of BEIR layout."""

from functools import cached_property
from pathlib import Path

from ranker.data.beir import read_queries
from ranker.data.collection import Collection
from ranker.data.files import digest, reason
from ranker.data.records import Qrels, Query
from ranker.data.trec import read_qrels
from ranker.data.unchanged import Unchanged
from ranker.errors import DataError


class Dataset:
    """A collection, its queries, and the judgments of each split."""

    def __init__(self, name: str, folder: Path, language: str = "en", source: str = "") -> None:
        """``open_dataset`` finds the folder of a name; ``language`` is what BM25 analyses it as where none is given.

        ``source`` opens it again; without, it is the folder.
        """
        self.name = name
        self.source = source or str(folder)
        self.language = language
        self.folder = folder
        self._corpus = existing(folder, "corpus.jsonl")
        self._queries = existing(folder, "queries.jsonl")
        self._unchanged = Unchanged()

    @cached_property
    def collection(self) -> Collection:
        """The passages; opened on first use."""
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
        return read_qrels(self._unchanged.note(self.qrels_path(split)))

    def queries(self, split: str) -> dict[str, Query]:
        """The queries with judgments in a split, by query_id, in file order.

        Raises: DataError where a judged query has no text.
        """
        judged = self.qrels(split)
        queries = {
            query.query_id: query
            for query in read_queries(self._unchanged.note(self._queries))
            if query.query_id in judged
        }
        missing = next((query_id for query_id in judged if query_id not in queries), None)
        if missing is not None:
            raise DataError(f"{self._queries}: has no query {missing}, which {self.qrels_path(split)} judges.")
        return queries

    def record(self, split: str) -> dict[str, str]:
        """What the manifest of a result says of it."""
        return {"name": self.name, "source": self.source, "split": split, **self.digests(split)}

    def digests(self, split: str) -> dict[str, str]:
        """SHA-256 of the collection, the queries and a split's judgments, for the manifests of results.

        All are of the bytes as they are now, none is remembered.
        Raises: DataError as ``check_unchanged`` and ``Collection.digest_now``.
        """
        self.check_unchanged()
        return {
            "collection": self.collection.digest_now(),
            "queries": digest(self._queries),
            "qrels": digest(self.qrels_path(split)),
        }

    def check_unchanged(self) -> None:
        """Holds that all files read so far are what they were when they were read first.

        Raises: DataError where one is not, so that no result names texts and judgments that it was not made of.
        """
        self._unchanged.check()
        if "collection" in self.__dict__:
            self.collection.check_unchanged()


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
