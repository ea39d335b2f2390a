"""Batches put together by copies of stretches, against one pair at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.model.inputs import Input, Packed, pad, padded
from ranker.scoring import assembly
from ranker.scoring.assembly import Template
from ranker.scoring.tokens import Texts, truncated

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=6)


class Marked:
    """A template whose markers are known: [2 | 3 30 | 4] around pairs and [2 | 3] around texts."""

    pair_parts = tuple(Input(*(np.array(column, dtype=np.int32) for column in columns)) for columns in (
        ([2], [0], [0]), ([3, 30], [0, 1], [0, 0]), ([4], [1], [0]),
    ))  # fmt: skip
    single_parts = (pair_parts[0], Input(*(np.array([value], dtype=np.int32) for value in (3, 0, 0))))
    pair_segments = (0, 1)
    single_segment = 0
    keeps_end = False
    pair = Template.pair
    single = Template.single


def texts_of(lengths, first):
    """Each token has an id of its own, from ``first``."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    ids = np.arange(first, first + offsets[-1], dtype=np.int32)
    return Texts(ids, offsets, np.zeros(len(lengths), dtype=np.int64))


def inputs_of(packed: Packed):
    bounds = zip(packed.offsets[:-1], packed.offsets[1:], strict=True)
    return [[column[a:b].tolist() for column in packed[:3]] for a, b in bounds]


def lists(inputs):
    return [[column.tolist() for column in one] for one in inputs]


@given(LENGTHS, LENGTHS, st.integers(0, 9), st.booleans(), st.randoms(use_true_random=False))
def test_pairs_are_what_the_template_makes_of_each_alone(query_lengths, passage_lengths, most, keeps_end, random):
    queries, passages, template = texts_of(query_lengths, 100), texts_of(passage_lengths, 1000), Marked()
    template.keeps_end = keeps_end
    rows = [(q, p) for q in range(len(queries)) for p in range(len(passages))]
    random.shuffle(rows)
    rows = np.array(rows)
    kept = (np.minimum(queries.lengths[rows[:, 0]], 3), np.minimum(passages.lengths[rows[:, 1]], most))
    found = assembly.pairs(template, (queries, passages), rows, kept)
    wanted = [
        template.pair(truncated(queries[q], 3, keeps_end), truncated(passages[p], most, keeps_end)) for q, p in rows
    ]
    assert inputs_of(found) == lists(wanted)


@given(LENGTHS, st.randoms(use_true_random=False))
def test_singles_are_what_the_template_makes_of_each_alone(lengths, random):
    texts, template = texts_of(lengths, 100), Marked()
    rows = [random.randrange(len(texts)) for _ in range(5)]
    found = assembly.singles(template, texts, np.array(rows))
    assert inputs_of(found) == lists(template.single(texts[row]) for row in rows)


@given(LENGTHS, st.integers(0, 99))
def test_padding_keeps_every_token_in_its_place_and_nothing_else(lengths, pad_id):
    texts, template = texts_of(lengths, 100), Marked()
    alone = [template.single(texts[row]) for row in range(len(texts))]
    batch = padded(assembly.singles(template, texts, np.arange(len(texts))), pad_id)
    width = max(len(one.ids) for one in alone)
    for row, one in enumerate(alone):
        behind = width - len(one.ids)
        assert batch.ids[row].tolist() == one.ids.tolist() + [pad_id] * behind
        assert batch.segments[row].tolist() == one.segments.tolist() + [0] * behind
        assert batch.parts[row].tolist() == one.parts.tolist() + [0] * behind
        assert batch.mask[row].tolist() == [True] * len(one.ids) + [False] * behind


def test_inputs_given_one_by_one_are_padded_the_same():
    texts, template = texts_of([3, 1, 5], 100), Marked()
    one_by_one = pad([template.single(texts[row]) for row in range(3)], 7)
    at_once = padded(assembly.singles(template, texts, np.arange(3)), 7)
    for left, right in zip(vars(one_by_one).values(), vars(at_once).values(), strict=True):
        assert left.tolist() == right.tolist()


@pytest.mark.parametrize("rows", [1, 3])
def test_a_source_is_copied_and_never_changed(rows):
    texts = texts_of([4, 4, 4], 100)
    before = texts.ids.copy()
    found = assembly.singles(Marked(), texts, np.zeros(rows, dtype=np.int64))
    found.ids[:] = 0
    assert texts.ids.tolist() == before.tolist()
