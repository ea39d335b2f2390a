"""Recall is the share of what exact search finds, of queries that say where they are from."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from ranker.data.dataset import Dataset
from ranker.index.dense import build_faiss, exact_search, open_faiss
from ranker.index.recall import evenly, measure_recall, sampled_passages, sampled_queries
from ranker.settings.index import DenseConfig

pytest.importorskip("faiss", reason="the extra 'cpu' is not installed")

WIDTH = 16


def random_vectors(count, seed):
    vectors = np.random.default_rng(seed).standard_normal((count, WIDTH), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS, QUERIES = random_vectors(700, 1), random_vectors(30, 2)


def measured(folder, config, vectors=VECTORS):
    vectors.tofile(folder / "vectors.f32")
    (folder / "doc_ids.txt").write_text("".join(f"d{number}\n" for number in range(len(vectors))))
    build_faiss(folder, WIDTH, config)
    index = open_faiss(folder, config)
    exact = SimpleNamespace(find=lambda queries, depth: exact_search(vectors, queries, depth))
    return measure_recall(QUERIES, vectors, index.find, exact.find, config.recall_at), index


def test_flat_finds_all(tmp_path):
    recall, _ = measured(tmp_path, DenseConfig(recall_at=10))
    assert (recall.recall, recall.recall_queries) == (1.0, 30)
    assert recall.ms_per_query > 0
    assert recall.exact_ms_per_query > 0


@pytest.mark.parametrize("nprobe", [1, 2, 4])
def test_recall_is_the_mean_share_of_the_best_by_brute_force(tmp_path, nprobe):
    recall, index = measured(tmp_path, DenseConfig("IVF16,Flat", nprobe, recall_at=10))
    best = np.argsort(-(QUERIES @ VECTORS.T), axis=1)[:, :10]
    _, rows = index.find(QUERIES, 10)
    shares = [len(set(found) & set(wanted)) / 10 for found, wanted in zip(rows, best, strict=True)]
    assert recall.recall == pytest.approx(np.mean(shares), abs=1e-4)
    assert 0.1 < recall.recall < 1


def test_compressed_vectors_are_held_against_whole_ones(tmp_path):
    coarse, _ = measured(tmp_path, DenseConfig("PQ2x4", recall_at=10))
    fine, _ = measured(tmp_path, DenseConfig("PQ8x8", recall_at=10))
    assert coarse.recall < fine.recall < 1


def test_a_copy_of_a_passage_counts_as_the_passage(tmp_path):
    """Which of ten copies an index names is chance, and was never what is asked for."""
    copies = np.repeat(random_vectors(70, 1), 10, axis=0)
    assert measured(tmp_path, DenseConfig("HNSW", recall_at=5), copies)[0].recall == 1.0


def test_a_depth_beyond_the_collection_is_the_collection(tmp_path):
    assert measured(tmp_path, DenseConfig(recall_at=100_000))[0].recall == 1.0


def test_what_a_search_leaves_empty_is_not_found():
    def half(queries, depth):
        scores, rows = exact_search(VECTORS, queries, depth)
        rows[:, depth // 2 :] = -1
        return scores, rows

    recall = measure_recall(QUERIES, VECTORS, half, lambda queries, depth: exact_search(VECTORS, queries, depth), 10)
    assert recall.recall == 0.5


@pytest.fixture
def dataset(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d", "title": "", "text": "a passage"}\n')
    queries = (json.dumps({"_id": f"q{number}", "text": f"question {number}"}) for number in range(2_400))
    (tmp_path / "queries.jsonl").write_text("\n".join(queries) + "\n")
    return Dataset("some", tmp_path)


def judge(dataset, split, numbers):
    (dataset.folder / "qrels" / f"{split}.tsv").write_text("".join(f"q{number}\td\t1\n" for number in numbers))


def test_queries_are_rather_of_dev_or_train_than_of_a_test(dataset):
    judge(dataset, "another", [0])
    judge(dataset, "test", [1])
    assert sampled_queries(dataset) == ("queries of another", ["question 0"])
    judge(dataset, "train", [2])
    assert sampled_queries(dataset) == ("queries of train", ["question 2"])
    judge(dataset, "dev", [3, 4])
    assert sampled_queries(dataset) == ("queries of dev", ["question 3", "question 4"])


def test_of_many_queries_a_thousand_are_drawn_evenly(dataset):
    judge(dataset, "dev", range(2_400))
    texts = sampled_queries(dataset).texts
    assert (len(texts), texts[0], texts[1], texts[-1]) == (1_000, "question 0", "question 2", "question 2397")


def test_a_dataset_without_splits_has_no_queries(dataset):
    assert sampled_queries(dataset) == ("", [])


def test_passages_stand_in_for_queries_drawn_evenly():
    many = np.arange(3_000 * 2, dtype=np.float32).reshape(-1, 2)
    assert sampled_passages(many)[:, 0].tolist() == [6.0 * number for number in range(1_000)]
    assert len(sampled_passages(VECTORS)) == 700
    assert list(evenly(0, 5)) == []
