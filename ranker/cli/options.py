"""Options that several commands share, and what they open."""

from __future__ import annotations

import codecs
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import click
from click.core import ParameterSource

from ranker.errors import DataError, RankerError
from ranker.settings.index import LANGUAGES
from ranker.wording import did_you_mean

if TYPE_CHECKING:
    from ranker.data.dataset import Dataset
    from ranker.data.records import Qrels
    from ranker.data.run import Run
    from ranker.evaluation.measures import Measure
    from ranker.model.reranker import Reranker
    from ranker.progress import Advance

F = TypeVar("F", bound=Callable[..., Any])

FIRST_STAGE_LANGUAGE: Final = (
    "The language that BM25 reads the DATASET in, by its code.  [default: as its dataset.json says, or en]"
)
PATH = click.Path(path_type=Path)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}
_DURATION: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh])")
_ESCAPING: Final = "ranker-escaping"
_ESCAPED: Final = re.compile("[\udc80-\udcff]")
"""Bytes as Python hands them over where they are no text."""


class Choice(click.Choice[str]):
    """A choice of names that asks of another word what it was meant to be."""

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Click's own, and the nearest of the names."""
        return super().get_invalid_choice_message(value, ctx) + did_you_mean(str(value), self.choices)


def output_option(what: str) -> Callable[[F], F]:
    """``--output``, for a command that writes ``what``."""
    return click.option("-o", "--output", type=PATH, required=True, metavar=what, help=f"The {what.lower()} to write.")


def force_option(command: F) -> F:
    """``--force``, for every command that writes."""
    return click.option("--force", is_flag=True, help="Replace an --output that exists.")(command)


def split_option(command: F) -> F:
    """``--split``, for every command that reads a DATASET."""
    return click.option("--split", default="test", show_default=True, help="The split of the DATASET.")(command)


def leave_out_option(command: F) -> F:
    """``--leave-out-query``, for the commands that make, rerank or judge a run."""
    return click.option(
        "--leave-out-query",
        is_flag=True,
        help="Leave the passage of the query's own id out of each ranking, as BEIR does.",
    )(command)


def language_option(what: str) -> Callable[[F], F]:
    """``--language``, a code, for commands that write a dataset or search it by BM25."""
    return click.option("--language", type=Choice(tuple(LANGUAGES)), help=what)


def trust_option(command: F) -> F:
    """``--trust-remote-code``, for every command that opens a model."""
    return click.option(
        "--trust-remote-code",
        is_flag=True,
        help="Run the Python code that a model brings (auto_map in its config.json), with all that you may do on this "
        "machine. Without, such a model is refused.",
    )(command)


def open_qrels(name: str, split: str, measures: Sequence[Measure]) -> Qrels:
    """Judgments from a TREC qrels file, a BEIR ``.tsv``, or a dataset's split.

    Where no passage is judged as relevant as one of the ``measures`` asks, that is said.
    """
    from ranker.data.catalogue import open_dataset
    from ranker.data.trec import read_qrels
    from ranker.evaluation.measures import beyond_judgments

    path = Path(name)
    qrels = read_qrels(path) if path.is_file() else open_dataset(name).qrels(split)
    for sentence in beyond_judgments(measures, qrels):
        say(sentence)
    return qrels


def qrels_path(name: str, split: str) -> Path:
    """The file that ``open_qrels`` reads."""
    from ranker.data.catalogue import open_dataset

    path = Path(name)
    return path if path.is_file() else open_dataset(name).qrels_path(split)


def asked_split(split: str, data: Dataset) -> str:
    """The split that a command takes its queries from; all queries of a dataset without judgments, where none is named.

    Raises: DataError where one is named that cannot be there.
    """
    from ranker.data.dataset import ALL

    if data.splits:
        return split
    if click.get_current_context().get_parameter_source("split") is not ParameterSource.DEFAULT:
        without = "leave --split out to take all its queries"
        raise DataError(f"{data.source}: has no judgments, so no split {split!r}; {without}.")
    say(f"{data.source}: has no judgments, so all its queries are taken.")
    return ALL


def open_runs(paths: Sequence[Path]) -> list[Run]:
    """Opens runs, each named by its file, and says where ranks and scores of one disagree."""
    from ranker.data import run_files

    return run_files.open_runs(paths, say)


def command_line() -> str:
    """The command line, as it can be typed again."""
    return shlex.join(["ranker", *sys.argv[1:]])


def say(sentence: str) -> None:
    """One line on stderr, where progress goes."""
    click.echo(shown(sentence), file=sys.stderr)


def say_oddities(data: Dataset, tell: Callable[[str], None] = say) -> None:
    """Says in a line what of a dataset was left out, or read otherwise than written, if anything was."""
    from ranker.data.records import describe_oddities

    said = describe_oddities(data.oddities)
    if said:
        tell(f"{data.source}: {said}; ranker validate lists them.")


def say_queries_found(run: Run, tell: Callable[[str], None] = say) -> None:
    """Says in a line in how many rankings of a run stands a passage that is the query itself by its id, if in any."""
    found = run.queries_found
    if found:
        shared = f"{len(found)} of {len(run)} rankings hold the passage of the query's own id, as of {found[0]}"
        tell(f"{run.name}: {shared}; --leave-out-query of retrieve, rerank and evaluate leaves it out, as BEIR does.")


def leave_out_queries(run: Run, leave_out: bool) -> Run:
    """The run without the passages that are the queries themselves by their ids, or as it is; both are said.

    Raises: DataError where it holds no other passage.
    """
    if not leave_out:
        say_queries_found(run)
        return run
    found, others = len(run.queries_found), run.without_queries()
    if found and not others:
        raise DataError(f"run {run.name}: holds the queries' own passages alone, so --leave-out-query leaves nothing.")
    if found:
        say(f"{run.name}: the passage of the query's own id is left out of {found} of {len(run)} rankings.")
    return others


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Advance]:
    """A progress bar on stderr, silent where stderr is no terminal."""
    from tqdm import tqdm

    with tqdm(total=total, desc=label, unit=unit, unit_scale=True, disable=None, leave=False) as bar:
        yield bar.update


def claim(output: Path, force: bool) -> None:
    """Holds an --output until the command ends.

    Raises: OutputError where it is taken, or another process is writing it.
    """
    from ranker.files.atomic import check_output
    from ranker.files.locks import output_lock

    check_output(output, force)
    click.get_current_context().with_resource(output_lock(output))


def seconds(_: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A time as people write it: 90s, 10m, 1.5h."""
    if value is None:
        return None
    found = _DURATION.fullmatch(value)
    if found is None or float(found[1]) == 0:
        raise click.BadParameter(
            f"{value!r} is no time, expected a number above 0 and s, m or h, as in 90s, 10m or 1.5h.", param=option
        )
    return float(found[1]) * _UNITS[found[2]]


def say_notes(model: Reranker, tell: Callable[[str], None] = say) -> Reranker:
    """Says what is worth knowing of how a model is read, and gives it back."""
    for note in model.notes:
        tell(note)
    return model


def show(result: str, newline: bool = True) -> None:
    """A result on stdout, in the encoding that it has: left to itself click writes UTF-8 where that is ASCII."""
    click.echo(result, file=sys.stdout, nl=newline)


def shown(text: str) -> str:
    """The text with its control characters spelled out: a terminal must not take what others wrote for orders."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def escape_what_cannot_be_shown() -> None:
    """Has both streams spell out the characters that they cannot encode, in a way that leaves JSON what it is."""
    codecs.register_error(_ESCAPING, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPING)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    units = (characters[start : start + 2].hex() for start in range(0, len(characters), 2))
    return "".join(f"\\u{unit}" for unit in units), error.end


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses words of the command line that Python could not decode.

    Raises: RankerError that shows the first of them.
    """
    for number, word in enumerate(arguments, start=1):
        try:
            word.encode()
        except UnicodeEncodeError:
            _refuse(number, word)


def _refuse(number: int, word: str) -> NoReturn:
    raw = word.encode(errors="surrogateescape") if _ESCAPED.search(word) else word.encode(errors="surrogatepass")
    name = f"argument {number}, {str(raw)[1:]}"
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise RankerError(
            f"{name}: holds bytes that are no UTF-8, expected text and names of files in UTF-8."
        ) from None
    encoding = sys.getfilesystemencoding()
    raise RankerError(
        f"{name}: is UTF-8, but here Python reads arguments as {encoding}; set PYTHONUTF8=1, or LC_ALL=C.UTF-8."
    )
