"""``ranker validate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ranker.cli.options import say, show
from ranker.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ranker.data.validation import Problem

_TOLD = 1_000


@click.command("validate")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--strict", is_flag=True, help="Exit status 1 also where something is only to mind.")
def validate_command(sources: tuple[str, ...], strict: bool) -> None:
    """List all that is wrong with runs, qrels, datasets or indexes, where other commands stop at the first.

    A SOURCE is a run, a file of qrels, a DATASET, or an INDEX, of which every file is read through; what it is taken
    for is said at the end. What begins with 'mind:' is read all the same, or left out, but seldom meant so: passages
    and queries without words, judged queries without a text, nulls and numbers as ids, blank lines, ties. Exit status
    1 where anything else is found.
    """
    wrong = 0
    for source in sources:
        found = grave = 0
        kind, problems = _kind(source)
        for found, problem in enumerate(problems, start=1):
            grave += problem.is_error
            if found <= _TOLD:
                show(problem.sentence if problem.is_error else f"mind: {problem.sentence}")
        if found > _TOLD:
            show(f"{source}: {counted(found - _TOLD, 'problem')} more.")
        say(f"{source}: {kind}: {counted(grave, 'error')}, {found - grave} to mind.")
        wrong += found if strict else grave
    if wrong:
        sys.exit(1)


def _kind(source: str) -> tuple[str, Iterator[Problem]]:
    """Shows the kind that a source is taken for, and its problems."""
    from ranker.data.catalogue import open_dataset
    from ranker.data.validation import Problem, kind_of
    from ranker.index.store import MANIFEST, damages

    path = Path(source)
    if (path / MANIFEST).is_file():
        return "an index", map(Problem, damages(path))
    if path.exists():
        kind = kind_of(path)
        return kind.name, kind.problems(path)
    folder = open_dataset(source).folder  # in the cache, where nobody is to mend anything
    kind = kind_of(folder)
    told = (one._replace(sentence=one.sentence.replace(str(folder), source)) for one in kind.problems(folder))
    return kind.name, told
