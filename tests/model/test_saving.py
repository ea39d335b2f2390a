"""A library's word for a full disk is the system's."""

import errno

import pytest
import torch
from forked import Forked
from safetensors.torch import save_file

from ranker.model.saving import system_errors


def test_where_the_system_refuses_to_write_its_number_is_told(tmp_path):
    with pytest.raises(OSError, match="No such file or directory") as caught, system_errors():
        save_file({"a": torch.zeros(3)}, tmp_path / "nowhere" / "a.safetensors")
    assert caught.value.errno == errno.ENOENT


def test_what_goes_wrong_otherwise_stays_what_it_is():
    with pytest.raises(KeyError), system_errors():
        raise KeyError("a")
    with pytest.raises(PermissionError), system_errors():
        raise PermissionError(errno.EACCES, "no")


def test_weights_that_do_not_fit_are_an_error_of_the_disk(tiny, tmp_path):
    """A limit on the size of files is what a full disk looks like to the writer."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from ranker.model.loading import load_model\n"
        "model = load_model(sys.argv[1], 'dual')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))\n"
        "try:\n"
        "    model.save(Path(sys.argv[2]))\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    out, said = Forked([tiny(), tmp_path], code).communicate()
    assert out.split() == [str(errno.EFBIG)], said
