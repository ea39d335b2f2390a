"""A setting is declared once, and its declaration decides what is allowed and what JSON may say."""

import json
from dataclasses import asdict, dataclass, field

import pytest

from ranker.errors import DataError, ModelError, SetupError
from ranker.settings.compute import Compute, Overflow
from ranker.settings.fields import check, check_choice, from_json, in_a_line, options_of, setting
from ranker.settings.index import DenseConfig, LexicalConfig
from ranker.settings.model import PlainConfig, RankerConfig
from ranker.settings.training import TrainingConfig

KINDS = {"plain": "as it is", "fancy": "with frills"}


@dataclass(frozen=True)
class Toy:
    size: int = setting(3, "How many", least=1, most=9)
    rate: float = setting(0.5, least=0.0)
    kind: str = setting("plain", choices=KINDS)
    loud: bool = setting(False)
    name: str = setting("", most=5)
    note: str = setting("")
    width: int = setting(0, least=8, most=16, zero=True, expected="8 to 16, or 0 for any")
    free: object = None


@dataclass(frozen=True)
class Job:
    toy: Toy
    places: tuple[str, ...]
    title: str | None = None
    more: Toy = field(default_factory=Toy)


def test_a_default_is_an_attribute_of_the_class_and_the_declaration_tells_the_rest():
    assert (Toy.size, Toy().size) == (3, 3)
    assert list(options_of(Toy)) == ["size", "rate", "kind", "loud", "name", "note", "width"]
    option = options_of(Toy())["size"]
    assert (option.default, option.help, option.least, option.most) == (3, "How many", 1, 9)


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 1}, {"size": 9}, {"rate": 0}, {"rate": 1e300}, {"kind": "fancy"}, {"loud": True}, {"name": "12345"},
        {"note": "x" * 10_000}, {"width": 0}, {"width": 8}, {"width": 16}, {"free": []},
    ],
)  # fmt: skip
def test_a_value_within_its_bounds_is_allowed(settings):
    check(Toy(**settings), ModelError)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"size": 0}, "size is 0, expected 1 to 9."),
        ({"size": 10}, "size is 10, expected 1 to 9."),
        ({"size": True}, "size is True, expected 1 to 9."),
        ({"size": 2.0}, "size is 2.0, expected 1 to 9."),
        ({"size": "2"}, "size is '2', expected 1 to 9."),
        ({"size": None}, "size is None, expected 1 to 9."),
        ({"rate": -0.5}, "rate is -0.5, expected 0.0 or more."),
        ({"rate": float("nan")}, "rate is nan, expected 0.0 or more."),
        ({"rate": False}, "rate is False, expected 0.0 or more."),
        ({"kind": "fancier"}, "kind is 'fancier', expected one of plain, fancy."),
        ({"kind": []}, "kind is [], expected one of plain, fancy."),
        ({"loud": 1}, "loud is 1, expected true or false."),
        ({"name": "123456"}, "name is '123456', expected a text of at most 5 characters."),
        ({"note": b"x"}, "note is b'x', expected a text."),
        ({"width": 7}, "width is 7, expected 8 to 16, or 0 for any."),
        ({"width": False}, "width is False, expected 8 to 16, or 0 for any."),
        ({"size": 0, "rate": -1.0}, "size is 0, expected 1 to 9."),
    ],
)
def test_the_first_value_that_is_not_allowed_is_one_sentence(settings, sentence):
    with pytest.raises(SetupError) as error:
        check(Toy(**settings), SetupError)
    assert str(error.value) == sentence


def test_a_sentence_may_have_a_prefix_and_name_the_nearest_choice():
    with pytest.raises(ModelError) as error:
        check(Toy(kind="fancier"), ModelError, prefix="--", suggest=True)
    assert str(error.value) == "--kind is 'fancier', expected one of plain, fancy. Did you mean 'fancy'?"
    with pytest.raises(ModelError) as error:
        check(Toy(size=0), ModelError, suggest=True)
    assert str(error.value) == "size is 0, expected 1 to 9."


def test_a_choice_that_there_is_not_is_refused_with_the_nearest():
    check_choice("kind", "plain", KINDS, ModelError)
    with pytest.raises(ModelError) as error:
        check_choice("kind", "plane", KINDS, ModelError)
    assert str(error.value) == "kind is 'plane', expected one of plain, fancy. Did you mean 'plain'?"
    with pytest.raises(ModelError):
        check_choice("kind", [], KINDS, ModelError)


@pytest.mark.parametrize("kind", [Compute, Overflow, DenseConfig, LexicalConfig, PlainConfig, TrainingConfig])
def test_every_field_of_the_settings_is_declared_and_its_default_is_allowed(kind):
    options = options_of(kind)
    assert list(options) == list(asdict(kind()))
    for name, option in options.items():
        assert option.allows(getattr(kind(), name))


@pytest.mark.parametrize("kind", [Compute, Overflow, DenseConfig, LexicalConfig, PlainConfig, RankerConfig])
@pytest.mark.parametrize("value", [None, [], {}, b"", 1j])
def test_a_value_of_no_kind_that_a_setting_has_is_refused_as_an_error_of_the_settings(kind, value):
    allowed = (DataError, ModelError, SetupError)
    mode = {"mode": "cross"} if kind is RankerConfig else {}
    for name in options_of(kind):
        with pytest.raises(Exception, match=f"^{name} is ") as error:
            kind(**mode, **{name: value})
        assert type(error.value) in allowed or type(error.value).__name__ == "SearchIndexError"


def test_settings_come_back_from_json_as_they_were():
    for job in (Job(Toy(size=5), ("a", "b"), "x", Toy(loud=True)), Job(Toy(), ())):
        assert from_json(Job, json.loads(json.dumps(asdict(job)))) == job


def test_what_json_leaves_out_has_its_default():
    assert from_json(Job, {"toy": {"size": 4}, "places": []}) == Job(Toy(size=4), ())


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({"toy": {}, "places": [], "colour": 1}, "Job has no 'colour', expected toy, places, title, more."),
        ({"toy": {"speed": 1}, "places": []}, "Toy has no 'speed', expected size, rate, kind, "),
        ({"toy": {}}, "Job lacks 'places'."),
        ({"places": []}, "Job lacks 'toy'."),
        ({"toy": 3, "places": []}, "Job.toy is 3, expected a JSON object."),
    ],
)
def test_json_with_an_unknown_or_a_missing_key_is_refused(record, sentence):
    with pytest.raises(DataError) as error:
        from_json(Job, record)
    assert str(error.value).startswith(sentence)


def test_settings_built_from_json_are_checked_as_any_others():
    with pytest.raises(SetupError, match=r"^tokens_per_batch is -1, expected 0 or more\.$"):
        from_json(Compute, {"tokens_per_batch": -1})


def test_choices_are_listed_with_their_meanings():
    assert in_a_line(KINDS) == "plain: as it is; fancy: with frills"
