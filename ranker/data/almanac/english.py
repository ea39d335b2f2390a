"""English clauses that state a fact: ``{t}`` is the territory, ``{v}`` the value.

A clause starts with a small letter and ends without a mark, so that clauses can be joined into sentences.
"""

from collections.abc import Mapping
from typing import Final

THE: Final = (
    "Bahamas|Comoros|Emirates|Gambia|Islands|Isle of Man|Kingdom|Maldives|Netherlands|Philippines|Republic|States|"
    "Territories|Territory"
)
"""Ends of names (or a whole name) that take the article."""

WORDS: Final[Mapping[str, str]] = {
    "0": "no",
    "2": "two",
    "3": "three",
    "12": "12-hour",
    "24": "24-hour",
    "Mdy": "month, day, year",
    "dMy": "day, month, year",
    "yMd": "year, month, day",
    "apostrophe": "an apostrophe",
    "comma": "a comma",
    "space": "a space",
    "stop": "a full stop",
}
"""Names of values that babel does not have."""

JOINTS: Final = (". ", "; ", ", while ", ", and ", ", whereas ")

PASSAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "alpha2": (
        "the two-letter code of {t} is {v}",
        "{v} stands for {t} in the list of two-letter codes",
        "{t} is abbreviated to {v} in two letters",
        "in two letters {t} becomes {v}",
        "{t} carries the two-letter code {v}",
        "the short region code of {t} reads {v}",
    ),
    "alpha3": (
        "the three-letter code of {t} is {v}",
        "{v} stands for {t} in the list of three-letter codes",
        "{t} is abbreviated to {v} in three letters",
        "in three letters {t} becomes {v}",
        "{t} carries the three-letter code {v}",
        "the long region code of {t} reads {v}",
    ),
    "currency": (
        "people in {t} pay with the {v}",
        "the {v} is legal tender in {t}",
        "the money in use in {t} is the {v}",
        "shops in {t} take the {v}",
        "in {t} the official currency is the {v}",
        "the {v} circulates in {t}",
        "{t} has the {v} as its currency",
    ),
    "currency_digits": (
        "amounts of money in {t} are written with {v} decimals",
        "sums in the currency of {t} carry {v} decimal places",
        "prices in {t} show {v} decimals",
        "the money of {t} is counted to {v} decimal places",
        "in {t} an amount of money has {v} decimals",
        "bills in {t} are made out with {v} decimal places",
    ),
    "currency_year": (
        "the currency of {t} has been legal tender since {v}",
        "{t} introduced its present currency in {v}",
        "the currency now used in {t} dates from {v}",
        "in {v} the tender of today came into force in {t}",
        "the current money became valid in {t} in {v}",
        "{v} is the year in which {t} adopted its present currency",
    ),
    "date_order": (
        "short dates in {t} run {v}",
        "a date in {t} is written as {v}",
        "the order of a short date in {t} is {v}",
        "in {t} dates follow the pattern {v}",
        "{t} writes its dates in the order {v}",
        "numeric dates in {t} go {v}",
    ),
    "decimal_sign": (
        "decimals in {t} are set off by {v}",
        "the decimal sign in {t} is {v}",
        "numbers in {t} have {v} before the decimals",
        "in {t} {v} marks off the decimal fraction",
        "{t} writes decimal fractions after {v}",
        "{v} precedes the decimal places in {t}",
    ),
    "first_day": (
        "the week begins on {v} in {t}",
        "calendars in {t} put {v} first",
        "in {t} {v} opens the week",
        "{t} counts its weeks from {v}",
        "{v} heads the calendar week in {t}",
        "a new week starts on {v} in {t}",
    ),
    "former_currency": (
        "the {v} used to be legal tender in {t}",
        "{t} formerly paid with the {v}",
        "the last currency that {t} gave up was the {v}",
        "the {v} has been withdrawn from circulation in {t}",
        "in {t} the old currency was the {v}",
        "the {v} is no longer legal tender in {t}",
    ),
    "grouping_sign": (
        "thousands in {t} are set off by {v}",
        "large numbers in {t} are broken up with {v}",
        "the grouping sign in {t} is {v}",
        "in {t} {v} separates the groups of digits",
        "{t} puts {v} between groups of digits",
        "long numbers in {t} are grouped with {v}",
    ),
    "hour_cycle": (
        "times of day in {t} are written on the {v} clock",
        "clocks in {t} are read the {v} way",
        "{t} uses the {v} clock",
        "the {v} clock is customary in {t}",
        "in {t} the time is given in {v} form",
        "timetables in {t} follow the {v} clock",
    ),
    "language_count": (
        "the languages recorded for {t} number {v}",
        "{v} languages are on record for {t}",
        "the list of languages for {t} has {v} entries",
        "{t} is listed with {v} languages",
        "the count of languages in {t} stands at {v}",
        "in {t} {v} languages are registered",
    ),
    "local_name": (
        "locally {t} is called {v}",
        "the local name of {t} is {v}",
        "at home {t} goes by the name {v}",
        "{v} is the native name of {t}",
        "in the local language {t} is {v}",
        "{t} names itself {v}",
    ),
    "main_language": (
        "more people in {t} know {v} than any other language",
        "the most widespread language in {t} is {v}",
        "{v} leads the languages of {t} by number of users",
        "the largest share of the population of {t} uses {v}",
        "by users {v} ranks first in {t}",
        "no language reaches more people in {t} than {v}",
    ),
    "numeric": (
        "the numeric code of {t} is {v}",
        "{v} stands for {t} in the list of numeric codes",
        "{t} is listed under the number {v} in the code tables",
        "in the numeric code list {t} is {v}",
        "{t} carries the numeric code {v}",
        "the region number of {t} reads {v}",
    ),
    "official_language": (
        "{t} has given official status to {v}",
        "official status in {t} belongs to {v}",
        "officially {t} uses {v}",
        "the official list of languages in {t} names {v}",
        "in {t} official rank is held by {v}",
        "{t} officially works in {v}",
    ),
    "script": (
        "people in {t} mostly write in the {v} script",
        "the usual script in {t} is {v}",
        "the {v} script prevails in {t}",
        "texts in {t} are as a rule in the {v} script",
        "writing in {t} normally uses the {v} script",
        "{t} has {v} as its default script",
    ),
    "second_language": (
        "the second most widespread language in {t} is {v}",
        "by number of users {v} comes second in {t}",
        "in {t} {v} is the runner-up among the languages",
        "only one language in {t} has more users than {v}",
        "second place among the languages of {t} goes to {v}",
        "{v} ranks second by users in {t}",
    ),
    "standard_time": (
        "standard time in {t} is {v}",
        "{t} keeps {v} as its standard time",
        "the standard time of {t} goes by the name {v}",
        "{v} is standard in {t}",
        "as standard {t} observes {v}",
        "the standard clock of {t} runs on {v}",
    ),
    "weekend": (
        "the weekend in {t} falls on {v}",
        "{t} keeps {v} as its weekend",
        "weekends in {t} mean {v}",
        "in {t} the weekend is {v}",
        "the weekly rest in {t} is taken on {v}",
        "{t} takes its weekend on {v}",
    ),
    "zone_name": (
        "the time zone database files {t} under {v}",
        "clocks in {t} are governed by the zone {v}",
        "{v} is the zone identifier of {t}",
        "the zone entry for {t} reads {v}",
        "in the zone database {t} has the entry {v}",
        "computers in {t} are set to the zone {v}",
    ),
}
