"""The folder of a dense index: a collection encoded, indexed by FAISS, held against exact search, and opened again."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.manifest import versions
from ranker.errors import OutputError, SearchIndexError
from ranker.index.dense import (
    DenseIndex,
    build_faiss,
    empty_faiss,
    exact_search,
    faiss_threads,
    open_faiss,
    read_vectors,
)
from ranker.index.encoding import encode_collection
from ranker.index.recall import Sample, measure_recall, sampled_passages, sampled_queries
from ranker.index.store import Manifest, building, check_collection, read_manifest, read_settings, write_manifest
from ranker.scoring.batching import Advance
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Truncation
from ranker.settings.dense import DenseConfig, RecallCheck, factory_string

_READING: Final = ("pooling", "similarity", "query_prompt", "passage_prompt", "query_length", "length")
"""Settings of a model that its index remembers, so that queries are read as its passages were."""


@dataclass(frozen=True)
class DenseSettings(DenseConfig, RecallCheck):
    """What the manifest of a dense index remembers: how it was built, and the model that its vectors are of.

    ``factory`` is what FAISS was asked for, and ``trained_on`` how many vectors that learned from, 0 where it need not.
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


def build_dense_index(
    scorer: Scorer, dataset: Dataset, config: DenseConfig, output: Path, force: bool, advance: Advance
) -> DenseSettings:
    """Writes the folder of a dense index: vectors, doc_ids, the FAISS index and the manifest.

    If it is stopped, ``.NAME.encoding`` beside it holds the vectors made by then, for the next attempt.
    Raises: SearchIndexError as ``build_faiss``, before anything is encoded where that can be known; OutputError as
    ``store.building``.
    """
    empty_faiss(config, scorer.model.width, len(dataset.collection))
    sample = sampled_queries(dataset) if config.recall_at else Sample("", [])
    left = output.with_name(f".{output.name}.encoding")
    with _kept(left), building(output, force) as folder:
        cut = encode_collection(scorer, dataset.collection, folder, advance, left)
        trained = build_faiss(folder, scorer.model.width, config)
        recall = _recall(scorer, folder, config, sample) if config.recall_at else RecallCheck()
        dataset.check_unchanged()
        settings = replace(_settings(scorer, dataset, config, cut), trained_on=trained, **asdict(recall))
        _describe(dataset, settings, folder)
    shutil.rmtree(left, ignore_errors=True)
    return settings


@contextmanager
def _kept(left: Path) -> Iterator[None]:
    """Says of a disk that is full where the vectors are that no longer need to be made."""
    try:
        yield
    except OutputError as error:
        if not isinstance(error.__cause__, OSError) or not left.is_dir():
            raise
        kept = f"the vectors made by then are kept in {left} for the same command"
        raise OutputError(f"{str(error).removesuffix('.')}; {kept}.") from error


def _settings(scorer: Scorer, dataset: Dataset, config: DenseConfig, cut: Truncation) -> DenseSettings:
    return DenseSettings(
        **asdict(config),
        model=scorer.model.source,
        model_sha256=scorer.model.digest(),
        **{name: getattr(scorer.model.config, name) for name in _READING},
        width=scorer.model.width,
        precision=scorer.precision,
        passages_cut=cut.pairs,
        tokens_cut=cut.tokens,
        factory=factory_string(config.faiss, len(dataset.collection), scorer.model.width),
    )


def _describe(dataset: Dataset, settings: DenseSettings, folder: Path) -> None:
    collection = dataset.collection
    manifest = Manifest("dense", dataset.name, collection.digest_now(), len(collection), asdict(settings), versions())
    write_manifest(folder, manifest)


def _recall(scorer: Scorer, folder: Path, config: DenseConfig, sample: Sample) -> RecallCheck:
    """The index as it will be opened, against exact search, for queries of the dataset where it has any."""
    vectors, index = read_vectors(folder, scorer.model.width), open_faiss(folder, config)
    if sample.texts:
        queries, name = scorer.vectors(scorer.queries(sample.texts), lambda _: None), sample.name
    else:
        queries, name = sampled_passages(vectors), "passages"
    recall = measure_recall(queries, vectors, index.find, partial(exact_search, vectors), config.recall_at)
    return replace(recall, recall_of=name, recall_threads=faiss_threads())


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
