"""Everything that can go wrong by somebody's input, as one tree.

RankerError                 one sentence: place, what is wrong, the value, what is allowed
├── DataError               a dataset, collection, run or qrels file, or a value in one
├── ModelError              a model directory, a backbone, or a mode it cannot serve
├── SearchIndexError        an index directory: missing, broken, or built from something else
├── TrainingError           a training that cannot start or has gone wrong
├── OutputError             a place to write to: occupied, read-only or full
└── SetupError              something this machine lacks (Java, FAISS, an extra)

The command line turns each of them into that sentence on stderr and exit status 1.
"""


class RankerError(Exception):
    """Base of all errors that a user can cause and mend."""


class DataError(RankerError):
    """A dataset, collection, run or qrels file, or a value in one, is not what it must be."""


class ModelError(RankerError):
    """A model directory or backbone cannot serve what is asked of it."""


class SearchIndexError(RankerError):
    """An index is missing, broken, or was built from something else."""


class TrainingError(RankerError):
    """A training cannot start, or has gone wrong."""


class OutputError(RankerError):
    """A file or folder cannot be written."""


class SetupError(RankerError):
    """This machine lacks something that the command needs."""
