"""Words in messages: one query and two queries, what a misspelt name was meant to be, and values shown short."""

import difflib
import reprlib
from collections.abc import Iterable

_VOWELS = "aeiou"


def counted(number: float, noun: str, form: str = "") -> str:
    """A number and its noun, in the plural but for 1; ``form`` is how the number is written, as ``format`` takes it.

    The number as it is written decides: 0.96 in the form ``.0f`` is one.
    """
    shown = format(number, form)
    return f"{shown} {noun if shown in ('1', '-1') else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a noun by the rules of English spelling; of several words the last is the noun."""
    if noun.endswith("y") and noun[-2:-1] not in _VOWELS:
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Nothing, or a question that names what a misspelt word is nearest to, with a blank before it."""
    known = list(names)
    plain = word.strip().lower().replace("_", "-")
    begun = [name for name in known if name and plain.startswith(name)]
    near = sorted(begun, key=len, reverse=True)[:1] or difflib.get_close_matches(plain, known, n=2)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def shortened(value: object) -> str:
    """A value as a message shows it."""
    shown = reprlib.repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
