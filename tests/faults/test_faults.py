"""Whatever goes wrong around a command, nothing half-written is left, and given again it ends as if nothing had."""

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

WRITERS = ("import", "bm25", "dense", "retrieve", "rerank", "train")
PAGE = 4_096
JUMPING = """
import time
true, looks = time.time, [0]
def jumping():
    looks[0] += 1
    return true() + {seconds} * looks[0]
time.time = jumping
"""


def short(*names: str, among: tuple[str, ...] = WRITERS) -> list[object]:
    """Every command that writes; those that are not named only where there is time, by ``make test-faults``."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.faults) for name in among]


def content(output: Path) -> object:
    """What a command made, without what differs from run to run: times, and the segments and numbers of Lucene."""
    if output.is_file():
        return output.read_bytes()
    if (output / "lucene").is_dir():
        return sorted((output / "doc_ids.txt").read_bytes())
    if (output / "training.json").is_file():
        return (output / "model.safetensors").read_bytes(), json.loads((output / "training.json").read_text())["losses"]
    if (output / "vectors.f32").is_file():
        return (output / "vectors.f32").read_bytes(), (output / "doc_ids.txt").read_bytes()
    return {path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(work, tmp_path_factory) -> Callable[[str], tuple[object, float]]:
    """What each command makes where nothing goes wrong, and the seconds that it takes with an empty cache."""
    made: dict[str, tuple[object, float]] = {}

    def make(name: str) -> tuple[object, float]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            started = time.monotonic()
            status, said = work(name).run(folder / "out", folder / "cache")
            assert status == 0, said
            made[name] = (content(folder / "out"), time.monotonic() - started)
        return made[name]

    return make


def refused(status: int, said: str, output: Path) -> None:
    assert status == 1, said
    assert said.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in said
    assert not output.exists()


def left_beside(output: Path) -> list[str]:
    """What lies where the output goes; a lock, an unfinished training or encoding may, and serves the next attempt."""
    serving = (f".{output.name}.training", f".{output.name}.encoding")
    return sorted(path.name for path in output.parent.iterdir() if path.name not in serving)


def fill(disk: Path, pages: int) -> None:
    """Leaves so many pages of a disk free."""
    size = shutil.disk_usage(disk).free - pages * PAGE
    (disk / "filler").write_bytes(b"\0" * size)


@pytest.mark.parametrize("name", short("bm25", "train"))
def test_on_a_full_disk_nothing_is_left_and_with_room_it_goes_well(name, work, undisturbed, small_disk, tmp_path):
    disk = small_disk("size=4m")
    output = disk / "out"
    fill(disk, 1)
    status, said = work(name).run(output, tmp_path / "cache")
    refused(status, said, output)
    assert "the disk is full" in said
    assert left_beside(output) == ["filler"]
    (disk / "filler").unlink()
    status, said = work(name).run(output, tmp_path / "cache")
    assert status == 0, said
    assert content(output) == undisturbed(name)[0]


@pytest.mark.parametrize("name", short("dense"))
def test_where_nothing_may_be_written_one_sentence_says_so(name, work, small_disk, tmp_path):
    disk = small_disk("ro")
    status, said = work(name).run(disk / "out", tmp_path / "cache")
    refused(status, said, disk / "out")
    assert "Read-only file system" in said


@pytest.mark.parametrize("name", short("rerank", among=WRITERS[1:]))
def test_with_a_cache_that_cannot_be_written_one_sentence_says_so(name, work, small_disk, tmp_path):
    disk = small_disk("ro")
    status, said = work(name).run(tmp_path / "out.run", disk)
    refused(status, said, tmp_path / "out.run")
    assert str(disk) in said.splitlines()[-1]


@pytest.mark.faults
def test_an_import_needs_no_cache(work, undisturbed, small_disk, tmp_path):
    status, said = work("import").run(tmp_path / "out", small_disk("ro"))
    assert status == 0, said
    assert content(tmp_path / "out") == undisturbed("import")[0]


@pytest.mark.parametrize("name", short("rerank"))
def test_of_two_processes_on_one_output_one_writes_it_and_the_other_says_so(name, work, undisturbed, tmp_path):
    output, folder = tmp_path / "place" / "out", tmp_path / "cache"
    both = [work(name).start(output, folder) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1], said
    loser = next(text for process, text in zip(both, said, strict=True) if process.returncode)
    assert "another process is" in loser or "exists already" in loser
    assert "Traceback" not in loser
    assert content(output) == undisturbed(name)[0]


@pytest.mark.parametrize("jump", [pytest.param(3_600.0, marks=pytest.mark.faults), -3_600.0])
@pytest.mark.parametrize("name", short("train"))
def test_a_clock_that_jumps_changes_nothing(name, jump, work, undisturbed, tmp_path):
    status, said = work(name).run(tmp_path / "out", tmp_path / "cache", JUMPING.format(seconds=jump))
    assert status == 0, said
    assert content(tmp_path / "out") == undisturbed(name)[0]


def killed_and_finished(name: str, part: float, work, undisturbed, folder: Path) -> None:
    """Ends a command behind that part of its time, with whatever it has kept, and gives it again."""
    whole, seconds = undisturbed(name)
    output = folder / "place" / "out"
    process = work(name).start(output, folder / "cache")
    time.sleep(part * seconds)
    process.kill()
    process.communicate(timeout=60)
    if not output.exists():
        status, said = work(name).run(output, folder / "cache")
        assert status == 0, said
    assert content(output) == whole
    allowed = {"out", "out.json"}
    assert {path.name for path in output.parent.iterdir()} - allowed == set()


@pytest.mark.parametrize("name", short("bm25"))
def test_a_command_that_was_killed_leaves_nothing_half_written(name, work, undisturbed, tmp_path):
    killed_and_finished(name, 0.7, work, undisturbed, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("name", WRITERS)
def test_fifty_times_killed_at_any_moment_it_ends_as_if_it_had_not_been(name, work, undisturbed, tmp_path):
    moments = random.Random(name)
    for number in range(50):
        killed_and_finished(name, moments.random(), work, undisturbed, tmp_path / str(number))


@pytest.mark.faults
@pytest.mark.parametrize("name", WRITERS)
def test_a_disk_that_is_full_at_any_point_leaves_all_or_nothing(name, work, undisturbed, small_disk, tmp_path):
    """As many pages are left as lie between the first that is too few and the first that is enough, in twelve steps."""
    pages = 1
    for _ in range(12):
        disk = small_disk("size=4m")
        fill(disk, pages)
        status, said = work(name).run(disk / "out", tmp_path / "cache")
        if status == 0:
            assert content(disk / "out") == undisturbed(name)[0]
            break
        refused(status, said, disk / "out")
        assert left_beside(disk / "out") == ["filler"]
        pages = pages + 1 + pages // 3
