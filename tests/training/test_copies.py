"""Copies of texts are found as a slow comparison of all with all finds them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.training.copies import Copy, find_copies

WORDS = st.sampled_from(("a", "the", "red", "blue", "stone", "river", "of", "Oman", "月", "光"))
TEXTS = st.lists(st.lists(WORDS, max_size=8).map(" ".join), max_size=8)


def slow(ours, theirs, least):
    """The greatest likeness to any of theirs, where it is great enough; letters of Chinese are words."""
    found = {}
    for name, text in ours.items():
        mine = set(text.casefold().split())
        for other in theirs.values():
            yours = set(other.casefold().split())
            share = len(mine & yours) / len(mine | yours) if mine and yours else 0.0
            if share >= least - 1e-9:
                found[name] = max(found.get(name, 0.0), share)
    return found


@given(ours=TEXTS, theirs=TEXTS, least=st.sampled_from((0.3, 0.5, 0.8, 0.9, 1.0)))
def test_the_likest_are_those_that_a_comparison_of_all_with_all_finds(ours, theirs, least):
    left, right = (
        {f"{side}{number}": text for number, text in enumerate(texts)} for side, texts in (("o", ours), ("t", theirs))
    )
    found = find_copies(left.items(), right, least)
    assert {copy.ours: copy.similarity for copy in found} == pytest.approx(slow(left, right, least))
    assert all(copy.exact == (left[copy.ours].lower().split() == right[copy.theirs].lower().split()) for copy in found)


@pytest.mark.parametrize(
    ("ours", "theirs", "exact"),
    [
        ("What is the capital of Oman?", "what is  the capital of OMAN", True),
        ("What is the capital of Oman?", "The capital of Oman is what?", False),
        ("阿曼的首都是什么?", "阿曼的首都是什么", True),
    ],
)
def test_case_punctuation_and_order_do_not_hide_a_copy(ours, theirs, exact):
    assert find_copies([("a", ours)], {"b": theirs}, 0.9) == [Copy("a", "b", 1.0, exact)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            "What are the symptoms of glycogen storage disease type 1?",
            "What are the symptoms of glycogen storage disease type 2?",
        ),
        ("What is the capital of Oman?", "What is the capital of Peru?"),
        ("", ""),
        ("?!", "?!"),
        ("阿曼的首都是什么", "秘鲁的首都是什么"),
    ],
)
def test_questions_about_different_things_are_no_copies(ours, theirs):
    assert find_copies([("a", ours)], {"b": theirs}, 0.9) == []


def test_an_exact_copy_is_named_before_one_in_another_order():
    theirs = {"first": "Oman of capital the", "second": "The capital of Oman", "third": "the capital of Oman"}
    assert find_copies([("a", "the capital of Oman")], theirs, 0.8)[0].theirs == "second"


def test_a_passage_with_a_few_words_changed_is_a_copy():
    words = [f"word{number}" for number in range(50)]
    changed = [*words[:45], *(f"other{number}" for number in range(5))]
    assert find_copies([("a", " ".join(words))], {"b": " ".join(changed)}, 0.8) == [
        Copy("a", "b", pytest.approx(45 / 55), False)
    ]
