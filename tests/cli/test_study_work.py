"""A study as it is sent to those who do a part of it, and a worker of it, without a cluster: in this process."""

import json
import re
import shutil
from dataclasses import asdict, replace

import pytest

from ranker.data.trec import read_run
from ranker.errors import DataError, SetupError
from ranker.experiments.arms import StudyConfig
from ranker.experiments.study import Study, StudyRequest, StudyWorker
from ranker.settings.compute import Compute
from ranker.settings.fields import from_json
from ranker.settings.training import TrainingConfig


@pytest.fixture
def request_of(dataset, run_of_test, first_run, tiny, tmp_path, monkeypatch):
    """A study whose places are all named from the folder that it is begun in."""
    shutil.copytree(dataset, tmp_path / "toy")
    shutil.copy(first_run, tmp_path / "first.run")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    training = TrainingConfig(validations=0, max_steps=2, max_minutes=0, groups_per_step=2, negatives=2)
    config = StudyConfig(
        ("cross",), (1, 2), ("fine-tuned",), backbone=str(tiny()), depth=5, negative_depth=8, length=40,
        query_length=12, training=training,
    )  # fmt: skip
    compute = Compute("float32", "cpu")
    return StudyRequest(
        "toy",
        "test",
        "out",
        config,
        compute,
        run_of_test.name,
        None,
        ("first.run",),
        None,
        5.0,
        command="ranker study toy",
    )


def sent(request, **changed):
    """What a worker is sent."""
    request = replace(request.absolute(), **changed)
    return json.dumps({"request": asdict(request), "settings": Study(request).settings}).encode()


def test_a_request_comes_back_as_it_was_sent(request_of):
    for request in (request_of, replace(request_of, run=None, train="other", models="kept", train_runs=())):
        assert from_json(StudyRequest, json.loads(json.dumps(asdict(request)))) == request


def test_a_worker_works_in_the_folder_of_the_study_wherever_it_was_started(request_of, tmp_path, monkeypatch):
    payload = sent(request_of)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (said,) = json.loads(StudyWorker(payload)(b"1"))
    assert re.fullmatch(r"cross\.seed2: \d+ steps? of training in \d+ seconds?; scoring 40 pairs of the test\.", said)
    assert len(read_run(tmp_path / "out" / "cross.seed2.run.gz")) == 8
    assert not (tmp_path / "out" / "cross.seed1.run.gz").exists()
    told = json.loads((tmp_path / "out" / "cross.seed2.run.gz.json").read_text())
    assert told["command"] == "ranker study toy"


def test_a_worker_that_does_not_see_the_folder_says_so(request_of, tmp_path):
    refused = f"^a worker has no folder {tmp_path}/none; a study on a cluster needs one that all its nodes see\\.$"
    with pytest.raises(SetupError, match=refused):
        StudyWorker(sent(request_of, output=str(tmp_path / "none")))


def test_a_worker_that_sees_other_data_refuses_with_both_digests(request_of, tmp_path):
    payload = sent(request_of)
    with (tmp_path / "toy" / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "new", "title": "", "text": "a new one"}\n')
    begun = json.loads(payload)["settings"]["dataset"]["collection"]
    refused = (
        f"^a worker sees dataset.collection '[0-9a-f.]+', expected '{begun[:12]}[0-9a-f.]+' as where the study was"
    )
    with pytest.raises(DataError, match=refused):
        StudyWorker(payload)
