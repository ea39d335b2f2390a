"""A real Ray cluster of several processes: what workers give, and what becomes of a job when they die."""

import logging
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from ranker import __version__
from ranker.cluster import engine
from ranker.cluster.engine import Failure, Shard, joined
from ranker.errors import DataError, RankerError, SetupError
from ranker.limits import MAX_FAILED_SHARDS, SHARD_ATTEMPTS

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("sent_by_value")]


class Doubling:
    """Doubles what it is sent, after what the setup says: its name is a folder where each attempt leaves a file."""

    def __init__(self, setup):
        if setup == b"broken":
            raise DataError("no such data.")
        self._folder = Path(setup.decode())

    def __call__(self, payload):
        (self._folder / f"{payload.decode()}.{os.getpid()}.{time.monotonic_ns()}").touch()
        word = payload.decode().split("-")[0]
        if word == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "once" and len(list(self._folder.glob(f"{payload.decode()}.*"))) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "raises":
            raise ValueError(f"cannot do\n{payload.decode()}")
        if word == "refuses":
            raise DataError("is wrong.")
        time.sleep(0.3 if word == "slow" else 0)
        return payload * 2


def shards(*payloads):
    return [Shard(f"shard of {payload}", payload.encode()) for payload in payloads]


def done(cluster, folder, *payloads):
    return dict(cluster.map(Doubling, str(folder).encode(), shards(*payloads)))


def test_a_node_that_leaves_in_the_middle_costs_no_result(tmp_path):
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    leaving = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    payloads = [f"slow-{number}" for number in range(16)]
    try:
        with joined(nodes.address, 2, "cpu") as two_nodes:
            assert two_nodes.record() == {"workers": 2, "nodes": 2}
            found = {}
            for place, result in two_nodes.map(Doubling, str(tmp_path).encode(), shards(*payloads)):
                if len(found) == 4:
                    nodes.remove_node(leaving, allow_graceful=False)
                found[place] = result
    finally:
        nodes.shutdown()
    assert found == {place: payload.encode() * 2 for place, payload in enumerate(payloads)}


def test_a_cluster_that_does_not_answer_is_said_in_a_sentence():
    with (
        pytest.raises(SetupError, match=r"^--cluster auto: Could not find any running Ray instance\. .*\.$"),
        joined("auto", 0, "cpu"),
    ):
        pass


def test_a_cluster_without_a_gpu_is_refused_for_cuda():
    with (
        pytest.raises(
            SetupError, match=r"^--device cuda: the cluster local has no GPU; use --device cpu, or add a node"
        ),
        joined("local", 0, "cuda"),
    ):
        pass


def test_what_ray_says_of_a_dead_worker_is_not_on_stdout(tmp_path, capfd):
    # joined here, since pytest takes stdout back from what a fixture has made of it
    with joined("local", 1, "cpu") as own:
        done(own, tmp_path, "once-1")
        time.sleep(1)
    assert capfd.readouterr().out == ""


def test_more_workers_than_this_machine_has_cores_are_as_many_as_it_has():
    import ray

    with joined("local", 4_096, "cpu") as found:
        assert (found.cores, found.workers) == (1, ray.cluster_resources()["CPU"])


def test_every_shard_gives_its_result(cluster, tmp_path):
    payloads = [f"p-{number}" for number in range(20)]
    assert done(cluster, tmp_path, *payloads) == {place: payload.encode() * 2 for place, payload in enumerate(payloads)}


def test_several_processes_share_the_shards(cluster, tmp_path):
    done(cluster, tmp_path, *(f"slow-{number}" for number in range(20)))
    assert len({path.name.split(".")[1] for path in tmp_path.iterdir()}) == 2


def test_none_of_these_is_the_process_that_asks(cluster, tmp_path):
    done(cluster, tmp_path, "p")
    assert all(path.name.split(".")[1] != str(os.getpid()) for path in tmp_path.iterdir())


def test_no_shards_give_nothing(cluster, tmp_path):
    assert done(cluster, tmp_path) == {}


def test_a_shard_whose_worker_was_killed_is_done_by_another(cluster, tmp_path):
    payloads = ["p-1", "once-2", "p-3", "once-4"]
    assert done(cluster, tmp_path, *payloads) == {place: payload.encode() * 2 for place, payload in enumerate(payloads)}


def test_a_worker_that_is_killed_from_outside_costs_no_result(cluster, tmp_path):
    payloads = [f"slow-{number}" for number in range(12)]
    found = {}
    for place, result in cluster.map(Doubling, str(tmp_path).encode(), shards(*payloads)):
        if len(found) == 3:
            os.kill(int(max(tmp_path.iterdir(), key=os.path.getmtime).name.split(".")[1]), signal.SIGKILL)
        found[place] = result
    assert found == {place: payload.encode() * 2 for place, payload in enumerate(payloads)}


def test_a_shard_that_kills_each_worker_is_given_up_by_name_and_the_others_are_done(cluster, tmp_path):
    found = done(cluster, tmp_path, "p-1", "kills-2", "p-3")
    reason = f"was tried {SHARD_ATTEMPTS} times: its worker died each time"
    assert found == {0: b"p-1p-1", 1: Failure("shard of kills-2", reason, {}), 2: b"p-3p-3"}
    assert len(list(tmp_path.glob("kills*"))) == SHARD_ATTEMPTS


def test_an_error_is_tried_again_and_then_told_in_a_line(cluster, tmp_path):
    found = done(cluster, tmp_path, "raises-1", "p-2")
    reason = f"was tried {SHARD_ATTEMPTS} times: ValueError: cannot do raises-1"
    assert found == {0: Failure("shard of raises-1", reason, {}), 1: b"p-2p-2"}


def test_an_error_of_somebodys_input_is_told_at_once(cluster, tmp_path):
    found = done(cluster, tmp_path, "refuses-1", "p-2")
    assert found == {0: Failure("shard of refuses-1", "is wrong", {}), 1: b"p-2p-2"}
    assert len(list(tmp_path.glob("refuses*"))) == 1


def test_where_nothing_can_be_done_the_job_gives_up(cluster):
    payloads = [f"p-{number}" for number in range(30)]
    found = dict(cluster.map(Doubling, b"broken", shards(*payloads)))
    assert len(found) == MAX_FAILED_SHARDS
    assert {failure.reason for failure in found.values()} == {"no such data"}


def test_a_worker_that_cannot_begin_is_told_by_the_reason_alone(cluster, monkeypatch, caplog):
    elsewhere = ModuleType("elsewhere")
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    exec("class Missing:\n    pass", vars(elsewhere))  # a class of a module that no worker's process has
    frames = logging.getLogger("ray.data")  # which passes nothing on
    monkeypatch.setattr(frames, "handlers", [caplog.handler])
    said = r"^--cluster local: ModuleNotFoundError: No module named 'elsewhere'\.$"
    with pytest.raises(SetupError, match=said):
        list(cluster.map(elsewhere.Missing, b"", shards("p-1")))
    assert caplog.text == ""


def test_a_worker_is_asked_where_it_is(cluster):
    assert cluster.ask(os.getpid) != os.getpid()


def test_workers_of_another_version_are_refused(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "__version__", "0.0.1")
    reason = f"--cluster: a worker has ranker {__version__}, expected 0.0.1 as where the command is given"
    with pytest.raises(SetupError, match=f"^{re.escape(reason)}\\.$"):
        cluster.ask(os.getpid)
    assert done(cluster, tmp_path, "p-1") == {0: Failure("shard of p-1", reason, {})}
    assert not list(tmp_path.iterdir())


def refusing(error, sentence):
    raise error(sentence)


@pytest.mark.parametrize(
    ("error", "sentence", "said"),
    [
        (DataError, "data: is wrong.", "data: is wrong."),
        (ValueError, "no such thing\nas this", "--cluster local: no such thing."),
    ],
)
def test_what_a_worker_says_when_it_is_asked_is_said_without_its_traceback(cluster, error, sentence, said):
    with pytest.raises(RankerError) as caught:
        cluster.ask(refusing, error, sentence)
    assert str(caught.value) == said


def test_a_manifest_tells_the_workers_and_nodes(cluster):
    assert cluster.record() == {"workers": 2, "nodes": 1}
