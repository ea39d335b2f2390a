"""Reads the docstrings of this Python and of installed packages, from their source text where there is some.

No code of a package is executed. Only a fixed list of modules of the standard library is imported: those that are
written in C, or whose contents are defined in others.
"""

import ast
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

INSPECTED = (
    *("builtins", "array", "binascii", "bisect", "cmath", "codecs", "collections", "csv", "datetime", "decimal"),
    *("functools", "gc", "hashlib", "heapq", "io", "itertools", "lzma", "marshal", "math", "mmap", "operator", "os"),
    *("os.path", "pathlib", "pickle", "random", "select", "signal", "socket", "sqlite3", "struct", "sys", "time"),
    *("unicodedata", "weakref", "zlib"),
)
"""Modules of the standard library that are imported, since their source is not in Python or not in one file."""

PACKAGES = ("babel", "click", "numpy", "scipy", "torch.distributions", "torch.nn", "torch.optim", "torch.utils", "tqdm")
"""Packages that are read where they are installed: of torch, the parts with prose; transformers is left out, since its
docstrings repeat from model to model."""

_OMITTED = frozenset({"antigravity", "genericpath", "idlelib", "lib2to3", "ntpath", "posixpath", "this", "turtledemo"})
"""Modules that are left out: games, another program, and those that ``os.path`` publishes."""

_REPLACED = frozenset({"sys.breakpointhook", "sys.displayhook", "sys.excepthook", "sys.unraisablehook"})
"""Functions that a running program may have replaced by its own."""

_TESTS = frozenset({"test", "tests", "testing", "_vendor"})

_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Docstring(NamedTuple):
    """A docstring without indentation, the qualified name that it documents, and the module that defines it."""

    name: str
    module: str
    text: str


def docstrings() -> Iterator[Docstring]:
    """Yields the docstrings of all public names, in an order that depends only on the packages installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's escape sequences
        for name in INSPECTED:
            yield from inspected(name)
        for name, root in _roots():
            for module, path in _modules(name, root):
                yield from parsed(module, path)


def inspected(name: str) -> Iterator[Docstring]:
    """Yields the docstrings of a module's public functions and classes, by importing it; none where it is missing."""
    try:
        module = importlib.import_module(name)
    except ImportError:
        return
    prefix = "" if name == "builtins" else f"{name}."
    for public in _public_names(module):
        value = vars(module)[public]
        if inspect.isclass(value) or inspect.isroutine(value):
            yield from _documented(prefix + public, name, value)
            if inspect.isclass(value):
                for member in sorted(vars(value)):
                    if not member.startswith("_"):
                        yield from _documented(f"{prefix}{public}.{member}", name, vars(value)[member])


def parsed(module: str, path: Path) -> Iterator[Docstring]:
    """Yields the docstrings of a module and its public functions, classes and methods, by parsing its source."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # a template or a file for another version of Python: it documents nothing that runs here
    text = ast.get_docstring(tree)
    if text:
        yield Docstring(module, module, text)
    yield from _definitions(tree.body, module, module)


def _public_names(module: ModuleType) -> list[str]:
    names: Iterable[str] = getattr(module, "__all__", vars(module))
    return sorted(name for name in set(names) if not name.startswith("_") and name in vars(module))


def _documented(name: str, module: str, value: object) -> Iterator[Docstring]:
    is_definition = inspect.isclass(value) or inspect.isroutine(value) or inspect.isdatadescriptor(value)
    is_definition = is_definition or isinstance(value, classmethod | staticmethod)
    text = getattr(value, "__doc__", None)
    if is_definition and name not in _REPLACED and isinstance(text, str) and text.strip():
        yield Docstring(name, module, inspect.cleandoc(text))


def _definitions(body: list[ast.stmt], prefix: str, module: str) -> Iterator[Docstring]:
    for node in body:
        if isinstance(node, _DEFINITIONS):
            if not node.name.startswith("_"):
                yield from _definition(node, prefix, module)
        elif isinstance(node, ast.If | ast.Try | ast.With):
            for branch in ("body", "orelse", "finalbody"):
                yield from _definitions(getattr(node, branch, []), prefix, module)


def _definition(node: _Definition, prefix: str, module: str) -> Iterator[Docstring]:
    name = f"{prefix}.{node.name}"
    text = ast.get_docstring(node)
    if text and text.strip():
        yield Docstring(name, module, text)
    if isinstance(node, ast.ClassDef):
        yield from _definitions(node.body, name, module)


def _roots() -> Iterator[tuple[str, Path]]:
    """Yields the modules and packages to read, each with its file or folder."""
    library = Path(sysconfig.get_path("stdlib"))
    for name in sorted(sys.stdlib_module_names - _OMITTED - set(INSPECTED)):
        if not name.startswith("_"):
            yield name, library / name if (library / name).is_dir() else library / f"{name}.py"
    for name in PACKAGES:
        top, *inner = name.split(".")
        spec = importlib.util.find_spec(top)  # of the top package alone: finding one inside would import it
        if spec is not None and spec.submodule_search_locations:
            yield name, Path(spec.submodule_search_locations[0], *inner)


def _modules(name: str, path: Path) -> Iterator[tuple[str, Path]]:
    """Yields the modules at a path, also private ones of packages, where numpy and scipy define their functions."""
    if path.is_file():
        yield name, path
        return
    private = name.partition(".")[0] not in sys.stdlib_module_names
    for entry in sorted(path.iterdir()) if path.is_dir() else []:
        if entry.name == "__init__.py":
            yield name, entry
        elif (entry.suffix == ".py" or (entry / "__init__.py").is_file()) and _is_read(entry.stem, private):
            yield from _modules(f"{name}.{entry.stem}", entry)


def _is_read(stem: str, private: bool) -> bool:
    return stem.isidentifier() and stem not in _TESTS and (private or not stem.startswith("_"))
