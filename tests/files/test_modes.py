"""Files that a library writes for its owner alone are as readable as their neighbours."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ranker.files.lines import written_folder
from ranker.model.loading import create_model
from ranker.settings.model import RankerConfig
from ranker.training.checkpoint import Checkpoint, State


@pytest.fixture(params=[0o022, 0o027, 0o077])
def umask(request) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_was_written_has_files_as_the_umask_wants_them(tmp_path, umask):
    with written_folder(tmp_path / "model") as beside:
        save_file({"a": torch.zeros(1)}, beside / "a.safetensors")
        (beside / "inner").mkdir()
        (beside / "inner" / "b").write_bytes(b"b")
        (beside / "inner" / "b").chmod(0o600)
    assert modes(tmp_path / "model") == {0o666 & ~umask}
    assert sorted(path.name for path in (tmp_path / "model").rglob("*")) == ["a.safetensors", "b", "inner"]


@pytest.mark.parametrize("mode", ["cross", "layer-attention"])
def test_all_files_of_a_saved_model_can_be_read_by_the_same_people(tmp_path, tiny, mode):
    create_model(RankerConfig(mode, length=40, query_length=12), str(tiny()), seed=1).save(tmp_path / mode)
    new = tmp_path / "new"
    new.touch()
    assert modes(tmp_path / mode) == {new.stat().st_mode & 0o777}
    assert (tmp_path / mode / "model.safetensors").is_file()


def test_a_state_of_a_training_is_as_readable_as_the_rest(tmp_path, umask):
    Checkpoint(tmp_path / "state", {}, 1.0).save(State({"a": torch.zeros(1)}, {}))
    assert modes(tmp_path / "state") == {0o666 & ~umask}
