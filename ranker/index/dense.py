"""Dense indexes: a collection encoded, indexed by FAISS, compared with exact search, and opened again.

This is the only user of faiss.
"""

import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.manifest import versions
from ranker.data.records import Query
from ranker.data.run import Run, rankings_from_rows
from ranker.errors import OutputError, SearchIndexError, SetupError
from ranker.index.encoding import DOC_IDS, PASSAGES_AT_ONCE, VECTORS, encode_collection
from ranker.index.recall import Hits, RecallCheck, evenly, measure_recall, sampled_passages, sampled_queries
from ranker.index.store import Manifest, building, check_collection, read_manifest, read_settings, write_manifest
from ranker.progress import Advance, no_progress
from ranker.scoring.batching import Matrix
from ranker.scoring.scorer import Scorer
from ranker.settings.index import FAISS_KINDS, DenseConfig
from ranker.wording import counted

_TRAINING_VECTORS: Final = 200_000
"""Vectors, drawn evenly from the collection, that an index with centroids is trained on; more where lists are many."""

_VECTORS_PER_CENTROID: Final = 39
"""Training vectors for each centroid of k-means, below which FAISS warns."""

_QUERIES_AT_ONCE: Final = 4_096
"""Queries whose hits are held as columns before they become rankings: as many as FAISS itself multiplies at once."""

_WRITTEN_BYTES: Final = 2**24
"""Bytes that FAISS passes at once to be written."""

_FAISS: Final = "index.faiss"

_MODEL_SETTINGS: Final = ("pooling", "similarity", "query_prompt", "passage_prompt", "query_length", "length")
"""Settings of a model that its index remembers, so that queries are encoded as its passages were."""


@dataclass(frozen=True)
class DenseSettings(DenseConfig, RecallCheck):
    """The settings in the manifest of a dense index: how it was built, and the model of its vectors.

    ``factory`` is FAISS's factory string, ``trained_on`` the number of vectors that the index was trained on, 0 where
    it needs no training; ``passages_cut`` and ``tokens_cut`` count what the model could not read.
    """

    model: str = ""
    model_sha256: str = ""
    pooling: str = "cls"
    similarity: str = "cosine"
    query_prompt: str = ""
    passage_prompt: str = ""
    query_length: int = 0
    length: int = 0
    width: int = 0
    precision: str = "float32"
    passages_cut: int = 0
    tokens_cut: int = 0
    factory: str = ""
    trained_on: int = 0


def index_dense(
    dataset: Dataset,
    scorer: Scorer,
    config: DenseConfig,
    folder: Path,
    force: bool = False,
    advance: Advance = no_progress,
) -> DenseSettings:
    """Builds the dense index of a dataset's passages in ``folder``: vectors, doc_ids, the FAISS index and the manifest.

    If it is stopped, ``.NAME.encoding`` beside the folder holds the vectors made so far, for the next attempt.
    Raises: SearchIndexError as ``build_faiss``, before anything is encoded where that can be known; OutputError as
    ``store.building``.
    """
    collection, width = dataset.collection, scorer.model.width
    empty_faiss(config, width, len(collection))
    # read before the hours of encoding, so that broken queries are refused at once
    sample = sampled_queries(dataset) if config.recall_at else None
    encoding = folder.with_name(f".{folder.name}.encoding")
    with _naming_kept_vectors(encoding), building(folder, force) as temporary:
        truncation = encode_collection(scorer, collection, temporary, advance, encoding)
        trained = build_faiss(temporary, width, config)
        recall = RecallCheck()
        if sample is not None:
            vectors, index = read_vectors(temporary, width), open_faiss(temporary, config)
            if sample.texts:
                queries, name = scorer.vectors(scorer.queries(sample.texts), no_progress), sample.name
            else:
                queries, name = sampled_passages(vectors), "passages"
            recall = measure_recall(queries, vectors, index.find, partial(exact_search, vectors), config.recall_at)
            recall = replace(recall, recall_of=name, recall_threads=faiss_threads())
        dataset.check_unchanged()
        settings = DenseSettings(
            **asdict(config),
            **asdict(recall),
            **{name: getattr(scorer.model.config, name) for name in _MODEL_SETTINGS},
            model=scorer.model.source,
            model_sha256=scorer.model.digest(),
            width=width,
            precision=scorer.precision,
            passages_cut=truncation.pairs,
            tokens_cut=truncation.tokens,
            factory=factory_string(config.faiss, len(collection), width),
            trained_on=trained,
        )
        digest = collection.digest_now()
        manifest = Manifest("dense", dataset.name, digest, len(collection), asdict(settings), versions())
        write_manifest(temporary, manifest)
    shutil.rmtree(encoding, ignore_errors=True)
    return settings


@contextmanager
def _naming_kept_vectors(encoding: Path) -> Iterator[None]:
    """Adds to the error of a full disk where the vectors are that need not be made again."""
    try:
        yield
    except OutputError as error:
        if not isinstance(error.__cause__, OSError) or not encoding.is_dir():
            raise
        kept = f"the vectors made by then are kept in {encoding} for the same command"
        raise OutputError(f"{str(error).removesuffix('.')}; {kept}.") from error


def open_dense_index(folder: Path, collection: Collection) -> tuple["DenseIndex", DenseSettings]:
    """Opens a dense index, and reads the settings of its manifest.

    Raises: SearchIndexError for a damaged index, and one of another collection.
    """
    manifest = read_manifest(folder, "dense")
    check_collection(folder, manifest, collection)
    settings = read_settings(folder, manifest, DenseSettings)
    return open_faiss(folder, settings), settings


def check_model(folder: Path, settings: DenseSettings, scorer: Scorer) -> None:
    """Checks that queries are encoded by the model that encoded the passages.

    Raises: SearchIndexError with both digests.
    """
    if scorer.model.digest() != settings.model_sha256:
        raise SearchIndexError(
            f"{folder}: holds vectors of {settings.model} with digest {settings.model_sha256}, but "
            f"{scorer.model.source} has digest {scorer.model.digest()}; give that model, or build the index again."
        )


class DenseIndex:
    """An open FAISS index, and the doc_id of each of its rows."""

    def __init__(self, faiss_index: Any, doc_ids: list[str]) -> None:
        self._index = faiss_index
        self._doc_ids = np.array(doc_ids, dtype=np.object_)

    def __len__(self) -> int:
        """Returns the number of passages indexed."""
        return len(self._doc_ids)

    def search(self, queries: Mapping[str, Query], vectors: Matrix, depth: int) -> Run:
        """Returns the ``depth`` passages of greatest inner product with each query's vector.

        A query that finds nothing, as in empty lists of an IVF index, is left out of the run.
        Shape: vectors (queries, H). Raises: SearchIndexError where FAISS fails.
        """
        rankings = []
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            scores, rows = self.find(vectors[start : start + _QUERIES_AT_ONCE], depth)
            rankings += rankings_from_rows(self._doc_ids, rows, scores)
        by_query = zip(queries, rankings, strict=True)
        return Run("dense", {query_id: ranking for query_id, ranking in by_query if ranking.doc_ids})

    def find(self, vectors: Matrix, depth: int) -> Hits:
        """Returns the hits of each vector, filled up with rows of -1 where approximate search finds fewer.

        Shape: (N, H) to (N, depth) both. Raises: SearchIndexError where FAISS fails.
        """
        try:
            scores, rows = self._index.search(np.ascontiguousarray(vectors), min(depth, len(self)))
        except RuntimeError as error:
            raise SearchIndexError(f"FAISS refuses to search {depth} passages deep: {_last_line(error)}.") from error
        return scores, rows


def build_faiss(folder: Path, width: int, config: DenseConfig) -> int:
    """Builds the FAISS index of the vectors of ``encode_collection``, on a GPU where faiss finds one.

    Returns the number of vectors that it was trained on.
    Raises: SearchIndexError for a kind that FAISS does not know or cannot train on so few passages.
    """
    faiss, vectors, trained = _faiss(), read_vectors(folder, width), 0
    with _faiss_errors(config, len(vectors)):
        index = empty_faiss(config, width, len(vectors))
        on_device = _on_gpu(faiss, index)
        if not on_device.is_trained:
            trained = training_vectors(factory_string(config.faiss, len(vectors), width), len(vectors))
            on_device.train(np.ascontiguousarray(vectors[evenly(len(vectors), trained)]))
        for start in range(0, len(vectors), PASSAGES_AT_ONCE):
            on_device.add(np.ascontiguousarray(vectors[start : start + PASSAGES_AT_ONCE]))
        on_cpu = faiss.index_gpu_to_cpu(on_device) if on_device is not index else index
    # FAISS, writing to a path by itself, does not notice a disk that is full at the last bytes
    with (folder / _FAISS).open("wb") as file:
        faiss.write_index(on_cpu, faiss.PyCallbackIOWriter(file.write, _WRITTEN_BYTES))
    return trained


def empty_faiss(config: DenseConfig, width: int, passages: int) -> Any:
    """Makes an empty FAISS index, to be trained and filled.

    Raises: SearchIndexError for a kind that FAISS does not know.
    """
    faiss = _faiss()
    with _faiss_errors(config, passages):
        index = faiss.index_factory(width, factory_string(config.faiss, passages, width), faiss.METRIC_INNER_PRODUCT)
    inner = _innermost(index)
    if hasattr(inner, "do_polysemous_training"):
        inner.do_polysemous_training = False  # takes seconds for each subspace, for a filter that is never used
    return index


def factory_string(kind: str, passages: int, width: int) -> str:
    """Returns the FAISS factory string of a kind; IVF takes some four lists for each root of the collection's size."""
    lists = max(1, min(4 * int(passages**0.5), passages // _VECTORS_PER_CENTROID))
    if kind == "IVF-PQ":
        return f"IVF{lists},{_quantizer(passages, width)}"
    return {"HNSW": "HNSW32", "IVF": f"IVF{lists},Flat"}.get(kind, kind)


def _quantizer(passages: int, width: int) -> str:
    """Returns the product quantizer of two bits a dimension: four dimensions by 256 centroids, or two by 16.

    The first errs less for the same bytes, but 256 centroids cannot be learned from fewer than 39 vectors each.
    Where four or two do not divide the width, each part has fewer dimensions.
    """
    bits, most = (8, 4) if passages >= _VECTORS_PER_CENTROID * 2**8 else (4, 2)
    dimensions = next(size for size in range(most, 0, -1) if width % size == 0)
    return f"PQ{width // dimensions}x{bits}"


def training_vectors(factory: str, passages: int) -> int:
    """Returns how many vectors an index is trained on: all of a small collection, and enough for each list."""
    lists = max(map(int, re.findall(r"IVF(\d{1,9})", factory)), default=1)
    return min(passages, max(_TRAINING_VECTORS, _VECTORS_PER_CENTROID * lists))


@contextmanager
def _faiss_errors(config: DenseConfig, passages: int) -> Iterator[None]:
    """Turns what FAISS throws into one sentence about the kind of index asked for."""
    try:
        yield
    except RuntimeError as error:
        raise SearchIndexError(
            f"--faiss {config.faiss}: FAISS refuses it for {counted(passages, 'passage')}: {_last_line(error)}; "
            f"expected {', '.join(FAISS_KINDS)} or a factory string."
        ) from error


def exact_search(vectors: Matrix, queries: Matrix, depth: int) -> Hits:
    """Returns the passages of greatest inner product with each query; memory does not grow with the passages.

    Shape: vectors (PASSAGES, H), queries (N, H), results (N, depth).
    """
    faiss = _faiss()
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), PASSAGES_AT_ONCE):
        block = np.ascontiguousarray(vectors[start : start + PASSAGES_AT_ONCE])
        # block_rows count from the start of the block
        block_scores, block_rows = faiss.knn(queries, block, min(depth, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        # the best of earlier blocks come first, so a stable sort keeps them before equal ones of this block
        scores, rows = np.hstack((scores, block_scores)), np.hstack((rows, block_rows + start))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
        scores, rows = np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)
    return scores, rows


def read_vectors(folder: Path, width: int) -> Matrix:
    """Opens the vectors of ``encode_collection``, memory-mapped.

    Shape: (PASSAGES, H).
    """
    return np.asarray(np.memmap(folder / VECTORS, dtype=np.float32, mode="r")).reshape(-1, width)


def open_faiss(folder: Path, config: DenseConfig) -> DenseIndex:
    """Opens the FAISS index in a folder, with ``nprobe`` and ``ef_search`` set, on a GPU where faiss finds one.

    Raises: SearchIndexError where its files are missing, damaged or do not fit each other.
    """
    faiss = _faiss()
    try:
        index = faiss.read_index(str(folder / _FAISS))
        # splitlines would also split at the line separators of Unicode that an id may hold
        doc_ids = (folder / DOC_IDS).read_bytes().decode().split("\n")[:-1]
    except (RuntimeError, OSError, ValueError) as error:
        raise SearchIndexError(f"{folder}: is no whole dense index: {_last_line(error)}.") from error
    if index.ntotal != len(doc_ids):
        raise SearchIndexError(
            f"{folder}: has {counted(index.ntotal, 'vector')} but {counted(len(doc_ids), 'doc id')}; build it again."
        )
    inner = _innermost(index)
    if hasattr(inner, "nprobe"):
        inner.nprobe = config.nprobe
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = config.ef_search
    return DenseIndex(_on_gpu(faiss, index), doc_ids)


def _innermost(index: Any) -> Any:
    """Returns the index that searches, behind any transforms of the vectors."""
    faiss = _faiss()
    inner = faiss.downcast_index(index)
    while hasattr(inner, "index"):
        inner = faiss.downcast_index(inner.index)
    return inner


def faiss_threads() -> int:
    """Returns the number of threads that FAISS computes on."""
    return int(_faiss().omp_get_max_threads())


def check_faiss() -> None:
    """Checks that FAISS is installed, before work that needs it.

    Raises: SetupError where it is not.
    """
    _faiss()


def _faiss() -> Any:
    """Imports faiss.

    Raises: SetupError where it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # SWIG defines faiss's types in a way that Python 3.12 deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            import faiss  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SetupError(
            "dense indexes need FAISS; install it with: pip install 'ranker[cpu]' or 'ranker[gpu]'."
        ) from error
    return faiss


def _on_gpu(faiss: Any, index: Any) -> Any:
    """Copies an index to all GPUs, or returns it as it is where there are none or its kind is for CPUs, as HNSW."""
    if getattr(faiss, "get_num_gpus", lambda: 0)() == 0:
        return index
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError:
        return index


def _last_line(error: BaseException) -> str:
    """Returns FAISS's message without the place in its sources that stands before it."""
    return str(error).strip().splitlines()[-1]
