"""What ``ranker.json`` may say, and the one sentence for a file that says something else."""

import json
from dataclasses import asdict, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import ModelError
from ranker.limits import MAX_TOKENS, MIN_TOKENS
from ranker.model.config import (
    CHOSEN_POOLINGS,
    CONFIG_NAME,
    MODES,
    POOLINGS,
    SIMILARITIES,
    STOPWORDS,
    PlainConfig,
    RankerConfig,
    read_config,
    write_config,
)

LATER = ("markers", "stopwords", "query_prompt", "passage_prompt", "label")
GOOD = {"format": 1, **asdict(RankerConfig("cross", "cls", "cosine", query_prompt="", passage_prompt=""))}
OR_0 = "or 0 for as many as the model says"
NAMES = [field.name for field in fields(RankerConfig)]


@st.composite
def configs(draw):
    choices = [draw(st.sampled_from(sorted(allowed))) for allowed in (MODES, POOLINGS, SIMILARITIES)]
    query_length = draw(st.integers(MIN_TOKENS, MAX_TOKENS - 1))
    length = draw(st.integers(query_length + 1, MAX_TOKENS))
    switches = [draw(st.booleans()), draw(st.booleans())]
    prompts = [draw(st.text(max_size=20)) for _ in range(2)]
    label = "" if choices[0] == "dual" else draw(st.text(max_size=20))
    stopwords = draw(st.sampled_from(sorted(STOPWORDS)))
    return RankerConfig(*choices, query_length, length, *switches, stopwords, *prompts, label)


def refusal(folder, content):
    """The sentence about such a file, behind its path."""
    path = folder / CONFIG_NAME
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(ModelError) as error:
        read_config(folder)
    sentence = str(error.value)
    assert sentence.startswith(f"{path}: ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"{path}: ")


@given(config=configs())
def test_what_is_written_is_what_is_read(tmp_path_factory, config):
    folder = tmp_path_factory.getbasetemp()
    write_config(config, folder)
    assert read_config(folder) == config


def test_the_file_names_every_setting_and_its_own_format(tmp_path):
    write_config(RankerConfig("dual", "mean", "dot", 16, 40, True, False, "drop", "question: ", ""), tmp_path)
    assert json.loads((tmp_path / CONFIG_NAME).read_text()) == {
        "format": 1, "mode": "dual", "pooling": "mean", "similarity": "dot", "query_length": 16, "length": 40,
        "frozen": True, "markers": False, "stopwords": "drop", "query_prompt": "question: ", "passage_prompt": "",
        "label": "",
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe{}", b"mode: cross", b"[" * 200_000], ids=len)
def test_a_file_that_is_no_json_is_refused(tmp_path, content):
    assert refusal(tmp_path, content).startswith("cannot be read as JSON: ")


@pytest.mark.parametrize(
    "content", [[], [GOOD], None, 1, "cross", {}, {**GOOD, "format": 2}, {**GOOD, "format": "1"}], ids=repr
)
def test_json_of_another_form_or_format_is_refused(tmp_path, content):
    kind = f"is a JSON {type(content).__name__}, expected an object."
    expected = "expected an object with 'format' 1, which this version reads."
    assert refusal(tmp_path, content) == (expected if isinstance(content, dict) else kind)


def test_a_folder_without_the_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"ranker\.json: cannot be read as JSON: "):
        read_config(tmp_path)


@pytest.mark.parametrize("key", ["colour", "Mode", "mode ", ""])
def test_an_unknown_key_is_refused_with_those_that_are_known(tmp_path, key):
    expected = f"has the unknown key {key!r}; allowed are format, {', '.join(NAMES)}."
    assert refusal(tmp_path, {**GOOD, key: 1}) == expected


@pytest.mark.parametrize("key", [name for name in NAMES if name not in LATER])
def test_a_missing_key_is_refused_and_never_guessed(tmp_path, key):
    assert refusal(tmp_path, {name: value for name, value in GOOD.items() if name != key}) == f"lacks the key {key!r}."


def test_an_older_model_reads_every_word_and_marker_and_has_no_prompts(tmp_path):
    old = {name: value for name, value in GOOD.items() if name not in LATER}
    (tmp_path / CONFIG_NAME).write_text(json.dumps(old))
    assert {"format": 1, **asdict(read_config(tmp_path))} == GOOD


@pytest.mark.parametrize("key", ["pooling", "similarity"])
def test_a_saved_model_leaves_nothing_to_be_decided(tmp_path, key):
    assert refusal(tmp_path, {**GOOD, key: "auto"}) == f"{key} is 'auto', expected what the model has."


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("mode", "bert", ", ".join(MODES)),
        ("mode", None, ", ".join(MODES)),
        ("mode", "Cross", ", ".join(MODES)),
        ("pooling", "sum", ", ".join(CHOSEN_POOLINGS)),
        ("pooling", "cls+", ", ".join(CHOSEN_POOLINGS)),
        ("query_prompt", 3, "a text of at most 4096 characters"),
        ("similarity", 2, "auto, cosine, dot"),
        ("stopwords", True, "keep, drop, random"),
        ("length", "256", "8 to 8192 tokens"),
        ("length", 256.0, "8 to 8192 tokens"),
        ("length", True, "8 to 8192 tokens"),
        ("length", None, "8 to 8192 tokens"),
        ("length", [256], "8 to 8192 tokens"),
        ("length", MAX_TOKENS + 1, "8 to 8192 tokens"),
        ("query_length", MIN_TOKENS - 1, "8 to 8192 tokens"),
        ("query_length", -64, "8 to 8192 tokens"),
        ("frozen", 1, "true or false"),
        ("frozen", "false", "true or false"),
        ("markers", None, "true or false"),
    ],
)
def test_a_value_that_no_model_has_is_refused_with_what_is_allowed(tmp_path, key, value, allowed):
    start = f"{key} is {value!r}, expected "
    said = refusal(tmp_path, {**GOOD, key: value}).removesuffix(" Did you mean 'cross'?")
    assert said in (f"{start}{allowed}.", f"{start}one of {allowed}.")


@pytest.mark.parametrize(("query_length", "length"), [(64, 64), (65, 64), (8, 8)])
def test_a_query_must_be_shorter_than_the_pair(query_length, length):
    with pytest.raises(ModelError) as error:
        RankerConfig("cross", query_length=query_length, length=length)
    assert str(error.value) == f"query_length is {query_length}, expected less than the length of {length}."


def test_a_query_read_alone_may_have_the_whole_length():
    assert RankerConfig("dual", query_length=64, length=64).query_length == 64
    with pytest.raises(ModelError, match=r"^query_length is 65, expected at most the length of 64\.$"):
        RankerConfig("dual", query_length=65, length=64)


def test_the_shortest_and_the_longest_lengths_are_allowed():
    assert RankerConfig("cross", query_length=MIN_TOKENS, length=MIN_TOKENS + 1).length == 9
    assert RankerConfig("cross", query_length=MAX_TOKENS - 1, length=MAX_TOKENS).length == 8_192


def test_only_a_dual_model_reads_its_texts_apart():
    assert [mode for mode in MODES if RankerConfig(mode).apart] == ["dual"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pooling": "sum"}, f"pooling is 'sum', expected one of {', '.join(CHOSEN_POOLINGS)}."),
        ({"pooling": "cls+cls"}, f"pooling is 'cls+cls', expected one of {', '.join(CHOSEN_POOLINGS)}."),
        ({"pooling": "auto+cls"}, f"pooling is 'auto+cls', expected one of {', '.join(CHOSEN_POOLINGS)}."),
        ({"similarity": "euclidean"}, "similarity is 'euclidean', expected one of auto, cosine, dot."),
        ({"similarity": []}, "similarity is [], expected one of auto, cosine, dot."),
        ({"query_prompt": None}, "query_prompt is None, expected a text of at most 4096 characters."),
        ({"query_length": 7}, f"query_length is 7, expected 8 to 8192 tokens, {OR_0}."),
        *(
            ({"length": value}, f"length is {value!r}, expected 8 to 8192 tokens, {OR_0}.")
            for value in (7, MAX_TOKENS + 1, -1, "64", False)
        ),
    ],
)
def test_a_plain_model_is_not_read_in_a_way_that_there_is_not(settings, sentence):
    with pytest.raises(ModelError) as error:
        PlainConfig(**settings)
    assert str(error.value) == sentence
