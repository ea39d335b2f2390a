"""Every parser by its name: the files it reads, one that is well formed, and how it is read to its end."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ranker.data.collection import Collection
from ranker.data.dataset import Dataset
from ranker.data.imports.formats import FORMATS
from ranker.data.manifest import read_manifest
from ranker.data.trec import read_qrels, read_run
from ranker.data.validation import problems
from ranker.errors import RankerError
from ranker.index import store
from ranker.model.saving import read_config
from ranker.settings.index import DenseConfig, LexicalConfig


@dataclass(frozen=True)
class Parser:
    """``name`` is the file that hostile bytes are put into; ``read`` takes its path, its folder holds all others."""

    name: str
    valid: bytes
    read: Callable[[Path], object]
    beside: tuple[tuple[str, str], ...] = ()


def outcome(parser: Parser, folder: Path, content: bytes) -> str:
    """The sentence of the refusal, empty for a value; any other exception is the defect that is looked for."""
    for name, text in parser.beside:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    path = folder / parser.name
    path.write_bytes(content)
    try:
        parser.read(path)
    except RankerError as error:
        return str(error)
    return ""


def _drained(streams: Iterator[object]) -> None:
    for _ in streams:
        pass


def _collection(path: Path) -> None:
    collection = Collection.open(path)
    for passage in collection:
        if collection[passage.doc_id] != passage:
            raise AssertionError(passage)


def _dataset(path: Path) -> None:
    dataset = Dataset("hostile", path.parent)
    for split in dataset.splits:
        dataset.queries(split)


def _imported(form: str, role: str = "") -> Callable[[Path], None]:
    def read(path: Path) -> None:
        others = {one.name: path.with_name(one.name) for one in FORMATS[form].roles} | {role: path}
        words = [str(path)] if not role else [f"{name}={place}" for name, place in others.items()]
        streams = FORMATS[form].read(FORMATS[form].sources(words))
        for stream in (streams.passages, streams.queries, streams.judgments):
            _drained(iter(stream))

    return read


def _index(path: Path) -> None:
    manifest = store.read_manifest(path.parent, store.index_kind(path.parent))
    store.read_settings(path.parent, manifest, {"bm25": LexicalConfig, "dense": DenseConfig}[manifest.kind])


def _run_manifest(path: Path) -> None:
    run = path.with_suffix("")
    manifest = read_manifest(run)
    if manifest is not None:
        manifest.scored_depth(run)


def _tar(ending: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w:{ending}", format=tarfile.PAX_FORMAT) as archive:
        for name, text in (("a/1.html", "<title>a</title>b"), ("n" * 120 + "é.html", "<p>c</p>"), ("x/link", "")):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            entry.type = tarfile.SYMTYPE if name == "x/link" else tarfile.REGTYPE
            archive.addfile(entry, io.BytesIO(text.encode()))
    return packed.getvalue()


_RUN = b"q1 Q0 d2 1 2.5 name\nq1 Q0 d1 2 -1e-3 name\nq2\tQ0\td\xc3\xa9\t1\t.5\tname\n"
_CORPUS = (
    b'{"_id": "d1", "title": "T", "text": "one"}\n{"_id": "d2", "text": "two \\u00e9\\n", "metadata": {"a": [1]}}\n'
)
_QUERIES = b'{"_id": "q1", "text": "what?"}\n{"_id": "q2", "text": "who?"}\n'
_HTML = (
    b'<html><head><title>A &amp; B</title></head><body class="x > y">1 &lt; 2<!-- c --><script>x</script></body></html>'
)
_TAGGED = b"<DOC>\n<DOCNO> d1 </DOCNO>\n<HEAD>A</HEAD>\n<TEXT>one &amp; <b>two</b></TEXT>\n</DOC>\n"
_TOPICS = b"<top>\n<num> Number: 051\n<title> Topic: Airbus\n<desc> Not this.\n</top>\n"
_SQUAD = {
    "version": "1",
    "data": [
        {
            "title": "A",
            "paragraphs": [
                {"context": "b", "qas": [{"id": "1", "question": "c", "answers": [{"text": "b", "answer_start": 0}]}]}
            ],
        }
    ],
}
_DPR = [{"question": "a", "positive_ctxs": [{"passage_id": 1, "title": "b", "text": "c"}], "negative_ctxs": []}]
_MODEL = {
    "format": 1,
    "mode": "cross",
    "pooling": "cls",
    "similarity": "cosine",
    "query_length": 64,
    "length": 256,
    "frozen": False,
}
_SETTINGS = {
    "language": "en",
    "k1": 0.9,
    "b": 0.4,
    "rm3": False,
    "rm3_terms": 10,
    "rm3_passages": 10,
    "rm3_weight": 0.5,
}
_MANIFEST = {
    "kind": "bm25", "collection": "c", "digest": "0", "passages": 1, "settings": _SETTINGS, "versions": {},
    "files": {"ids": {"bytes": 1, "sha256": hashlib.sha256(b"i").hexdigest()}}, "format": 2,
}  # fmt: skip
_RUN_MANIFEST = {
    "ranker": "0.1.0", "command": "ranker rerank", "sha256": "0", "depth": 3, "versions": {},
    "budget": {"seconds": 1.0, "stopped": "", "ranks_scored": {"least": 1, "median": 2, "most": 3}},
    "dataset": {"name": "a", "source": "a", "split": "test", "collection": "c", "queries": "q", "qrels": "r"},
    "model": {"source": "m", "sha256": "0", "mode": "cross"}, "device": "cpu", "precision": "float32",
}  # fmt: skip
_PLAIN = (("collection", "d1\tone\n"), ("topics", "q1\twhat?\n"), ("queries", "q1\twhat?\n"), ("qrels", "q1 0 d1 1\n"))
_FOLDER = (("corpus.jsonl", _CORPUS.decode()), ("queries.jsonl", _QUERIES.decode()))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


PARSERS = {
    "run": Parser("a.run", _RUN, read_run),
    "run.gz": Parser("a.run.gz", gzip.compress(_RUN, mtime=0), read_run),
    "qrels": Parser("a.qrels", b"q1 0 d1 1\nq1 0 d2 -1\n", read_qrels),
    "qrels of BEIR": Parser("a.tsv", b"query-id\tcorpus-id\tscore\nq1\td1\t1\n", read_qrels),
    "corpus": Parser("corpus.jsonl", _CORPUS, _collection),
    "corpus.gz": Parser("corpus.jsonl.gz", gzip.compress(_CORPUS, mtime=0), _collection),
    "queries": Parser("queries.jsonl", _QUERIES, _dataset, (*_FOLDER, ("qrels/test.tsv", "q1\td1\t1\n"))),
    "validated run": Parser("a.run", _RUN, lambda path: _drained(problems(path))),
    "validated corpus": Parser("corpus.jsonl", _CORPUS, lambda path: _drained(problems(path.parent)), _FOLDER),
    "squad": Parser("squad.json", _json(_SQUAD), _imported("squad")),
    "dpr": Parser("dpr.json", _json(_DPR), _imported("dpr")),
    "msmarco": Parser("c.tsv", b"1\tone\n2\ttwo\n", _imported("msmarco", "collection"), _PLAIN),
    "trec": Parser("c.trec", _TAGGED, _imported("trec", "collection"), _PLAIN),
    "html": Parser("c.html", _HTML, _imported("trec-html", "collection"), _PLAIN),
    "topics": Parser(
        "t.txt", _TOPICS, _imported("trec", "topics"), (("collection", _TAGGED.decode()), ("qrels", "51 0 d1 1\n"))
    ),
    "tar": Parser("c.tar", _tar(""), _imported("trec-html", "collection"), _PLAIN),
    "tar.gz": Parser("c.tar.gz", gzip.compress(_tar(""), mtime=0), _imported("trec-html", "collection"), _PLAIN),
    "tar.xz": Parser("c.tar.xz", _tar("xz"), _imported("trec-html", "collection"), _PLAIN),
    "tar.bz2": Parser("c.tar.bz2", _tar("bz2"), _imported("trec-html", "collection"), _PLAIN),
    "manifest of a run": Parser("a.run.json", _json(_RUN_MANIFEST), _run_manifest),
    "manifest of an index": Parser("manifest.json", _json(_MANIFEST), _index, (("ids", "i"),)),
    "ranker.json": Parser("ranker.json", _json(_MODEL), lambda path: read_config(path.parent)),
}
"""By what is read."""
