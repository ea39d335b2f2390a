"""Every example of a docstring gives what it shows."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import ranker

PACKAGE = Path(ranker.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", MODULES, ids=[path.relative_to(PACKAGE).as_posix() for path in MODULES])
def test_the_examples_of_a_module_give_what_they_show(path):
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    failed, attempted = doctest.testmod(import_module(name))
    assert attempted
    assert not failed


@pytest.mark.parametrize("name", ["compare", "evaluate", "fuse"])
def test_an_arrow_of_the_toolkit_has_an_example(name):
    assert ">>> " in getattr(ranker, name).__doc__
