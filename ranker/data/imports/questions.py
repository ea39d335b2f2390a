"""Queries given once each, and judgments only of those: what every format with separate files needs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ranker.data.beir import TWICE
from ranker.data.imports.sources import Sources, checked_id
from ranker.data.records import Judgment, Query, has_words
from ranker.errors import DataError

NO_TEXT = "questions without text"
UNKNOWN = "judged queries without a text"


class Questions:
    """The query ids seen so far. They are held: a dataset has few questions beside its passages."""

    def __init__(self, skipped: Counter[str]) -> None:
        """``skipped`` counts what is left out."""
        self._skipped = skipped
        self._seen: dict[str, bool] = {}

    def query(self, query_id: object, text: str, place: str) -> Query | None:
        """A query that comes for the first time; None for a text without words, which is left out.

        Raises: DataError for a bad id, and one that came before.
        """
        known = checked_id(query_id, place, "query id")
        if known in self._seen:
            raise DataError(f"{place}: query id {known} stands twice; {TWICE}")
        self._seen[known] = has_words(text)
        if not self._seen[known]:
            self._skipped[NO_TEXT] += 1
            return None
        return Query(known, text)

    def judgments(self, sources: Sources) -> Iterator[Judgment]:
        """The judgments in the sources of the role ``qrels``; those of queries that no source asks are left out.

        Raises: DataError as ``read_qrels``, and for a file that judges none of the queries.
        """
        from ranker.data.trec import read_qrels  # noqa: PLC0415  # numpy, which listing the formats must not load

        for split, path in sources.by_split("qrels"):
            qrels = read_qrels(path)
            unknown = qrels.keys() - self._seen.keys()
            if len(unknown) == len(qrels):
                raise DataError(
                    f"{path}: judges {next(iter(qrels))} and none of the queries given, expected their qrels."
                )
            if unknown:
                self._skipped[UNKNOWN] += len(unknown)
            for query_id, judged in qrels.items():
                for doc_id, relevance in judged.items() if self._seen.get(query_id) else ():
                    yield Judgment(split, query_id, doc_id, relevance)


def judged_ids(sources: Sources) -> list[str]:
    """The query ids of all sources of the role ``qrels``.

    Raises: DataError as ``read_qrels``.
    """
    from ranker.data.trec import read_qrels  # noqa: PLC0415  # numpy

    return list(dict.fromkeys(query_id for _, path in sources.by_split("qrels") for query_id in read_qrels(path)))


def matched(asked: Sequence[str], judged: Iterable[str]) -> dict[str, str]:
    """The ids asked that are judged under another: one that differs by leading zeros alone, where it is the only one.

    What is judged as it is written is matched so first.
    """
    known = set(judged)
    ours, theirs = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for by_number, ids, others in ((ours, asked, known), (theirs, known, set(asked))):
        for query_id in ids:
            if query_id not in others and query_id.isascii() and query_id.isdecimal():
                by_number[query_id.lstrip("0")].append(query_id)
    return {ids[0]: theirs[number][0] for number, ids in ours.items() if len(ids) == len(theirs[number]) == 1}
