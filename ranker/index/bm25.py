"""BM25 by Lucene, through Anserini's own classes: the hits and scores of Pyserini's ``LuceneSearcher``, found faster.

Ties are Anserini's: it takes tied passages by doc_id rising, also where the depth cuts a tie, rounds scores to four
digits, and lowers each further passage of a tie by a millionth. Where float32 cannot hold that, a tie remains, and is
ordered as in every ranking here.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import SearchIndexError
from ranker.index.bm25 import (
    Advance,
    DocIds,
    cores,
    ignore,
    open_analyzer,
    open_reader,
)
from ranker.index.java import java_class, java_errors, java_map
from ranker.index.store import Manifest, check_collection, read_manifest, read_settings
from ranker.limits import MAX_DEPTH, MAX_QUERY_TERMS
from ranker.settings.lexical import LexicalConfig

_CONTENTS: Final = "contents"
"""The field that Anserini indexes."""

_QUERIES_AT_ONCE: Final = 32
"""Queries that a thread answers before it looks whether it shall go on."""


class LexicalIndex:
    """An open BM25 index; ``config`` is what it is searched with."""

    def __init__(self, folder: Path, manifest: Manifest, config: LexicalConfig) -> None:
        """Use ``LexicalIndex.open``."""
        self.folder = folder
        self.manifest = manifest
        self.config = config
        self._doc_ids = DocIds.read(folder)
        self._engine = _Engine(folder, config)

    @classmethod
    def open(
        cls, folder: Path, collection: Collection | None = None, config: LexicalConfig | None = None
    ) -> "LexicalIndex":
        """Opens an index to be searched with the settings that it remembers, or with ``config`` instead.

        Raises: SearchIndexError where it is not whole, was built from another collection, or cannot serve ``config``.
        """
        manifest = read_manifest(folder, "bm25")
        if collection is not None:
            check_collection(folder, manifest, collection)
        remembered = read_settings(folder, manifest, LexicalConfig)
        chosen = config or remembered
        _check_served(folder, remembered, chosen)
        java_class("java.lang.Object")  # without Java, this is what to hear of first
        with java_errors(folder):
            return cls(folder, manifest, chosen)

    def __len__(self) -> int:
        """How many passages are indexed."""
        return len(self._doc_ids)

    def search(self, queries: Mapping[str, Query], depth: int, threads: int = 0, advance: Advance = ignore) -> Run:
        """The best ``depth`` passages of each query, in the order of the queries; with 0 ``threads``, on all cores.

        A query that finds nothing is left out of the run, as it would be of a run's file.
        Raises: SearchIndexError for a depth out of bounds, and where Lucene fails.
        """
        if not 1 <= depth <= MAX_DEPTH:
            raise SearchIndexError(f"depth is {depth}, expected 1 to {MAX_DEPTH}.")

        def answer(part: list[tuple[str, Query]]) -> list[tuple[str, Ranking | None]]:
            return [(query_id, self._answer(query, depth)) for query_id, query in part]

        rankings: dict[str, Ranking] = {}
        for answers in java_map(answer, _parts(queries.items()), threads or cores()):
            rankings |= {query_id: ranking for query_id, ranking in answers if ranking is not None}
            advance(len(answers))
        return Run("bm25.rm3" if self.config.rm3 else "bm25", rankings)

    def _answer(self, query: Query, depth: int) -> Ranking | None:
        with java_errors(f"{self.folder}: query {query.query_id}"):
            numbers, scores = self._engine.search(query.text, depth)
        return Ranking.ordered(self._doc_ids.take(numbers), scores) if numbers else None


class _Engine:
    """What ``SimpleSearcher`` of Anserini is made of, put together so that hits come back as columns.

    Anserini reads the stored fields of each hit, which takes most of its time, and Python would cross to Java for each.
    Here Lucene is shown a view of the index without stored fields, and a ranking crosses as two arrays of numbers.
    """

    def __init__(self, folder: Path, config: LexicalConfig) -> None:
        view = java_class("org.apache.lucene.index.ParallelCompositeReader")(False, [open_reader(folder)], [])
        searchers = java_class("org.apache.lucene.search.IndexSearcher")
        searchers.setMaxClauseCount(MAX_QUERY_TERMS)
        self._searcher = searchers(view.getContext())
        similarity = java_class("org.apache.lucene.search.similarities.BM25Similarity")(config.k1, config.b)
        self._searcher.setSimilarity(similarity)
        self._analyzer = open_analyzer(config.language)
        self._cascade = _cascade(config, self._analyzer)
        self._expands = config.rm3
        self._generator = java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
        self._order = java_class("io.anserini.search.SearchCollection").BREAK_SCORE_TIES_BY_DOCID
        self._tokens = java_class("io.anserini.analysis.AnalyzerUtils").analyze
        self._arguments = java_class("io.anserini.search.SearchCollection$Args")
        self._context = java_class("io.anserini.rerank.RerankerContext")
        self._columns = java_class("io.anserini.search.ScoredDocs").fromTopDocs

    def search(self, text: str, depth: int) -> tuple[list[int], list[float]]:
        """Lucene's numbers of the best passages, and their scores; any thread may ask."""
        text = text.encode(errors="replace").decode()  # half a surrogate pair has no place in Java's UTF-16
        query = self._generator.buildQuery(_CONTENTS, self._analyzer, text)
        arguments = self._arguments()
        arguments.hits = depth
        first = arguments.rerankcutoff if self._expands else depth
        found = self._columns(self._searcher.search(query, first, self._order, True), self._searcher)
        if not found.lucene_docids:
            return [], []
        tokens = self._tokens(self._analyzer, text)
        context = self._context(self._searcher, None, query, None, text, tokens, None, arguments)
        ranked = self._cascade.run(found, context)
        return ranked.lucene_docids, ranked.scores


def _check_served(folder: Path, remembered: LexicalConfig, chosen: LexicalConfig) -> None:
    if chosen.language != remembered.language:
        raise SearchIndexError(
            f"{folder}: was built for language {remembered.language}, so it cannot be searched in {chosen.language}."
        )
    if chosen.rm3 and not remembered.rm3:
        raise SearchIndexError(f"{folder}: was built without RM3, which needs more of the passages; build it with rm3.")


def _cascade(config: LexicalConfig, analyzer: Any) -> Any:  # noqa: ANN401  # Java's objects have no types here
    """What follows the first search: RM3 where it is asked for, then the adjustment of ties.

    RM3 drops words that are not of English letters by default, which for another language would leave it none.
    """
    cascade = java_class("io.anserini.rerank.RerankerCascade")()
    if config.rm3:
        expansion = (config.rm3_terms, config.rm3_passages, config.rm3_weight)
        english = config.language == "en"
        rm3 = java_class("io.anserini.rerank.lib.Rm3Reranker")
        cascade.add(rm3(analyzer, None, _CONTENTS, *expansion, False, english))
    cascade.add(java_class("io.anserini.rerank.lib.ScoreTiesAdjusterReranker")())
    return cascade


def _parts(items: Iterable[tuple[str, Query]]) -> Iterator[list[tuple[str, Query]]]:
    waiting = iter(items)
    while part := list(islice(waiting, _QUERIES_AT_ONCE)):
        yield part
