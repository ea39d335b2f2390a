"""``ranker train`` stops what learns nothing, and says what of a test it reads."""

import json
import shutil

import pytest

BLIND = ("--length", 12, "--query-length", 8, "--no-dropout", "--epochs", 100, "--leaks", "ignore")
"""A reading that has room for the first words of a passage alone."""


@pytest.fixture
def alike(dataset, tmp_path):
    """The same dataset, its passages with a long beginning that is the same in all."""
    folder = tmp_path / "alike"
    shutil.copytree(dataset, folder)
    corpus = folder / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace('"the ', '"by the river by the river by the river the '))
    return folder


@pytest.fixture
def train(ranker, dataset, first_run, tiny, tmp_path):
    def run(*more, data=dataset, found=first_run):
        return ranker(
            "train", data, "--mode", "cross", "--model", tiny(), "--run", found, "--length", 40,
            "--query-length", 12, "--negatives", 2, "--groups-per-step", 4, "--precision", "float32",
            "-o", tmp_path / "model", *more,
        )  # fmt: skip

    return run


@pytest.fixture
def leaking(dataset, tmp_path):
    """The same dataset, in which a question of test is one of train, and a passage that answers it another's copy."""
    folder = tmp_path / "leaking"
    shutil.copytree(dataset, folder)
    queries = {line["_id"]: line for line in map(json.loads, (folder / "queries.jsonl").read_text().splitlines())}
    train, test = (
        (folder / "qrels" / f"{split}.tsv").read_text().splitlines()[1].split("\t") for split in ("train", "test")
    )
    queries[train[0]]["text"] = queries[test[0]]["text"].upper()
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries.values()))
    return folder, train[0], test[0]


def record_of(tmp_path):
    return json.loads((tmp_path / "model" / "training.json").read_text())


def test_a_state_that_is_damaged_is_told_and_the_training_begins_anew(train, tmp_path):
    state = tmp_path / ".model.training"
    state.mkdir()
    (state / "state.json").write_text('{"asked": "cut in ha')
    said = train("--max-steps", 2)
    assert said.status == 0, said.err
    assert f"{state}: the state of a training in it is damaged, so the training begins anew." in said.err.splitlines()
    assert record_of(tmp_path)["steps"] == 2
    assert not state.exists()


def test_a_model_that_reads_no_word_of_its_passages_is_not_trained_to_the_end(train, alike, tmp_path):
    said = train(*BLIND, data=alike)
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith(
        "Error: step 20: for 20 steps the passages of a question have had scores within "
    )
    assert not (tmp_path / "model").exists()


def test_with_warn_it_is_trained_and_the_record_says_so(train, alike, tmp_path):
    said = train(*BLIND, "--max-steps", 30, "--watchdog", "warn", data=alike)
    assert said.status == 0
    assert record_of(tmp_path)["warnings"][0].startswith("step 20: for 20 steps")
    assert said.err.count("so nothing is learned") == 1


def test_with_off_nothing_is_said(train, alike, tmp_path):
    said = train(*BLIND, "--max-steps", 30, "--watchdog", "off", data=alike)
    assert said.status == 0
    assert record_of(tmp_path)["warnings"] == []
    assert "nothing is learned" not in said.err


def test_a_dual_encoder_that_collapses_is_stopped(train, tmp_path):
    said = train("--mode", "dual", "--learning-rate", 1, "--warmup", 0, "--clip", 1_000_000, "--epochs", 200)
    assert said.status == 1
    assert "the model has collapsed; try a smaller learning rate" in said.err.splitlines()[-1]
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_a_cross_encoder_that_learns_nothing_under_dropout_is_told_of(train, tmp_path):
    assert train("--learning-rate", 1, "--warmup", 0, "--weight-decay", 1, "--epochs", 80).status == 0
    assert "so passages are not told apart" in "".join(record_of(tmp_path)["warnings"])


def test_a_model_that_ranks_dev_worse_than_its_first_stage_is_told_of(train, first_run, tmp_path):
    turned = tmp_path / "turned.run"
    lines = [line.split() for line in first_run.read_text().splitlines()]
    # the passage that answers a query comes first
    lines.sort(key=lambda line: (line[0], line[0][1:] != line[2][1:]))
    turned.write_text("".join(f"{q} Q0 {d} 1 {-number} hand\n" for number, (q, _, d, *_) in enumerate(lines)))
    said = train("--max-steps", 1, "--leaks", "ignore", found=turned)
    assert said.status == 0
    assert "below the 1.0000 of the run that is reranked, so the model makes it worse" in said.err
    assert record_of(tmp_path)["warnings"] == [line for line in said.err.splitlines() if "makes it worse" in line]


@pytest.mark.parametrize("wish", ["warn", "drop"])
def test_a_question_of_test_in_the_training_is_told_of(train, leaking, tmp_path, wish):
    folder, ours, theirs = leaking
    said = train("--max-steps", 1, "--leaks", wish, data=folder)
    assert said.status == 0, said.err
    assert f"({ours} is leaking/test {theirs})" in said.err
    leaks = record_of(tmp_path)["leaks"]
    assert {"ours": ours, "theirs": f"leaking/test {theirs}", "similarity": 1.0, "exact": True} in (
        leaks["questions"]["examples"]
    )
    assert ("dropped" in record_of(tmp_path)) == (wish == "drop")


def test_with_drop_it_is_not_trained_on(train, leaking, tmp_path):
    folder, *_ = leaking
    groups = []
    for wish in ("ignore", "drop"):
        assert train("--epochs", 1, "--leaks", wish, "--force", data=folder).status == 0
        groups.append(record_of(tmp_path)["groups"])
    assert groups[1] < groups[0]


def test_where_drop_leaves_nothing_that_is_said(train, dataset, tmp_path):
    folder = tmp_path / "same"
    shutil.copytree(dataset, folder)
    shutil.copy(folder / "qrels" / "train.tsv", folder / "qrels" / "test.tsv")
    said = train("--leaks", "drop", data=folder)
    assert said.status == 1
    assert said.err.splitlines()[-1] == "Error: dataset same: --leaks drop leaves no question to train on."
    assert not (tmp_path / "model").exists()


def test_with_stop_nothing_is_trained(train, leaking, tmp_path):
    folder, ours, theirs = leaking
    said = train("--leaks", "stop", data=folder)
    assert said.status == 1
    assert said.err.startswith("Error: dataset leaking: holds in its training ")
    assert f"({ours} is leaking/test {theirs})" in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "model").exists()


def test_a_dataset_named_as_test_is_looked_into(train, dataset, leaking):
    folder, _, theirs = leaking
    said = train("--leaks", "stop", "--test", dataset, data=folder)
    assert said.status == 1
    assert theirs in said.err
    said = train("--leaks", "stop", "--test", "nowhere", data=folder)
    assert said.status == 1
    assert "nowhere" in said.err
