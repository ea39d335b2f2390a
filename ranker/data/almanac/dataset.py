"""The embedded dataset ``almanac``: which property belongs to which territory, in short passages of true facts.

Three passages at a time state the same three properties of the same three territories, each time matched otherwise.
Their words are the same, and only what is read together tells the passage that answers from its decoys. All of it is
true: a passage tells three of the nine facts.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain, count, islice
from random import Random
from typing import Final, NamedTuple

from ranker.data.almanac.words import WORDS, worded_facts
from ranker.data.records import DatasetStreams, Judgment, Passage, Query
from ranker.errors import DataError
from ranker.limits import MAX_ALMANAC_FACTS, MAX_ALMANAC_SIZE, MIN_ALMANAC_FACTS, MIN_ALMANAC_SIZE

TRAIN, DEV, TEST = "train", "dev", "test"

_TEST_TERRITORIES: Final = 30
"""About 500 questions: a difference of 0.03 in MRR shows."""

_DEV_TERRITORIES: Final = 20


class Fact(NamedTuple):
    """What a question asks and a passage tells; the value follows from it."""

    territory: str
    name: str


@dataclass(frozen=True)
class AlmanacConfig:
    """``size``: passages; ``facts_per_passage``: as many territories and decoys; ``locale``: of names and sentences.

    Raises: DataError where one is out of its bounds.
    """

    size: int = 4_000
    seed: int = 1
    locale: str = "en"
    facts_per_passage: int = 3

    def __post_init__(self) -> None:
        _within("size", self.size, MIN_ALMANAC_SIZE, MAX_ALMANAC_SIZE)
        _within("facts_per_passage", self.facts_per_passage, MIN_ALMANAC_FACTS, MAX_ALMANAC_FACTS)
        if self.seed < 0:
            raise DataError(f"almanac: seed is {self.seed}, expected 0 or more.")
        if self.locale not in WORDS:
            raise DataError(f"almanac: locale is {self.locale!r}, expected {' or '.join(WORDS)}.")


def _within(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise DataError(f"almanac: {name} is {value}, expected {lowest} to {highest}.")


def almanac(config: AlmanacConfig) -> DatasetStreams:
    """Passages by doc_id, such as ``almanac-en-000123``, and a question on each fact they tell: ``test-OM-currency``.

    A passage mentions the territories of one split only, so nothing of a test territory is read in training. Every
    passage that tells the fact is relevant. The three streams are independent of each other, and none is kept.
    """
    return DatasetStreams(_passages(config), _queries(config), _judgments(config))


def _passages(config: AlmanacConfig) -> Iterator[Passage]:
    random = Random(f"{config.seed}/wording")  # noqa: S311  # a seed must give the same passages again
    words, facts = WORDS[config.locale], worded_facts(config.locale)
    for doc_id, told in _told(config):
        clauses = [
            random.choice(words.passages[name]).format(t=words.territory(territory), v=facts[territory][name])
            for territory, name in told
        ]
        yield Passage(doc_id, "", words.passage(clauses, random))


def _queries(config: AlmanacConfig) -> Iterator[Query]:
    words = WORDS[config.locale]
    for fact in sorted(set(chain.from_iterable(told for _, told in _told(config)))):
        query_id = _query_id(fact)
        random = Random(f"{config.seed}/{query_id}")  # noqa: S311  # a question must not change with the size
        yield Query(query_id, random.choice(words.questions[fact.name]).format(t=words.territory(fact.territory)))


def _judgments(config: AlmanacConfig) -> Iterator[Judgment]:
    for doc_id, told in _told(config):
        for fact in told:
            yield Judgment(split_of(fact.territory), _query_id(fact), doc_id, 1)


def _query_id(fact: Fact) -> str:
    return f"{split_of(fact.territory)}-{fact.territory}-{fact.name}"


def _told(config: AlmanacConfig) -> Iterator[tuple[str, list[Fact]]]:
    """Each doc_id and the facts its passage tells, in order; the same at every call."""
    random = Random(f"{config.seed}/facts")  # noqa: S311  # as above
    told = chain.from_iterable(_square(config, split, random) for split in _splits_in_turn())
    for number, facts in enumerate(islice(told, config.size)):
        yield f"almanac-{config.locale}-{number:06}", facts


def _square(config: AlmanacConfig, split: str, random: Random) -> Iterator[list[Fact]]:
    """As many passages as facts in one: a Latin square of territories and properties."""
    side = config.facts_per_passage
    territories, names = _corner(config, split, random)
    for shift in range(side):
        facts = [Fact(territory, names[(row + shift) % side]) for row, territory in enumerate(territories)]
        random.shuffle(facts)
        yield facts


def _corner(config: AlmanacConfig, split: str, random: Random) -> tuple[list[str], list[str]]:
    """Territories of a split, and properties that all of them have."""
    side, facts = config.facts_per_passage, worded_facts(config.locale)
    while True:
        territories = random.sample(split_territories(split), side)
        shared = [name for name in facts[territories[0]] if all(name in facts[other] for other in territories)]
        if len(shared) >= side:
            return territories, random.sample(shared, side)


def _splits_in_turn() -> Iterator[str]:
    """Splits without end, each as often as it has territories, so that all are equally hard."""
    shares = {split: len(split_territories(split)) for split in (TRAIN, DEV, TEST)}
    given = dict.fromkeys(shares, 0)
    total = sum(shares.values())
    for number in count(1):
        split = max(shares, key=lambda name: shares[name] * number - given[name] * total)
        given[split] += 1
        yield split


@cache
def _split_by_territory() -> dict[str, str]:
    order = sorted(worded_facts("en"), key=lambda territory: hashlib.sha256(territory.encode()).digest())
    return {
        territory: TEST if place < _TEST_TERRITORIES else DEV if place < _TEST_TERRITORIES + _DEV_TERRITORIES else TRAIN
        for place, territory in enumerate(order)
    }


def split_of(territory: str) -> str:
    """The split of a territory's questions: by its code's digest, so the same for every size, seed and locale."""
    return _split_by_territory()[territory]


@cache
def split_territories(split: str) -> list[str]:
    """The codes of a split's territories, in alphabetical order."""
    return sorted(territory for territory, its_split in _split_by_territory().items() if its_split == split)
