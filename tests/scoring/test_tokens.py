"""Texts become ids once, cut to the token; pairs are what the tokenizer itself would have made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from ranker.model.inputs import MARKER, PASSAGE, QUERY
from ranker.model.loading import load_model
from ranker.scoring.assembly import Template
from ranker.scoring.tokens import tokenize

TEXT = st.lists(st.sampled_from(["river", "rivers", "what", "Paris", "zebra", ",", "x"]), max_size=12).map(" ".join)
WORDS = st.lists(st.sampled_from(["river", "what", "paris", "stone"]), min_size=1, max_size=6).map(" ".join)
TEMPLATES = {
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
    "roberta": ("[CLS] $A [SEP]", "[CLS] $A [SEP] [SEP] $B [SEP]"),
    "markers behind alone": ("$A [SEP]", "$A [SEP] $B [SEP]"),
    "the marker last": ("$A [SEP] [CLS]:1", "$A [SEP] $B:1 [SEP]:1 [CLS]:1"),
    "no markers": ("$A", "$A $B:1"),
}


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return load_model(str(tiny())).tokenizer


@pytest.fixture(scope="module", params=TEMPLATES)
def marking(tiny, request):
    """A tokenizer that marks texts in its own way."""
    tokenizer = load_model(str(tiny())).tokenizer
    single, pair = TEMPLATES[request.param]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, pair=pair, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def ids_of(tokenizer, text):
    return tokenize(tokenizer, [text], 100)[0]


@given(texts=st.lists(TEXT | st.text(max_size=20), max_size=8), most=st.integers(1, 9))
def test_a_text_keeps_its_first_tokens_and_the_rest_is_counted(tokenizer, texts, most):
    found = tokenize(tokenizer, iter(texts), most)
    assert len(found) == len(texts)
    for number, text in enumerate(texts):
        whole = tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
        assert found[number].tolist() == whole[:most]
        assert found.lengths[number] == min(len(whole), most)
        assert found.lost[number] == max(len(whole) - most, 0)


@given(texts=st.lists(TEXT, max_size=8), most=st.integers(1, 9))
def test_no_token_is_lost_between_the_texts(tokenizer, texts, most):
    found = tokenize(tokenizer, texts, most)
    assert found.offsets[0] == 0
    assert found.offsets[-1] == len(found.ids) == found.lengths.sum()
    assert (found.ids.dtype, found.offsets.dtype, found.lost.dtype) == (np.int32, np.int64, np.int64)


@pytest.mark.parametrize("count", [0, 1, 2_047, 2_048, 2_049, 4_099])
def test_texts_are_in_their_order_however_many_the_tokenizer_takes_at_once(tokenizer, count):
    texts = ["x " * (number % 4) + "y" for number in range(count)]
    found = tokenize(tokenizer, (text for text in texts), 3)
    assert found.lengths.tolist() == [min(number % 4 + 1, 3) for number in range(count)]
    assert found.lost.tolist() == [int(number % 4 == 3) for number in range(count)]


def test_a_text_read_after_others_has_the_ids_that_it_has_alone(tokenizer):
    texts = ["rivers of paris", "", "what is the stone", "rivers of paris"]
    together = tokenize(tokenizer, texts, 5)
    assert [row.tolist() for row in together] == [ids_of(tokenizer, text).tolist() for text in texts]


@settings(deadline=None)
@given(query=WORDS, passage=WORDS)
def test_a_pair_from_ids_is_the_tokenizers_own_pair(marking, query, passage):
    made = Template(marking).pair(ids_of(marking, query), ids_of(marking, passage))
    expected = marking.backend_tokenizer.encode(query, passage)
    assert made.ids.tolist() == expected.ids
    assert made.segments.tolist() == expected.type_ids
    part_of = {None: MARKER, 0: QUERY, 1: PASSAGE}
    assert made.parts.tolist() == [part_of[sequence] for sequence in expected.sequence_ids]


@settings(deadline=None)
@given(text=WORDS)
def test_a_text_alone_is_the_tokenizers_own_text(marking, text):
    made = Template(marking).single(ids_of(marking, text))
    expected = marking.backend_tokenizer.encode(text)
    assert (made.ids.tolist(), made.segments.tolist()) == (expected.ids, expected.type_ids)
    assert made.parts.tolist() == [MARKER if sequence is None else QUERY for sequence in expected.sequence_ids]


@given(query=TEXT, passage=TEXT)
def test_the_parts_of_a_pair_say_whose_every_token_is(marking, query, passage):
    template, ids = Template(marking), [ids_of(marking, text) for text in (query, passage)]
    made = template.pair(*ids)
    assert [made.ids[made.parts == part].tolist() for part in (QUERY, PASSAGE)] == [one.tolist() for one in ids]
    assert (made.parts == MARKER).sum() == template.pair_markers
    assert len(template.single(ids[0]).ids) == len(ids[0]) + template.single_markers


@given(query=TEXT, passage=TEXT)
def test_without_markers_a_pair_is_its_texts_end_to_end(tokenizer, query, passage):
    template, ids = Template(tokenizer, markers=False), [ids_of(tokenizer, text) for text in (query, passage)]
    made = template.pair(*ids)
    assert made.ids.tolist() == [*ids[0], *ids[1]]
    assert made.segments.tolist() == [0] * len(ids[0]) + [1] * len(ids[1])
    assert template.single(ids[0]).ids.tolist() == ids[0].tolist()
    assert (template.pair_markers, template.single_markers) == (0, 0)


def test_padding_is_the_tokenizers_own(tokenizer):
    assert Template(tokenizer).pad_id == tokenizer.pad_token_id == 0
