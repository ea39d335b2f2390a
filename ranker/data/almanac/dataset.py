"""The embedded dataset ``almanac``: short passages of true facts, each a property of a territory.

Three passages at a time tell the same three properties of the same three territories, in three different pairings, so
each tells three of the nine facts. They share their words: only which property goes with which territory distinguishes
the passage that answers a question from its decoys.
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
"""These give about 500 questions, enough to detect a difference of 0.03 in MRR."""

_DEV_TERRITORIES: Final = 20


class Fact(NamedTuple):
    """A territory and the name of one of its properties, whose value a question asks for and a passage tells."""

    territory: str
    name: str


@dataclass(frozen=True)
class AlmanacConfig:
    """The settings of almanac.

    ``size`` is the number of passages; ``locale`` is the language of the names and sentences; ``facts_per_passage`` is
    also the number of territories in a passage, and of passages that share their words.

    Raises: DataError where one is out of its bounds.
    """

    size: int = 4_000
    seed: int = 1
    locale: str = "en"
    facts_per_passage: int = 3

    def __post_init__(self) -> None:
        _check_range("size", self.size, MIN_ALMANAC_SIZE, MAX_ALMANAC_SIZE)
        _check_range("facts_per_passage", self.facts_per_passage, MIN_ALMANAC_FACTS, MAX_ALMANAC_FACTS)
        if self.seed < 0:
            raise DataError(f"almanac: seed is {self.seed}, expected 0 or more.")
        if self.locale not in WORDS:
            raise DataError(f"almanac: locale is {self.locale!r}, expected {' or '.join(WORDS)}.")


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise DataError(f"almanac: {name} is {value}, expected {lowest} to {highest}.")


def almanac(config: AlmanacConfig) -> DatasetStreams:
    """Makes passages (``almanac-en-000123``), and a question on each fact that they tell (``test-OM-currency``).

    All passages that tell the fact are relevant. The territories of a passage are of one split, so nothing about a test
    territory is read in training. The three streams are independent, and none is held.
    """
    return DatasetStreams(_passages(config), _queries(config), _judgments(config))


def _passages(config: AlmanacConfig) -> Iterator[Passage]:
    random = Random(f"{config.seed}/wording")  # noqa: S311  # a seed must give the same passages again
    words, facts = WORDS[config.locale], worded_facts(config.locale)
    for doc_id, passage_facts in _facts_by_passage(config):
        clauses = [
            random.choice(words.passages[name]).format(t=words.territory(territory), v=facts[territory][name])
            for territory, name in passage_facts
        ]
        yield Passage(doc_id, "", words.passage(clauses, random))


def _queries(config: AlmanacConfig) -> Iterator[Query]:
    words = WORDS[config.locale]
    for fact in sorted(set(chain.from_iterable(facts for _, facts in _facts_by_passage(config)))):
        query_id = _query_id(fact)
        random = Random(f"{config.seed}/{query_id}")  # noqa: S311  # a question must not change with the size
        yield Query(query_id, random.choice(words.questions[fact.name]).format(t=words.territory(fact.territory)))


def _judgments(config: AlmanacConfig) -> Iterator[Judgment]:
    for doc_id, facts in _facts_by_passage(config):
        for fact in facts:
            yield Judgment(split_of(fact.territory), _query_id(fact), doc_id, 1)


def _query_id(fact: Fact) -> str:
    return f"{split_of(fact.territory)}-{fact.territory}-{fact.name}"


def _facts_by_passage(config: AlmanacConfig) -> Iterator[tuple[str, list[Fact]]]:
    """Yields each doc_id and the facts that its passage tells, in order, the same at every call."""
    random = Random(f"{config.seed}/facts")  # noqa: S311  # as above
    passages = chain.from_iterable(_latin_square(config, split, random) for split in _interleaved_splits())
    for number, facts in enumerate(islice(passages, config.size)):
        yield f"almanac-{config.locale}-{number:06}", facts


def _latin_square(config: AlmanacConfig, split: str, random: Random) -> Iterator[list[Fact]]:
    """Yields the facts of passages that share their words: a Latin square of territories and properties."""
    side = config.facts_per_passage
    territories, names = _sample_square(config, split, random)
    for shift in range(side):  # over all shifts, each territory meets each property once
        facts = [Fact(territory, names[(row + shift) % side]) for row, territory in enumerate(territories)]
        random.shuffle(facts)
        yield facts


def _sample_square(config: AlmanacConfig, split: str, random: Random) -> tuple[list[str], list[str]]:
    """Samples territories of a split, and properties that all of them have."""
    side, facts = config.facts_per_passage, worded_facts(config.locale)
    while True:  # until a sample shares enough properties
        territories = random.sample(split_territories(split), side)
        shared = [name for name in facts[territories[0]] if all(name in facts[other] for other in territories)]
        if len(shared) >= side:
            return territories, random.sample(shared, side)


def _interleaved_splits() -> Iterator[str]:
    """Yields splits endlessly, in proportion to their territories, so that all splits are equally hard."""
    shares = {split: len(split_territories(split)) for split in (TRAIN, DEV, TEST)}
    counts = dict.fromkeys(shares, 0)
    total = sum(shares.values())
    for number in count(1):
        # the split that is farthest behind its share of the first ``number``
        split = max(shares, key=lambda name: shares[name] * number - counts[name] * total)
        counts[split] += 1
        yield split


@cache
def _split_by_territory() -> dict[str, str]:
    order = sorted(worded_facts("en"), key=lambda territory: hashlib.sha256(territory.encode()).digest())
    return {
        territory: TEST if rank < _TEST_TERRITORIES else DEV if rank < _TEST_TERRITORIES + _DEV_TERRITORIES else TRAIN
        for rank, territory in enumerate(order)
    }


def split_of(territory: str) -> str:
    """Returns the split of a territory, by SHA-256 of its code: the same for every size, seed and locale."""
    return _split_by_territory()[territory]


@cache
def split_territories(split: str) -> list[str]:
    """Returns the codes of a split's territories, in alphabetical order."""
    return sorted(territory for territory, its_split in _split_by_territory().items() if its_split == split)
