"""The ``.json`` beside every run: how it came to be, so that it can be made again and checked."""

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from ranker.errors import DataError
from ranker.files.atomic import atomic_file
from ranker.files.digests import content_digest
from ranker.files.json_files import read_object
from ranker.version import __version__
from ranker.wording import shortened

_PACKAGES: Final = (
    "torch",
    "transformers",
    "tokenizers",
    "faiss-cpu",
    "faiss-gpu",
    "faiss-gpu-cu12",
    "pyserini",
    "ir-measures",
    "numpy",
)

OWN_KEYS: Final = ("ranker", "command", "sha256", "versions")
"""What every manifest of a run says, beside the facts of its command."""


def manifest_path(run_path: Path) -> Path:
    """Where the manifest of a run lies."""
    return run_path.with_name(run_path.name + ".json")


def write_manifest(run_path: Path, facts: dict[str, Any]) -> None:
    """Writes what is known of a run beside it: the facts, the command line, and the versions of everything.

    It replaces an older one: the caller has been allowed to replace the run.
    """
    record = {
        "ranker": __version__,
        "command": command(),
        "sha256": content_digest(run_path),
        **facts,
        "versions": versions(),
    }
    with atomic_file(manifest_path(run_path), force=True) as beside:
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        # bytes of a file's name that are not UTF-8 become escapes, as JSON writes them
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_manifest(run_path: Path) -> dict[str, Any]:
    """What is known of a run; nothing where no manifest lies beside it.

    Raises: DataError for a file that is no manifest.
    """
    path = manifest_path(run_path)
    if not path.is_file():
        return {}
    return read_object(path, DataError)


def scored_depth(run_path: Path, manifest: Mapping[str, Any]) -> int:
    """How far down each ranking of a reranked run has the model's scores; below, scores only keep an order.

    Raises: DataError where the manifest does not say it, or there is no rank that all queries have scored.
    """
    budget = manifest.get("budget")
    scored = budget.get("ranks_scored") if isinstance(budget, dict) else {"least": manifest.get("depth")}
    depth = scored.get("least") if isinstance(scored, dict) else None
    if type(depth) is not int or depth < 1:
        raise DataError(
            f"{run_path}: its manifest says depth {shortened(depth)}; expected 1 or more, to have scores of the model."
        )
    return depth


def command() -> str:
    """The command line, as it can be typed again."""
    return shlex.join(["ranker", *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Python and the packages that decide a score; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
