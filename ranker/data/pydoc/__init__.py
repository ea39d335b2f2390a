"""The embedded dataset of Python's own documentation."""
