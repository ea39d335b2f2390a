"""Looks for defects of every parser by atheris: ``make fuzz``, or ``python tests/hostile/fuzz.py FILE`` for one input.

The first byte of an input says which parser reads the rest.
"""

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ranker", "parsers"]):
    from parsers import PARSERS, outcome

CHOICES = list(PARSERS.values())
FOLDER = Path(tempfile.mkdtemp(prefix="ranker-fuzz-"))
os.environ["RANKER_CACHE"] = str(FOLDER / "cache")


def one_input(data: bytes) -> None:
    """Reads an input; what is neither value nor refusal in one line is a defect."""
    parser = CHOICES[data[0] % len(CHOICES)] if data else CHOICES[0]
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        sentence = outcome(parser, Path(folder), data[1:])
        if sentence and (folder not in sentence or len(sentence.splitlines()) > 1 or not sentence.endswith((".", "?"))):
            raise AssertionError(sentence)


def write_seeds(folder: Path) -> None:
    """A well-formed file of each kind to begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, parser in enumerate(CHOICES):
        (folder / f"seed{number}").write_bytes(bytes([number]) + parser.valid)


if __name__ == "__main__":
    corpus = Path(__file__).parents[2] / ".fuzz"
    write_seeds(corpus)
    given = sys.argv if any(not word.startswith("-") for word in sys.argv[1:]) else [*sys.argv, str(corpus)]
    atheris.Setup(given, one_input)
    atheris.Fuzz()
