"""Any dataset of ir_datasets, by its id, through the extra ``irds``."""

from collections.abc import Iterator
from typing import Any, TypeVar

from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError, SetupError
from ranker.files.lines import reason

Record = TypeVar("Record", Passage, Query, Judgment)

_TITLE = "title"
_SPLIT = "test"
"""An ir_datasets id names one split; it goes by the name that ``--split`` has by default."""


def irds(dataset_id: str) -> DatasetStreams:
    """The passages, queries and judgments, if it has some, of an ir_datasets id, which may download them.

    Raises: SetupError where ir-datasets is not installed; DataError for an unknown id, one without passages or queries,
    and a download that fails.
    """
    try:
        import ir_datasets  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SetupError("irds: datasets need ir-datasets; install it with: pip install 'ranker[irds]'.") from error
    try:
        dataset = ir_datasets.load(dataset_id)
    except KeyError as error:
        raise DataError(f"irds:{dataset_id}: is unknown to ir_datasets; its catalogue lists the ids.") from error
    for part in ("docs", "queries"):
        if not getattr(dataset, f"has_{part}")():
            raise DataError(f"irds:{dataset_id}: has no {part}, expected an id with docs and queries.")
    return DatasetStreams(
        _fetched(dataset_id, _passages(dataset)),
        _fetched(dataset_id, _queries(dataset)),
        _fetched(dataset_id, _judgments(dataset)),
    )


def _fetched(dataset_id: str, records: Iterator[Record]) -> Iterator[Record]:
    """The records; ir_datasets downloads when the first is asked for."""
    try:
        yield from records
    except (OSError, RuntimeError) as error:
        cause = error.args[0] if error.args and isinstance(error.args[0], str) else reason(error)
        raise DataError(f"irds:{dataset_id}: cannot be fetched: {cause}.") from error


def _passages(dataset: Any) -> Iterator[Passage]:  # noqa: ANN401  # ir_datasets makes its classes at run time
    has_title = _TITLE in dataset.docs_cls()._fields
    for doc in dataset.docs_iter():
        title = (doc.title or "") if has_title else ""
        # ir_datasets' default text of a titled passage begins with its title
        yield Passage(doc.doc_id, title, doc.default_text().removeprefix(title).strip())


def _queries(dataset: Any) -> Iterator[Query]:  # noqa: ANN401
    for query in dataset.queries_iter():
        yield Query(query.query_id, query.default_text())


def _judgments(dataset: Any) -> Iterator[Judgment]:  # noqa: ANN401
    for qrel in dataset.qrels_iter() if dataset.has_qrels() else ():
        yield Judgment(_SPLIT, qrel.query_id, qrel.doc_id, qrel.relevance)
