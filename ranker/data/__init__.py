"""Queries, passages, judgments and runs, and the files that hold them."""
