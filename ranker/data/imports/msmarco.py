"""MS MARCO passage ranking: tab-separated passages and queries, and qrels of four columns."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ranker.data.imports.questions import Questions
from ranker.data.imports.sources import Imported, Sources, checked_id
from ranker.data.records import Passage, Query, has_words
from ranker.errors import DataError
from ranker.files.lines import read_text_lines


def import_msmarco(sources: Sources) -> Imported:
    """Ids and texts exactly as the files have them, mojibake too: a mended text moves published figures.

    Passages stream in constant memory; query ids are held, and one split's judgments at a time.
    """
    skipped = Counter[str]()
    questions = Questions(skipped)
    return Imported(_passages(sources, skipped), _queries(sources, questions), questions.judgments(sources), skipped)


def _passages(sources: Sources, skipped: Counter[str]) -> Iterator[Passage]:
    for path in sources.paths("collection"):
        for place, doc_id, text in two_columns(path):
            if has_words(text):
                yield Passage(checked_id(doc_id, place, "passage id"), "", text)
            else:
                skipped["passages without text"] += 1


def _queries(sources: Sources, questions: Questions) -> Iterator[Query]:
    for path in sources.paths("queries"):
        for place, query_id, text in two_columns(path):
            query = questions.query(query_id, text, place)
            if query is not None:
                yield query


def two_columns(path: Path) -> Iterator[tuple[str, str, str]]:
    """The place, the id before the first tab and the text after it, of each line that is not blank.

    Raises: DataError with file and line where there is no tab.
    """
    for number, line in read_text_lines(path):
        if not line.strip(" \t"):
            continue
        identifier, tab, text = line.partition("\t")
        if not tab:
            raise DataError(f"{path}:{number}: expected 2 columns (id text) with a tab between them, found no tab.")
        yield f"{path}:{number}", identifier, text
