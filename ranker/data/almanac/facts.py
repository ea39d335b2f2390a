"""Reads the facts of the Unicode CLDR about each territory from the package babel, as codes and not yet in words.

babel's data lack CLDR's measurement systems, paper sizes and regions that contain others.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

from babel import localedata
from babel.core import Locale, get_global

Value = tuple[str, ...]
"""One or more codes, ids or digits: ``("OMR",)``, ``("de", "fr", "it")``, ``("1972",)``."""

_MAX_OFFICIAL: Final = 3
"""Official languages in one sentence; Bosnia and Herzegovina has three, in five scripts and dialects."""

_MIN_FACTS: Final = 12
"""The fewest properties of a territory that is used; uninhabited ones, and codes of no territory, have fewer."""

_MIN_SHARE: Final = 5.0
"""The least per cent of the population that use a second language; CLDR even counts Esperanto in San Marino."""

_UNINHABITED: Final = frozenset({"GS", "IO", "UM"})
"""Territories that have a currency and a calendar, but no people."""

_MIN_NAMES: Final = 400
"""The fewest language names of a complete locale, which has 413 or more; incomplete ones have 0 to 169."""

_SIGNS: Final = {
    ",": "comma",
    ".": "stop",
    " ": "space",
    "\N{NO-BREAK SPACE}": "space",
    "\N{NARROW NO-BREAK SPACE}": "space",
    "'": "apostrophe",
    "\N{RIGHT SINGLE QUOTATION MARK}": "apostrophe",
}


@cache
def territory_names(language: str) -> list[str]:
    """Returns the names of all territories in a language, given by its code."""
    return list(Locale.parse(language).territories.values())


def territory_facts() -> dict[str, dict[str, Value]]:
    """Returns the value of each property of each territory, both in alphabetical order, where CLDR has one."""
    facts = {}
    for territory in sorted(get_global("territory_zones").keys() - _UNINHABITED):
        values = {name: read(territory) for name, read in PROPERTIES.items()}
        facts[territory] = {name: value for name, value in values.items() if value}
    return {territory: known for territory, known in facts.items() if len(known) >= _MIN_FACTS}


def _tenders(territory: str) -> list[tuple[str, Any, Any]]:
    """Returns code, first day and last day of each legal tender; a last day of None means that it still is."""
    listed = get_global("territory_currencies").get(territory, [])
    return [(code, start, end) for code, start, end, tender in listed if tender]


def _current(territory: str) -> tuple[str, Any] | None:
    """Returns the only legal tender and its first day; None where there are several, of which a sentence names one."""
    current = [(code, start) for code, start, end in _tenders(territory) if end is None]
    return current[0] if len(current) == 1 else None


def _currency(territory: str) -> Value:
    current = _current(territory)
    return (current[0],) if current else ()


def _currency_year(territory: str) -> Value:
    current = _current(territory)
    return (str(current[1][0]),) if current and current[1] else ()


def _currency_digits(territory: str) -> Value:
    current = _current(territory)
    fractions = get_global("currency_fractions")
    return (str(fractions.get(current[0], fractions["DEFAULT"])[0]),) if current else ()


def _former_currency(territory: str) -> Value:
    """Returns the tender that was abolished last."""
    tenders = _tenders(territory)
    current = {code for code, _, end in tenders if end is None}
    former = sorted((end, code) for code, _, end in tenders if end is not None and code not in current)
    return (former[-1][1],) if former and current else ()


def _languages(territory: str) -> list[tuple[float, str, str | None]]:
    """Returns share of the population, code and official status of each language, the largest share first."""
    listed = get_global("territory_languages").get(territory, {})
    return sorted(
        ((of["population_percent"] or 0.0, code, of["official_status"]) for code, of in listed.items()),
        key=lambda entry: (-entry[0], entry[1]),
    )


def _official_language(territory: str) -> Value:
    official = tuple(code for _, code, status in _languages(territory) if status == "official")
    return official if len(official) <= _MAX_OFFICIAL else ()


def _leading_languages(territory: str) -> list[tuple[float, str, str | None]]:
    """Returns the first three languages, padded with empty ones."""
    return [*_languages(territory), *[(0.0, "", None)] * 3][:3]


def _main_language(territory: str) -> Value:
    (share, code, _), (next_share, _, _), _ = _leading_languages(territory)
    return (code,) if share > next_share else ()


def _second_language(territory: str) -> Value:
    (first_share, first, _), (share, code, _), (next_share, _, _) = _leading_languages(territory)
    # two scripts of one language are no second language
    same = first.partition("_")[0] == code.partition("_")[0]
    return (code,) if first_share > share > next_share and share >= _MIN_SHARE and not same else ()


def _language_count(territory: str) -> Value:
    count = len({code.partition("_")[0] for _, code, _ in _languages(territory)})
    return (str(count),) if count > 1 else ()


def _likely(territory: str) -> list[str]:
    """Returns the likeliest language and script, and the territory; CLDR's default is English in Latin script."""
    likely: str = get_global("likely_subtags").get(f"und_{territory}", f"en_Latn_{territory}")
    return likely.split("_")


def _script(territory: str) -> Value:
    return (_likely(territory)[1],) if _languages(territory) else ()


def _ancestors(name: str) -> Iterator[str]:
    """Yields the name of a locale and of those it inherits from, without the root."""
    parents = get_global("parent_exceptions")
    while name and name != "root":
        yield name
        name = parents.get(name) or name.rpartition("_")[0]


def _territory_of(name: str) -> str:
    return next((part for part in name.split("_")[1:] if len(part) == 2), "")


@cache
def _week_locales() -> dict[str, str]:
    """Returns a locale for each territory, but none that inherits from another territory's, as pt_AO from pt_PT."""
    locales = {}
    for name in sorted(localedata.locale_identifiers(), reverse=True):
        territories = {_territory_of(ancestor) for ancestor in _ancestors(name)} - {""}
        if len(territories) == 1:
            locales[territories.pop()] = name
    return locales


def _first_day(territory: str) -> Value:
    name = _week_locales().get(territory)
    return (str(Locale.parse(name).first_week_day),) if name else ()


def _weekend(territory: str) -> Value:
    name = _week_locales().get(territory)
    if not name:
        return ()
    locale = Locale.parse(name)
    return tuple(str(day) for day in range(locale.weekend_start, locale.weekend_end + 1))


@cache
def _locale(territory: str) -> Locale | None:
    """Returns the likeliest locale of a territory; None where CLDR has none, or an incomplete one of defaults."""
    language, script, _ = _likely(territory)
    for name in (f"{language}_{territory}", f"{language}_{script}_{territory}"):
        if localedata.exists(name) and len(Locale.parse(name).languages) >= _MIN_NAMES:
            return Locale.parse(name)
    return None


def _hour_cycle(territory: str) -> Value:
    locale = _locale(territory)
    if locale is None:
        return ()
    # in a CLDR pattern, what stands in quotes is text, and h and K are hours of a 12-hour clock
    pattern = re.sub(r"'[^']*'", "", locale.time_formats["short"].pattern)
    return ("12",) if re.search("[hK]", pattern) else ("24",)


def _date_order(territory: str) -> Value:
    locale = _locale(territory)
    if locale is None:
        return ()
    # the order of day, month (M or L) and year in the pattern
    letters = re.sub(r"'[^']*'|[^dMLy]", "", locale.date_formats["short"].pattern).replace("L", "M")
    order = "".join(dict.fromkeys(letters))
    return (order,) if len(order) == 3 else ()


def _sign(territory: str, name: str) -> Value:
    locale = _locale(territory)
    if locale is None or locale.default_numbering_system != "latn":
        return ()
    sign = _SIGNS.get(locale.number_symbols["latn"].get(name, ""))
    return (sign,) if sign else ()


def _zone_name(territory: str) -> Value:
    zones = get_global("territory_zones")[territory]
    return (zones[0],) if len(zones) == 1 else ()


def _standard_time(territory: str) -> Value:
    """Returns the metazone, unless one of its zones has an own name: in Dublin, "standard" is the summer time."""
    zones = get_global("territory_zones")[territory]
    metazones = {get_global("meta_zones").get(zone, "") for zone in zones}
    named = any("long" in Locale("en").time_zones.get(zone, {}) for zone in zones)
    return () if named or "" in metazones or len(metazones) > 1 else tuple(metazones)


@cache
def _aliases() -> dict[str, list[str]]:
    """Returns other codes of each territory: those of three letters or digits, and of former territories."""
    aliases: dict[str, list[str]] = {}
    for code, territories in sorted(get_global("territory_aliases").items()):
        if len(territories) == 1:
            aliases.setdefault(territories[0], []).append(code)
    return aliases


def _alias(territory: str, pattern: str) -> Value:
    """Returns the only alias that matches a pattern; of several, babel does not say which is valid."""
    codes = [code for code in _aliases().get(territory, []) if re.fullmatch(pattern, code)]
    return tuple(codes) if len(codes) == 1 else ()


def _local_name(territory: str) -> Value:
    """Returns the name in the territory's own language, if it is in Latin letters and not the English one."""
    locale = _locale(territory)
    name = locale.territories.get(territory, "") if locale else ""
    letters = [unicodedata.name(letter, "") for letter in name if letter.isalpha()]
    if not letters or not all(letter.startswith("LATIN") for letter in letters):
        return ()
    return () if name.casefold() == Locale("en").territories[territory].casefold() else (name,)


PROPERTIES: dict[str, Callable[[str], Value]] = {
    "alpha2": lambda territory: (territory,),
    "alpha3": lambda territory: _alias(territory, "[A-Z]{3}"),
    "currency": _currency,
    "currency_digits": _currency_digits,
    "currency_year": _currency_year,
    "date_order": _date_order,
    "decimal_sign": lambda territory: _sign(territory, "decimal"),
    "first_day": _first_day,
    "former_currency": _former_currency,
    "grouping_sign": lambda territory: _sign(territory, "group"),
    "hour_cycle": _hour_cycle,
    "language_count": _language_count,
    "local_name": _local_name,
    "main_language": _main_language,
    "numeric": lambda territory: _alias(territory, "[0-9]{3}"),
    "official_language": _official_language,
    "script": _script,
    "second_language": _second_language,
    "standard_time": _standard_time,
    "weekend": _weekend,
    "zone_name": _zone_name,
}
"""The reader of each property; it returns an empty value where babel's copy of CLDR has none."""
