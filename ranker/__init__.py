"""Train, run and compare BERT rankers of question-passage pairs."""

__version__ = "0.1.0"
