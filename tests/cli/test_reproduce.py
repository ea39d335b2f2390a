"""The main job on a dataset of forty passages and a tiny BERT: everything it writes, and what it says at the end."""

import json
import re

import pytest

from ranker.data.trec import read_qrels, read_run
from ranker.experiments.arms import PUBLISHED_STEPS

ARMS = ("bm25", "dual-frozen-cls", "dual-frozen-mean", "dual.seed4", "dual-faiss.seed4", "cross.seed4")


def reproduce(ranker, dataset, tiny, output, *more):
    return ranker(
        "reproduce", "--dataset", dataset, "--model", tiny(), "--seed", 4, "--steps-each", 3, "--depth", 5,
        "--length", 40, "--precision", "float32", "--output", output, *more,
    )  # fmt: skip


def test_it_writes_every_run_with_its_manifest_the_judgments_and_the_models(ranker, dataset, tiny, tmp_path):
    said = reproduce(ranker, dataset, tiny, tmp_path)
    assert said.status == 0, said.err
    qrels = read_qrels(tmp_path / "qrels" / "toy.test.qrels")
    for arm in ARMS:
        run = read_run(tmp_path / "runs" / "toy" / f"{arm}.run")
        assert set(run) == set(qrels)
        manifest = json.loads((tmp_path / "runs" / "toy" / f"{arm}.run.json").read_text())
        assert manifest["dataset"]["split"] == "test"
        if "pairs_per_second" in manifest:
            assert manifest["pairs"] == sum(map(len, run.values()))
        assert ("training" in manifest) is arm.startswith(("dual.", "cross."))
    assert sorted(path.name for path in (tmp_path / "models" / "toy").iterdir()) == ["cross.seed4", "dual.seed4"]


def test_it_ends_with_a_sentence_on_who_won_against_each_rival(ranker, dataset, tiny, tmp_path):
    said = reproduce(ranker, dataset, tiny, tmp_path)
    last = said.out.strip().splitlines()[-3:-1]
    for line, rival in zip(last, ("bm25", "dual.seed4"), strict=True):
        assert line.startswith((f"cross.seed4 beats {rival}", f"cross.seed4 loses to {rival}", "cross.seed4 and"))
        assert rival in line
        assert "RR@10" in line
        assert "p " in line


def test_it_says_beforehand_how_long_it_takes_and_what_it_is_doing(ranker, dataset, tiny, tmp_path):
    said = reproduce(ranker, dataset, tiny, tmp_path).err.splitlines()
    assert re.fullmatch(r"This will take about \d+ (seconds?|minutes?) here, by a probe\.", said[0])
    stages = [line.partition(":")[0] for line in said[1:]]
    assert stages == [
        "dual-frozen-cls", "dual-frozen-mean", "training dual.seed4", "dual-faiss.seed4", "training cross.seed4",
        "cross.seed4",
    ]  # fmt: skip
    assert all(re.search(r": about \d+ (seconds?|minutes?) left\.$", line) for line in said[1:])


def test_trainings_of_other_lengths_are_told_to_be_another_experiment(ranker, dataset, tiny, tmp_path):
    said = reproduce(ranker, dataset, tiny, tmp_path)
    assert said.out.endswith(
        f"dual.seed4 after 3 and cross.seed4 after 3 of {PUBLISHED_STEPS} steps: not the published experiment.\n"
    )


def test_minutes_that_end_a_training_early_are_told_as_such(ranker, dataset, tiny, tmp_path):
    said = reproduce(ranker, dataset, tiny, tmp_path, "--steps-each", PUBLISHED_STEPS, "--minutes-each", 0.0005)
    assert re.search(rf"after \d+ .* of {PUBLISHED_STEPS} steps: not the published experiment\.\n$", said.out)
    steps = json.loads((tmp_path / "runs" / "toy" / "cross.seed4.run.json").read_text())["training"]["steps"]
    assert 1 <= steps < PUBLISHED_STEPS


def test_both_encoders_train_on_the_same_groups_whatever_the_machine(ranker, dataset, tiny, tmp_path):
    assert reproduce(ranker, dataset, tiny, tmp_path).status == 0
    folder = tmp_path / "runs" / "toy"
    trained = [json.loads((folder / f"{arm}.seed4.run.json").read_text())["training"] for arm in ("dual", "cross")]
    assert [one["steps"] for one in trained] == [3, 3]
    assert trained[0]["groups"] == trained[1]["groups"]


def test_the_dual_encoder_reranks_by_the_vectors_that_it_searches(ranker, dataset, tiny, tmp_path):
    """As ``ranker rerank`` with the model that was written does."""
    assert reproduce(ranker, dataset, tiny, tmp_path).status == 0
    again, runs = tmp_path / "again.run", tmp_path / "runs" / "toy"
    words = ("--run", runs / "bm25.run", "--mode", "dual", "--model", tmp_path / "models" / "toy" / "dual.seed4")
    said = ranker("rerank", dataset, *words, "--depth", 5, "--precision", "float32", "-o", again)
    assert said.status == 0, said.err
    found, expected = read_run(runs / "dual.seed4.run"), read_run(again)
    for query_id, ranking in expected.items():
        assert found[query_id].doc_ids == ranking.doc_ids
        assert found[query_id].scores == pytest.approx(ranking.scores, abs=1e-5)


def test_every_reranking_arm_orders_the_same_candidates(ranker, dataset, tiny, tmp_path):
    assert reproduce(ranker, dataset, tiny, tmp_path).status == 0
    runs = {arm: read_run(tmp_path / "runs" / "toy" / f"{arm}.run") for arm in ARMS}
    for arm in ("dual-frozen-cls", "dual-frozen-mean", "dual.seed4", "cross.seed4"):
        for query_id, ranking in runs["bm25"].items():
            assert sorted(runs[arm][query_id].doc_ids) == sorted(ranking.doc_ids)


def test_what_it_wrote_before_is_kept_without_force(ranker, dataset, tiny, tmp_path):
    kept = tmp_path / "runs" / "toy" / "cross.seed4.run"
    kept.parent.mkdir(parents=True)
    kept.write_text("precious\n")
    said = reproduce(ranker, dataset, tiny, tmp_path)
    assert said.status == 1
    assert "cross.seed4.run" in said.err
    assert kept.read_text() == "precious\n"


def test_a_backbone_that_cannot_read_so_much_is_refused_before_anything_is_written(ranker, dataset, tiny, tmp_path):
    said = reproduce(ranker, dataset, tiny, tmp_path, "--length", 1_000)
    assert said.status == 1
    assert "1000" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--minutes-each", -1), "minutes_each is -1.0, expected 0, for no limit, or more."),
        (("--minutes-each", "nan"), "minutes_each is nan, expected 0, for no limit, or more."),
        (("--steps-each", 0), "steps_each is 0, expected 1 or more."),
        (("--length", 8), "query_length is 4, expected 8 to 8192 tokens."),
        (("--depth", 0), "depth is 0, expected 1 to 100000 passages."),
        (("--seed", -1), "seed is -1, expected 0 to 4294967295."),
    ],
)
def test_settings_under_which_nothing_would_come_of_it_are_refused_at_once(ranker, dataset, tmp_path, words, sentence):
    said = ranker("reproduce", "--dataset", dataset, "--output", tmp_path / "new", *words)
    assert (said.status, said.err) == (1, f"Error: {sentence}\n")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["qrels/toy.test.qrels", "models/toy/dual.seed4/config.json"])
def test_judgments_and_models_that_exist_are_kept_without_force(ranker, dataset, tiny, tmp_path, name):
    kept = tmp_path / name
    kept.parent.mkdir(parents=True)
    kept.write_text("precious")
    said = reproduce(ranker, dataset, tiny, tmp_path)
    assert said.status == 1
    assert "exists already" in said.err
    assert kept.read_text() == "precious"


def test_a_search_is_not_counted_in_pairs(ranker, dataset, tiny, tmp_path):
    assert reproduce(ranker, dataset, tiny, tmp_path).status == 0
    manifest = json.loads((tmp_path / "runs" / "toy" / "dual-faiss.seed4.run.json").read_text())
    assert manifest["pairs"] == 0
    assert "pairs_per_second" not in manifest
