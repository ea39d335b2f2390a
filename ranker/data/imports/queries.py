"""Checks the queries of formats whose queries and judgments lie in separate files."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ranker.data.beir import KEEP_ONE_ID
from ranker.data.imports.sources import Sources, checked_id
from ranker.data.records import Judgment, Query, has_words
from ranker.errors import DataError

NO_TEXT = "questions without text"
UNKNOWN = "judged queries without a text"


class QueryFilter:
    """Passes each query once, if it has words, and the judgments of these queries; ``skipped`` counts the others.

    It holds the query_ids, of which a dataset has few beside its passages.
    """

    def __init__(self, skipped: Counter[str]) -> None:
        self._skipped = skipped
        self._has_words: dict[str, bool] = {}

    def query(self, query_id: object, text: str, location: str) -> Query | None:
        """Returns a query, or None where its text has no words.

        Raises: DataError for a bad id, and one that was given before.
        """
        known_id = checked_id(query_id, location, "query id")
        if known_id in self._has_words:
            raise DataError(f"{location}: query id {known_id} stands twice; {KEEP_ONE_ID}")
        self._has_words[known_id] = has_words(text)
        if not self._has_words[known_id]:
            self._skipped[NO_TEXT] += 1
            return None
        return Query(known_id, text)

    def judgments(self, sources: Sources) -> Iterator[Judgment]:
        """Yields the judgments in the sources of the role ``qrels``, but those of queries that were not passed.

        Raises: DataError as ``read_qrels``, and for a file that judges none of the queries.
        """
        from ranker.data.trec import read_qrels  # noqa: PLC0415  # numpy, which listing the formats must not load

        for split, path in sources.by_split("qrels"):
            qrels = read_qrels(path)
            unknown = qrels.keys() - self._has_words.keys()
            if len(unknown) == len(qrels):
                raise DataError(
                    f"{path}: judges {next(iter(qrels))} and none of the queries given, expected their qrels."
                )
            if unknown:
                self._skipped[UNKNOWN] += len(unknown)
            for query_id, judged in qrels.items():
                if self._has_words.get(query_id):
                    for doc_id, relevance in judged.items():
                        yield Judgment(split, query_id, doc_id, relevance)


def judged_ids(sources: Sources) -> list[str]:
    """Returns the query_ids in all sources of the role ``qrels``.

    Raises: DataError as ``read_qrels``.
    """
    from ranker.data.trec import read_qrels  # noqa: PLC0415  # numpy

    return list(dict.fromkeys(query_id for _, path in sources.by_split("qrels") for query_id in read_qrels(path)))


def match_numbers(query_ids: Sequence[str], judged: Iterable[str]) -> dict[str, str]:
    """Maps query_ids that are not judged to judged ids that differ by leading zeros alone.

    Ids that are judged as they are written are left out, and so are numbers that several ids share.
    """
    judged_set = set(judged)
    ours, theirs = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for by_number, ids, others in ((ours, query_ids, judged_set), (theirs, judged_set, set(query_ids))):
        for query_id in ids:
            if query_id not in others and query_id.isascii() and query_id.isdecimal():
                by_number[query_id.lstrip("0")].append(query_id)
    return {ids[0]: theirs[number][0] for number, ids in ours.items() if len(ids) == len(theirs[number]) == 1}
