"""``almanac``: what it tells is true, all that answers is relevant, and only the matching of words tells it apart."""

import hashlib
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import date, time
from itertools import islice
from string import Formatter

import pytest
from babel.core import Locale, get_global
from babel.dates import format_date, format_time, get_timezone_name
from babel.languages import get_official_languages, get_territory_language_info
from babel.localedata import locale_identifiers
from babel.numbers import format_decimal, get_currency_precision, get_territory_currencies

from ranker.data.almanac.dataset import AlmanacConfig, almanac, split_of, split_territories
from ranker.data.almanac.facts import PROPERTIES, territory_facts
from ranker.data.almanac.words import WORDS, worded_facts
from ranker.errors import DataError, RankerError
from ranker.limits import MAX_ALMANAC_FACTS, MAX_ALMANAC_SIZE, MIN_ALMANAC_FACTS, MIN_ALMANAC_SIZE

SPLITS = ("train", "dev", "test")
CLDR_DAY = date(2025, 9, 1)
"""After the last change of currency in this CLDR, and before the next."""

EVERYDAY = set(
    re.findall(r"\w+", "a and are as be by do does from have i in is it of on one put the they to used what with t")
)
"""Words that say nothing of a property, and the place of the territory's name."""

Told = tuple[str, str]
"""A territory and a property."""


class Contents:
    """A whole almanac in memory."""

    def __init__(self, config: AlmanacConfig) -> None:
        streams = almanac(config)
        self.config = config
        self.passages = {passage.doc_id: passage for passage in streams.passages}
        self.queries = {query.query_id: query for query in streams.queries}
        self.judgments = list(streams.judgments)
        self.told: dict[str, set[Told]] = {doc_id: set() for doc_id in self.passages}
        for judgment in self.judgments:
            _, territory, name = judgment.query_id.split("-")
            self.told[judgment.doc_id].add((territory, name))


@pytest.fixture(scope="module")
def made() -> Contents:
    return Contents(AlmanacConfig())


@pytest.fixture(scope="module")
def chinese() -> Contents:
    return Contents(AlmanacConfig(locale="zh", size=1_000))


@pytest.fixture(scope="module", params=WORDS)
def either(request: pytest.FixtureRequest, made: Contents, chinese: Contents) -> Contents:
    return {"en": made, "zh": chinese}[request.param]


PINNED = {
    "almanac-en-000000": (
        "Taiwan is abbreviated to TW in two letters, whereas the region number of St. Vincent and Grenadines reads"
        " 670. The long region code of Tuvalu reads TUV."
    ),
    "almanac-en-002000": (
        "In Botswana dates follow the pattern day, month, year, whereas the region number of Andorra reads 020. "
        "Wallis and Futuna has given official status to French."
    ),
    "almanac-en-003999": (
        "Vanuatu officially works in Bislama, English, and French; in Jersey Monday opens the week. The region "
        "number of Honduras reads 340."
    ),
}


def test_the_default_is_pinned_by_its_counts_and_three_passages(made: Contents) -> None:
    """CLDR 47, of babel 2.17 and 2.18; another CLDR may tell other facts, so the numbers are only of this one."""
    if get_global("cldr")["version"] != "47":
        pytest.skip(f"babel carries CLDR {get_global('cldr')['version']}, not 47")
    splits = Counter(query_id.partition("-")[0] for query_id in made.queries)
    assert (len(made.passages), len(made.judgments), dict(splits)) == (
        4_000,
        12_000,
        {"train": 3_138, "dev": 335, "test": 498},
    )
    assert {doc_id: made.passages[doc_id].text for doc_id in PINNED} == PINNED


def test_known_facts_are_told_in_their_words() -> None:
    facts = worded_facts("en")
    assert facts["OM"]["currency"] == "Omani Rial"
    assert facts["OM"]["currency_digits"] == "three"
    assert facts["OM"]["weekend"] == "Friday and Saturday"
    assert facts["OM"]["zone_name"] == "Asia/Muscat"
    assert facts["OM"]["alpha3"] == "OMN"
    assert facts["CH"]["official_language"] == "German, French, and Italian"
    assert facts["CH"]["grouping_sign"] == "an apostrophe"
    assert facts["MV"]["first_day"] == "Friday"
    assert facts["IN"]["weekend"] == "Sunday"
    assert facts["SI"]["former_currency"] == "Slovenian Tolar"
    assert facts["SI"]["currency_year"] == "2007"
    assert facts["FI"]["local_name"] == "Suomi"
    assert facts["FI"]["second_language"] == "English"
    assert facts["RS"]["script"] == "Cyrillic"
    assert facts["CN"]["script"] == "Simplified Han"
    assert facts["HU"]["date_order"] == "year, month, day"
    assert facts["US"]["hour_cycle"] == "12-hour"


def test_known_facts_are_told_in_chinese() -> None:
    facts = worded_facts("zh")
    assert facts["OM"]["currency"] == "阿曼里亚尔"
    assert facts["OM"]["weekend"] == "星期五和星期六"
    assert facts["CH"]["official_language"] == "德语、法语和意大利语"
    assert facts["CN"]["script"] == "简体汉字"
    assert facts["DE"]["decimal_sign"] == "逗号"
    assert facts["OM"]["standard_time"] == "海湾标准时间"


def tenders(territory: str) -> list[str]:
    return list(get_territory_currencies(territory, CLDR_DAY, tender=True))


def likely(territory: str) -> Locale:
    return Locale.parse(f"und_{territory}")


def languages_by_share(territory: str) -> list[str]:
    shares = {code: of["population_percent"] for code, of in get_territory_language_info(territory).items()}
    return sorted(shares, key=lambda code: (-shares[code], code))


def last_former(territory: str) -> str:
    found = get_territory_currencies(
        territory, date(1, 1, 1), CLDR_DAY, tender=True, non_tender=False, include_details=True
    )
    ended = [entry for entry in found if entry["to"] and entry["currency"] not in tenders(territory)]
    return str(max(ended, key=lambda entry: (entry["to"], entry["currency"]))["currency"])


def since(territory: str) -> str:
    entries = get_territory_currencies(territory, CLDR_DAY, tender=True, include_details=True)
    return str(entries[-1]["from"].year)


def weeks(territory: str) -> set[tuple[int, int, int]]:
    """By every locale of the territory, but for the Portuguese ones, which inherit the week of Portugal."""
    locales = [name for name in locale_identifiers() if name.endswith(f"_{territory}")]
    if territory not in {"BR", "PT"}:
        locales = [name for name in locales if not name.startswith("pt_")]
    return {(of.first_week_day, of.weekend_start, of.weekend_end) for of in map(Locale.parse, locales)}


def order_of_date(territory: str) -> str:
    shown = format_date(date(2034, 11, 25), "short", likely(territory))
    return "".join(sorted("dMy", key=lambda letter: shown.index({"d": "25", "M": "11", "y": "34"}[letter])))


def hours(territory: str) -> str:
    return "24" if "15" in format_time(time(15, 30), "short", locale=likely(territory)) else "12"


def zones(territory: str) -> list[str]:
    return [zone for zone, of in get_global("zone_territories").items() if of == territory]


def aliases(territory: str, shape: str) -> list[str]:
    codes = [code for code, of in get_global("territory_aliases").items() if of == [territory]]
    return [code for code in codes if re.fullmatch(shape, code)]


def mark(territory: str, number: float, pattern: str) -> str:
    found = re.search(pattern, format_decimal(number, locale=likely(territory)))
    assert found
    return {",": "comma", ".": "stop", "\N{RIGHT SINGLE QUOTATION MARK}": "apostrophe"}.get(
        found[1], "space" if found[1].isspace() else found[1]
    )


ORACLES: dict[str, Callable[[str], list[str]]] = {
    "alpha2": lambda territory: [territory],
    "alpha3": lambda territory: aliases(territory, "[A-Z]{3}"),
    "currency": tenders,
    "currency_digits": lambda territory: [str(get_currency_precision(tenders(territory)[0]))],
    "currency_year": lambda territory: [since(territory)],
    "date_order": lambda territory: [order_of_date(territory)],
    "decimal_sign": lambda territory: [mark(territory, 1.5, "1(.)5")],
    "first_day": lambda territory: [str(first) for first, _, _ in weeks(territory)],
    "former_currency": lambda territory: [last_former(territory)],
    "grouping_sign": lambda territory: [mark(territory, 1_234_567, "(.)567")],
    "hour_cycle": lambda territory: [hours(territory)],
    "language_count": lambda territory: [str(len({code.split("_")[0] for code in languages_by_share(territory)}))],
    "local_name": lambda territory: [likely(territory).territories[territory]],
    "main_language": lambda territory: languages_by_share(territory)[:1],
    "numeric": lambda territory: aliases(territory, "[0-9]{3}"),
    "official_language": lambda territory: list(get_official_languages(territory)),
    "script": lambda territory: [get_global("likely_subtags").get(f"und_{territory}", "en_Latn_US").split("_")[1]],
    "second_language": lambda territory: languages_by_share(territory)[1:2],
    "standard_time": lambda territory: [get_global("meta_zones")[zone] for zone in zones(territory)],
    "weekend": lambda territory: [str(day) for _, start, end in weeks(territory) for day in range(start, end + 1)],
    "zone_name": zones,
}
"""The same facts by babel's public functions, where it has them, instead of by its tables."""


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_fact_is_what_babel_says_itself(name: str) -> None:
    told = {territory: set(facts[name]) for territory, facts in territory_facts().items() if name in facts}
    assert len(told) >= 60
    assert told == {territory: set(ORACLES[name](territory)) for territory in told}


def test_the_names_of_standard_times_are_those_that_babel_shows() -> None:
    for territory, facts in worded_facts("en").items():
        if "standard_time" in facts:
            zone = zones(territory)[0]
            assert facts["standard_time"] == get_timezone_name(zone, zone_variant="standard", locale="en")


def test_nothing_is_said_where_the_data_is_of_somebody_else_or_missing() -> None:
    facts = territory_facts()
    assert not {"AQ", "BV", "EU", "GS", "UM", "ZZ", "001"} & set(facts)
    assert "first_day" not in facts["TL"], "its only locale has its week from Portugal"
    assert "date_order" not in facts["MV"], "Divehi is a sketch with the dates of the root"
    assert "currency" not in facts["PA"], "two tenders"
    assert "alpha3" not in facts["DE"], "DEU and DDR are both its aliases"
    assert "standard_time" not in facts["IE"], "its standard time is that of summer"
    assert "decimal_sign" not in facts["EG"], "its digits are Arabic"
    assert "official_language" not in facts["SG"], "too many for one sentence"
    assert "second_language" not in facts["SM"], "Esperanto"


def test_every_property_of_a_territory_is_told_in_both_locales() -> None:
    english, chinese = worded_facts("en"), worded_facts("zh")
    assert english.keys() == chinese.keys() == territory_facts().keys()
    assert len(english) > 230
    counts = [sum(map(len, worded.values())) for worded in (english, chinese)]
    assert min(counts) > 4_000
    assert max(counts) - min(counts) < 40


@pytest.mark.parametrize("locale", WORDS)
def test_every_property_has_at_least_six_clauses_and_six_questions(locale: str) -> None:
    words = WORDS[locale]
    for texts, fields in ((words.passages, {"t", "v"}), (words.questions, {"t"})):
        assert texts.keys() == PROPERTIES.keys()
        for name, templates in texts.items():
            assert len(set(templates)) == len(templates) >= 6, name
            for template in templates:
                assert {field for _, field, _, _ in Formatter().parse(template) if field} == fields, template
    every = [template for texts in (words.passages, words.questions) for found in texts.values() for template in found]
    assert len(set(every)) == len(every), "a clause of two properties would tell either"


def test_many_questions_share_no_word_with_the_clauses_of_their_property() -> None:
    words = WORDS["en"]
    apart = []
    for name, questions in words.questions.items():
        told = set(re.findall(r"\w+", " ".join(words.passages[name]))) - EVERYDAY
        apart += [not set(re.findall(r"\w+", question.lower())) & told for question in questions]
    assert 0.25 < sum(apart) / len(apart) < 0.6


BEFORE = r"(?:^|[.;] |[。\uff1b\uff0c而]|, (?:and|while|whereas) )"
AFTER = r"(?=[.;,。\uff1b\uff0c])"
"""What stands around a clause; a regular expression reads the escapes."""


def stated(contents: Contents, doc_id: str) -> set[Told]:
    """The facts that the text of a passage states, found by their sentences, of all the territories in it."""
    words, facts = WORDS[contents.config.locale], worded_facts(contents.config.locale)
    text = contents.passages[doc_id].text
    found = set()
    for territory in facts:
        name = words.territory(territory)
        if name[1:] in text:
            clauses = {
                property_name: [re.escape(clause.format(t=name, v=value)) for clause in words.passages[property_name]]
                for property_name, value in facts[territory].items()
                if value[1:] in text
            }
            for property_name, patterns in clauses.items():
                if patterns and re.search(rf"{BEFORE}(?:{'|'.join(patterns)}){AFTER}", text, re.IGNORECASE):
                    found.add((territory, property_name))
    return found


def test_a_passage_is_relevant_to_exactly_the_questions_on_what_its_text_states(either: Contents) -> None:
    for doc_id in islice(either.passages, 0, None, 29):
        assert stated(either, doc_id) == either.told[doc_id], either.passages[doc_id].text


def test_every_fact_told_is_asked_and_every_question_is_answered(either: Contents) -> None:
    told = set().union(*either.told.values())
    asked = {tuple(query_id.split("-")[1:]) for query_id in either.queries}
    assert asked == told
    assert len(either.queries) == len(told)
    assert {judgment.relevance for judgment in either.judgments} == {1}


def test_a_question_names_its_territory_and_not_its_answer_unless_it_offers_a_choice(made: Contents) -> None:
    facts, words = worded_facts("en"), WORDS["en"]
    for query_id, query in made.queries.items():
        _, territory, name = query_id.split("-")
        rest = query.text.replace(words.territory(territory), "")
        assert rest != query.text
        if name not in {"alpha2", "date_order", "decimal_sign", "hour_cycle", "weekend"}:
            assert not re.search(rf"\b{re.escape(facts[territory][name])}\b", rest), query.text


def test_a_passage_tells_three_properties_of_three_territories(made: Contents) -> None:
    for told in made.told.values():
        assert len({territory for territory, _ in told}) == len({name for _, name in told}) == len(told) == 3


def test_every_question_has_decoys_with_its_territory_and_its_property_but_not_together(either: Contents) -> None:
    """The last passages may be the beginning of three whose end the size cuts off."""
    by_territory: dict[str, list[set[Told]]] = {}
    whole = len(either.told) - len(either.told) % 3
    for told in list(either.told.values())[:whole]:
        for territory, _ in told:
            by_territory.setdefault(territory, []).append(told)
    for query_id in either.queries:
        _, territory, name = query_id.split("-")
        held = by_territory.get(territory, [])
        decoys = [told for told in held if (territory, name) not in told and name in {other for _, other in told}]
        relevant = [told for told in held if (territory, name) in told]
        assert len(decoys) >= 2 * len(relevant)


def test_the_splits_share_no_territory_in_questions_or_passages(either: Contents) -> None:
    territories = {split: set(split_territories(split)) for split in SPLITS}
    assert not territories["train"] & territories["test"]
    assert not territories["dev"] & (territories["train"] | territories["test"])
    for judgment in either.judgments:
        split, territory, _ = judgment.query_id.split("-")
        assert judgment.split == split == split_of(territory)
    for told in either.told.values():
        assert len({split_of(territory) for territory, _ in told}) == 1


def test_the_split_of_a_territory_is_the_same_for_every_seed_size_and_locale(made: Contents, chinese: Contents) -> None:
    other = Contents(AlmanacConfig(size=500, seed=9))
    for contents in (made, chinese, other):
        assert {query_id.split("-")[0] for query_id in contents.queries} == set(SPLITS)
        for query_id in contents.queries:
            assert query_id.startswith(f"{split_of(query_id.split('-')[1])}-")


def test_there_is_enough_to_train_on_and_enough_to_see_a_difference(made: Contents) -> None:
    splits = Counter(query_id.partition("-")[0] for query_id in made.queries)
    assert 2_500 < splits["train"] < 4_000
    assert 200 < splits["dev"] < 400
    assert 400 < splits["test"] < 600


def test_passages_are_short_sentences_without_a_title(made: Contents) -> None:
    for doc_id, title, text in made.passages.values():
        assert re.fullmatch(r"almanac-en-\d{6}", doc_id)
        assert title == ""
        assert 16 <= len(text.split()) <= 60
        assert text[0].isupper() or text[0].isdigit()
        assert text.endswith(".")
    assert len({passage.text for passage in made.passages.values()}) == len(made.passages)


def test_texts_are_clean(either: Contents) -> None:
    texts = [passage.text for passage in either.passages.values()] + [query.text for query in either.queries.values()]
    for text in texts:
        assert text == text.strip()
        assert not re.search(r"  |\n|[{}]|\.\.| [.,;?]|the the ", text), text
        assert text.isprintable()


def test_names_take_their_article_inside_a_sentence() -> None:
    words = WORDS["en"]
    names = ["BS", "NL", "BQ", "IM", "CF", "GB", "US", "AE", "CK", "PS", "FK", "KM", "MV", "CC", "GM", "PH"]
    assert all(words.territory(code).startswith("the ") for code in names)
    assert words.territory("AG") == "Antigua and Barbuda"
    assert [words.territory(code) for code in ("OM", "GN", "CD", "HK")] == [
        "Oman",
        "Guinea",
        "Congo - Kinshasa",
        "Hong Kong SAR China",
    ]


def test_chinese_is_chinese(chinese: Contents) -> None:
    assert all(doc_id.startswith("almanac-zh-") for doc_id in chinese.passages)
    for text in [passage.text for passage in chinese.passages.values()]:
        assert len(re.findall(r"[\u4e00-\u9fff]", text)) > 20
        assert text.endswith("。")
    assert all(query.text.endswith("\N{FULLWIDTH QUESTION MARK}") for query in chinese.queries.values())
    assert all(WORDS["zh"].territory(of.split("-")[1]) in query.text for of, query in chinese.queries.items())


def digest(config: AlmanacConfig) -> str:
    streams = almanac(config)
    streams = list(streams.passages), list(streams.queries), list(streams.judgments)
    return hashlib.sha256(repr(streams).encode()).hexdigest()


@pytest.mark.parametrize("locale", WORDS)
def test_other_processes_make_the_same_bytes(locale: str) -> None:
    code = f"""
        import hashlib
        from ranker.data.almanac.dataset import AlmanacConfig, almanac
        material = almanac(AlmanacConfig(size=400, seed=5, locale={locale!r}))
        streams = list(material.passages), list(material.queries), list(material.judgments)
        print(hashlib.sha256(repr(streams).encode()).hexdigest())
    """
    machines = ({"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"}, {"PYTHONHASHSEED": "2", "LANG": "de_DE", "LC_ALL": "C"})
    for machine in machines:
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
        done = subprocess.run(command, env=os.environ | machine, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == digest(AlmanacConfig(size=400, seed=5, locale=locale))


def test_the_streams_do_not_depend_on_the_order_or_how_often_they_are_read() -> None:
    config = AlmanacConfig(size=200)
    backwards = almanac(config)
    judgments, queries, passages = list(backwards.judgments), list(backwards.queries), list(backwards.passages)
    streams = almanac(config)
    assert (list(streams.passages), list(streams.queries), list(streams.judgments)) == (passages, queries, judgments)


def test_another_seed_makes_other_passages() -> None:
    first, second = (list(almanac(AlmanacConfig(size=100, seed=seed)).passages) for seed in (1, 2))
    assert not {passage.text for passage in first} & {passage.text for passage in second}


def test_a_larger_almanac_begins_with_the_smaller_and_asks_the_same(made: Contents) -> None:
    larger = almanac(AlmanacConfig(size=6_000))
    assert list(islice(larger.passages, 4_000)) == list(made.passages.values())
    assert set(made.queries.values()) <= set(larger.queries)


def test_the_smallest_almanac_asks_in_every_split() -> None:
    for facts in range(MIN_ALMANAC_FACTS, MAX_ALMANAC_FACTS + 1):
        contents = Contents(AlmanacConfig(size=MIN_ALMANAC_SIZE, facts_per_passage=facts))
        assert len(contents.passages) == MIN_ALMANAC_SIZE
        assert {len(told) for told in contents.told.values()} == {facts}
        assert {query_id.partition("-")[0] for query_id in contents.queries} == set(SPLITS)


def test_any_number_of_passages_stream_in_constant_memory() -> None:
    streams = almanac(AlmanacConfig(size=50_000))
    worded_facts("en")
    tracemalloc.start()
    try:
        assert sum(1 for _ in streams.judgments) == 150_000
        assert sum(1 for _ in islice(streams.passages, 5_000)) == 5_000
        assert tracemalloc.get_traced_memory()[1] < 2 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 99}, f"almanac: size is 99, expected {MIN_ALMANAC_SIZE} to {MAX_ALMANAC_SIZE}."),
        ({"size": -1}, f"almanac: size is -1, expected {MIN_ALMANAC_SIZE} to {MAX_ALMANAC_SIZE}."),
        ({"size": 10**9}, f"almanac: size is 1000000000, expected {MIN_ALMANAC_SIZE} to {MAX_ALMANAC_SIZE}."),
        ({"facts_per_passage": 1}, "almanac: facts_per_passage is 1, expected 2 to 8."),
        ({"facts_per_passage": 9}, "almanac: facts_per_passage is 9, expected 2 to 8."),
        ({"seed": -1}, "almanac: seed is -1, expected 0 or more."),
        ({"locale": "de"}, "almanac: locale is 'de', expected en or zh."),
    ],
)
def test_settings_out_of_bounds_are_refused_in_a_sentence(settings: dict[str, int | str], message: str) -> None:
    with pytest.raises(RankerError) as caught:
        AlmanacConfig(**settings)  # type: ignore[arg-type]
    assert isinstance(caught.value, DataError)
    assert str(caught.value) == message
