"""Flags of ``train``, ``rerank``, ``index``, ``retrieve`` and ``reproduce``, and bad input in one sentence."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ranker.data.trec import read_run

COMMANDS = {
    "rerank": {"--run": "a.run", "--mode": "cross", "--model": "m", "--output": "o"},
    "train": {"--mode": "cross", "--output": "o"},
    "index": {"--output": "o"},
    "retrieve": {"--index": "i", "--output": "o"},
}


@pytest.fixture(scope="module")
def classifier(tiny):
    return tiny("bert", labels=1)


@pytest.fixture(scope="module")
def encoder(tiny):
    return tiny()


@pytest.fixture
def rerank(ranker, dataset, classifier, run_of_test, tmp_path):
    """Reranks the run for test, with a stock classifier if no model is given; the last of two equal options counts."""

    def call(*more):
        model = () if "--model" in more else ("--model", classifier)
        return ranker(
            "rerank", dataset, "--run", run_of_test, "--mode", "cross", *model, "--precision",
            "float32", "-o", tmp_path / "out" / "a.run", *more,
        )  # fmt: skip

    return call


@pytest.fixture
def train(ranker, dataset, encoder, first_run, tmp_path):
    """Trains on the run by hand, or on one that is named."""

    def call(*more):
        run = () if "--run" in more else ("--run", first_run)
        words = ("--mode", "cross", "--model", encoder, *run, "--length", 40, "--query-length", 12, "--negatives", 2)
        return ranker("train", dataset, *words, "--precision", "float32", "-o", tmp_path / "out", *more)

    return call


def refused(said, folder):
    """The one sentence of a command that wrote nothing."""
    assert (said.status, said.out, said.err.count("\n")) == (1, "", 1)
    assert said.err.startswith("Error: ")
    assert not (folder / "out").exists()
    return said.err.removeprefix("Error: ").rstrip()


@pytest.mark.parametrize(("command", "option"), [(name, option) for name, own in COMMANDS.items() for option in own])
def test_an_option_that_is_needed_is_asked_for_by_name(ranker, dataset, command, option):
    others = [word for name, value in COMMANDS[command].items() if name != option for word in (name, value)]
    said = ranker(command, dataset, *others)
    assert said.status == 2
    assert option in said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dataset_is_asked_for_by_name(ranker, command):
    said = ranker(command, *(word for pair in COMMANDS[command].items() for word in pair))
    assert said.status == 2
    assert "Missing argument 'DATASET'" in said.err


@pytest.mark.parametrize(
    ("command", "option", "allowed"),
    [
        ("rerank", "--mode", "layer-attention"), ("rerank", "--precision", "bf16"), ("rerank", "--device", "cuda"),
        ("rerank", "--similarity", "dot"), ("train", "--loss", "contrastive"), ("train", "--stopwords", "random"),
        ("train", "--similarity", "dot"), ("index", "--kind", "dense"), ("index", "--language", "zh"),
    ],
)  # fmt: skip
def test_a_choice_that_there_is_not_is_answered_with_those_there_are(ranker, dataset, command, option, allowed):
    said = ranker(command, dataset, *(word for pair in COMMANDS[command].items() for word in pair), option, "nonsense")
    assert said.status == 2
    assert option in said.err
    assert f"'{allowed}'" in said.err


def test_reranking_twice_writes_the_same_bytes(rerank, tmp_path):
    assert rerank().status == 0
    assert rerank("-o", tmp_path / "out" / "b" / "a.run").status == 0
    assert (tmp_path / "out" / "a.run").read_bytes() == (tmp_path / "out" / "b" / "a.run").read_bytes()


def test_what_is_computed_at_once_changes_no_score(rerank, tmp_path):
    for tokens in (1, 5_000):
        assert rerank("--tokens-per-batch", tokens, "-o", tmp_path / f"{tokens}.run").status == 0
    one, all_ = read_run(tmp_path / "1.run"), read_run(tmp_path / "5000.run")
    for query_id, ranking in one.items():
        assert ranking.doc_ids == all_[query_id].doc_ids
        assert ranking.scores == pytest.approx(all_[query_id].scores, abs=1e-5)


def test_below_the_depth_a_run_stays_as_it_was(rerank, run_of_test, tmp_path):
    assert rerank("--depth", 2).status == 0
    before, after = read_run(run_of_test), read_run(tmp_path / "out" / "a.run")
    assert list(before) == list(after)
    for query_id, ranking in before.items():
        assert after[query_id].doc_ids[2:] == ranking.doc_ids[2:]
        assert sorted(after[query_id].doc_ids[:2]) == sorted(ranking.doc_ids[:2])
    assert json.loads((tmp_path / "out" / "a.run.json").read_text())["pairs"] == 2 * len(before)


@pytest.mark.parametrize("line", ["q4 Q0 d20 1 1.0\n", "q4 Q0 d20 1 high x\n", "q4 Q0 d20 1 nan x\n", "\xff\n"])
def test_a_run_that_is_none_is_refused_at_its_line(rerank, tmp_path, line):
    (tmp_path / "bad.run").write_bytes(b"q4 Q0 d21 1 2.0 x\n" + line.encode("latin-1"))
    assert refused(rerank("--run", tmp_path / "bad.run"), tmp_path).startswith(f"{tmp_path / 'bad.run'}:2: ")


def test_a_run_that_is_not_there_is_refused(rerank, tmp_path):
    assert refused(rerank("--run", tmp_path / "none.run"), tmp_path).startswith(f"{tmp_path / 'none.run'}: ")


def test_a_run_of_another_split_is_refused(rerank, first_run, tmp_path):
    unknown = "query {} is not in the dataset's split; is it a run for another one?"
    assert refused(rerank("--run", first_run), tmp_path) == f"run {first_run.stem}: {unknown.format('q0')}"
    assert refused(rerank("--split", "dev"), tmp_path) == f"run test: {unknown.format('q4')}"


def test_a_model_that_is_not_there_is_refused(rerank, tmp_path):
    expected = f"{tmp_path / 'none'}: is no model; expected a model directory, a hub name or 'offline'."
    assert refused(rerank("--model", tmp_path / "none"), tmp_path) == expected


def test_a_model_whose_weights_are_no_numbers_writes_no_run(rerank, classifier, tmp_path):
    folder = shutil.copytree(classifier, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"].fill_(torch.nan)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    expected = "its weights classifier.bias are not all finite numbers; no score can come of them."
    assert refused(rerank("--model", folder), tmp_path) == f"{folder}: {expected}"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(rerank, train, tmp_path):
    start = "--device cuda: torch finds no CUDA device here; "
    assert refused(rerank("--device", "cuda"), tmp_path).startswith(start)
    assert refused(train("--device", "cuda"), tmp_path).startswith(start)


def test_flags_of_a_training_are_what_it_does(train, encoder, tmp_path):
    said = train(
        "--mode", "layer-mean", "--epochs", 50, "--max-steps", 3, "--groups-per-step", 5, "--validations", 0,
        "--frozen", "--no-markers", "--stopwords", "drop", "--head-learning-rate", 0.01,
    )  # fmt: skip
    assert said.status == 0, said.err
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert (record["steps"], record["groups"], record["validations"], record["kept"]) == (3, 15, [], None)
    assert record["training"]["head_learning_rate"] == 0.01
    model = json.loads((tmp_path / "out" / "ranker.json").read_text())
    assert (model["frozen"], model["markers"], model["stopwords"]) == (True, False, "drop")
    before, after = (load_file(folder / "model.safetensors") for folder in (encoder, tmp_path / "out"))
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert np.isfinite(record["losses"]).all()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--split", "none"), "has no split 'none', expected one of dev, test, train."),
        (("--run", "no.run"), "no.run: "),
        (("--length", 65), "length is 65, but the backbone reads at most 64 tokens."),
        (("--mode", "dual", "--frozen"), "mode 'dual' frozen has nothing to learn, since its head has no weights"),
        (("--query-length", 39), "query_length is 39 and length 40, expected a query_length of 4 to 36"),
        (("--model", "./none"), "./none: is no model; expected a model directory"),
        (("--clip", 0), "clip is 0.0, expected 1e-06 to 1000000.0."),
    ],
)
def test_what_cannot_be_trained_is_one_sentence_and_leaves_nothing(train, tmp_path, words, sentence):
    assert sentence in refused(train(*words), tmp_path)


def test_a_dense_index_asks_for_its_model(ranker, dataset, tmp_path):
    said = ranker("index", dataset, "--kind", "dense", "-o", tmp_path / "out")
    assert said.status == 2
    assert "--kind dense needs --model, the model that reads the passages." in said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--nprobe", 0), "nprobe is 0, expected 1 to 1048576."),
        (("--ef-search", -1), "ef_search is -1, expected 1 to 1048576."),
        (("--recall-at", -1), "recall_at is -1, expected 0 (not measured) to 100000."),
        (("--tokens-per-batch", -5), "tokens_per_batch is -5, expected 0 or more."),
    ],
)
def test_a_dense_index_that_cannot_be_is_one_sentence(ranker, dataset, encoder, tmp_path, words, sentence):
    said = ranker("index", dataset, "--kind", "dense", "--model", encoder, "-o", tmp_path / "out", *words)
    assert refused(said, tmp_path) == sentence


def test_a_model_that_reads_together_makes_no_index(ranker, dataset, classifier, tmp_path):
    said = ranker("index", dataset, "--kind", "dense", "--model", classifier, "-o", tmp_path / "out")
    assert "is a model of mode 'cross', but --mode is 'dual'" in refused(said, tmp_path)


@pytest.mark.parametrize(("option", "value"), [("--k1", -1), ("--b", 1.5), ("--k1", "nan")])
def test_a_bm25_index_that_cannot_be_is_one_sentence(ranker, dataset, tmp_path, option, value):
    sentence = refused(ranker("index", dataset, option, value, "-o", tmp_path / "out"), tmp_path)
    assert sentence.startswith(f"{option[2:]} is ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no index; build one with ranker index."),
        ("", "has no manifest.json, so it is no index, or its building was stopped; run ranker index again."),
        ("{", "manifest.json: cannot be read as JSON: "),
        ("[]", "manifest.json: is a JSON list, expected an object."),
        ('{"format": 9}', "manifest.json: has format 9, expected 2; build it again."),
        ('{"format": 1, "kind": "bm25"}', "manifest.json: has format 1, expected 2; build it again."),
        ('{"format": 2, "kind": "bm25"}', "manifest.json: lacks the key 'collection'; build the index again."),
    ],
)
def test_a_folder_that_is_no_index_is_one_sentence(ranker, dataset, tmp_path, content, sentence):
    index = tmp_path / "index"
    if content is not None:
        index.mkdir()
    if content:
        (index / "manifest.json").write_text(content)
    said = refused(ranker("retrieve", dataset, "--index", index, "-o", tmp_path / "out" / "a.run"), tmp_path)
    assert said.startswith(str(index))
    assert sentence in said


@pytest.mark.parametrize("words", [("--dataset", "no-such"), ("--model", "./none"), ("--length", 65)])
def test_a_job_that_cannot_be_done_is_refused_before_it_begins(ranker, dataset, encoder, tmp_path, words):
    start = ("reproduce", "--dataset", dataset, "--model", encoder, "--minutes-each", 0.01, "-o", tmp_path / "out")
    assert str(words[1]) in refused(ranker(*start, "--length", 40, *words), tmp_path)
