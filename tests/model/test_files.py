"""A model that is named but not there is refused at once, with or without a network; a hub of our own answers."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from ranker.errors import ModelError
from ranker.model.files import local_models
from ranker.model.loading import check_backbone, load_model
from ranker.settings.model import RankerConfig

_PATHS = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
NOWHERE = "is no folder here, and not in the hub's cache, and"


def refusal(source: str) -> str:
    started = time.monotonic()
    with pytest.raises(ModelError) as error:
        load_model(source)
    assert time.monotonic() - started < 15, "the hub was asked again and again"
    assert "\n" not in str(error.value)
    return str(error.value)


def point_to(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + _PATHS)


@pytest.fixture
def online(monkeypatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(online, monkeypatch) -> Iterator[list[str]]:
    """The paths that are asked for; the hub has no model."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    point_to(f"http://127.0.0.1:{server.server_port}", monkeypatch)
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_without_leave_to_ask_the_hub_a_model_that_is_not_here_is_refused(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal("nobody/no-model") == f"nobody/no-model: {NOWHERE} HF_HUB_OFFLINE forbids to ask the hub."


def test_a_hub_that_cannot_be_reached_is_asked_once(online, monkeypatch):
    point_to("http://127.0.0.1:9", monkeypatch)  # where nobody listens
    said = refusal("nobody/no-model")
    assert said.startswith(f"nobody/no-model: {NOWHERE} http://127.0.0.1:9 cannot be asked: ")


def test_a_model_that_the_hub_does_not_have_is_asked_for_once(hub):
    said = refusal("nobody/no-model")
    assert said == f"nobody/no-model: {NOWHERE} {constants.ENDPOINT} has no such model to show."
    assert hub == ["/nobody/no-model/resolve/main/config.json"]


def test_a_name_that_no_hub_can_have_is_refused_without_asking(hub):
    assert refusal("no such model") == (
        "no such model: is no folder here, and no name that a model of the hub can have."
    )
    assert hub == []


def test_a_misspelt_model_of_the_cache_is_named(online, monkeypatch, tmp_path, tiny):
    folder = tmp_path / "models--lab--ranker-base"
    (folder / "snapshots" / "main").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("main")
    (folder / "snapshots" / "main" / "config.json").write_text(json.dumps({}))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert local_models() == ["lab/ranker-base"]
    assert refusal("lab/rankr-base").endswith("forbids to ask the hub. Did you mean 'lab/ranker-base'?")


def test_a_backbone_is_checked_by_its_configuration_alone(tiny, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny() / name).read_bytes() if name.endswith("json") else b"no weights")
    check_backbone(RankerConfig("cross", length=64, query_length=16), str(tmp_path))
    with pytest.raises(ModelError, match="length is 65, but the backbone reads at most 64 tokens"):
        check_backbone(RankerConfig("cross", length=65, query_length=16), str(tmp_path))
