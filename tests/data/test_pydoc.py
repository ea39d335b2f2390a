import inspect
import os
import os.path
import re
import shutil
import subprocess
import sys
import textwrap
import warnings
from collections import Counter
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

from ranker.data.pydoc.dataset import PydocConfig, dataset_of, question_id, split_docstring, split_of
from ranker.data.pydoc.docstrings import INSPECTED, PACKAGES, Docstring, docstrings, inspected, parsed
from ranker.data.pydoc.questions import QUESTIONS
from ranker.data.records import DatasetStreams, Judgment, Passage, Qrels, Query
from ranker.data.trec import read_qrels
from ranker.errors import DataError
from ranker.limits import MAX_PYDOC_WORDS, MIN_PYDOC_WORDS

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Contents:
    """A whole dataset in memory."""

    passages: dict[str, Passage]
    queries: dict[str, Query]
    judgments: list[Judgment]

    def pairs(self) -> list[tuple[Query, Passage]]:
        """First sentences with their passages: all but the questions."""
        judged = [judgment for judgment in self.judgments if judgment.split != "questions"]
        return [(self.queries[judgment.query_id], self.passages[judgment.doc_id]) for judgment in judged]


def contents(streams: DatasetStreams) -> Contents:
    passages, queries = list(streams.passages), list(streams.queries)
    by_doc_id = {passage.doc_id: passage for passage in passages}
    by_query_id = {query.query_id: query for query in queries}
    assert len(by_doc_id) == len(passages)
    assert len(by_query_id) == len(queries)
    return Contents(by_doc_id, by_query_id, list(streams.judgments))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


@pytest.fixture(scope="module")
def found() -> list[Docstring]:
    return list(docstrings())


@pytest.fixture(scope="module")
def made(found: list[Docstring]) -> Contents:
    return contents(dataset_of(found, PydocConfig()))


def test_the_answer_about_extensions_is_os_path_splitext(made: Contents) -> None:
    assert made.passages["os.path.splitext"] == Passage(
        "os.path.splitext",
        "os.path.splitext",
        "Split the extension from a pathname. Extension is everything from the last dot to the end, ignoring leading "
        'dots. Returns "(root, ext)"; ext may be empty.',
    )


def test_a_first_sentence_asks_for_the_rest_of_its_docstring(made: Contents) -> None:
    assert made.queries["heapq.heappushpop"].text == (
        "Push item on the heap, then pop and return the smallest item from the heap"
    )
    assert made.passages["heapq.heappushpop"].text == (
        "The combined action runs more efficiently than heappush() followed by a separate call to heappop()."
    )
    assert Judgment(split_of("heapq"), "heapq.heappushpop", "heapq.heappushpop", 1) in made.judgments


@pytest.mark.parametrize(
    "name",
    ["os.path.relpath", "shutil.move", "str.split", "itertools.product", "datetime.timezone", "math.nextafter", "json"],
)
def test_functions_in_c_aliases_methods_and_modules_are_read(found: list[Docstring], name: str) -> None:
    assert any(docstring.name == name for docstring in found)


def test_there_are_thousands_of_passages_and_at_most_ten_thousand(made: Contents) -> None:
    assert 2_000 < len(made.passages) < 10_000
    splits = Counter(judgment.split for judgment in made.judgments)
    assert set(splits) == {"train", "dev", "test", "questions"}
    assert splits["train"] > 5 * splits["dev"] > 500
    assert splits["train"] > 5 * splits["test"] > 500


def test_no_passage_contains_its_query(made: Contents) -> None:
    for query, passage in made.pairs():
        assert " ".join(words(query.text)) not in " ".join(words(passage.contents))


def test_passages_have_at_most_the_words_asked_for(made: Contents, found: list[Docstring]) -> None:
    shorter = contents(dataset_of(found, PydocConfig(words=20)))
    for count, known in ((64, made), (20, shorter)):
        assert max(len(passage.text.split()) for passage in known.passages.values()) == count


def test_queries_and_passages_are_on_one_line_and_free_of_markup(made: Contents) -> None:
    for text in [query.text for query in made.queries.values()] + [p.text for p in made.passages.values()]:
        assert text == " ".join(text.split())
        assert text
        assert "`" not in text


def test_no_query_is_a_signature(made: Contents) -> None:
    assert [query.text for query, _ in made.pairs() if re.match(r"[\w.]+\(", query.text)] == []


def test_a_query_asks_in_4_to_32_words(made: Contents) -> None:
    assert {len(query.text.split()) for query, _ in made.pairs()} <= set(range(4, 33))


def test_no_query_is_asked_twice(made: Contents) -> None:
    asked = Counter(" ".join(words(query.text)) for query in made.queries.values())
    assert [text for text, times in asked.items() if times > 1] == []


def test_near_duplicates_are_left_out(made: Contents) -> None:
    seen: set[tuple[str, ...]] = set()
    for _, passage in made.pairs():
        known = words(passage.text)
        shingles = {tuple(known[i : i + 5]) for i in range(len(known) - 4)}
        assert len(shingles & seen) <= 0.5 * len(shingles)
        seen |= shingles
    both = {"str.partition", "bytes.partition", "bytearray.partition"} & set(made.passages)
    assert len(both) == 1


def test_a_docstring_that_says_almost_what_an_earlier_one_says_is_left_out(found: list[Docstring]) -> None:
    rest = "It turns the crank three times and then waits until every wheel has come to rest. "
    new = [
        Docstring("mill.one", "mill", f"Grind all of the corn. {rest}"),
        Docstring("mill.two", "mill", f"Grind all of the barley. {rest}Then it stops."),
        Docstring(
            "mill.three", "mill", "Grind all of the corn. Nothing else here has ever been said by any other one."
        ),
        Docstring("mill.four", "mill", "Sweep the whole floor. Dust goes to the left side, husks to the right side."),
    ]
    made = contents(dataset_of([*found, *new], PydocConfig()))
    assert [name for name in made.passages if name.startswith("mill.")] == ["mill.one", "mill.four"]


def test_a_module_is_in_one_split(made: Contents, found: list[Docstring]) -> None:
    module_of = {docstring.name: docstring.module for docstring in reversed(found)}
    splits: dict[str, set[str]] = {}
    for judgment in made.judgments:
        if judgment.split != "questions":
            splits.setdefault(module_of[judgment.doc_id], set()).add(judgment.split)
    assert len(splits) > 300
    assert all(len(names) == 1 for names in splits.values())


def test_the_split_of_a_module_never_changes() -> None:
    names = ["os.path", "shutil", "random", "codecs", "sys", "configparser"]
    assert [split_of(name) for name in names] == ["train", "train", "dev", "dev", "test", "test"]


def test_every_question_has_an_answer_among_the_passages(made: Contents) -> None:
    judged = [judgment for judgment in made.judgments if judgment.split == "questions"]
    assert {judgment.query_id for judgment in judged} == {question_id(n + 1) for n in range(len(QUESTIONS))}
    assert 40 <= len(QUESTIONS) <= 60
    for judgment in judged:
        assert judgment.relevance == 1
        assert judgment.doc_id in made.passages


def test_answers_hold_their_whole_docstring_and_are_in_no_other_split(made: Contents) -> None:
    answers = {name for names in QUESTIONS.values() for name in names}
    assert made.passages["calendar.isleap"].text == "Return True for leap years, False for non-leap years."
    assert not answers & {judgment.query_id for judgment in made.judgments}
    assert not answers & {judgment.doc_id for judgment in made.judgments if judgment.split != "questions"}


def test_answers_are_names_of_the_standard_library_that_can_be_called() -> None:
    for name in {name for names in QUESTIONS.values() for name in names}:
        assert callable(resolved(name)), name


def resolved(name: str) -> object:
    parts = name.split(".")
    if not hasattr(import_module("builtins"), parts[0]):
        assert parts[0] in sys.stdlib_module_names
        for end in range(len(parts) - 1, 0, -1):
            try:
                value: object = import_module(".".join(parts[:end]))
            except ModuleNotFoundError:
                continue
            parts = parts[end:]
            break
    else:
        value = import_module("builtins")
    for part in parts:
        value = getattr(value, part)
    return value


def test_no_question_gives_its_answer_away() -> None:
    for question, names in QUESTIONS.items():
        assert question.endswith("?")
        for name in names:
            last = name.rpartition(".")[2]
            assert "_" not in last or last not in words(question)


def test_the_qrels_of_the_repository_say_the_same_as_the_package() -> None:
    expected: Qrels = {
        question_id(number): dict.fromkeys(names, 1) for number, names in enumerate(QUESTIONS.values(), start=1)
    }
    assert read_qrels(REPOSITORY / "qrels" / "pydoc-questions.qrels") == expected


def test_another_process_makes_the_same_dataset_and_imports_none_of_the_packages(made: Contents) -> None:
    code = """
        import sys
        from ranker.data.pydoc.dataset import PydocConfig, pydoc
        material = pydoc(PydocConfig())
        for stream in (material.passages, material.queries, material.judgments):
            print(ascii(list(stream)))
        print(sorted({'numpy', 'scipy', 'torch', 'tkinter'} & set(sys.modules)))
    """
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=True,
    )
    here = [list(made.passages.values()), list(made.queries.values()), made.judgments]
    assert done.stdout.splitlines() == [*map(ascii, here), "[]"]


def test_the_packages_are_read_where_they_are_installed(made: Contents) -> None:
    for package in PACKAGES:
        assert any(name.startswith(f"{package}.") for name in made.passages), package


@pytest.mark.parametrize("count", [MIN_PYDOC_WORDS - 1, MAX_PYDOC_WORDS + 1, 0, -1])
def test_a_length_out_of_bounds_is_refused(count: int) -> None:
    with pytest.raises(DataError) as caught:
        PydocConfig(words=count)
    assert str(caught.value) == f"pydoc: words is {count}, expected {MIN_PYDOC_WORDS} to {MAX_PYDOC_WORDS}."


def test_a_missing_answer_is_said_in_one_sentence(found: list[Docstring]) -> None:
    streams = dataset_of([docstring for docstring in found if docstring.name != "html.escape"], PydocConfig())
    with pytest.raises(DataError) as caught:
        list(streams.passages)
    assert str(caught.value) == "pydoc: this Python has no docstring of html.escape; it must not run with -OO."


@pytest.mark.parametrize(
    ("text", "first", "rest"),
    [
        ("Do this. Then that.", "Do this.", "Then that."),
        ("Do this\n\nThen that.", "Do this", "Then that."),
        ("Do this,\n    and that.\n\nRest", "Do this, and that.", "Rest"),
        ("Use os.walk, e.g. here. Rest", "Use os.walk, e.g. here.", "Rest"),
        ("Do this", "Do this", ""),
        ("Like :func:`~os.walk` and ``x``. Rest", "Like os.walk and x.", "Rest"),
        ("sleep(seconds)\n\nDelay. Rest", "Delay.", "Rest"),
        ("f(a) -> x\nf(a, b) -> y\n\nDo this. Rest", "Do this.", "Rest"),
        ("D.pop(k[,d]) -> v, remove the key. Rest", "remove the key.", "Rest"),
        ("chain(*a) --> chain object\n\nReturn it. Rest", "Return it.", "Rest"),
        ("partial(func, *args) - new function. Rest", "new function.", "Rest"),
        ("Call f(x) twice. Rest", "Call f(x) twice.", "Rest"),
        ("f(\n    a=(1, 2),\n)\n--\n\nDo this. Rest", "Do this.", "Rest"),
        ("f(x)", "", ""),
        ("", "", ""),
    ],
)
def test_a_docstring_is_split_after_its_first_sentence(text: str, first: str, rest: str) -> None:
    assert split_docstring(text) == (first, rest)


SOURCE = '''
"""A module."""
import sys
raise SystemExit("executed")

class A:
    """A class."""
    def method(self):
        """A method
        of two lines."""
    def _private(self):
        """Private."""
    class B:
        """Inner."""
        async def later(self): "Later."

class _Hidden:
    """Hidden."""
    def method(self):
        """Hidden too."""

if sys.version_info > (3,):
    def one(): "\\d is no escape."
else:
    def other(): "Other."
try:
    def tried():
        def inner(): "Inner."
except ImportError:
    pass
'''


def test_source_text_is_read_without_being_executed(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(SOURCE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(parsed("p.m", tmp_path / "m.py"))
    assert [(docstring.name, docstring.text) for docstring in found] == [
        ("p.m", "A module."),
        ("p.m.A", "A class."),
        ("p.m.A.method", "A method\nof two lines."),
        ("p.m.A.B", "Inner."),
        ("p.m.A.B.later", "Later."),
        ("p.m.one", "\\d is no escape."),
        ("p.m.other", "Other."),
    ]
    assert {docstring.module for docstring in found} == {"p.m"}


def test_source_text_of_another_python_documents_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text('"""Doc."""\nprint "two"\n')
    assert list(parsed("m", tmp_path / "m.py")) == []


def test_a_module_is_inspected_under_the_name_that_publishes_it() -> None:
    found = {docstring.name: docstring for docstring in inspected("os.path")}
    assert found["os.path.splitext"].module == "os.path"
    assert found["os.path.splitext"].text == inspect.getdoc(os.path.splitext)
    assert not any(name.startswith(("posixpath", "ntpath", "genericpath")) for name in found)


def test_builtins_have_no_prefix_and_private_names_are_left_out() -> None:
    names = {docstring.name for docstring in inspected("builtins")}
    assert {"len", "str", "str.split", "dict.fromkeys", "int.from_bytes"} <= names
    assert not any(part.startswith("_") for name in names for part in name.split("."))


def test_a_hook_that_a_program_replaces_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before = list(inspected("sys"))
    monkeypatch.setattr(sys, "excepthook", shutil.move)
    assert list(inspected("sys")) == before


def test_a_module_that_this_python_lacks_is_passed_over() -> None:
    assert list(inspected("no_such_module")) == []


def test_the_inspected_modules_are_all_of_the_standard_library() -> None:
    assert {name.partition(".")[0] for name in INSPECTED} <= sys.stdlib_module_names
    assert shutil.__name__ not in INSPECTED
