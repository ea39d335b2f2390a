"""The same verdict on every machine: what a processor lacks decides how long it takes, or is said, and nothing else.

Libraries take fewer instructions where the environment tells them to; QEMU runs a processor that has no more.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

JOB = Path(__file__).with_name("job.py")
AS_IT_IS = "as it is"
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
LOWERED = {
    AS_IT_IS: {},
    "libraries of AVX2": AVX2,
    "libraries of AVX-512 without VNNI": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "libraries of VNNI without bf16": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"},
}
EMULATED = ("Haswell", "Nehalem")
"""AVX2, and no AVX at all; QEMU computes no AVX-512, whatever processor it is told to be."""

QEMU = {"NPY_DISABLE_CPU_FEATURES": "X86_V3"}
"""QEMU 7.2 sorts wrongly in AVX2, by numpy's argsort of whole numbers in random order; numpy does without it there."""

MACHINES = (*LOWERED, *EMULATED)

pytestmark = [
    pytest.mark.machines,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the instruction sets are those of x86-64"),
]


def command(machine: str) -> list[str]:
    """Python on a machine.

    Skips the test where that machine cannot be had here.
    """
    if machine in EMULATED:
        qemu = shutil.which("qemu-x86_64")
        if qemu is None:
            pytest.skip("no qemu-x86_64 here: install the Debian package qemu-user")
        return [qemu, "-cpu", machine, sys.executable]
    if "AVX-512" in machine or "VNNI" in machine:
        if not torch.cpu._is_avx512_supported():
            pytest.skip("this processor has no AVX-512")
        if "VNNI without" in machine and not torch.cpu._is_vnni_supported():
            pytest.skip("this processor has no VNNI")
    return [sys.executable]


@pytest.fixture(scope="module")
def came_of(tiny):
    folder = str(tiny("bert", hidden_size=64, intermediate_size=96))

    @cache
    def run(machine: str):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **LOWERED.get(machine, QEMU)}
        words = [*command(machine), str(JOB), folder]
        done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=1_800, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def scores_of(came_of, precision):
    found = came_of["precisions"][precision]
    return found if isinstance(found, str) else found["scores"]


@pytest.mark.parametrize("machine", MACHINES)
def test_float32_gives_the_same_scores(came_of, machine):
    expected = scores_of(came_of(AS_IT_IS), "float32")
    assert scores_of(came_of(machine), "float32") == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("precision", ["bf16", "int8", "auto"])
def test_every_other_precision_is_computed_as_it_says_or_refused_in_a_sentence(came_of, machine, precision):
    exact, found = scores_of(came_of(AS_IT_IS), "float32"), scores_of(came_of(machine), precision)
    if isinstance(found, str):
        assert precision != "auto"
        assert found.startswith(f"--precision {precision}: this processor (")
        assert found.endswith("or --precision float32.")
        return
    spread = max(exact) - min(exact)
    assert max(abs(a - b) for a, b in zip(exact, found, strict=True)) < 0.1 * spread


@pytest.mark.parametrize("machine", MACHINES)
def test_ten_steps_of_training_have_the_same_losses(came_of, machine):
    expected = came_of(AS_IT_IS)["losses"]
    assert len(expected) == 10
    assert expected[-1] < expected[0]
    assert came_of(machine)["losses"] == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_dense_search_finds_the_same(came_of, machine):
    assert came_of(machine)["nearest"] == came_of(AS_IT_IS)["nearest"]


@pytest.mark.parametrize("machine", ["libraries of AVX2", "libraries of AVX-512 without VNNI", "Haswell"])
def test_without_vnni_int8_has_weights_of_seven_bits(came_of, machine):
    assert came_of(machine)["precisions"]["int8"]["kernels"] == "oneDNN int8, 7-bit weights"


@pytest.mark.parametrize("machine", ["libraries of AVX2", "Haswell"])
def test_doctor_tells_what_avx2_computes_and_what_it_lacks(came_of, machine):
    assert came_of(machine)["processor"] == (
        "AVX2: oneDNN float32, oneDNN int8, 7-bit weights; bf16 needs AVX-512, AMX or Arm's bf16 instructions; "
        "auto takes float32"
    )
