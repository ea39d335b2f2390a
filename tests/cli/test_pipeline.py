"""The whole line as typed, on a real Lucene index, a real FAISS index and a tiny BERT; and what can go wrong on it."""

import json
import signal
import time

import numpy as np
import pytest
from forked import Forked

from ranker.data.trec import read_run
from ranker.model.loading import create_model
from ranker.settings.model import RankerConfig


def part_of(run, folder):
    """The part of a run that answers the test split."""
    path = folder / "part.run"
    wanted = {f"q{number}" for number in range(4, 40, 5)}
    path.write_text("".join(line for line in run.read_text().splitlines(keepends=True) if line.split()[0] in wanted))
    return path


def rerank_with(ranker, dataset, run, model, output, *more):
    return ranker("rerank", dataset, "--run", run, "--mode", "cross", "--model", model, "-o", output, *more)


@pytest.fixture(scope="module")
def cross(tiny, tmp_path_factory):
    """A stock classifier."""
    return tiny("bert", labels=1)


def test_from_passages_to_a_verdict(ranker, dataset, tiny, tmp_path):
    """One straight line, each step by its command."""
    bm25, dense = tmp_path / "bm25", tmp_path / "dense"
    assert ranker("index", dataset, "--output", bm25).status == 0
    assert ranker("retrieve", dataset, "--index", bm25, "--depth", 10, "-o", tmp_path / "bm25.run").status == 0
    for mode in ("cross", "dual"):
        trained = ranker(
            "train", dataset, "--mode", mode, "--model", tiny(), "-o", tmp_path / mode,
            "--epochs", 2, "--length", 40, "--query-length", 12, "--negatives", 2, "--precision", "float32",
        )  # fmt: skip
        assert trained.status == 0, trained.err
        reranked = ranker(
            "rerank", dataset, "--run", tmp_path / "bm25.run", "--mode", mode, "--model", tmp_path / mode,
            "--depth", 5, "-o", tmp_path / f"{mode}.run",
        )  # fmt: skip
        assert reranked.status == 0, reranked.err
    assert ranker("index", dataset, "--kind", "dense", "--model", tmp_path / "dual", "-o", dense).status == 0
    assert ranker("retrieve", dataset, "--index", dense, "-o", tmp_path / "faiss.run").status == 0
    runs = [tmp_path / f"{name}.run" for name in ("bm25", "dual", "faiss", "cross")]
    evaluated = ranker("evaluate", dataset, *runs)
    assert evaluated.status == 0
    assert [line.split()[0] for line in evaluated.out.splitlines()[:5]] == ["run", "bm25", "dual", "faiss", "cross"]
    assert ranker("compare", dataset, *runs, "--baseline", "bm25").status == 0


def test_every_run_has_a_manifest_that_says_how_it_came_to_be(ranker, dataset, first_run, cross, tmp_path):
    output = tmp_path / "cross.run"
    said = rerank_with(ranker, dataset, part_of(first_run, tmp_path), cross, output, "--fresh")
    manifest = json.loads((tmp_path / "cross.run.json").read_text())
    assert said.status == 0, said.err
    assert manifest["command"].startswith("ranker rerank ")
    assert manifest["model"]["mode"] == "cross"
    assert len(manifest["model"]["sha256"]) == len(manifest["dataset"]["collection"]) == 64
    assert (manifest["pairs"], manifest["pairs_cut"], manifest["queries_cut"]) == (40, 0, 0)
    assert manifest["pairs_per_second"] > 0
    assert 0 < manifest["padding"] < 0.5  # small batches are rounded up to what the CPU's products take
    assert manifest["precision"] in ("float32", "bf16")
    assert manifest["kernels"].endswith(manifest["precision"])
    assert manifest["versions"]["torch"]


@pytest.mark.parametrize("reading", [(), ("--pooling", "mean"), ("--pooling", "mean", "--length", 16)])
def test_what_faiss_finds_is_what_reranking_says(ranker, dataset, tiny, tmp_path, reading):
    dense, whole = tmp_path / "dense", tmp_path / "whole.run"
    words = ("--mode", "dual", "--model", tiny(), *reading, "--precision", "float32")
    ranker("index", dataset, "--kind", "dense", "--model", tiny(), *reading, "--precision", "float32", "-o", dense)
    ranker("retrieve", dataset, "--index", dense, "--precision", "float32", "-o", whole)
    again = ranker("rerank", dataset, "--run", whole, *words, "-o", tmp_path / "again.run")
    assert again.status == 0, again.err
    found, scored = read_run(whole), read_run(tmp_path / "again.run")
    assert len(found) == 8
    model = json.loads((tmp_path / "again.run.json").read_text())["model"]
    index = json.loads((tmp_path / "whole.run.json").read_text())["index"]
    assert (index["pooling"], index["length"]) == (model["pooling"], model["length"])
    assert [str(model[word.strip("-")]) for word in reading[::2]] == [str(value) for value in reading[1::2]]
    for query_id in found:
        by_id = dict(zip(scored[query_id].doc_ids, scored[query_id].scores.tolist(), strict=True))
        assert found[query_id].scores == pytest.approx([by_id[i] for i in found[query_id].doc_ids], abs=1e-5)
        assert found[query_id].doc_ids[0] == scored[query_id].doc_ids[0]


def test_an_index_remembers_its_settings(ranker, dataset, tmp_path):
    ranker("index", dataset, "--k1", 1.5, "--b", 0.8, "--language", "de", "-o", tmp_path / "index")
    ranker("retrieve", dataset, "--index", tmp_path / "index", "-o", tmp_path / "a.run")
    index = json.loads((tmp_path / "a.run.json").read_text())["index"]
    assert (index["k1"], index["b"], index["language"]) == (1.5, 0.8, "de")


def test_an_index_of_another_collection_is_refused_with_both_digests(ranker, dataset, tmp_path):
    other = tmp_path / "other"
    (other / "qrels").mkdir(parents=True)
    (other / "corpus.jsonl").write_text('{"_id": "d0", "title": "", "text": "something else"}\n')
    (other / "queries.jsonl").write_text('{"_id": "q0", "text": "what"}\n')
    (other / "qrels" / "test.tsv").write_text("q0\td0\t1\n")
    assert ranker("index", dataset, "-o", tmp_path / "index").status == 0
    said = ranker("retrieve", other, "--index", tmp_path / "index", "-o", tmp_path / "a.run")
    assert said.status == 1
    assert said.err.count("digest") == 2
    assert not (tmp_path / "a.run").exists()


def test_a_dense_index_is_searched_with_the_model_that_built_it(ranker, dataset, tiny, tmp_path):
    assert ranker("index", dataset, "--kind", "dense", "--model", tiny(), "-o", tmp_path / "index").status == 0
    words = ("retrieve", dataset, "--index", tmp_path / "index", "--model", tiny("electra"), "-o", tmp_path / "a.run")
    said = ranker(*words)
    assert said.status == 1
    assert "holds vectors of" in said.err


def test_an_index_is_searched_by_the_model_that_built_it_whatever_length_another_was_trained_to(
    ranker, dataset, tiny, tmp_path
):
    for length in (40, 30):
        config = RankerConfig("dual", query_length=16, length=length)
        create_model(config, str(tiny()), seed=1).save(tmp_path / f"{length}")
    index = tmp_path / "index"
    assert ranker("index", dataset, "--kind", "dense", "--model", tmp_path / "40", "-o", index).status == 0
    assert ranker("retrieve", dataset, "--index", index, "-o", tmp_path / "a.run").status == 0
    said = ranker("retrieve", dataset, "--index", index, "--model", tmp_path / "30", "-o", tmp_path / "b.run")
    assert said.status == 1
    assert said.err.startswith(f"Error: {index}: holds vectors of {tmp_path / '40'} with digest ")


def test_an_output_that_exists_is_kept_without_force(ranker, dataset, first_run, cross, tmp_path):
    output = tmp_path / "a.run"
    output.write_text("precious")
    words = (
        "rerank",
        dataset,
        "--run",
        part_of(first_run, tmp_path),
        "--mode",
        "cross",
        "--model",
        cross,
        "-o",
        output,
    )
    said = ranker(*words)
    assert said == (1, "", f"Error: {output}: exists already; give --force to replace it, or another --output.\n")
    assert output.read_text() == "precious"
    assert ranker(*words, "--force").status == 0
    assert output.read_text() != "precious"


@pytest.mark.parametrize("depth", ["0", "-3", "100001", "ten"])
def test_a_depth_outside_its_bounds_is_a_usage_error(ranker, dataset, first_run, cross, tmp_path, depth):
    said = rerank_with(ranker, dataset, first_run, cross, tmp_path / "a.run", "--depth", depth)
    assert said.status == 2
    assert "--depth" in said.err


def test_a_run_for_other_passages_is_refused(ranker, dataset, cross, tmp_path):
    (tmp_path / "other.run").write_text("q4 Q0 nowhere 1 1.0 x\n")
    said = rerank_with(ranker, dataset, tmp_path / "other.run", cross, tmp_path / "a.run")
    assert said.status == 1
    assert said.err == (
        "Error: run other: passage nowhere of query q4 is not in the collection; is it a run for another dataset?\n"
    )


def test_a_model_of_another_mode_is_refused(ranker, dataset, first_run, cross, tmp_path):
    words = ("--run", part_of(first_run, tmp_path), "--mode", "dual", "--model", cross)
    said = ranker("rerank", dataset, *words, "-o", tmp_path / "a.run")
    assert said.status == 1
    assert said.err == (
        f"Error: {cross}: is a model of mode 'cross', but --mode is 'dual'; train one, or name another.\n"
    )


def test_a_model_directory_with_an_unknown_key_is_refused(ranker, dataset, first_run, cross, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in cross.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "ranker.json").write_text('{"format": 1, "mode": "cross", "colour": "red"}')
    said = rerank_with(ranker, dataset, part_of(first_run, tmp_path), folder, tmp_path / "a.run")
    assert said.status == 1
    assert said.err.startswith(
        f"Error: {folder / 'ranker.json'}: has the unknown key 'colour'; allowed are format, mode,"
    )


@pytest.mark.parametrize("content", [None, "empty", "file"])
def test_a_dataset_that_is_none_is_one_sentence(ranker, tmp_path, content):
    path = tmp_path / "data"
    if content == "empty":
        path.mkdir()
    elif content == "file":
        path.write_text("text")
    said = ranker("index", path, "-o", tmp_path / "index")
    assert said.status == 1
    assert said.err.startswith(f"Error: {path}: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "index").exists()


def test_a_split_that_does_not_exist_is_named_with_those_that_do(ranker, dataset, tmp_path):
    ranker("index", dataset, "-o", tmp_path / "index")
    said = ranker("retrieve", dataset, "--index", tmp_path / "index", "--split", "eval", "-o", tmp_path / "a.run")
    assert said == (1, "", f"Error: {dataset}: has no split 'eval', expected one of dev, test, train.\n")


def test_import_makes_a_dataset_that_every_command_takes(ranker, tmp_path):
    article = {"title": "Nile", "paragraphs": [{"context": "The Nile lies in Egypt.", "qas": [
        {"id": "1", "question": "Where is the Nile?", "answers": [{"text": "Egypt", "answer_start": 17}]},
    ]}]}  # fmt: skip
    (tmp_path / "squad.json").write_text(json.dumps({"version": "1.1", "data": [article]}))
    said = ranker("import", "squad", tmp_path / "squad.json", "-o", tmp_path / "nile")
    assert said.status == 0, said.err
    assert ranker("index", tmp_path / "nile", "-o", tmp_path / "index").status == 0
    assert ranker("retrieve", tmp_path / "nile", "--index", tmp_path / "index", "-o", tmp_path / "a.run").status == 0
    assert read_run(tmp_path / "a.run")["1"].doc_ids == ("Nile/0",)


def test_an_unknown_format_names_those_there_are(ranker, tmp_path):
    said = ranker("import", "word", tmp_path / "x.doc", "-o", tmp_path / "a")
    assert said.status == 2
    assert "squad, msmarco, dpr, trec, trec-html" in said.err


def test_ctrl_c_leaves_nothing_half_written(dataset, cross, first_run, tmp_path):
    run, output = part_of(first_run, tmp_path), tmp_path / "out"
    code = (
        "import sys, time, ranker.scoring.scorer as s\n"
        "whole = s.Scorer.job\n"
        "def slow(*a):\n    sys.stderr.write('scoring\\n'); sys.stderr.flush(); time.sleep(60); return whole(*a)\n"
        "s.Scorer.job = slow\n"
        "from ranker.cli.main import main\n"
        f"sys.argv = ['ranker', 'rerank', {str(dataset)!r}, '--run', {str(run)!r}, '--mode', 'cross',"
        f" '--model', {str(cross)!r}, '-o', {str(output / 'a.run')!r}]\n"
        "main()\n"
    )
    process = Forked([], code)
    assert process.stderr.readline() == "scoring\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert said.strip() == "Error: stopped by Ctrl-C; nothing half-written was left behind."
    assert not output.exists() or list(output.iterdir()) == []


def test_training_twice_gives_the_same_model(ranker, dataset, first_run, tiny, tmp_path):
    words = (
        "train", dataset, "--mode", "cross", "--model", tiny(), "--run", first_run, "--length", 40,
        "--query-length", 12, "--negatives", 2, "--epochs", 1, "--precision", "float32",
    )  # fmt: skip
    assert ranker(*words, "-o", tmp_path / "a").status == 0
    assert ranker(*words, "-o", tmp_path / "b").status == 0
    first, second = (json.loads((tmp_path / name / "training.json").read_text()) for name in "ab")
    assert first["losses"] == second["losses"]
    assert np.isfinite(first["losses"]).all()
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()


def _trained_on_two_runs(ranker, dataset, model, runs, output):
    named = [word for run in runs for word in ("--run", run)]
    size = ("--length", "40", "--query-length", "12", "--max-steps", "1")
    return ranker("train", dataset, "--mode", "cross", "--model", model, *named, *size, "-o", output)


def test_two_runs_that_answer_a_query_differently_cannot_be_one(ranker, dataset, first_run, tiny, tmp_path):
    other = tmp_path / "other.run"
    first, *rest = first_run.read_text().splitlines(keepends=True)
    query_id, q0, doc_id, rank, score, name = first.split()
    other.write_text(" ".join([query_id, q0, doc_id, rank, f"{float(score) + 1:.4f}", name]) + "\n" + "".join(rest))
    said = _trained_on_two_runs(ranker, dataset, tiny(), (first_run, other), tmp_path / "a")
    assert said.status == 1
    assert f"{other}: answers query {query_id} otherwise than another run given" in said.err


def test_a_query_of_two_splits_may_stand_in_the_runs_of_both(ranker, dataset, first_run, tiny, tmp_path):
    assert _trained_on_two_runs(ranker, dataset, tiny(), (first_run, first_run), tmp_path / "a").status == 0


def test_a_full_disk_is_one_sentence_and_leaves_nothing(dataset, first_run, cross, tmp_path):
    """A limit on the size of files is what a full disk looks like to the writer."""
    output = tmp_path / "out" / "a.run"
    code = (
        "import resource, signal, sys\n"
        "from ranker.cli.main import main\n"
        "from ranker.data import trec\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        f"sys.argv = ['ranker', 'rerank', {str(dataset)!r}, '--run', {str(part_of(first_run, tmp_path))!r},"
        f" '--mode', 'cross', '--model', {str(cross)!r}, '-o', {str(output)!r}]\n"
        "main()\n"
    )
    process = Forked([], code)
    said = process.communicate()[1]
    assert process.returncode == 1
    assert said.startswith(f"Error: {output}: ")
    assert said.count("\n") == 1
    assert list(output.parent.iterdir()) == []


@pytest.mark.slow
def test_cacm_by_the_importer_is_within_0_005_of_what_anserini_publishes(ranker, shared_data, tmp_path):
    source = shared_data / "cacm"
    files = {"collection": "cacm.tar.gz", "topics": "topics.cacm.txt", "qrels": "qrels.cacm.txt"}
    sources = [f"{role}={source / name}" for role, name in files.items()]
    data, runs = tmp_path / "cacm", [tmp_path / "bm25.run", tmp_path / "rm3.run"]
    assert ranker("import", "trec-html", *sources, "--output", data).status == 0
    for run, more in zip(runs, ([], ["--rm3"]), strict=True):
        index = run.with_suffix(".index")
        assert ranker("index", data, *more, "--output", index).status == 0
        assert ranker("retrieve", data, "--index", index, "--depth", 1_000, "-o", run).status == 0
    said = ranker("evaluate", data, *runs, "-m", "AP", "-m", "P@30", "--format", "json")
    assert said.status == 0, said.err
    found = [entry["measures"] for entry in json.loads(said.out)["runs"]]
    for measured, published in zip(found, ((0.3123, 0.1942), (0.3648, 0.2224)), strict=True):
        assert [measured["AP"], measured["P@30"]] == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize("dev", ["validation", "dev"], ids=["no such split", "not in the run"])
def test_training_without_candidates_for_dev_says_that_the_last_weights_are_kept(
    ranker, dataset, first_run, tiny, tmp_path, dev
):
    train_only = tmp_path / "train.run"
    questions = {f"q{number}" for number in range(40) if number % 5 < 3}
    lines = [line for line in first_run.read_text().splitlines(keepends=True) if line.split()[0] in questions]
    train_only.write_text("".join(lines))
    said = ranker(
        "train", dataset, "--mode", "cross", "--model", tiny(), "--run", train_only, "--dev", dev, "--length", 40,
        "--query-length", 12, "--negatives", 2, "--precision", "float32", "-o", tmp_path / "cross",
    )  # fmt: skip
    assert said.status == 0, said.err
    assert f"no candidates for a split {dev!r}, so no validation: the last weights are kept." in said.err
    assert json.loads((tmp_path / "cross" / "training.json").read_text())["kept"] is None
