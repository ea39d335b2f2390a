"""Settings declared once, with default, bounds, choices and help, for the command line, JSON and the library."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_type_hints

from ranker.errors import DataError, RankerError
from ranker.wording import did_you_mean, shortened

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")

_OPTION: Final = "option"


@dataclass(frozen=True)
class Option:
    """The declaration of one setting, whose type is that of ``default``.

    ``least`` and ``most`` bound a number, and ``most`` the characters of a text; with ``zero``, 0 is allowed below
    ``least`` too. ``expected`` says in an error what is allowed, where the bounds do not say it all. A setting without
    ``help`` is not on the command line.
    """

    default: Any
    help: str
    least: float
    most: float
    choices: Mapping[str, Any] | None
    zero: bool
    expected: str

    def allows(self, value: object) -> bool:
        """Returns whether a value has the right type, is within the bounds, and is one of the choices."""
        kind = type(self.default)
        if kind is bool or isinstance(value, bool):  # a bool is an int too, but True is not meant as 1
            return kind is bool and isinstance(value, bool)
        if kind is str:
            if not isinstance(value, str):
                return False
            return value in self.choices if self.choices else len(value) <= self.most
        if isinstance(value, int) or (kind is float and isinstance(value, float)):
            return self.least <= value <= self.most or (self.zero and value == 0)
        return False

    def allowed(self) -> str:
        """Returns what is allowed, as an error sentence says it."""
        if self.expected:
            return self.expected
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, str):
            return "a text" if self.most == math.inf else f"a text of at most {self.most} characters"
        return f"{self.least} or more" if self.most == math.inf else f"{self.least} to {self.most}"


def setting(
    default: T,
    help: str = "",  # noqa: A002  # the word of click and argparse
    *,
    least: float = -math.inf,
    most: float = math.inf,
    choices: Mapping[str, Any] | None = None,
    zero: bool = False,
    expected: str = "",
) -> T:
    """Returns a dataclass field that carries its declaration; the arguments are those of ``Option``."""
    option = Option(default, help, least, most, choices, zero, expected)
    return field(default=default, metadata={_OPTION: option})


def options_of(settings: "type[DataclassInstance] | DataclassInstance") -> dict[str, Option]:
    """Returns the declarations of a settings class by name, in the order of its fields."""
    return {item.name: item.metadata[_OPTION] for item in fields(settings) if _OPTION in item.metadata}


def check(settings: "DataclassInstance", error: type[RankerError], prefix: str = "", suggest: bool = False) -> None:
    """Refuses a declared setting of another type, outside its bounds, or of none of its choices.

    ``prefix`` stands before the setting's name, and with ``suggest`` the nearest choice is named.
    Raises: ``error``.
    """
    for name, option in options_of(settings).items():
        value = getattr(settings, name)
        if not option.allows(value):
            meant = did_you_mean(str(value), option.choices) if suggest and option.choices else ""
            raise error(f"{prefix}{name} is {shortened(value)}, expected {option.allowed()}.{meant}")


def check_choice(name: str, value: object, choices: Iterable[str], error: type[RankerError]) -> None:
    """Refuses what is none of the choices, and names the nearest.

    Raises: ``error``.
    """
    names = list(choices)
    if value not in names:
        meant = did_you_mean(str(value), names)
        raise error(f"{name} is {shortened(value)}, expected one of {', '.join(names)}.{meant}")


def from_json(kind: type[T], record: Mapping[str, Any]) -> T:
    """Builds a dataclass from what ``asdict`` and JSON made of it; lists become tuples, and objects dataclasses.

    Raises: DataError for an unknown or missing key, and what the classes raise for values that they do not allow.
    """
    known = fields(cast("type[DataclassInstance]", kind))
    names = [item.name for item in known]
    unknown = next((key for key in record if key not in names), None)
    if unknown is not None:
        raise DataError(f"{kind.__name__} has no {shortened(unknown)}, expected {', '.join(names)}.")
    for item in known:
        if item.name not in record and item.default is MISSING and item.default_factory is MISSING:
            raise DataError(f"{kind.__name__} lacks {item.name!r}.")
    types = get_type_hints(kind)
    values = {}
    for name, value in record.items():
        if not is_dataclass(types[name]):
            values[name] = tuple(value) if isinstance(value, list) else value
        elif isinstance(value, Mapping):
            values[name] = from_json(cast("type[Any]", types[name]), value)
        else:
            raise DataError(f"{kind.__name__}.{name} is {shortened(value)}, expected a JSON object.")
    return kind(**values)


def in_a_line(choices: Mapping[str, str]) -> str:
    """Returns the choices, each with its meaning, as a help text lists them."""
    return "; ".join(f"{name}: {meaning}" for name, meaning in choices.items())
