"""The Java virtual machine that Anserini runs in: found, started and spoken to here and nowhere else.

One JVM lives in the process, from the first ``start_jvm`` to the end. It does not survive a fork: a process that needs
it must be started by ``spawn``. Threads that speak to it are those of ``java_map``, which lets Java forget them again.
Its heap is what Java takes by itself, a quarter of the machine's memory; ``JAVA_TOOL_OPTIONS=-Xmx8g`` in the
environment changes that.
"""

import errno
import os
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Final, TypeVar

from ranker.errors import SearchIndexError, SetupError
from ranker.index.java import JAR_NAME, Java, anserini_jar, find_java

_VECTOR_MODULE: Final = "jdk.incubator.vector"
"""Pyserini adds it to the options at its import; BM25 does not need it, and a Java without it would not start."""

_SILENT: Final = (
    f"-Djava.util.logging.config.file={os.devnull}",
    "-Dlog4j2.loggerContextFactory=org.apache.logging.log4j.simple.SimpleLoggerContextFactory",
    "-Dslf4j.internal.verbosity=WARN",
)
"""Anserini's own set-up logs to stdout, where results go. The simple logger writes errors alone, to stderr, and starts
a second sooner."""

_LIBRARIES: Final = ("lib/server/libjvm.so", "lib/libjli.dylib", "lib/server/libjvm.dylib", "bin/server/jvm.dll")

Item = TypeVar("Item")
Result = TypeVar("Result")

_IO_CLASS: Final = re.compile(r"java\.(io|nio\.file)\.")

_LOCK: Final = threading.Lock()
_RUNNING_IN: Final[set[int]] = set()
"""The id of the process that the JVM was started in, or first used in."""


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


def java_class(name: str) -> Any:  # noqa: ANN401  # what Java has cannot be typed here
    """A class of Java, Lucene or Anserini by its full name; starts the JVM first.

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
    """``function`` of each item, in order, on threads that Java forgets again; items are read no faster than needed.

    After an error or Ctrl-C no more are begun, and none is waited for.
    """
    detach = _bridge("jnius").detach
    window: deque[Future[Result]] = deque()

    def attached(item: Item) -> Result:
        try:
            return function(item)
        finally:
            detach()

    executor = ThreadPoolExecutor(threads)
    try:
        for item in items:
            window.append(executor.submit(attached, item))
            if len(window) > threads:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def java_errors(place: Path | str) -> Iterator[None]:
    """Turns what Java throws into one sentence about ``place``.

    Raises: SearchIndexError.
    """
    try:
        yield
    except _bridge("jnius").JavaException as error:
        raise SearchIndexError(f"{place}: {_java_reason(error)}") from error


def java_os_error(thrown: Any) -> OSError | None:  # noqa: ANN401  # an exception of Python, or a Throwable of Java
    """What Java says of a file system that refuses to write, as Python says it; None for any other error."""
    if isinstance(thrown, _bridge("jnius").JavaException):
        name, message = str(thrown.classname), str(thrown.innermessage)
    elif isinstance(thrown, BaseException):
        return None
    else:
        name, message = str(thrown.getClass().getName()), str(thrown.getMessage())
    if not _IO_CLASS.match(name):
        return None
    return OSError(errno.ENOSPC if "No space left" in message else errno.EIO, message)


def _java_reason(error: Any) -> str:  # noqa: ANN401  # jnius has no annotations
    """What Java threw, as half a sentence with what to do where that is known."""
    if error.classname == "java.lang.OutOfMemoryError":
        return "Java ran out of memory; give it more, as with JAVA_TOOL_OPTIONS=-Xmx8g in the environment."
    name = str(error.classname).rpartition(".")[2]
    return f"Lucene refuses it: {name}: {' '.join(str(error.innermessage).split())}."


def java_versions() -> dict[str, str]:
    """The versions of Java, Anserini and Pyserini that this process runs, for manifests."""
    system = java_class("java.lang.System")
    found = {"java": str(system.getProperty("java.version"))}
    jar = JAR_NAME.search(str(system.getProperty("java.class.path")))
    if jar:
        found["anserini"] = jar[1]
    with suppress(metadata.PackageNotFoundError):
        found["pyserini"] = metadata.version("pyserini")
    return found


def _start(jnius_config: Any) -> None:  # noqa: ANN401
    java = find_java()
    jar = anserini_jar()
    wanted = [option for option in jnius_config.get_options() if _can_take(java, option)]
    jnius_config.set_options(*wanted, *_options(java))
    jnius_config.add_classpath(str(jar))
    variables = {"JAVA_HOME": str(java.home)}
    library = next((java.home / name for name in _LIBRARIES if (java.home / name).exists()), None)
    if library is not None:
        variables["JVM_PATH"] = str(library)
    with _environment(variables):
        try:
            import_module("jnius")  # its import is what starts the JVM
        except Exception as error:  # each way to fail has its own class in pyjnius
            raise SetupError(f"{java.home}: Java {java.version} does not start: {error}.") from error


def _options(java: Java) -> list[str]:
    """``-Xrs`` leaves the signals to Python; the parallel collector answers a batch of queries half as fast again."""
    options = ["-Xrs", "-XX:+UseParallelGC", "--enable-native-access=ALL-UNNAMED", *_SILENT]
    if java.major >= 23:  # an older Java refuses to start with it
        options.append("--sun-misc-unsafe-memory-access=allow")
    return options


def _can_take(java: Java, option: str) -> bool:
    """Whether a Java starts with an option that somebody else, as Pyserini, has asked for before."""
    return _VECTOR_MODULE not in option or _VECTOR_MODULE in java.modules


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Variables that hold only while the JVM starts: child processes must not inherit our choice of Java."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]
        os.environ.update(before)


def _bridge(name: str) -> Any:  # noqa: ANN401
    try:
        return import_module(name)
    except ImportError as error:
        raise SetupError(f"BM25 needs Pyserini, but {error.name} is not installed: pip install pyserini.") from error
