"""A precision is computed exactly as it says, or refused in a sentence before any work."""

import json
import os
import subprocess
import sys

import pytest
import torch

from ranker.errors import SetupError
from ranker.files.digests import measure_once
from ranker.model import device
from ranker.model.device import kernels
from ranker.model.linear import Prepacked, Quantized

FEWER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""Instructions that torch and oneDNN are to do without."""


def told_with_fewer(*lines):
    """What Python prints where the libraries have no more than AVX2."""
    script = "\n".join(["from ranker.model.device import instruction_set, kernels", *lines])
    environment = {**os.environ, **FEWER}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    return done.stdout + done.stderr.strip().rpartition("\n")[2]


def largest(rows, columns, low, high, seed=3):
    numbers = torch.randint(low, high + 1, (rows, columns), generator=torch.Generator().manual_seed(seed))
    numbers[0], numbers[-1] = high, low
    numbers[:, 0] = high  # so that each row's scale is the same
    return numbers


@pytest.mark.computes("int8")
@pytest.mark.parametrize("width", [32, 384, 1_536])
@pytest.mark.parametrize("tokens", [1, 16, 300])
def test_int8_adds_up_the_largest_products_exactly(width, tokens):
    bits = kernels("int8", "cpu").weight_bits
    most = 2 ** (bits - 1) - 1
    weight, inputs = largest(64, width, -most, most), largest(tokens, width, -127, 127)
    # of whole numbers whose largest is that of the bits, quantizing loses nothing
    scaled = Quantized(torch.float32, bits)(weight.float() / most, torch.zeros(64), "")
    expected = (inputs.double() @ weight.double().T) / most
    torch.testing.assert_close(scaled(inputs.float()).double(), expected, rtol=1e-5, atol=1e-2)


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="no x86-64 with AVX2")
def test_without_vnni_weights_have_seven_bits_and_bf16_is_refused():
    told = told_with_fewer(
        "print(instruction_set())", "print(kernels('int8', 'cpu').name)", "kernels('bf16', 'cpu')"
    ).splitlines()
    assert told == [
        "AVX2",
        "oneDNN int8, 7-bit weights",
        "ranker.errors.SetupError: --precision bf16: this processor (AVX2) does not multiply matrices in it; "
        "expected AVX-512, AMX or Arm's bf16 instructions, or --precision float32.",
    ]


@pytest.mark.computes("bf16")
def test_bf16_is_the_product_of_what_bf16_holds():
    left, right = torch.randn(100, 384).bfloat16(), torch.randn(64, 384).bfloat16()
    made = Prepacked(torch.bfloat16)(right, torch.zeros(64), "")(left)
    exact = left.double() @ right.double().T
    assert made.dtype == torch.bfloat16
    assert (made.double() - exact).abs().max() < 0.01 * exact.abs().max()


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_product_that_comes_out_wrong_or_not_at_all_refuses_the_precision(monkeypatch, precision):
    """A processor, or a build of torch, of which nobody knew: what counts is what it computes."""
    for wrong in (lambda *_: 7.0, _raise):
        kernels.cache_clear()
        monkeypatch.setattr(device, f"_{precision}_error", wrong)
        with pytest.raises(SetupError, match=rf"^--precision {precision}: this processor \(.+\) does not"):
            kernels(precision, "cpu")
    kernels.cache_clear()


def _raise(*_: object) -> float:
    raise RuntimeError("could not create a primitive descriptor")


@pytest.mark.parametrize(("precision", "device_type"), [("fp16", "cpu"), ("int8", "cuda")])
def test_a_precision_of_another_kind_of_device_is_refused(precision, device_type):
    with pytest.raises(SetupError, match=f"^--precision {precision}: is for .+ devices alone"):
        kernels(precision, device_type)


@pytest.mark.parametrize(("ratio", "taken"), [(2.0, "bf16"), (1.1, "float32"), (0.4, "float32")])
def test_auto_takes_bf16_where_the_machine_has_it_and_is_clearly_faster_in_it(monkeypatch, tmp_path, ratio, taken):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path))
    monkeypatch.setattr(device, "has_bf16_instructions", lambda: True)
    monkeypatch.setattr(device, "kernels", lambda *_: None)
    monkeypatch.setattr(device, "_ratio", lambda _: ratio)
    assert device.choose_precision("auto", torch.device("cpu")) == taken
    # and does not change its mind
    monkeypatch.setattr(device, "_ratio", lambda _: 99.0)
    assert device.choose_precision("auto", torch.device("cpu")) == taken


def test_without_instructions_for_bf16_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(device, "has_bf16_instructions", lambda: False)
    monkeypatch.setattr(device, "_ratio", _raise)
    assert device.choose_precision("auto", torch.device("cpu")) == "float32"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"answer": 3}', '{"answer": "1"}', "[" * 100_000])
def test_an_answer_that_is_broken_is_measured_again(monkeypatch, tmp_path, text):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path))
    assert measure_once("kind", ["facts"], lambda: 1, (0, 1)) == 1
    (path,) = (tmp_path / "measured").iterdir()
    assert json.loads(path.read_text()).items() >= {"kind": "kind", "answer": 1}.items()
    path.write_text(text)
    assert measure_once("kind", ["facts"], lambda: 0, (0, 1)) == 0
    assert measure_once("kind", ["other facts"], lambda: 1, (0, 1)) == 1
