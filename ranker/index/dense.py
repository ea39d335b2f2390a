"""Vectors in a FAISS index: built, opened, searched. The only user of faiss."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranker.data.records import Query
from ranker.data.run import Run, rankings_of
from ranker.errors import SearchIndexError, SetupError
from ranker.index.encoding import DOC_IDS, PASSAGES_AT_ONCE, VECTORS
from ranker.index.recall import Found, evenly
from ranker.scoring.batching import Matrix
from ranker.settings.dense import FAISS_KINDS, DenseConfig, factory_string, training_vectors
from ranker.wording import counted

_QUERIES_AT_ONCE: Final = 4_096
"""Queries of which hits are columns at once, before they are rankings: as many as FAISS itself multiplies at once."""

_WRITTEN_BYTES: Final = 2**24
"""Bytes that FAISS hands over at once to be written."""

_FAISS: Final = "index.faiss"


class DenseIndex:
    """An open FAISS index and the doc_id of each of its rows."""

    def __init__(self, faiss_index: Any, doc_ids: list[str]) -> None:  # noqa: ANN401  # faiss has no annotations
        self._index = faiss_index
        self._doc_ids = np.array(doc_ids, dtype=np.object_)

    def __len__(self) -> int:
        """How many passages are indexed."""
        return len(self._doc_ids)

    def search(self, queries: Mapping[str, Query], vectors: Matrix, depth: int) -> Run:
        """The ``depth`` passages of greatest inner product with each query's vector.

        A query that finds nothing, as in empty lists, is left out of the run.
        Shape: vectors (queries, H). Raises: SearchIndexError where FAISS fails.
        """
        rankings = []
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            scores, rows = self.find(vectors[start : start + _QUERIES_AT_ONCE], depth)
            rankings += rankings_of(self._doc_ids, rows, scores)
        found = zip(queries, rankings, strict=True)
        return Run("dense", {query_id: ranking for query_id, ranking in found if ranking.doc_ids})

    def find(self, vectors: Matrix, depth: int) -> Found:
        """The same as FAISS says it: it fills up with rows of -1 where approximate search finds fewer."""
        try:
            scores, rows = self._index.search(np.ascontiguousarray(vectors), min(depth, len(self)))
        except RuntimeError as error:
            raise SearchIndexError(f"FAISS refuses to search {depth} passages deep: {_last_line(error)}.") from error
        return scores, rows


def build_faiss(folder: Path, width: int, config: DenseConfig) -> int:
    """Builds the FAISS index over the vectors of ``encode_collection``, on a GPU where faiss finds one.

    How many vectors it was trained on is returned.
    Raises: SearchIndexError for a kind that FAISS does not know or cannot train on so few passages.
    """
    faiss, vectors, trained = _faiss(), read_vectors(folder, width), 0
    with _refusing(config, len(vectors)):
        index = empty_faiss(config, width, len(vectors))
        placed = _on_gpu(faiss, index)
        if not placed.is_trained:
            trained = training_vectors(factory_string(config.faiss, len(vectors), width), len(vectors))
            placed.train(np.ascontiguousarray(vectors[evenly(len(vectors), trained)]))
        for start in range(0, len(vectors), PASSAGES_AT_ONCE):
            placed.add(np.ascontiguousarray(vectors[start : start + PASSAGES_AT_ONCE]))
        on_cpu = faiss.index_gpu_to_cpu(placed) if placed is not index else placed
    # FAISS, writing to a path, says nothing of a disk that is full at the last bytes
    with (folder / _FAISS).open("wb") as file:
        faiss.write_index(on_cpu, faiss.PyCallbackIOWriter(file.write, _WRITTEN_BYTES))
    return trained


def empty_faiss(config: DenseConfig, width: int, passages: int) -> Any:  # noqa: ANN401
    """An empty index, to be trained and filled.

    Raises: SearchIndexError for a kind that FAISS does not know.
    """
    faiss = _faiss()
    with _refusing(config, passages):
        index = faiss.index_factory(width, factory_string(config.faiss, passages, width), faiss.METRIC_INNER_PRODUCT)
    codes = _innermost(index)
    if hasattr(codes, "do_polysemous_training"):
        codes.do_polysemous_training = False  # orders codes for a filter that is never used, for seconds a subspace
    return index


@contextmanager
def _refusing(config: DenseConfig, passages: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise SearchIndexError(
            f"--faiss {config.faiss}: FAISS refuses it for {counted(passages, 'passage')}: {_last_line(error)}; "
            f"expected {', '.join(FAISS_KINDS)} or a factory string."
        ) from error


def exact_search(vectors: Matrix, queries: Matrix, depth: int) -> Found:
    """The passages of greatest product with each query, block by block, in memory that does not grow with them.

    Shape: vectors (PASSAGES, H), queries (N, H).
    """
    faiss = _faiss()
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), PASSAGES_AT_ONCE):
        block = np.ascontiguousarray(vectors[start : start + PASSAGES_AT_ONCE])
        more, places = faiss.knn(queries, block, min(depth, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        scores, rows = np.hstack((scores, more)), np.hstack((rows, places + start))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return scores, rows


def read_vectors(folder: Path, width: int) -> Matrix:
    """The vectors of ``encode_collection``, memory-mapped.

    Shape: (PASSAGES, H).
    """
    return np.asarray(np.memmap(folder / VECTORS, dtype=np.float32, mode="r")).reshape(-1, width)


def open_faiss(folder: Path, config: DenseConfig) -> DenseIndex:
    """The FAISS index in a folder, set to look as far as ``config`` says, on a GPU where faiss finds one.

    Raises: SearchIndexError where its files are missing, broken or do not fit each other.
    """
    faiss = _faiss()
    try:
        index = faiss.read_index(str(folder / _FAISS))
        # not splitlines, which would also end a line at separators of Unicode within an id
        doc_ids = (folder / DOC_IDS).read_bytes().decode().split("\n")[:-1]
    except (RuntimeError, OSError, ValueError) as error:
        raise SearchIndexError(f"{folder}: is no whole dense index: {_last_line(error)}.") from error
    if index.ntotal != len(doc_ids):
        raise SearchIndexError(
            f"{folder}: has {counted(index.ntotal, 'vector')} but {counted(len(doc_ids), 'doc id')}; build it again."
        )
    _look_as_far_as(config, index)
    return DenseIndex(_on_gpu(faiss, index), doc_ids)


def _look_as_far_as(config: DenseConfig, index: Any) -> None:  # noqa: ANN401
    """Sets what decides the recall of approximate search."""
    inner = _innermost(index)
    if hasattr(inner, "nprobe"):
        inner.nprobe = config.nprobe
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = config.ef_search


def _innermost(index: Any) -> Any:  # noqa: ANN401
    """What searches, behind whatever transforms the vectors first."""
    faiss = _faiss()
    inner = faiss.downcast_index(index)
    while hasattr(inner, "index"):
        inner = faiss.downcast_index(inner.index)
    return inner


def faiss_threads() -> int:
    """The threads that FAISS computes on."""
    return int(_faiss().omp_get_max_threads())


def check_faiss() -> None:
    """Says, before work that needs it, that FAISS is not installed.

    Raises: SetupError.
    """
    _faiss()


def _faiss() -> Any:  # noqa: ANN401
    """Raises: SetupError where faiss is not installed."""
    try:
        with warnings.catch_warnings():
            # faiss's SWIG layer defines types in a way that Python 3.12 deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            import faiss  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SetupError(
            "dense indexes need FAISS; install it with: pip install 'ranker[cpu]' or 'ranker[gpu]'."
        ) from error
    return faiss


def _on_gpu(faiss: Any, index: Any) -> Any:  # noqa: ANN401
    """The index on all GPUs there are, or where it is for a kind that FAISS has for CPUs alone, as HNSW."""
    if getattr(faiss, "get_num_gpus", lambda: 0)() == 0:
        return index
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError:
        return index


def _last_line(error: BaseException) -> str:
    """What FAISS says, behind where in its sources it says it."""
    return str(error).strip().splitlines()[-1]
