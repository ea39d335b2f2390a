"""The words of messages: singular and plural, the name that a misspelt one is nearest to, and shortened values."""

import difflib
import reprlib
from collections.abc import Iterable

_VOWELS = "aeiou"


def counted(number: float, noun: str, form: str = "") -> str:
    """Returns a number and its noun, as in "1 query" and "2 queries".

    ``form`` is a format specification of the number. The number as written decides: 0.96 in the form ``.0f`` is one.
    """
    shown = format(number, form)
    return f"{shown} {noun if shown in ('1', '-1') else plural(noun)}"


def plural(noun: str) -> str:
    """Returns the plural of a noun by the rules of English spelling; of several words the last is the noun."""
    if noun.endswith("y") and noun[-2:-1] not in _VOWELS:
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Returns a question that names what a misspelt word is nearest to, after a blank, or "" where nothing is near."""
    known = list(names)
    plain = word.strip().lower().replace("_", "-")
    prefixes = [name for name in known if name and plain.startswith(name)]
    nearest = [max(prefixes, key=len)] if prefixes else difflib.get_close_matches(plain, known, n=2)
    return f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""


def shortened(value: object) -> str:
    """Returns the repr of a value in at most 60 characters, for a message."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
