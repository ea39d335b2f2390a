"""Runs as files: named by their file, opened several at once, and written together with their manifest."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ranker.data.manifest import RunManifest, manifest_path, write_manifest
from ranker.data.run import Ranking, Run
from ranker.data.trec import read_run, write_run
from ranker.errors import DataError

_SUFFIXES: Final = (".gz", ".run", ".txt", ".trec", ".tsv")

Tell = Callable[[str], object]


def run_name(path: Path) -> str:
    """The name of a run by its file: ``runs/cross.seed1.run.gz`` is ``cross.seed1``."""
    name = path.name
    while Path(name).suffix in _SUFFIXES:
        name = Path(name).stem
    return "-".join(name.split()) or "run"


def open_runs(paths: Sequence[Path], tell: Tell) -> list[Run]:
    """Opens runs, each named by its file; ``tell`` is given a sentence where ranks and scores of one disagree.

    Raises: DataError where two files have one name, or as ``read_run``.
    """
    names = [run_name(path) for path in paths]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{repeated}: two run files are called so; expected files of different names.")
    return [replace(read_run(path, tell), name=name) for name, path in zip(names, paths, strict=True)]


def open_merged(paths: Sequence[Path], tell: Tell) -> Run:
    """Opens runs of different queries as one run, named by the first file; a query may be in several if it is the same.

    Raises: DataError where two runs answer a query differently.
    """
    rankings: dict[str, Ranking] = {}
    for path in paths:
        run = read_run(path, tell)
        twice = next((query_id for query_id in run if rankings.get(query_id, run[query_id]) != run[query_id]), None)
        if twice is not None:
            raise DataError(f"{path}: answers query {twice} otherwise than another run given; expected one answer.")
        rankings |= run.rankings
    return Run(run_name(paths[0]), rankings)


def write_with_manifest(run: Run, path: Path, manifest: RunManifest, force: bool = False) -> None:
    """Writes a run, named by its file and without equal scores, and its manifest; both or neither.

    Raises: OutputError where ``path`` is taken or cannot be written.
    """
    write_run(Run(run_name(path), run.rankings).distinct(), path, force)
    try:
        write_manifest(path, manifest)
    except BaseException:
        for half in (path, manifest_path(path)):
            half.unlink(missing_ok=True)
        raise
