"""Retrieval: the best passages of an index, BM25 or dense, for each query."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Run
from ranker.index.bm25 import LexicalIndex
from ranker.index.store import index_kind
from ranker.limits import DEFAULT_RETRIEVE_DEPTH
from ranker.progress import Advance, no_progress
from ranker.settings.compute import Compute

if TYPE_CHECKING:
    from ranker.scoring.scorer import Scorer

_COMPUTE: Final = Compute()


class Retrieved(NamedTuple):
    """A run, and the facts of its retrieval.

    ``index_settings`` has the kind and the settings of the index. Of a dense one, ``scorer`` has the model that encoded
    the queries, and ``queries_cut`` counts those that were longer than it reads.
    """

    run: Run
    index_settings: dict[str, Any]
    scorer: "Scorer | None" = None
    queries_cut: int = 0


def retrieve(
    folder: Path,
    collection: Collection,
    queries: Mapping[str, Query],
    depth: int = DEFAULT_RETRIEVE_DEPTH,
    compute: Compute = _COMPUTE,
    model: str = "",
    trust_remote_code: bool = False,
    advance: Advance = no_progress,
) -> Retrieved:
    """Searches an index, with the settings that it remembers, for the best ``depth`` passages of each query.

    A query that finds nothing is left out of the run. For dense indexes alone are ``compute``, ``trust_remote_code``,
    and ``model``, which names their model where it has moved since.
    Raises: SearchIndexError for a damaged index, and one of another collection or model; ModelError as ``load_model``.
    """
    if index_kind(folder) == "bm25":
        lexical = LexicalIndex.open(folder, collection)
        run = lexical.search(queries, depth, advance=advance)
        return Retrieved(run, {"kind": "bm25", "digest": lexical.manifest.digest, **asdict(lexical.config)})
    # these load torch, which BM25 does not need
    from ranker.index.dense import check_model, open_dense_index  # noqa: PLC0415
    from ranker.model.loading import load_model, recorded_settings  # noqa: PLC0415
    from ranker.scoring.scorer import Scorer  # noqa: PLC0415

    dense, settings = open_dense_index(folder, collection)
    source = model or settings.model
    plain = recorded_settings(source, "dual", asdict(settings))
    scorer = Scorer(load_model(source, "dual", plain, trust_remote_code), compute)
    check_model(folder, settings, scorer)
    texts = scorer.queries(query.text for query in queries.values())
    run = dense.search(queries, scorer.vectors(texts, advance), depth)
    return Retrieved(run, {"kind": "dense", **asdict(settings)}, scorer, int((texts.lost > 0).sum()))
