"""Passages found by their vectors: encoded to a memory-mapped matrix, searched with FAISS. The only user of faiss."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.manifest import versions
from ranker.data.records import Passage, Query
from ranker.data.run import Ranking, Run
from ranker.errors import OutputError, SearchIndexError, SetupError
from ranker.index.dense_config import FAISS_KINDS, DenseConfig
from ranker.index.encoding import unfinished
from ranker.index.store import Manifest, building, check_collection, read_manifest, read_settings, write_manifest
from ranker.scoring.scorer import Advance, Cut, Matrix, Scorer
from ranker.scoring.survival import named
from ranker.scoring.token_file import build_token_file

_PASSAGES_AT_ONCE: Final = 16_384
"""Passages encoded before their vectors go to disk."""

_TRAINING_VECTORS: Final = 200_000
"""Vectors that a FAISS index with centroids is trained on, drawn evenly from the collection."""

_VECTORS = "vectors.f32"
_DOC_IDS = "doc_ids.txt"
_FAISS = "index.faiss"


@dataclass(frozen=True)
class DenseSettings(DenseConfig):
    """What the manifest of a dense index remembers: how it was built, and the model that its vectors are of."""

    model: str = ""
    model_sha256: str = ""
    pooling: str = "cls"
    width: int = 0
    precision: str = "float32"
    passages_cut: int = 0
    tokens_cut: int = 0


class DenseIndex:
    """An open FAISS index and the doc_id of each of its rows."""

    def __init__(self, faiss_index: Any, doc_ids: list[str]) -> None:  # noqa: ANN401  # faiss has no annotations
        self._index = faiss_index
        self._doc_ids = doc_ids

    def __len__(self) -> int:
        """How many passages are indexed."""
        return len(self._doc_ids)

    def search(self, queries: Mapping[str, Query], vectors: Matrix, depth: int) -> Run:
        """The ``depth`` passages of greatest inner product with each query's vector.

        Shape: vectors (queries, H).
        """
        scores, rows = self._index.search(np.ascontiguousarray(vectors), min(depth, len(self)))
        rankings = {}
        for query_id, row_scores, row in zip(queries, scores, rows, strict=True):
            found = row >= 0  # FAISS fills up with -1 where approximate search finds fewer
            rankings[query_id] = Ranking.ordered([self._doc_ids[i] for i in row[found]], row_scores[found])
        return Run("dense", rankings)


def build_dense_index(
    scorer: Scorer, dataset: Dataset, config: DenseConfig, output: Path, force: bool, advance: Advance
) -> None:
    """Writes the folder of a dense index: vectors, doc_ids, the FAISS index and the manifest.

    If it is stopped, ``.NAME.encoding`` beside it holds the vectors made by then, for the next attempt.
    Raises: SearchIndexError as ``build_faiss``; OutputError as ``store.building``.
    """
    with building(output, force) as folder:
        left = output.with_name(f".{output.name}.encoding")
        cut = encode_collection(scorer, dataset.collection, folder, advance, left)
        build_faiss(folder, scorer.model.width, config)
        dataset.check_unchanged()
        _describe(scorer, dataset, config, cut, folder)


def _describe(scorer: Scorer, dataset: Dataset, config: DenseConfig, cut: Cut, folder: Path) -> None:
    collection = dataset.collection
    settings = DenseSettings(
        **asdict(config),
        model=scorer.model.source,
        model_sha256=scorer.model.digest(),
        pooling=scorer.model.config.pooling,
        width=scorer.model.width,
        precision=scorer.precision,
        passages_cut=cut.pairs,
        tokens_cut=cut.tokens,
    )
    manifest = Manifest("dense", dataset.name, collection.digest, len(collection), asdict(settings), versions())
    write_manifest(folder, manifest)


def open_dense_index(folder: Path, collection: Collection) -> tuple[DenseIndex, DenseSettings]:
    """The index and what it remembers of its building.

    Raises: SearchIndexError for what is no whole dense index, and one of another collection.
    """
    manifest = read_manifest(folder, "dense")
    check_collection(folder, manifest, collection)
    settings = read_settings(folder, manifest, DenseSettings)
    return open_faiss(folder, settings), settings


def check_model(folder: Path, settings: DenseSettings, scorer: Scorer) -> None:
    """Holds that queries are encoded by the model that encoded the passages.

    Raises: SearchIndexError with both digests.
    """
    if scorer.model.digest() != settings.model_sha256:
        raise SearchIndexError(
            f"{folder}: holds vectors of {settings.model} with digest {settings.model_sha256}, but "
            f"{scorer.model.source} has digest {scorer.model.digest()}; give that model, or build the index again."
        )


def encode_collection(
    scorer: Scorer, collection: Collection, folder: Path, advance: Advance, left: Path | None = None
) -> Cut:
    """Writes every passage's vector, in file order, and the doc_ids; memory does not grow with the collection.

    The vectors grow in the folder ``left``, and where an earlier attempt left some there it goes on after them.
    The result counts the passages that were cut, as its pairs, and the tokens that they lost.
    """
    tokens = None
    with suppress(OutputError):  # a cache that cannot be written costs time alone
        tokens = build_token_file(scorer.reading, collection, lambda _: None)
    passages = iter(collection)
    cut = lost = start = 0
    where = left or folder / "unfinished"
    with (
        unfinished(scorer, collection, _PASSAGES_AT_ONCE, where, folder / _VECTORS) as parts,
        (folder / _DOC_IDS).open("w", encoding="utf-8") as doc_ids,
    ):
        while chunk := list(islice(passages, _PASSAGES_AT_ONCE)):
            numbers = np.arange(start, start + len(chunk))
            contents = (passage.contents for passage in chunk)
            texts = tokens.texts(numbers, scorer.room) if tokens else scorer.passages(contents)
            if start < parts.done * _PASSAGES_AT_ONCE:
                advance(len(chunk))
            else:
                with named(partial(_passage, chunk)):
                    parts.add(scorer.vectors(texts, advance).tobytes())
            doc_ids.writelines(f"{passage.doc_id}\n" for passage in chunk)
            cut, lost, start = cut + int((texts.lost > 0).sum()), lost + int(texts.lost.sum()), start + len(chunk)
    return Cut(0, cut, lost)


def _passage(chunk: Sequence[Passage], number: int) -> str:
    return f"passage {chunk[number].doc_id}"


def build_faiss(folder: Path, width: int, config: DenseConfig) -> None:
    """Builds the FAISS index over the vectors of ``encode_collection``, on a GPU where faiss finds one.

    Raises: SearchIndexError for a kind that FAISS does not know or cannot train on so few passages.
    """
    faiss = _faiss()
    vectors = np.memmap(folder / _VECTORS, dtype=np.float32, mode="r").reshape(-1, width)
    try:
        index = faiss.index_factory(width, factory_string(config.faiss, len(vectors)), faiss.METRIC_INNER_PRODUCT)
        placed = _on_gpu(faiss, index)
        if not placed.is_trained:
            step = max(1, len(vectors) // _TRAINING_VECTORS)
            placed.train(np.ascontiguousarray(vectors[::step]))
        for start in range(0, len(vectors), _PASSAGES_AT_ONCE):
            placed.add(np.ascontiguousarray(vectors[start : start + _PASSAGES_AT_ONCE]))
    except RuntimeError as error:
        said = str(error).strip().splitlines()[-1]
        raise SearchIndexError(
            f"--faiss {config.faiss}: FAISS refuses it for {len(vectors)} passages: {said}; "
            f"expected {', '.join(FAISS_KINDS)} or a factory string."
        ) from error
    on_cpu = faiss.index_gpu_to_cpu(placed) if placed is not index else placed
    faiss.write_index(on_cpu, str(folder / _FAISS))


def open_faiss(folder: Path, config: DenseConfig) -> DenseIndex:
    """The FAISS index in a folder, set to look as far as ``config`` says, on a GPU where faiss finds one.

    Raises: SearchIndexError where its files are missing, broken or do not fit each other.
    """
    faiss = _faiss()
    try:
        index = faiss.read_index(str(folder / _FAISS))
        doc_ids = (folder / _DOC_IDS).read_text(encoding="utf-8").splitlines()
    except (RuntimeError, OSError, ValueError) as error:
        raise SearchIndexError(f"{folder}: is no whole dense index: {str(error).splitlines()[-1]}.") from error
    if index.ntotal != len(doc_ids):
        raise SearchIndexError(f"{folder}: has {index.ntotal} vectors but {len(doc_ids)} doc ids; build it again.")
    _look_as_far_as(config, index)
    return DenseIndex(_on_gpu(faiss, index), doc_ids)


def _look_as_far_as(config: DenseConfig, index: Any) -> None:  # noqa: ANN401
    """Sets what decides the recall of approximate search, behind whatever transforms the vectors first."""
    faiss = _faiss()
    inner = faiss.downcast_index(index)
    while hasattr(inner, "index"):
        inner = faiss.downcast_index(inner.index)
    if hasattr(inner, "nprobe"):
        inner.nprobe = config.nprobe
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = config.ef_search


def factory_string(kind: str, passages: int) -> str:
    """The FAISS factory string of a kind; IVF takes some four lists for each root of the collection's size."""
    lists = max(1, min(4 * int(passages**0.5), passages // 39))
    return {"HNSW": "HNSW32", "IVF": f"IVF{lists},Flat"}.get(kind, kind)


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
    if getattr(faiss, "get_num_gpus", lambda: 0)() == 0:
        return index
    return faiss.index_cpu_to_all_gpus(index)
