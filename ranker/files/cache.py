"""Where what can be made again is kept: offset indexes, embedded datasets, tokens."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """``RANKER_CACHE``, else ``XDG_CACHE_HOME/ranker``, else ``~/.cache/ranker``; it may not exist yet."""
    chosen = os.environ.get("RANKER_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ranker"
