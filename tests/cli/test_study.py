"""The study on a dataset of forty passages and a tiny BERT: what it writes, what it says, and how it goes on."""

import json
import re
import shutil
import sys
import time

import pytest
from forked import Forked
from safetensors.torch import load_file, save_file

from ranker.data.trec import read_run
from ranker.errors import DataError
from ranker.experiments.folder import read_facts
from ranker.files.digests import SEAL, sealed
from ranker.settings.model import MODES

PANEL = ("cross", "mult-int", "term-trans", "token-pool", "layer-mean", "layer-attention", "cedr-knrm")


def study(ranker, dataset, tiny, output, *more):
    return ranker(
        "study", dataset, "--model", tiny(), "--minutes-each", 0.005, "--depth", 5, "--negative-depth", 8,
        "--length", 40, "--query-length", 12, "--negatives", 2, "--groups-per-step", 4, "--precision", "float32",
        "--output", output, *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(dataset, first_run, tiny, tmp_path_factory):
    """A study of every mode under two seeds, made once."""
    from ranker.cli.main import main

    output = tmp_path_factory.mktemp("study") / "toy"
    part, test = output.with_name("first.run"), {f"q{number}" for number in range(4, 40, 5)}
    lines = first_run.read_text().splitlines(keepends=True)
    part.write_text("".join(line for line in lines if line.split()[0] in test))
    before = sys.argv
    sys.argv = [
        "ranker", "study", str(dataset), "--run", str(part), "--model", str(tiny()), "--minutes-each", "0.002",
        "--depth", "5", "--negative-depth", "8", "--length", "40", "--query-length", "12", "--negatives", "2",
        "--seed", "1", "--seed", "2", "--ablations", "--precision", "float32", "--output", str(output),
    ]  # fmt: skip
    try:
        main()
    finally:
        sys.argv = before
    return output


def test_every_arm_has_a_run_and_a_manifest_for_each_seed(finished):
    tuned = [*MODES, "dual-classification", "cross-no-markers", "cross-no-stopwords", "cross-random-stopwords"]
    frozen = [f"{mode}-frozen" for mode in MODES if mode != "dual"]
    names = {f"{arm}.seed{seed}" for arm in (*tuned, *frozen) for seed in (1, 2)}
    names |= {"bm25", "dual-frozen-cls", "dual-frozen-mean"}
    assert {path.name.removesuffix(".run.gz") for path in finished.glob("*.run.gz")} == names
    first = read_run(finished / "bm25.run.gz")
    for name in names:
        run = read_run(finished / f"{name}.run.gz")
        assert {q: sorted(r.doc_ids) for q, r in run.items()} == {q: sorted(r.doc_ids) for q, r in first.items()}
        assert json.loads((finished / f"{name}.run.gz.json").read_text())["command"].startswith("ranker study")


def test_all_frozen_arms_of_a_seed_saw_the_same_groups(finished):
    records = [json.loads((finished / f"{mode}-frozen.seed1.run.gz.json").read_text()) for mode in PANEL]
    assert len({(record["training"]["steps"], record["training"]["groups"]) for record in records}) == 1


def test_the_record_has_every_querys_value(finished):
    record = json.loads((finished / "study.json").read_text())
    queries = len(record["query_ids"])
    assert queries == 8
    for row in record["rows"].values():
        assert all(len(values) == queries for values in row["values"].values())
    assert set(record["rows"]["cross"]["seeds"]) == {"1", "2"}
    assert record["rows"]["oracle order"]["captured"] == pytest.approx(1.0)
    assert record["rows"]["bm25"]["captured"] == pytest.approx(0.0)
    # of so few words, two are more than a tenth
    assert [claim["key"] for claim in record["claims"] if claim["answer"] == "not tested"] == ["e'"]


def test_the_page_needs_nothing_else(finished):
    page = (finished / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", page)
    assert not re.findall(r"@import|url\((?!#)", page)
    assert page.count("<figure>") == 6
    assert not re.search(r"\$(title|summary|body|settings|values)", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_report_has_the_tables(finished):
    report = (finished / "report.md").read_text()
    for title in ("Quality", "Claims", "Against cross", "Costs", "Beside the published table"):
        assert f"## {title}\n" in report


def test_what_the_training_holds_of_the_test_is_said_and_stands_in_the_report(ranker, dataset, tiny, tmp_path):
    leaking = shutil.copytree(dataset, tmp_path / "leaking")
    question = (leaking / "qrels" / "train.tsv").read_text().splitlines(keepends=True)[1]
    with (leaking / "qrels" / "test.tsv").open("a") as test:
        test.write(question)
    said = study(ranker, leaking, tiny, tmp_path / "a", "--mode", "dual", "--tuning", "frozen", "--seed", 1)
    assert said.status == 0, said.err
    (sentence,) = [line for line in said.err.splitlines() if line.startswith("The training holds ")]
    query_id = question.split()[0]
    assert f"1 word for word ({query_id} is leaking {query_id})" in sentence
    assert f"- {sentence}\n" in (tmp_path / "a" / "report.md").read_text()


def test_a_study_goes_on_where_it_stopped(ranker, dataset, tiny, tmp_path):
    few = ("--mode", "cross", "--mode", "dual", "--seed", 3)
    assert study(ranker, dataset, tiny, tmp_path / "a", *few).status == 0
    kept = (tmp_path / "a" / "cross.seed3.run.gz").stat().st_mtime_ns
    (tmp_path / "a" / "dual.seed3.run.gz.json").unlink()
    said = study(ranker, dataset, tiny, tmp_path / "a", *few)
    assert said.status == 0, said.err
    assert "1 of 1: dual.seed3; 0 minutes left.\n" in said.err
    assert re.search(
        r"^dual\.seed3: \d+ steps? of training in 0 seconds; scoring 40 pairs of the test\.$", said.err, re.M
    )
    assert (tmp_path / "a" / "cross.seed3.run.gz").stat().st_mtime_ns == kept
    assert (tmp_path / "a" / "dual.seed3.run.gz.json").is_file()


def test_a_finished_study_only_reports_again(ranker, dataset, tiny, tmp_path):
    few = ("--mode", "knrm", "--tuning", "frozen", "--seed", 1)
    first = study(ranker, dataset, tiny, tmp_path / "a", *few)
    again = study(ranker, dataset, tiny, tmp_path / "a", *few)
    assert first.status == again.status == 0, first.err
    assert again.out == first.out
    assert "1 of " not in again.err


def test_a_study_of_something_else_in_the_same_folder_is_refused(ranker, dataset, tiny, tmp_path):
    few = ("--mode", "knrm", "--tuning", "frozen", "--seed", 1)
    assert study(ranker, dataset, tiny, tmp_path / "a", *few).status == 0
    said = study(ranker, dataset, tiny, tmp_path / "a", *few, "--depth", 4)
    assert said.status == 1
    assert said.err == (
        f"Error: {tmp_path / 'a'}: holds a study whose depth is 5, but now it is 4; name another --output.\n"
    )


def test_a_study_of_other_candidates_is_refused(ranker, dataset, first_run, tiny, tmp_path):
    few = ("--mode", "knrm", "--tuning", "frozen", "--seed", 1, "--train-run", first_run, "--run")
    assert study(ranker, dataset, tiny, tmp_path / "a", *few, first_run).status == 0
    lines = first_run.read_text().splitlines(keepends=True)
    (tmp_path / "shallow.run").write_text("".join(line for line in lines if int(line.split()[3]) <= 4))
    said = study(ranker, dataset, tiny, tmp_path / "a", *few, tmp_path / "shallow.run")
    assert said.status == 1
    assert said.err.startswith(f"Error: {tmp_path / 'a'}: holds a study whose candidates.test is '")


@pytest.mark.parametrize("option", ["--run", "--train-run"])
def test_a_run_of_other_queries_is_refused_before_anything_is_written(
    ranker, dataset, first_run, tiny, tmp_path, option
):
    lines = first_run.read_text().splitlines(keepends=True)
    (tmp_path / "other.run").write_text("".join(f"other-{line}" for line in lines))
    said = study(ranker, dataset, tiny, tmp_path / "a", option, tmp_path / "other.run")
    assert said.status == 1
    assert re.fullmatch(r"Error: run \w+: answers none of the split's \d+ queries; is it for another one\?\n", said.err)
    assert not list((tmp_path / "a").glob("*"))


def test_negatives_come_from_the_run_for_train(ranker, dataset, first_run, tiny, tmp_path):
    few = ("--mode", "knrm", "--tuning", "frozen", "--seed", 1, "--run", first_run, "--train-run", first_run)
    said = study(ranker, dataset, tiny, tmp_path / "a", *few)
    assert said.status == 0, said.err
    lines = [line for line in first_run.read_text().splitlines(keepends=True) if line.split()[0] == "q0"]
    (tmp_path / "one.run").write_text("".join(lines))
    other = study(ranker, dataset, tiny, tmp_path / "b", *few[:-1], tmp_path / "one.run")
    digests = [json.loads((tmp_path / name / "study.settings.json").read_text())["candidates"] for name in ("a", "b")]
    assert other.status == 0, other.err
    assert digests[0]["train"] != digests[1]["train"]
    assert digests[0]["test"] == digests[1]["test"]


TRAINED = ("--mode", "cross", "--mode", "knrm", "--seed", 1, "--steps-each", 3)


@pytest.fixture
def shelf(ranker, dataset, tiny, tmp_path):
    """A folder of four models that a study in folder ``a`` trained."""
    models = tmp_path / "models"
    said = study(ranker, dataset, tiny, tmp_path / "a", *TRAINED, "--models", models)
    assert said.status == 0, said.err
    return models


def runs_of(folder):
    return {path.name: read_run(path).rankings for path in folder.glob("*.run.gz")}


def test_another_study_takes_the_models_that_one_trained(ranker, dataset, tiny, shelf, tmp_path):
    assert {path.name for path in shelf.iterdir()} == {
        f"{arm}.seed1" for arm in ("cross", "cross-frozen", "knrm", "knrm-frozen")
    }
    before = {path: path.stat().st_mtime_ns for path in shelf.rglob("*")}
    said = study(ranker, dataset, tiny, tmp_path / "b", *TRAINED, "--models", shelf)
    assert said.status == 0, said.err
    assert before == {path: path.stat().st_mtime_ns for path in shelf.rglob("*")}
    assert runs_of(tmp_path / "a") == runs_of(tmp_path / "b")
    one, other = (
        json.loads((tmp_path / name / "cross.seed1.run.gz.json").read_text())["training"] for name in ("a", "b")
    )
    assert one == other
    assert len(one["losses"]) == 3


def word_embeddings(folder):
    [found] = [weight for name, weight in load_file(folder / "model.safetensors").items() if "word_embeddings" in name]
    return found


def test_a_head_on_word_embeddings_learns_them_where_other_arms_keep_theirs(ranker, dataset, tiny, tmp_path):
    models, kept = tmp_path / "models", ("--tuning", "fine-tuned", "--frozen-layers", 1)
    said = study(ranker, dataset, tiny, tmp_path / "a", *TRAINED, *kept, "--models", models)
    assert said.status == 0, said.err
    first = word_embeddings(tiny())
    assert word_embeddings(models / "cross.seed1").equal(first)
    assert not word_embeddings(models / "knrm.seed1").equal(first)


def test_models_serve_a_test_set_of_other_depth(ranker, dataset, tiny, shelf, tmp_path):
    said = study(ranker, dataset, tiny, tmp_path / "b", *TRAINED, "--models", shelf, "--depth", 4)
    assert said.status == 0, said.err
    assert json.loads((tmp_path / "b" / "cross.seed1.run.gz.json").read_text())["depth"] == 4
    assert runs_of(tmp_path / "a") != runs_of(tmp_path / "b")


def test_models_that_were_trained_otherwise_are_refused(ranker, dataset, tiny, shelf, tmp_path):
    said = study(ranker, dataset, tiny, tmp_path / "b", *TRAINED, "--models", shelf, "--length", 36)
    assert said.status == 1
    assert said.err.splitlines()[-1] == (
        f"Error: {shelf / 'cross-frozen.seed1'}: was trained when length was 40, but now it is 36; name other --models."
    )
    assert not (tmp_path / "b" / "cross.seed1.run.gz").exists()


def test_models_whose_weights_changed_are_refused(ranker, dataset, tiny, shelf, tmp_path):
    path = shelf / "cross.seed1" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"] = weights["classifier.bias"] + 1
    save_file(weights, path)
    said = study(ranker, dataset, tiny, tmp_path / "b", *TRAINED, "--models", shelf)
    assert said.status == 1
    assert said.err.splitlines()[-1] == (
        f"Error: {shelf / 'cross.seed1'}: has other weights than those that were trained; remove it to train again."
    )


def test_models_without_a_whole_record_are_refused(ranker, dataset, tiny, shelf, tmp_path):
    path = shelf / "cross.seed1" / "training.json"
    record = json.loads(path.read_text())
    changed = {**record, "trained": {**record["trained"], "steps": None}}
    of_before = {key: value for key, value in changed.items() if key != SEAL}
    for written, reason in (
        (changed, f"is damaged; remove {path.parent} to train again."),
        (of_before, f"does not say how the training went; remove {path.parent}."),
    ):
        path.write_text(json.dumps(written))
        said = study(ranker, dataset, tiny, tmp_path / "b", *TRAINED, "--models", shelf)
        assert said.status == 1
        assert said.err.splitlines()[-1] == f"Error: {path}: {reason}"


@pytest.mark.slow
def test_a_study_killed_while_it_trains_ends_as_if_it_had_not_been(ranker, dataset, tiny, tmp_path):
    words = ("--mode", "cross", "--tuning", "fine-tuned", "--seed", 1, "--steps-each", 120, "--checkpoint-minutes", 0)
    backbone = ("--model", str(tiny()))
    assert study(ranker, dataset, tiny, tmp_path / "whole", *words, *backbone).status == 0
    command = [
        "study", str(dataset), "--depth", "5", "--negative-depth", "8",
        "--length", "40", "--query-length", "12", "--negatives", "2", "--groups-per-step", "4", "--precision",
        "float32", "--output", str(tmp_path / "cut"), *map(str, words), *backbone,
    ]  # fmt: skip
    state = tmp_path / "cut" / ".cross.seed1.training" / "state.json"
    process = Forked(command)
    while not state.is_file() and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    process.wait()
    left = len(json.loads(state.read_text())["facts"]["losses"])
    assert 0 < left < 120
    assert study(ranker, dataset, tiny, tmp_path / "cut", *words, *backbone).status == 0
    whole, cut = (
        json.loads((tmp_path / name / "cross.seed1.run.gz.json").read_text())["training"]["losses"]
        for name in ("whole", "cut")
    )
    assert cut == whole
    assert runs_of(tmp_path / "cut") == runs_of(tmp_path / "whole")
    assert not state.parent.exists()


def test_a_budget_in_steps_is_kept_by_every_arm_and_makes_the_same_runs_again(ranker, dataset, tiny, tmp_path):
    few = ("--mode", "cross", "--mode", "token-pool", "--seed", 1, "--steps-each", 3)
    for name in ("a", "b"):
        assert study(ranker, dataset, tiny, tmp_path / name, *few).status == 0
    for arm in ("cross", "cross-frozen", "token-pool", "token-pool-frozen"):
        one, other = (tmp_path / name / f"{arm}.seed1.run.gz" for name in ("a", "b"))
        assert json.loads(one.with_name(one.name + ".json").read_text())["training"]["steps"] == 3
        assert read_run(one).rankings == read_run(other).rankings


def test_one_more_seed_joins_a_finished_study(ranker, dataset, tiny, tmp_path):
    few = ("--mode", "knrm", "--tuning", "frozen")
    assert study(ranker, dataset, tiny, tmp_path / "a", *few, "--seed", 1).status == 0
    said = study(ranker, dataset, tiny, tmp_path / "a", *few, "--seed", 1, "--seed", 2)
    assert said.status == 0, said.err
    assert "1 of 1: knrm-frozen.seed2; 0 minutes left.\n" in said.err
    assert set(json.loads((tmp_path / "a" / "study.json").read_text())["rows"]["knrm-frozen"]["seeds"]) == {"1", "2"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--seed", 1, "--seed", 1), "seeds of the study are 1, 1; expected each once, and at least one."),
        (("--minutes-each", 0), "minutes_each and steps_each are 0, expected one of them"),
        (("--split", "validation"), "has no split 'validation'"),
        (("--measure", "goodness"), "goodness"),
    ],
)
def test_what_no_study_can_be_made_of_is_one_sentence(ranker, dataset, tiny, tmp_path, words, sentence):
    said = study(ranker, dataset, tiny, tmp_path / "a", *words)
    assert said.status == 1
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "a").exists()


FEW = ("--mode", "dual", "--mode", "knrm", "--seed", 1)


def test_every_arm_reads_as_many_tokens(finished):
    output = finished
    read = {
        path.name: json.loads(path.read_text())["model"]["length"]
        for path in output.glob("*.run.gz.json")
        if not path.name.startswith("bm25")
    }
    assert {"dual-frozen-cls.run.gz.json", "dual-frozen-mean.run.gz.json"} < read.keys()
    assert set(read.values()) == {40}


def test_a_measure_may_go_by_another_of_its_names(ranker, dataset, tiny, tmp_path):
    said = study(ranker, dataset, tiny, tmp_path / "a", *FEW, "--measure", "MRR@10", "--tuning", "frozen")
    assert said.status == 0, said.err
    assert json.loads((tmp_path / "a" / "study.json").read_text())["headline"] == "RR@10"


@pytest.mark.parametrize("how", ["swapped", "damaged"])
def test_a_run_that_is_not_its_manifests_is_refused_before_anything_is_trained(ranker, dataset, tiny, tmp_path, how):
    output = tmp_path / "a"
    assert study(ranker, dataset, tiny, output, *FEW, "--tuning", "frozen").status == 0
    run = output / "knrm-frozen.seed1.run.gz"
    other = (output / "dual-frozen-cls.run.gz").read_bytes()
    run.write_bytes(other if how == "swapped" else run.read_bytes()[:-20])
    said = study(ranker, dataset, tiny, output, *FEW, "--seed", 2, "--tuning", "frozen")
    assert said.status == 1
    assert said.err.splitlines()[-1].startswith(f"Error: {run}: ")
    assert not (output / "knrm-frozen.seed2.run.gz").exists()


def test_a_run_that_was_taken_away_is_made_again(ranker, dataset, tiny, tmp_path):
    words = (*FEW, "--tuning", "frozen", "--steps-each", 3)
    assert study(ranker, dataset, tiny, tmp_path / "a", *words).status == 0
    before = runs_of(tmp_path / "a")
    (tmp_path / "a" / "knrm-frozen.seed1.run.gz").unlink()
    (tmp_path / "a" / "bm25.run.gz").write_bytes(b"damaged")
    said = study(ranker, dataset, tiny, tmp_path / "a", *words)
    assert said.status == 0, said.err
    assert "1 of 1: knrm-frozen.seed1" in said.err
    assert runs_of(tmp_path / "a") == before


@pytest.mark.parametrize("place", ["depth", "arm", "milliseconds_per_query", "pairs"])
def test_a_bit_that_flipped_in_the_manifest_of_an_arm_is_found(finished, tmp_path, place):
    for name in ("cross.seed1.run.gz", "cross.seed1.run.gz.json"):
        shutil.copy(finished / name, tmp_path)
    path = tmp_path / "cross.seed1.run.gz"
    assert read_facts(path)["seed"] == 1
    manifest = path.with_name(f"{path.name}.json")
    record = json.loads(manifest.read_text())
    value = record[place]
    record[place] = {**value, "name": "crosr"} if isinstance(value, dict) else value + 1
    manifest.write_text(json.dumps(record))
    with pytest.raises(DataError) as error:
        read_facts(path)
    assert str(error.value) == f"{path}: its manifest is damaged; remove both, and give the study again."
    del record[SEAL]
    manifest.write_text(json.dumps(record))
    read_facts(path)  # as of before manifests were sealed


def test_settings_of_a_study_that_are_damaged_are_not_called_other_settings(ranker, dataset, tiny, tmp_path):
    path = tmp_path / "a" / "study.settings.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**sealed({"depth": 5}), "depth": 4}))
    said = study(ranker, dataset, tiny, path.parent, *FEW)
    assert (said.status, said.err) == (
        1,
        f"Error: {path}: is damaged; remove it to go on with this study, or name another --output.\n",
    )


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_that_can_be_no_folder_is_one_sentence(ranker, dataset, tiny, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    said = study(ranker, dataset, tiny, tmp_path / place, *FEW)
    assert said.status == 1
    assert said.err.startswith(f"Error: {tmp_path / place}")
    assert said.err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_a_changed_setting_is_named_with_both_values(ranker, dataset, tiny, tmp_path):
    words = (*FEW, "--tuning", "frozen")
    assert study(ranker, dataset, tiny, tmp_path / "a", *words).status == 0
    said = study(ranker, dataset, tiny, tmp_path / "a", *words, "--learning-rate", "0.5")
    assert said.err == (
        f"Error: {tmp_path / 'a'}: holds a study whose training.learning_rate is 5e-05, but now it is 0.5; "
        "name another --output.\n"
    )


def test_no_arms_weights_are_chosen_by_dev(finished, ranker):
    output = finished
    manifests = (json.loads(path.read_text()) for path in output.glob("*.seed1.run.gz.json"))
    assert {(len(one["training"]["validations"]), one["training"]["kept"]) for one in manifests} == {(0, None)}
    assert "--validations" not in ranker("study", "--help").out


def test_heads_on_one_frozen_backbone_hold_it_once(tiny):
    from ranker.experiments.arms import Job, StudyConfig, arms_of
    from ranker.experiments.run import _create_models
    from ranker.settings.training import TrainingConfig

    steps = TrainingConfig(max_steps=1, validations=0)
    reading = {"backbone": str(tiny()), "length": 40, "query_length": 12}
    config = StudyConfig(("cross", "mult-int", "token-pool"), training=steps, **reading)
    arms = tuple(arm for arm in arms_of(config) if arm.shares_backbone)
    cross, *others = _create_models(Job(arms, 1), config, 1)
    for model in others:
        mine, theirs = (dict(one.encoder.backbone.named_parameters()) for one in (cross, model))
        shared = {name for name in theirs if mine[name].data_ptr() == theirs[name].data_ptr()}
        assert shared == {name for name in theirs if not name.startswith("pooler.")}
