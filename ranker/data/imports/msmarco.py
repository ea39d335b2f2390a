"""Imports MS MARCO passage ranking: tab-separated passages and queries, and qrels of four columns."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ranker.data.imports.queries import QueryFilter
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.records import Passage, Query, has_words
from ranker.errors import DataError
from ranker.files.lines import read_text_lines


def import_msmarco(sources: Sources) -> Imported:
    """Imports ids and texts exactly as the files have them, since mended encodings would move published figures.

    Passages stream in constant memory; the query_ids are held, and the judgments of one file at a time.
    """
    skipped = Counter[str]()
    queries = QueryFilter(skipped)
    return Imported(_passages(sources, skipped), _queries(sources, queries), queries.judgments(sources), skipped)


def _passages(sources: Sources, skipped: Counter[str]) -> Iterator[Passage]:
    for path in sources.paths("collection"):
        for location, doc_id, text in read_two_columns(path):
            if has_words(text):
                yield Passage(checked_id(doc_id, location, "passage id"), "", text)
            else:
                skipped["passages without text"] += 1


def _queries(sources: Sources, queries: QueryFilter) -> Iterator[Query]:
    for path in sources.paths("queries"):
        for location, query_id, text in read_two_columns(path):
            query = queries.query(query_id, text, location)
            if query is not None:
                yield query


def read_two_columns(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yields the location of each line that is not blank, its id before the first tab, and its text after it.

    Raises: DataError with file and line where there is no tab.
    """
    for number, line in read_text_lines(path):
        if not line.strip(" \t"):
            continue
        identifier, tab, text = line.partition("\t")
        if not tab:
            raise DataError(f"{path}:{number}: expected 2 columns (id text) with a tab between them, found no tab.")
        yield f"{path}:{number}", identifier, text
