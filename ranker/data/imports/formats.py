"""The formats that ``ranker import`` reads, by name: a new one is a function and an entry in ``FORMATS``."""

from ranker.data.imports.dpr import import_dpr
from ranker.data.imports.msmarco import import_msmarco
from ranker.data.imports.sources import Format, Role
from ranker.data.imports.squad import import_squad
from ranker.data.imports.trec import import_trec, import_trec_html

_TOPICS = Role("topics", "topics: <top> blocks, CACM's <DOC> blocks, or lines of id, tab, text")
_QRELS = Role("qrels", "judgments: query_id 0 doc_id relevance", has_split=True, optional=True)

FORMATS: dict[str, Format] = {
    "squad": Format(
        "SQuAD 1.1 or 2.0: each paragraph a passage, each answerable question judged on its own paragraph.",
        (Role("file", "a JSON file of SQuAD", has_split=True),),
        import_squad,
    ),
    "msmarco": Format(
        "MS MARCO passage ranking: collection.tsv, queries.*.tsv and qrels.*.tsv, texts as they are.",
        (
            Role("collection", "passages: lines of id, tab, text"),
            Role("queries", "queries: lines of id, tab, text"),
            _QRELS,
        ),
        import_msmarco,
    ),
    "dpr": Format(
        "Dense Passage Retrieval: a JSON list of questions with positive and negative passages.",
        (Role("file", "a JSON file of DPR", has_split=True),),
        import_dpr,
    ),
    "trec": Format(
        "A TREC collection of <DOC> blocks (a file, a folder or a tar archive) with topics and qrels.",
        (Role("collection", "tagged text: a file, a folder or a tar archive"), _TOPICS, _QRELS),
        import_trec,
    ),
    "trec-html": Format(
        "A collection of HTML pages, one a file (a folder or a tar archive, as CACM is), with TREC topics and qrels.",
        (Role("collection", "HTML pages: a folder or a tar archive"), _TOPICS, _QRELS),
        import_trec_html,
    ),
}

SOURCES_HELP = (
    "A SOURCE is ROLE=PATH, such as collection=collection.tsv. Where a role has splits, ROLE:SPLIT=PATH names one, "
    "such as qrels:dev=qrels.dev.tsv; without a SPLIT it is test. A format of a single role takes PATH or SPLIT=PATH. "
    "A role may be given several times, any file may be .gz, and a TREC collection a file, a folder or a tar archive. "
    "Numbers of topics are matched with the qrels as they are written, then without zeros before them."
)
"""The paragraph of ``--help`` about sources."""
