"""The token files of collections, made where they pay."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from ranker.cli.options import progress
from ranker.errors import OutputError

if TYPE_CHECKING:
    from ranker.data.collection import Collection
    from ranker.scoring.scorer import Scorer

_WORTH_IT: Final = 0.5
"""The share of a collection that a command reads from which it tokenises all: at most twice the work, done once."""


def keep_tokens(scorer: Scorer, collection: Collection, passages: int) -> None:
    """Makes the collection's token file, with a bar, where so many of its passages are about to be read."""
    from ranker.scoring.token_file import build_token_file, find_token_file

    if passages < _WORTH_IT * len(collection) or find_token_file(scorer.reading, collection) is not None:
        return
    # a cache that cannot be written costs time, here and in what is read after
    with suppress(OutputError), progress("tokens", len(collection), "passage") as advance:
        build_token_file(scorer.reading, collection, advance)
