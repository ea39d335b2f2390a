"""A batch holds every token at its place, and padding everywhere else."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ranker.model.inputs import MARKER, PASSAGE, QUERY, Input, pad, positions_in_groups

TOKEN = st.tuples(st.integers(0, 50), st.integers(0, 1), st.sampled_from((MARKER, QUERY, PASSAGE)))
TEXTS = st.lists(st.lists(TOKEN, max_size=9), min_size=1, max_size=6)


def as_input(tokens):
    return Input(*np.array(tokens, np.int32).reshape(-1, 3).T.copy())


@given(texts=TEXTS, pad_id=st.integers(0, 9))
def test_every_token_is_at_its_place_and_padding_behind_the_end(texts, pad_id):
    batch = pad([as_input(text) for text in texts], pad_id)
    assert batch.ids.shape == (len(texts), max(map(len, texts)))
    for row, text in enumerate(texts):
        for place in range(batch.ids.shape[1]):
            found = tuple(t[row, place].item() for t in (batch.ids, batch.segments, batch.parts, batch.mask))
            assert found == ((*text[place], True) if place < len(text) else (pad_id, 0, MARKER, False))


@given(texts=TEXTS)
def test_a_batch_is_no_wider_than_its_longest_input(texts):
    batch = pad([as_input(text) for text in texts], 0)
    assert batch.mask.sum(dim=1).tolist() == [len(text) for text in texts]
    assert batch.mask.any(dim=0).all()


def test_tokens_are_as_wide_as_an_embedding_asks_for():
    batch = pad([as_input([(5, 0, QUERY)])], 0)
    assert [tensor.dtype for tensor in vars(batch).values()] == [torch.int64] * 3 + [torch.bool]


def test_a_batch_shares_no_memory_with_its_inputs():
    one = as_input([(5, 0, QUERY), (6, 1, PASSAGE)])
    pad([one], 0).ids.zero_()
    assert one.ids.tolist() == [5, 6]


def test_all_of_a_batch_moves_to_the_device():
    batch = pad([as_input([(5, 0, QUERY)]), as_input([])], 0)
    moved = batch.to(torch.device("meta"))
    assert [tensor.device.type for tensor in vars(moved).values()] == ["meta"] * 4
    assert [tensor.shape for tensor in vars(moved).values()] == [(2, 1)] * 4
    assert batch.ids.device.type == "cpu"


@given(lengths=st.lists(st.integers(0, 5)))
def test_positions_start_anew_in_every_group(lengths):
    positions = positions_in_groups(np.array(lengths, dtype=np.int64))
    assert positions.tolist() == [position for length in lengths for position in range(length)]
