"""The ``ranker`` command."""

import errno
import sys
from typing import Final

import click

from ranker.cli.data import import_command, index_command, retrieve_command
from ranker.cli.depth import depth_command
from ranker.cli.doctor import doctor_command
from ranker.cli.explain import explain_command
from ranker.cli.fuse import fuse_command
from ranker.cli.options import check_arguments, escape_what_cannot_be_shown, say
from ranker.cli.reproduce import reproduce_command
from ranker.cli.rerank import rerank_command
from ranker.cli.results import compare_command, evaluate_command
from ranker.cli.study import study_command
from ranker.cli.train import train_command
from ranker.cli.validate import validate_command
from ranker.cli.verify import verify_command
from ranker.errors import RankerError
from ranker.version import __version__

_NAMED: Final = 80
"""Characters of a name that no file can have."""

_LESS: Final = "expected more of it, or a smaller --tokens-per-batch, --depth or --groups-per-step."


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="ranker")
def cli() -> None:
    """Train, run and compare BERT rankers of question-passage pairs.

    A DATASET is a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv; plain or .gz), irds:ID of
    ir_datasets, or an embedded one: almanac, pydoc, with settings as in almanac:size=10000,locale=zh.
    """


for command in (
    import_command,
    index_command,
    retrieve_command,
    train_command,
    rerank_command,
    fuse_command,
    evaluate_command,
    compare_command,
    depth_command,
    study_command,
    explain_command,
    reproduce_command,
    validate_command,
    verify_command,
    doctor_command,
):
    cli.add_command(command)


def main() -> None:
    """Runs the command line: 0 done, 1 one sentence about what is wrong, 2 usage; a bug keeps its traceback."""
    status = 0
    escape_what_cannot_be_shown()
    try:
        check_arguments(sys.argv[1:])
        # what asks to exit (--help) is answered with its status; a command's own result is None
        status = cli(prog_name="ranker", standalone_mode=False) or 0
    except RankerError as error:
        _stop(f"Error: {error}", 1)
    # Abort is a RuntimeError by descent, so it stands before the clause of those
    except click.exceptions.Abort:
        _stop("Error: stopped by Ctrl-C; nothing half-written was left behind.", 1)
    except (MemoryError, RuntimeError) as error:
        from ranker.scoring.batching import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        _stop(f"Error: memory ran out: {' '.join(str(error).split()) or 'Python has none left'}; {_LESS}", 1)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        _stop(f"Error: {str(error.filename)[:_NAMED]}...: is longer than the name of a file can be.", 1)
    except click.ClickException as error:
        error.show(file=sys.stderr)
        sys.exit(error.exit_code)
    if status:
        sys.exit(status)


def _stop(sentence: str, status: int) -> None:
    """A sentence on stderr, and the end; what it quotes may come from anywhere."""
    say(sentence)
    sys.exit(status)
