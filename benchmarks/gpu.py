"""A GPU measured in the minutes that one is at hand; what gpu.sh does, and what comes before and after it.

    python benchmarks/gpu.py pack DATA PACK
    python benchmarks/gpu.py measure OUT [PACK] --work FOLDER [--seconds 480] [--rehearse]
    python benchmarks/gpu.py restore OUT PACK MODELS

Each step is a process of its own, so that one that fails, hangs or spoils the device is told of in the tables and the
next still runs. This process loads no torch while it measures.
"""

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree

from gpu_table import table

ROOT: Final = Path(__file__).parent.parent
MODES: Final = ("cross", "dual")

SHAPES: Final = ("MiniLM-L6", "BERT-base", "ModernBERT-base")
LENGTHS: Final = ((64, 64), (128, 128), (256, 256), (512, 512))
SPREAD: Final = (32, 512)
"""Tokens of the shortest and longest pair of a cell; the last is of lengths that differ, in one precision alone."""

TESTS_BY: Final = 0.2
TASKS_BY: Final = 0.62
"""Shares of the time by which tests and measurements must be over; the trainings have the rest."""

START_SECONDS: Final = 25.0
"""What a training takes beside its steps, before the first has shown it: texts are read and tokenised."""

LEAST_SECONDS: Final = 5.0
"""Of steps; less of them would teach nothing."""

CLOSING_SECONDS: Final = 10.0
"""For weights and tables to be written at the end."""

GRACE_SECONDS: Final = 20.0
"""For a measurement that was begun in time to come to its end."""

LEARNING: Final = (
    *("--negatives", "7", "--groups-per-step", "64", "--negative-depth", "20", "--learning-rate", "2e-4"),
    *("--head-learning-rate", "1e-3", "--length", "128", "--epochs", "1000", "--validations", "8"),
)
"""As the studies train, in the larger steps that fill a GPU."""

ALWAYS: Final = ("--frozen-layers", "1", "--no-dropout", "--leaks", "ignore", "--watchdog", "warn")
"""The embeddings are half of a small model's weights; they stay as they are, and need not come back."""

REHEARSED: Final = (
    *(
        "--negatives",
        "2",
        "--groups-per-step",
        "4",
        "--learning-rate",
        "1e-3",
        "--query-length",
        "16",
        "--length",
        "40",
    ),
    *("--max-steps", "6", "--epochs", "10", "--validations", "1"),
)


class Session(NamedTuple):
    """Where everything lies, and until when, by the clock of ``time.time``, it must be done; ``pack`` may be empty."""

    out: Path
    work: Path
    pack: str
    rehearse: bool
    started: float
    seconds: float

    @property
    def device(self) -> str:
        """Where models run."""
        return "cpu" if self.rehearse else "cuda"

    def left(self, share: float = 1.0) -> float:
        """Seconds until that share of the time is over."""
        return self.started + share * self.seconds - time.time()


def main() -> None:
    """Does what the first word says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("pack", help="write texts, candidates and weights to one file")
    packing.set_defaults(do=pack)
    packing.add_argument("data", help="a dataset with the splits train and dev")
    packing.add_argument("file", type=Path)
    packing.add_argument("--model", default="offline", help="the backbone whose weights are packed")
    packing.add_argument("--runs", type=Path, help="a folder with train.run and dev.run; without, BM25 makes them")
    packing.add_argument("--queries", type=int, default=0, help="questions of train, in even steps; 0 is all")
    packing.add_argument("--no-packages", dest="packages", action="store_false", help="ranker is installed there")
    packing.add_argument("--mib", type=float, default=60.0, help="the most that it may take; this tree travels too")
    measuring = commands.add_parser("measure", help="measure, and train for what is left of the time")
    measuring.set_defaults(do=measure)
    measuring.add_argument("out", type=Path)
    measuring.add_argument("pack", type=Path, nargs="?")
    measuring.add_argument("--work", type=Path, required=True, help="a folder for what does not come back")
    measuring.add_argument("--seconds", type=float, default=480.0)
    measuring.add_argument("--rehearse", action="store_true", help="on the CPU, in a small size")
    restoring = commands.add_parser("restore", help="write the models that came back as directories")
    restoring.set_defaults(do=restore)
    for name in ("out", "pack", "models"):
        restoring.add_argument(name, type=Path)
    arguments = vars(parser.parse_args())
    arguments.pop("do")(**arguments)


def pack(file: Path, mib: float, **filling: Any) -> None:
    """Writes what is carried to the machine with the GPU."""
    from gpu_pack import close_pack, fill_pack  # noqa: PLC0415  # it loads torch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pack"
        counts = fill_pack(folder, **filling)
        size = close_pack(folder, file, mib)
    print(f"{file}: {size:.1f} MiB; {', '.join(f'{what} {count}' for what, count in counts.items())}.")


def restore(out: Path, pack: Path, models: Path) -> None:
    """Makes models of what came back."""
    from gpu_weights import restored  # noqa: PLC0415  # it loads torch

    for folder in restored(out, pack, models):
        print(f"{folder}: written.")


def measure(out: Path, pack: Path | None, work: Path, seconds: float, rehearse: bool) -> None:
    """Every step in turn; the tables are written anew after each, so that they are there whatever happens."""
    work = work.resolve()
    session = Session(out.resolve(), work, str(work / "pack") if pack else "", rehearse, time.time(), seconds)
    session.out.mkdir(parents=True, exist_ok=True)
    if pack:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(pack.resolve()), session.pack], check=True)
    figures: dict[str, Any] = {"date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(), "rehearsal": rehearse}
    figures["machine"] = run_machine(session)
    figures["tests"] = guarded(lambda: run_tests(session))
    write(session, figures)
    figures["tasks"] = run_tasks(session, tasks_of(rehearse, bool(pack)))
    write(session, figures)
    done = figures["training"] = {}
    for mode in MODES:
        done[mode] = guarded(lambda mode=mode: train(session, mode, done))
        write(session, figures)
    print((session.out / "gpu.md").read_text())


def guarded(step: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a step gives, or why it failed."""
    try:
        return step()
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:300]}


def write(session: Session, figures: dict[str, Any]) -> None:
    """Writes figures and tables, and tells which there are."""
    figures["seconds"] = round(time.time() - session.started, 1)
    print(f"{figures['seconds']:.0f} s: {', '.join(figures)}", file=sys.stderr, flush=True)
    (session.out / "gpu.json").write_text(json.dumps(figures, indent=1) + "\n")
    page = guarded(lambda: {"page": table(figures)})
    (session.out / "gpu.md").write_text(page.get("page") or f"The tables could not be made: {page['error']}\n")


def run(session: Session, words: list[str], seconds: float, folder: Path = ROOT) -> str:
    """Runs Python with these words, what it prints going to gpu.log; why it failed, or nothing."""
    paths = [str(ROOT), *([str(Path(session.pack) / "site")] if session.pack else [])]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if session.rehearse else {}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **hidden}
    log = session.out / "gpu.log"
    with log.open("ab") as file:
        start, command = file.tell(), [sys.executable, *words]
        try:
            subprocess.run(
                command, cwd=folder, env=environment, timeout=max(1.0, seconds), check=True, stdout=file, stderr=file
            )
        except subprocess.TimeoutExpired:
            return f"it was ended after {seconds:.0f} s"
        except subprocess.CalledProcessError as error:
            lines = log.read_bytes()[start:].decode(errors="replace").strip().splitlines()
            return f"status {error.returncode}: {lines[-1][:300] if lines else 'no word was said'}"
    return ""


def run_machine(session: Session) -> dict[str, Any]:
    """What the machine is.

    Raises: SystemExit with a sentence where it has no such device, since nothing could be measured.
    """
    file = session.work / "machine.json"
    words = [str(file), session.device, "512" if session.rehearse else "8192"]
    failure = run(session, [str(Path(__file__).with_name("gpu_machine.py")), *words], session.left(TESTS_BY))
    if failure:
        sys.exit(failure)
    return dict(json.loads(file.read_text()))


def run_tests(session: Session) -> dict[str, Any]:
    """``pytest -m gpu`` on the files that have such tests; a rehearsal, where all are skipped, asks for one file's."""
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    marked = [path for path in every if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]
    files = [str(path) for path in marked if not session.rehearse or path.parent.name == "gpu"]
    report = session.work / "tests.xml"
    # versions differ from those that the project pins, and so does what they warn of
    words = ["-m", "pytest", "-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider", f"--junitxml={report}"]
    failure = run(session, [*words, *files], session.left(TESTS_BY))
    return counted(report) if report.exists() else {"error": failure}


def counted(report: Path) -> dict[str, Any]:
    """How many tests there were, and what is said of those that failed or were skipped."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    said: dict[str, list[str]] = {"failure": [], "error": [], "skipped": []}
    for case in cases:
        for kind, names in said.items():
            names += [f"{case.get('name')}: {mark.get('message', '')}"[:300] for mark in case.findall(kind)]
    failed = said["failure"] + said["error"]
    return {"passed": len(cases) - len(failed) - len(said["skipped"]), "failed": failed, "skipped": said["skipped"]}


def tasks_of(rehearse: bool, packed: bool) -> list[list[Any]]:
    """What is measured, in order: where time runs out, the last are missing."""
    precisions = ("float32",) if rehearse else ("bf16", "float32", "fp16")  # not every CPU computes in the others
    shapes = ("MiniLM-L6", "ModernBERT-base") if rehearse else SHAPES
    lengths = ((24, 24), (48, 48)) if rehearse else LENGTHS
    parities = [["parity", mode, precision] for mode in MODES for precision in precisions] if packed else []
    pairs = [["pairs", precision, shape, *both] for precision in precisions for shape in shapes for both in lengths]
    spread = [["pairs", precisions[0], shape, *((16, 60) if rehearse else SPREAD)] for shape in shapes]
    of_one = len(shapes) * len(lengths)
    return [*parities, *pairs[:of_one], *spread, *pairs[of_one:]]


def run_tasks(session: Session, tasks: list[list[Any]]) -> list[dict[str, Any]]:
    """The result of each task, or why there is none; a process that ends before all are done is followed by another."""
    results: dict[str, dict[str, Any]] = {}
    while missing := [task for task in tasks if json.dumps(task) not in results]:
        known, failure = len(results), "no time was left"
        begun: list[Any] | None = None
        if session.left(TASKS_BY) > 0:
            failure = run_process(session, missing)
            begun = read_results(session, results)
        # where nothing was even begun, another process would do no better
        lost = [begun] if begun else missing if len(results) == known else []
        results |= {json.dumps(task): {"task": task, "error": failure} for task in lost}
    return [results[json.dumps(task)] for task in tasks]


def run_process(session: Session, tasks: list[list[Any]]) -> str:
    """A process that does what it can of the tasks; why it failed, or nothing."""
    plan, left = session.work / "plan.json", session.left(TASKS_BY)
    facts = {
        "tasks": tasks,
        "results": str(session.work / "results.jsonl"),
        "work": str(session.work),
        "pack": session.pack,
    }
    settings = {"device": session.device, "rehearse": session.rehearse, "deadline": time.time() + left}
    plan.write_text(json.dumps(facts | settings))
    return run(session, [str(Path(__file__).with_name("gpu_tasks.py")), str(plan)], left + GRACE_SECONDS)


def read_results(session: Session, results: dict[str, dict[str, Any]]) -> list[Any] | None:
    """Adds what has been written, and gives the task that was begun and not ended, if there is one."""
    path, begun = session.work / "results.jsonl", None
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):  # of a line that was not written to its end
            fact = json.loads(line)
            if "begun" in fact:
                begun = fact["task"]
            else:
                results[json.dumps(fact["task"])] = fact
    return begun if begun is not None and json.dumps(begun) not in results else None


def train(session: Session, mode: str, before: dict[str, Any]) -> dict[str, Any]:
    """A training by the command line for its share of the time that is left; its weights are kept where they come back.

    ``before`` are the records of those before it: what they took beside their steps, this one will too.
    """
    if not session.pack:
        return {"error": "there is no PACK to train on"}
    overheads = [record["wall"] - record["seconds"] for record in before.values() if "wall" in record]
    steps = (session.left() - CLOSING_SECONDS) / (len(MODES) - MODES.index(mode)) - max(
        overheads, default=START_SECONDS
    )
    if steps < LEAST_SECONDS:
        return {"error": "no time was left"}
    pack, output, started = Path(session.pack), session.work / mode, time.time()
    words = ["--mode", mode, "--model", pack / "model", "--output", output, *ALWAYS]
    words += REHEARSED if session.rehearse else (*LEARNING, "--max-minutes", steps / 60)
    words += ["--run", pack / "runs" / "train.run", "--run", pack / "runs" / "dev.run"]
    failure = run(session, ["-m", "ranker", "train", str(pack / "qa"), *map(str, words)], session.left(), session.work)
    if failure:
        return {"error": failure}
    from gpu_weights import keep_learned  # noqa: PLC0415  # it loads torch

    kept = keep_learned(output, pack / "model", session.out / mode)
    return {**json.loads((output / "training.json").read_text()), "bytes": kept, "wall": time.time() - started}


if __name__ == "__main__":
    main()
