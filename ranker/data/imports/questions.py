"""Queries given once each, and judgments only of those: what every format with separate files needs."""

from collections.abc import Iterator

from ranker.data.imports.sources import Sources, checked_id
from ranker.data.records import Judgment, Query
from ranker.errors import DataError


class Questions:
    """The query ids seen so far. They are held: a dataset has few questions beside its passages."""

    def __init__(self) -> None:
        """Begins with none."""
        self._seen: set[str] = set()

    def query(self, query_id: object, text: str, place: str) -> Query:
        """A query that comes for the first time.

        Raises: DataError for a bad id, one that came before, and a text without words.
        """
        known = checked_id(query_id, place, "query id")
        if known in self._seen:
            raise DataError(f"{place}: query id {known} stands twice, expected each id once.")
        if not text.strip():
            raise DataError(f"{place}: query {known} is empty, expected a question.")
        self._seen.add(known)
        return Query(known, text)

    def judgments(self, sources: Sources) -> Iterator[Judgment]:
        """The judgments in the sources of the role ``qrels``.

        Raises: DataError as ``read_qrels``, and for a judged query that no source asks.
        """
        from ranker.data.trec import read_qrels  # noqa: PLC0415  # numpy, which listing the formats must not load

        for split, path in sources.by_split("qrels"):
            for query_id, judged in read_qrels(path).items():
                if query_id not in self._seen:
                    raise DataError(f"{path}: judges query {query_id}, which is in none of the queries given.")
                for doc_id, relevance in judged.items():
                    yield Judgment(split, query_id, doc_id, relevance)
