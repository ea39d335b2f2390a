"""Puts facts into the words of a locale, with CLDR's own names, in clauses, sentences and questions."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from babel.core import Locale
from babel.lists import format_list

from ranker.data.almanac import chinese, chinese_questions, english, english_questions
from ranker.data.almanac.facts import Value, territory_facts


@dataclass(frozen=True)
class Words:
    """The clauses and questions of a locale, by property, and the joints between clauses; the first ends a sentence."""

    locale: Locale
    names: Mapping[str, str]
    joints: tuple[str, ...]
    passages: Mapping[str, tuple[str, ...]]
    questions: Mapping[str, tuple[str, ...]]

    def value(self, name: str, value: Value) -> str:
        """Returns the value of a property in words; empty where CLDR has no name for it in this locale."""
        if name == "script":
            return self._script(value[0])
        words = [self._word(name, code) for code in value]
        return format_list(words, locale=self.locale) if all(words) else ""

    def territory(self, territory: str) -> str:
        """Returns the name of a territory inside a sentence."""
        name: str = self.locale.territories[territory]
        if self.locale.language != "en":
            return name
        name = name.replace(" & ", " and ")
        return f"the {name}" if re.search(rf"(^|\s)({english.THE})$", name) else name

    def passage(self, clauses: list[str], random: Random) -> str:
        """Joins clauses into sentences of one or two."""
        text = ""
        for number, clause in enumerate(clauses):
            starts = not text or text.endswith(self.joints[0])
            text += clause[0].upper() + clause[1:] if starts else clause
            inside = starts and number + 1 < len(clauses)
            text += random.choice(self.joints) if inside else self.joints[0]
        return text.strip()

    def _word(self, name: str, code: str) -> str:
        if name in _NAMES:
            return _NAMES[name](self.locale, code)
        return self.names[code] if name in _OWN_WORDS else code

    def _script(self, code: str) -> str:
        """Returns the name of a script, with its kind where the name is only an adjective: Simplified Han."""
        names = self.locale.scripts
        space = " " if self.locale.language == "en" else ""
        return f"{names[code]}{space}{names['Hani']}" if code in {"Hans", "Hant"} else names.get(code, "")


_OWN_WORDS: Final = frozenset({"currency_digits", "date_order", "decimal_sign", "grouping_sign", "hour_cycle"})


def _currency(locale: Locale, code: str) -> str:
    name: str = locale.currencies.get(code, "")
    return name


def _language(locale: Locale, code: str) -> str:
    name: str = locale.languages.get(code, "")
    return name


def _day(locale: Locale, code: str) -> str:
    name: str = locale.days["stand-alone"]["wide"][int(code)]
    return name


def _standard_time(locale: Locale, code: str) -> str:
    name: str = locale.meta_zones.get(code, {}).get("long", {}).get("standard", "")
    return name


_NAMES: Final[Mapping[str, Callable[[Locale, str], str]]] = {
    "currency": _currency,
    "first_day": _day,
    "former_currency": _currency,
    "main_language": _language,
    "official_language": _language,
    "second_language": _language,
    "standard_time": _standard_time,
    "weekend": _day,
}


WORDS: Final[Mapping[str, Words]] = {
    "en": Words(
        locale=Locale("en"),
        names=english.WORDS,
        joints=english.JOINTS,
        passages=english.PASSAGES,
        questions=english_questions.QUESTIONS,
    ),
    "zh": Words(
        locale=Locale("zh"),
        names=chinese.WORDS,
        joints=chinese.JOINTS,
        passages=chinese.PASSAGES,
        questions=chinese_questions.QUESTIONS,
    ),
}
"""The words of each locale."""


@cache
def worded_facts(locale: str) -> dict[str, dict[str, str]]:
    """Returns the value of each property of each territory in words, where the locale has a name for it."""
    words = WORDS[locale]
    worded = {}
    for territory, facts in territory_facts().items():
        named = {name: words.value(name, value) for name, value in facts.items()}
        worded[territory] = {name: value for name, value in named.items() if value}
    return worded
