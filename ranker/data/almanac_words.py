"""Facts in the words of a locale: CLDR's own names, put into clauses, sentences and questions."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from babel.core import Locale
from babel.lists import format_list

from ranker.data import almanac_en, almanac_en_questions, almanac_zh, almanac_zh_questions
from ranker.data.almanac_facts import Value, territory_facts

LOCALES: Final = ("en", "zh")


@dataclass(frozen=True)
class Words:
    """A locale's clauses and questions by property, and how clauses are joined: the first joint ends a sentence."""

    locale: Locale
    names: Mapping[str, str]
    joints: tuple[str, ...]
    passages: Mapping[str, tuple[str, ...]]
    questions: Mapping[str, tuple[str, ...]]

    def value(self, name: str, value: Value) -> str:
        """The value of a property in words; empty where CLDR has no name for it in this locale."""
        if name == "script":
            return self._script(value[0])
        named = [_NAMES[name](self.locale, code) if name in _NAMES else code for code in value]
        words = [self.names.get(word, word) if name in _OWN_WORDS else word for word in named]
        return format_list(words, locale=self.locale) if all(words) else ""

    def territory(self, territory: str) -> str:
        """The territory's name inside a sentence."""
        name: str = self.locale.territories[territory]
        if self.locale.language != "en":
            return name
        name = name.replace(" & ", " and ")
        return f"the {name}" if re.search(rf"(^|\s)({almanac_en.THE})$", name) else name

    def passage(self, clauses: list[str], random: Random) -> str:
        """The clauses in sentences of one or two."""
        text = ""
        for number, clause in enumerate(clauses):
            starts = not text or text.endswith(self.joints[0])
            text += clause[0].upper() + clause[1:] if starts else clause
            inside = starts and number + 1 < len(clauses)
            text += random.choice(self.joints) if inside else self.joints[0]
        return text.strip()

    def _script(self, code: str) -> str:
        """With its kind where the name is only an adjective: Simplified, namely Han."""
        names = self.locale.scripts
        space = " " if self.locale.language == "en" else ""
        return f"{names[code]}{space}{names['Hani']}" if code in {"Hans", "Hant"} else names.get(code, "")


_OWN_WORDS: Final = frozenset({"currency_digits", "date_order", "decimal_sign", "grouping_sign", "hour_cycle"})


def _currency(locale: Locale, code: str) -> str:
    return locale.currencies.get(code, "")


def _language(locale: Locale, code: str) -> str:
    return locale.languages.get(code, "")


def _day(locale: Locale, code: str) -> str:
    return locale.days["stand-alone"]["wide"][int(code)]


def _standard_time(locale: Locale, code: str) -> str:
    return locale.meta_zones.get(code, {}).get("long", {}).get("standard", "")


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


@cache
def words_of(locale: str) -> Words:
    """The words of one of ``LOCALES``."""
    if locale == "zh":
        texts = (almanac_zh.WORDS, almanac_zh.JOINTS, almanac_zh.PASSAGES, almanac_zh_questions.QUESTIONS)
    else:
        texts = (almanac_en.WORDS, almanac_en.JOINTS, almanac_en.PASSAGES, almanac_en_questions.QUESTIONS)
    return Words(Locale(locale), *texts)


@cache
def worded_facts(locale: str) -> dict[str, dict[str, str]]:
    """By territory and property, the value in words; what the locale has no name for is absent."""
    words = words_of(locale)
    worded = {}
    for territory, facts in territory_facts().items():
        named = {name: words.value(name, value) for name, value in facts.items()}
        worded[territory] = {name: value for name, value in named.items() if value}
    return worded
