"""FAISS finds what the dual encoder scores highest."""

import json
import subprocess
import sys

import numpy as np
import pytest

from ranker.data.collection import Collection
from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import SearchIndexError
from ranker.index import dense
from ranker.index.dense import DenseIndex, build_faiss, exact_search, factory_string, open_faiss, training_vectors
from ranker.index.encoding import encode_collection
from ranker.index.recall import evenly
from ranker.model.loading import create_model
from ranker.reranking.rerank import rerank
from ranker.scoring.scorer import Scorer
from ranker.settings.compute import Compute
from ranker.settings.index import DenseConfig
from ranker.settings.model import RankerConfig

faiss = pytest.importorskip("faiss", reason="the extra 'cpu' is not installed")

PLACES = ["paris", "london", "rome", "cairo", "france", "england", "italy", "egypt"]
THINGS = ["stone", "water", "river", "city", "capital"]
TEXTS = [
    f"the {place} lies by the {thing} {extra}" for place in PLACES for thing in THINGS for extra in ("", "old red")
]
QUERIES = {
    f"q{i}": Query(f"q{i}", f"what is the {t} of {p}") for i, (p, t) in enumerate(zip(PLACES, THINGS * 2, strict=False))
}


@pytest.fixture(scope="module")
def scorer(tiny):
    config = RankerConfig("dual", query_length=12, length=40)
    return Scorer(create_model(config, str(tiny()), seed=3), Compute("float32", "cpu"))


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    path = tmp_path_factory.mktemp("collection") / "corpus.jsonl"
    lines = (json.dumps({"_id": f"d{i}", "title": "", "text": text}) for i, text in enumerate(TEXTS))
    path.write_text("\n".join(lines) + "\n")
    return Collection.open(path)


@pytest.fixture(scope="module")
def encoded(scorer, collection, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    encode_collection(scorer, collection, folder, lambda _: None, folder / "left")
    return folder


def search(scorer, folder, config, depth=10):
    build_faiss(folder, scorer.model.width, config)
    vectors = scorer.vectors(scorer.queries(query.text for query in QUERIES.values()), lambda _: None)
    return open_faiss(folder, config).search(QUERIES, vectors, depth)


def test_flat_search_finds_what_reranking_every_passage_puts_first(scorer, collection, encoded):
    everything = tuple(f"d{i}" for i in range(len(TEXTS)))
    first = Ranking(everything, np.arange(len(TEXTS), 0, -1).astype(np.float32))
    run = Run("all", dict.fromkeys(QUERIES, first))
    reranked = rerank(scorer, run, QUERIES, collection, len(TEXTS)).run
    found = search(scorer, encoded, DenseConfig(), depth=len(TEXTS))
    for query_id in QUERIES:
        by_score = dict(zip(reranked[query_id].doc_ids, reranked[query_id].scores.tolist(), strict=True))
        assert found[query_id].scores == pytest.approx([by_score[i] for i in found[query_id].doc_ids], abs=1e-5)
        assert found[query_id].doc_ids[0] == reranked[query_id].doc_ids[0]
        assert set(found[query_id].doc_ids) == set(everything)


def test_vectors_on_disk_are_those_of_the_passages_in_file_order(scorer, encoded):
    on_disk = np.fromfile(encoded / "vectors.f32", dtype=np.float32).reshape(len(TEXTS), scorer.model.width)
    assert on_disk == pytest.approx(scorer.vectors(scorer.passages(TEXTS), lambda _: None), abs=1e-6)
    assert (encoded / "doc_ids.txt").read_text().splitlines() == [f"d{i}" for i in range(len(TEXTS))]


@pytest.mark.parametrize("kind", ["HNSW", "IVF", "IVF-PQ", "IVF2,PQ4x4", "SQ8"])
def test_other_kinds_find_most_of_what_flat_finds(scorer, encoded, kind):
    exact, found = search(scorer, encoded, DenseConfig()), search(scorer, encoded, DenseConfig(kind, nprobe=4))
    shared = [len(set(exact[q].doc_ids) & set(found[q].doc_ids)) for q in QUERIES]
    assert np.mean(shared) >= 4
    assert all(len(found[q]) <= 10 for q in QUERIES)


def test_looking_into_every_list_makes_ivf_exact(scorer, encoded):
    exact, found = search(scorer, encoded, DenseConfig()), search(scorer, encoded, DenseConfig("IVF2,Flat", nprobe=2))
    assert [found[q].doc_ids for q in QUERIES] == [exact[q].doc_ids for q in QUERIES]


def test_a_depth_beyond_the_collection_finds_all_of_it(scorer, encoded):
    assert {len(ranking) for ranking in search(scorer, encoded, DenseConfig(), 10_000).values()} == {len(TEXTS)}


def test_a_kind_that_faiss_does_not_know_is_one_sentence(scorer, encoded):
    with pytest.raises(SearchIndexError) as error:
        build_faiss(encoded, scorer.model.width, DenseConfig("Nonsense"))
    assert str(error.value).startswith(f"--faiss Nonsense: FAISS refuses it for {len(TEXTS)} passages: ")
    assert str(error.value).endswith("; expected Flat, HNSW, IVF, IVF-PQ or a factory string.")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("broken", [b"", b"IxFI nonsense"])
def test_a_broken_index_file_is_one_sentence(scorer, encoded, tmp_path, broken):
    for name in ("doc_ids.txt", "vectors.f32"):
        (tmp_path / name).write_bytes((encoded / name).read_bytes())
    (tmp_path / "index.faiss").write_bytes(broken)
    with pytest.raises(SearchIndexError) as error:
        open_faiss(tmp_path, DenseConfig())
    assert str(error.value).startswith(f"{tmp_path}: is no whole dense index: ")


def test_doc_ids_that_do_not_fit_the_vectors_are_refused(scorer, encoded, tmp_path):
    build_faiss(encoded, scorer.model.width, DenseConfig())
    (tmp_path / "index.faiss").write_bytes((encoded / "index.faiss").read_bytes())
    (tmp_path / "doc_ids.txt").write_text("d0\nd1\n")
    with pytest.raises(SearchIndexError) as error:
        open_faiss(tmp_path, DenseConfig())
    assert str(error.value) == f"{tmp_path}: has {len(TEXTS)} vectors but 2 doc ids; build it again."


def test_the_lists_of_ivf_grow_with_the_root_of_the_collection():
    assert factory_string("IVF", 1_000_000, 384) == "IVF4000,Flat"
    assert factory_string("IVF", 80, 384) == "IVF2,Flat"
    assert factory_string("HNSW", 80, 384) == "HNSW32"
    assert factory_string("OPQ16,IVF64,PQ16", 80, 384) == "OPQ16,IVF64,PQ16"


@pytest.mark.parametrize(
    ("passages", "width", "factory"),
    [
        (1_000_000, 384, "IVF4000,PQ96x8"),
        (1_000_000, 768, "IVF4000,PQ192x8"),
        (9_984, 384, "IVF256,PQ96x8"),
        (9_983, 384, "IVF255,PQ192x4"),
        (9_983, 33, "IVF255,PQ33x4"),
        (1_000_000, 33, "IVF4000,PQ11x8"),
        (1_000_000, 130, "IVF4000,PQ65x8"),
    ],
)
def test_ivf_pq_has_two_bits_a_dimension_in_codes_that_so_many_passages_can_teach(passages, width, factory):
    assert factory_string("IVF-PQ", passages, width) == factory


@pytest.mark.parametrize(("passages", "width"), [(9_984, 6), (624, 6), (624, 5), (9_984, 5)])
def test_every_ivf_pq_is_one_that_faiss_builds_without_a_warning(tmp_path, passages, width, capfd):
    random_vectors(passages, width).tofile(tmp_path / "vectors.f32")
    assert build_faiss(tmp_path, width, DenseConfig("IVF-PQ")) == passages
    assert "WARNING" not in capfd.readouterr().err
    index = faiss.read_index(str(tmp_path / "index.faiss"))
    assert (index.ntotal, index.metric_type) == (passages, faiss.METRIC_INNER_PRODUCT)


def test_an_index_learns_from_two_hundred_thousand_vectors_or_as_many_as_its_lists_need():
    assert training_vectors("IVF4000,Flat", 1_000_000) == 200_000
    assert training_vectors("PCA64,IVF11893_HNSW32,PQ96x8", 8_841_823) == 39 * 11_893
    assert training_vectors("IVF11893,Flat", 300_000) == 300_000
    assert training_vectors("PQ96", 50) == 50


def test_vectors_that_teach_are_drawn_evenly_and_no_more_than_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "_TRAINING_VECTORS", 100)
    random_vectors(199, 8).tofile(tmp_path / "vectors.f32")
    assert build_faiss(tmp_path, 8, DenseConfig("IVF2,Flat")) == 100
    assert build_faiss(tmp_path, 8, DenseConfig("HNSW")) == 0
    places = evenly(199, 100)
    assert (len(set(places)), places[0], places[-1]) == (100, 0, 197)
    assert set(np.diff(places)) == {1, 2}


def random_vectors(count, width):
    vectors = np.random.default_rng(5).standard_normal((count, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("depth", [1, 7, 40, 100])
def test_exact_search_block_by_block_is_the_sort_of_all_products(monkeypatch, depth):
    monkeypatch.setattr(dense, "PASSAGES_AT_ONCE", 16)
    vectors, queries = random_vectors(100, 8), random_vectors(5, 8)[::-1]
    scores, rows = exact_search(vectors, np.ascontiguousarray(queries), depth)
    products = queries @ vectors.T
    assert rows.tolist() == np.argsort(-products, axis=1)[:, :depth].tolist()
    assert scores == pytest.approx(np.take_along_axis(products, rows, axis=1), abs=1e-6)


def test_however_few_queries_are_searched_at_once_the_run_is_the_same(scorer, encoded, monkeypatch):
    whole = search(scorer, encoded, DenseConfig())
    monkeypatch.setattr(dense, "_QUERIES_AT_ONCE", 3)
    assert dict(search(scorer, encoded, DenseConfig())) == dict(whole)


def test_equal_vectors_are_ordered_by_doc_id_whatever_faiss_says():
    vectors = np.repeat(random_vectors(2, 8), 3, axis=0)
    index = faiss.IndexFlatIP(8)
    index.add(vectors)
    run = DenseIndex(index, ["a", "b", "c", "d", "e", "f"]).search({"q": Query("q", "")}, vectors[:1], 6)
    assert run["q"].doc_ids == ("c", "b", "a", "f", "e", "d")


def test_a_query_that_finds_nothing_is_left_out():
    quantizer = faiss.IndexFlatIP(2)
    quantizer.add(np.eye(2, dtype=np.float32))
    index = faiss.IndexIVFFlat(quantizer, 2, 2, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    index.add(np.eye(2, dtype=np.float32)[:1])
    queries = {query_id: Query(query_id, "") for query_id in ("first", "second")}
    run = DenseIndex(index, ["a"]).search(queries, np.eye(2, dtype=np.float32), 5)
    assert {query_id: ranking.doc_ids for query_id, ranking in run.items()} == {"first": ("a",)}


def test_doc_ids_may_hold_what_ends_lines_elsewhere(scorer, encoded, tmp_path):
    odd = [f"d\u2028{number}\x85" for number in range(len(TEXTS))]
    build_faiss(encoded, scorer.model.width, DenseConfig())
    (tmp_path / "index.faiss").write_bytes((encoded / "index.faiss").read_bytes())
    (tmp_path / "doc_ids.txt").write_text("".join(f"{doc_id}\n" for doc_id in odd))
    assert list(open_faiss(tmp_path, DenseConfig())._doc_ids) == odd


def test_a_kind_that_faiss_has_for_cpus_alone_stays_there():
    class Gpus:
        """As faiss-gpu answers on a machine with GPUs."""

        get_num_gpus = staticmethod(lambda: 2)

        @staticmethod
        def index_cpu_to_all_gpus(index):
            if index == "HNSW":
                raise RuntimeError("Error: This index type is not implemented on GPU.")
            return f"{index} on all"

    assert [dense._on_gpu(Gpus, kind) for kind in ("HNSW", "Flat")] == ["HNSW", "Flat on all"]


def test_a_search_that_faiss_refuses_is_one_sentence():
    index = faiss.index_factory(8, "IVF2,Flat")  # not trained
    with pytest.raises(SearchIndexError, match=r"^FAISS refuses to search 5 passages deep: .*\.$"):
        DenseIndex(index, ["a"] * 9).find(random_vectors(1, 8), 5)


def test_without_faiss_one_sentence_says_what_to_install():
    code = (
        "import sys; sys.modules['faiss'] = None\n"
        "from pathlib import Path\n"
        "from ranker.errors import SetupError\n"
        "from ranker.index.dense import open_faiss\nfrom ranker.settings.index import DenseConfig\n"
        "try: open_faiss(Path('.'), DenseConfig())\n"
        "except SetupError as error: sys.stdout.write(str(error))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == "dense indexes need FAISS; install it with: pip install 'ranker[cpu]' or 'ranker[gpu]'."


@pytest.mark.parametrize("kind", ["IVF16,Flat", "PCA16,IVF16,Flat", "L2norm,IVF16,SQ8", "IVF16_HNSW32,Flat"])
def test_nprobe_reaches_the_lists_behind_any_transform(scorer, encoded, kind):
    build_faiss(encoded, scorer.model.width, DenseConfig(kind))
    index = open_faiss(encoded, DenseConfig(kind, nprobe=7))._index
    assert faiss.extract_index_ivf(index).nprobe == 7


def test_ef_search_reaches_the_graph_behind_a_transform(scorer, encoded):
    build_faiss(encoded, scorer.model.width, DenseConfig("PCA16,HNSW16"))
    index = open_faiss(encoded, DenseConfig("PCA16,HNSW16", ef_search=77))._index
    assert faiss.downcast_index(faiss.downcast_index(index).index).hnsw.efSearch == 77


def test_what_the_model_could_not_read_is_counted(collection, tiny, tmp_path):
    config = RankerConfig("dual", query_length=8, length=9)
    short = Scorer(create_model(config, str(tiny()), 3), Compute("float32", "cpu"))
    cut = encode_collection(short, collection, tmp_path, lambda _: None, tmp_path / "left")
    lengths = [len(text.split()) for text in TEXTS]
    assert cut.pairs == sum(length > 7 for length in lengths) > 0
    assert cut.tokens == sum(max(0, length - 7) for length in lengths)
