"""``python -m pyserini.index.lucene``, with the words that follow."""

import runpy

from pyserini_java import start

start()
runpy.run_module("pyserini.index.lucene", run_name="__main__")
