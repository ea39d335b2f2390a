"""Batches hold every input once, within the budget, and as many as fit."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.scoring.batching import batches

LENGTHS = st.lists(st.integers(0, 60), max_size=60).map(lambda lengths: np.array(lengths, np.int64))
TOKENS = st.integers(1, 300)


@given(lengths=LENGTHS, tokens=TOKENS)
def test_every_input_is_in_one_batch(lengths, tokens):
    found = [number for rows in batches(lengths, tokens) for number in rows.tolist()]
    assert sorted(found) == list(range(len(lengths)))


@given(lengths=LENGTHS, tokens=TOKENS)
def test_a_batch_keeps_to_its_tokens_with_the_padding_counted_or_holds_one_input(lengths, tokens):
    for rows in batches(lengths, tokens):
        assert len(rows) == 1 or len(rows) * max(lengths[rows]) <= tokens


@given(lengths=LENGTHS, tokens=TOKENS)
def test_a_batch_is_as_large_as_the_budget_allows(lengths, tokens):
    for rows, _ in pairwise(batches(lengths, tokens)):
        assert (len(rows) + 1) * max(1, *lengths[rows]) > tokens


@given(lengths=LENGTHS, tokens=TOKENS)
def test_the_longest_come_first_and_equals_in_their_order(lengths, tokens):
    found = [number for rows in batches(lengths, tokens) for number in rows.tolist()]
    assert found == sorted(range(len(lengths)), key=lambda number: -lengths[number])


@given(lengths=LENGTHS.filter(len), tokens=TOKENS)
def test_sorted_by_length_a_batch_is_padded_by_no_more_than_its_own_spread(lengths, tokens):
    for rows, following in pairwise(batches(lengths, tokens)):
        assert min(lengths[rows]) >= max(lengths[following])


def test_of_nothing_there_is_no_batch():
    assert list(batches(np.empty(0, np.int64), 100)) == []


@pytest.mark.parametrize(("tokens", "sizes"), [(1, [1] * 6), (10, [1] * 6), (20, [2, 2, 2]), (39, [3, 3]), (60, [6])])
def test_equal_inputs_fill_their_batches(tokens, sizes):
    assert [len(rows) for rows in batches(np.full(6, 10), tokens)] == sizes
