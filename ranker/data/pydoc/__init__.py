"""The embedded dataset ``pydoc``, of Python's own documentation."""
