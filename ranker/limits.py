"""Every bound of the toolkit, each with its reason; library, configuration and ``--help`` read it here."""

from typing import Final

MAX_DEPTH: Final = 100_000
"""Passages per query in a run. Lucene keeps a heap of this size for each query and thread."""

DEFAULT_RETRIEVE_DEPTH: Final = 1_000
"""Passages per query from a first stage: the depth of TREC submissions."""

DEFAULT_RERANK_DEPTH: Final = 100
"""Passages per query that a model scores: where the published rerankers are compared."""

DEFAULT_MEASURES: Final = ("nDCG@10", "RR@10", "AP", "R@100", "P@10")
"""The default measures: TREC Deep Learning's, MS MARCO's, and the classic ones."""

DEFAULT_RRF_K: Final = 60
"""The default k of reciprocal rank fusion, added to every rank: fixed by its authors in a pilot, kept by the field."""

MAX_RRF_K: Final = 100_000
"""The largest k. Far above it, all ranks weigh alike, and float32 cannot tell neighbours apart."""

MAX_WEIGHTS_TRIED: Final = 300
"""Sets of weights that a tuning tries, each a fusion and an evaluation of all its queries: 21 of two runs, in steps of
0.05, 231 of three. More runs take wider steps."""

MAX_LINE_BYTES: Final = 16 * 2**20
"""One line of a text file, or one record of JSON. The longest real passage is far shorter; a file without
newlines must not fill memory, and JSON of nothing but brackets takes 25 times its bytes."""

MAX_ID_BYTES: Final = 1_024
"""An id of a query or passage. Lucene refuses terms above 32,766 bytes; real ids stay below 200."""

MAX_RELEVANCE: Final = 2**15
"""A relevance grade in qrels. Gain 2**rel of some measures leaves float range far above real grades."""

MIN_JAVA: Final = 21
"""The Java that Anserini 1.x is compiled for."""

MIN_TOKENS: Final = 8
"""Tokens a model reads of a text: markers and a few words must fit."""

MAX_TOKENS: Final = 8_192
"""Tokens a model reads of a pair: the longest of the supported backbones (ModernBERT); BERT's own limit is 512."""

MAX_PROMPT: Final = 4_096
"""Characters of a prompt. Instructions of published models have some hundred."""

MIN_STRIDE: Final = 8
"""Tokens between two windows of a passage. Below it, windows say the same again, at many times the cost."""

MAX_WINDOWS: Final = 10_000
"""Windows of one passage. A book of a million tokens has about as many of 200; a larger one is no passage."""

MAX_DOCUMENT_BYTES: Final = 64 * 2**20
"""One page, tagged document or JSON record of what is imported, read whole. A few bytes of an archive can unpack to
more than memory holds."""

MAX_UNPACKED_SHARE: Final = 200
"""Bytes that a byte of a compressed file unpacks to. Text gives 3 to 20; a bomb of gzip gives 1,032, of xz 7,000."""

SMALL_UNPACKED_BYTES: Final = 2**28
"""The bytes that any compressed file may unpack to, however small it is: repeated lines that fit memory are no bomb."""

MAX_ARCHIVE_NAME_BYTES: Final = 2**16
"""A long name or other header of an archive's member, read whole. Linux ends paths at 4,096 bytes."""

MAX_SETTINGS_BYTES: Final = 16 * 2**20
"""A file of settings or a manifest, read whole. The largest name each file of an index or each loss of a training."""

MAX_LAYERS: Final = 1_000
"""Layers in a model's config.json, built one by one. The deepest published encoders have 48."""

MAX_WIDTH: Final = 2**17
"""Any width in a model's config.json, and its labels. The widest published layers have 53,248."""

MAX_VOCABULARY: Final = 2**24
"""Words and positions in a model's config.json. The largest published vocabularies have a million."""

MIN_PYDOC_WORDS: Final = 16
"""A passage of pydoc. Below this, little of most docstrings is left beside their first sentence."""

MAX_PYDOC_WORDS: Final = 512
"""A passage of pydoc. More words than this never fit the 512 tokens of a BERT."""

RANDOMISATION_SAMPLES: Final = 100_000
"""Random relabellings of a paired test. A p near 0.05 then varies by 0.0014 between seeds (two standard errors)."""

BOOTSTRAP_SAMPLES: Final = 10_000
"""Resamples of the queries for an interval: the 2.5 % tail holds 250, so its end is steady to two digits."""

MIN_COMPARED_QUERIES: Final = 2
"""Queries of a comparison. One difference has no spread, so nothing can be said about chance."""

MAX_VISITS: Final = 2**20
"""Lists or candidates that FAISS looks at for a query. That many are all of the largest IVF that is built here."""

MAX_BM25_K1: Final = 100.0
"""BM25's k1. Tuned values stay below 10; far above, repetitions of a word only count in proportion."""

MAX_RM3_TERMS: Final = 1_000
"""Words that RM3 adds to a query. Published settings stay below 200, and every word costs a search."""

MAX_RM3_PASSAGES: Final = 50
"""Passages that RM3 reads words from: Anserini's first search for it goes no deeper."""

MAX_QUERY_TERMS: Final = 65_536
"""Different words of one query. Lucene's own 1,024 would turn away a query as long as a passage."""

MIN_ALMANAC_SIZE: Final = 100
"""Passages of almanac. Below this, some split has hardly a question."""

MAX_ALMANAC_SIZE: Final = 100_000_000
"""Passages of almanac, ten times those of MS MARCO. A larger number is a slip of the keyboard."""

MIN_ALMANAC_FACTS: Final = 2
"""Facts in a passage of almanac. One fact alone cannot be told of the wrong territory."""

MAX_ALMANAC_FACTS: Final = 8
"""Facts in a passage of almanac. More territories than this seldom have as many properties in common."""

MIN_FREE_BYTES: Final = 2**30
"""Room on a disk for the main job: two models of 90 MB, weights set aside, indexes and runs, twice over."""

MAX_SEED: Final = 2**32 - 1
"""Of a training: the largest that numpy and torch both take."""

SHARD_ATTEMPTS: Final = 3
"""Attempts at a shard of a job on a cluster, whether it fails or kills its worker."""

MAX_FAILED_SHARDS: Final = 5
"""Shards that fail one after another before a job on a cluster gives up: then it is not the shards."""

MAX_WORKERS: Final = 4_096
"""Of a job on a cluster. A larger number is a slip of the keyboard."""
