import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.data.run import Ranking, Run, rankings_from_rows, to_float32
from ranker.errors import DataError
from ranker.limits import MAX_DEPTH

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)
doc_ids = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=6)
hits = st.dictionaries(doc_ids, st.one_of(float32s, st.sampled_from([0.0, -0.0, 1.5])), max_size=30)


def naive(found: dict[str, float]) -> list[tuple[str, float]]:
    """The order that trec_eval has: float32 scores, then the bytes of the ids as strcmp compares them, both falling."""
    return sorted(found.items(), key=lambda hit: (float(np.float32(hit[1])), hit[0].encode()), reverse=True)


def refused(message: str) -> pytest.RaisesExc[DataError]:
    return pytest.raises(DataError, match=f"^{re.escape(message)}$")


@given(hits)
def test_passages_in_any_order_become_falling_scores_then_falling_ids(found: dict[str, float]) -> None:
    ranking = Ranking.ordered(list(found), list(found.values()))
    assert list(ranking.doc_ids) == [doc_id for doc_id, _ in naive(found)]
    assert ranking.scores.dtype == np.float32
    by_doc_id = {doc_id: np.float32(score).tobytes() for doc_id, score in found.items()}
    assert [by_doc_id[doc_id] for doc_id in ranking.doc_ids] == [score.tobytes() for score in ranking.scores]


@given(hits)
def test_ordering_what_is_ordered_changes_nothing(found: dict[str, float]) -> None:
    ranking = Ranking.ordered(list(found), list(found.values()))
    assert Ranking.ordered(ranking.doc_ids, ranking.scores) == ranking
    assert Ranking.ordered(ranking.doc_ids[::-1], ranking.scores[::-1]) == ranking


@given(hits.filter(lambda found: len(found) > 1), st.randoms(use_true_random=False))
def test_the_order_given_never_decides_the_order_kept(found: dict[str, float], random: object) -> None:
    shuffled = list(found.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one = Ranking.ordered(list(found), list(found.values()))
    assert Ranking.ordered([doc_id for doc_id, _ in shuffled], [score for _, score in shuffled]) == one


def test_equal_scores_go_by_doc_id_falling_as_strings() -> None:
    assert Ranking.ordered(["d10", "d9", "d1"], [1, 1, 1]).doc_ids == ("d9", "d10", "d1")


def test_ids_beyond_the_first_plane_order_as_their_bytes_not_as_utf16() -> None:
    assert Ranking.ordered(["\uffee", "\U0001f600"], [1, 1]).doc_ids == ("\U0001f600", "\uffee")


def test_what_float32_cannot_tell_apart_is_a_tie() -> None:
    close = 1.0 + 1e-9
    assert Ranking.ordered(["a", "b"], [close, 1.0]).doc_ids == ("b", "a")


def test_negative_zero_ties_with_zero_and_keeps_its_sign() -> None:
    ranking = Ranking.ordered(["a", "b"], [0.0, -0.0])
    assert ranking.doc_ids == ("b", "a")
    assert np.signbit(ranking.scores).tolist() == [True, False]


@pytest.mark.parametrize(
    ("score", "shown"), [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "-inf"), (1e39, "inf")]
)
def test_a_score_that_is_not_finite_in_float32_is_refused(score: float, shown: str) -> None:
    with refused(f"passage 'b' has the score {shown}, expected a finite number."):
        Ranking.ordered(["a", "b", "c"], [3.0, score, 1.0])


def test_a_passage_named_twice_is_refused() -> None:
    with refused("passage 'a' stands twice in one ranking."):
        Ranking.ordered(["a", "b", "a"], [3, 2, 1])


def test_a_passage_named_twice_is_refused_in_any_order() -> None:
    with refused("passage 'a' stands twice in one ranking."):
        Ranking.ordered(["a", "a", "b"], [1, 2, 3])


@pytest.mark.parametrize(("ids", "shown"), [(["a"], "1 passage"), (["a", "b", "c"], "3 passages")])
def test_passages_and_scores_must_be_equally_many(ids: list[str], shown: str) -> None:
    with refused(f"a ranking has {shown} but 2 scores."):
        Ranking.ordered(ids, [1, 1])


def test_a_ranking_deeper_than_the_bound_is_refused() -> None:
    ids = [f"{number:06}" for number in range(MAX_DEPTH + 1)]
    with refused(f"a ranking has {MAX_DEPTH + 1} passages, at most {MAX_DEPTH} are allowed."):
        Ranking.ordered(ids, np.zeros(len(ids)))
    assert len(Ranking.ordered(ids[1:], np.zeros(MAX_DEPTH))) == MAX_DEPTH


@pytest.mark.parametrize(("ids", "scores"), [(("a", "b"), [1, 2]), (("a", "b"), [1, 1])])
def test_a_ranking_out_of_order_cannot_be_made(ids: tuple[str, ...], scores: list[float]) -> None:
    with refused("a ranking is not in order: scores must fall, and equal scores be by doc_id falling."):
        Ranking(ids, to_float32(scores))


def test_an_empty_ranking_is_a_ranking() -> None:
    assert len(Ranking.ordered([], [])) == 0


def test_the_head_is_the_best_passages() -> None:
    ranking = Ranking.ordered(["a", "b", "c"], [1, 3, 2])
    assert ranking.head(2) == Ranking.ordered(["b", "c"], [3, 2])
    assert ranking.head(10) == ranking
    assert len(ranking.head(0)) == 0


def test_rankings_are_equal_where_ids_and_bits_are() -> None:
    one = Ranking.ordered(["a"], [0.0])
    assert one == Ranking.ordered(["a"], [0.0])
    assert one != Ranking.ordered(["b"], [0.0])
    assert one != Ranking.ordered(["a"], [-0.0])
    assert one != "a"


def test_a_ranking_cannot_be_changed_or_hashed() -> None:
    ranking = Ranking.ordered(["a"], [1])
    with pytest.raises(AttributeError):
        ranking.doc_ids = ("b",)  # type: ignore[misc]
    with pytest.raises(TypeError):
        hash(ranking)


OWN = Run(
    "x",
    {
        "q1": Ranking.ordered(["a", "q1", "q2"], [3, 2, 1]),
        "q2": Ranking.ordered(["q2"], [1]),
        "q3": Ranking.ordered(["q1", "b"], [2, 1]),
    },
)


def test_a_run_tells_which_queries_found_the_passage_of_their_own_id() -> None:
    assert OWN.queries_found == ("q1", "q2")
    assert OWN.without_queries().queries_found == ()


def test_leaving_queries_out_keeps_all_other_passages_and_no_empty_ranking() -> None:
    assert dict(OWN.without_queries()) == {"q1": Ranking.ordered(["a", "q2"], [3, 1]), "q3": OWN["q3"]}


def test_the_head_of_a_run_is_that_of_each_ranking() -> None:
    head = OWN.head(1)
    assert {query_id: ranking.doc_ids for query_id, ranking in head.items()} == {
        "q1": ("a",),
        "q2": ("q2",),
        "q3": ("q1",),
    }
    assert head["q2"] is OWN["q2"]


def test_float32_scores_are_taken_without_a_copy() -> None:
    scores = np.array([2, 1], dtype=np.float32)
    assert Ranking.ordered(["a", "b"], scores).scores is scores


def test_a_run_is_a_mapping_of_rankings_in_its_own_order() -> None:
    rankings = {"q2": Ranking.ordered(["a", "b"], [2, 1]), "q1": Ranking.ordered(["c"], [1])}
    run = Run("bm25", rankings)
    assert list(run) == ["q2", "q1"]
    assert dict(run) == rankings
    assert run["q1"].doc_ids == ("c",)
    assert "q3" not in run
    assert (len(run), run.hits) == (2, 3)


@pytest.mark.parametrize("name", ["", "two words", " bm25", "bm25\n", "a\tb", "a\u00a0b"])
def test_a_run_is_called_by_one_word(name: str) -> None:
    with refused(f"a run is named {name!r}, expected one word without spaces."):
        Run(name, {})


def test_a_digest_is_of_what_a_run_answers_and_not_of_its_name():
    one, other = Ranking(("b", "a"), np.array([2, 1], np.float32)), Ranking(("c",), np.array([1], np.float32))
    run = Run("x", {"1": one, "2": other})
    assert run.digest == Run("y", {"2": other, "1": one}).digest
    higher = Ranking(("b", "a"), np.array([np.nextafter(np.float32(2), np.float32(3)), 1], np.float32))
    moved = [{"1": higher, "2": other}, {"1": one, "3": other}, {"1": one}, {"1": one, "2": one}, {}]
    assert len({run.digest, *(Run("x", rankings).digest for rankings in moved)}) == 6


def lowered(scores: list[np.float32]) -> list[np.float32]:
    """Score by score: what is not below the one before becomes the next float32 below it."""
    kept: list[np.float32] = []
    for score in scores:
        most = np.nextafter(kept[-1], np.float32(-np.inf)) if kept else score
        kept.append(min(score, most))
    return kept


# at the least float32 there is nothing left to lower a score to, which the last test of these tells
@given(
    st.lists(
        st.one_of(st.sampled_from([0.0, -0.0, 1.5, -1e-45, 1e-45, 3.0]), float32s.filter(lambda score: score > -3e38)),
        max_size=30,
    )
)
def test_distinct_scores_are_the_nearest_below_that_keep_the_order(scores: list[float]) -> None:
    ids = [f"d{number}" for number in range(len(scores))]
    ranking = Ranking.ordered(ids, scores)
    after = ranking.distinct()
    assert after.doc_ids == ranking.doc_ids
    assert after.scores.tolist() == lowered(list(ranking.scores))
    assert (after.scores[1:] < after.scores[:-1]).all()


def test_scores_that_are_distinct_stay_as_they_are() -> None:
    ranking = Ranking.ordered(["a", "b"], [2.0, 1.0])
    assert ranking.distinct() is ranking


def test_the_least_float32_twice_cannot_become_distinct() -> None:
    least = float(np.finfo(np.float32).min)
    with refused("passage 'a' has the score -inf, expected a finite number."):
        Ranking.ordered(["a", "b"], [least, least]).distinct()


def test_a_run_becomes_distinct_query_by_query() -> None:
    run = Run("x", {"q": Ranking.ordered(["a", "b"], [1, 1]), "r": Ranking.ordered(["a"], [1])}).distinct()
    assert run["q"].scores[0] > run["q"].scores[1]
    assert run["r"].scores.tolist() == [1.0]


NAMES = np.array([f"d{number}" for number in range(12)], dtype=np.object_)
SCORE = st.one_of(st.sampled_from([0.5, 0.25, 0.0, -0.0]), st.floats(-1, 1, width=32))


@st.composite
def answers(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Rows and scores of several queries of one depth, some with ties, in any order, some filled up with -1."""
    depth, count = draw(st.integers(0, 12)), draw(st.integers(0, 6))
    rows, scores = np.full((count, depth), -1, np.int64), np.full((count, depth), -3.4e38, np.float32)
    for query in range(count):
        found = draw(st.permutations(range(12)))[: draw(st.integers(0, depth))]
        values = draw(st.lists(SCORE, min_size=len(found), max_size=len(found)))
        rows[query, : len(found)] = found
        scores[query, : len(found)] = sorted(values, reverse=True) if draw(st.booleans()) else values
    return rows, scores


@given(answers())
def test_many_answers_at_once_become_the_rankings_that_each_would(given_: tuple[np.ndarray, np.ndarray]) -> None:
    rows, scores = given_
    found = rankings_from_rows(NAMES, rows, scores)
    pairs = zip(rows, scores, strict=True)
    each = [Ranking.ordered(list(NAMES[row[row >= 0]]), values[row >= 0]) for row, values in pairs]
    assert found == each
    assert all(type(ranking.doc_ids) is tuple and ranking.scores.flags.c_contiguous for ranking in found)


@pytest.mark.parametrize(
    ("row", "values", "message"),
    [
        ([3, 1, 3], [0.9, 0.5, 0.1], "passage 'd3' stands twice in one ranking."),
        ([3, 1, 2], [np.inf, 0.5, 0.1], "passage 'd3' has the score inf, expected a finite number."),
        ([3, 1, 2], [0.9, 0.5, -np.inf], "passage 'd2' has the score -inf, expected a finite number."),
        ([3, 1, 2], [0.9, np.nan, 0.1], "passage 'd1' has the score nan, expected a finite number."),
    ],
)
def test_one_answer_of_many_that_is_no_ranking_is_refused(row: list[int], values: list[float], message: str) -> None:
    rows, scores = np.array([[0, 1, 2], row]), np.array([[0.9, 0.5, 0.1], values], dtype=np.float32)
    with refused(message):
        rankings_from_rows(NAMES, rows, scores)


def test_answers_deeper_than_the_bound_are_refused() -> None:
    names = np.array([str(number) for number in range(MAX_DEPTH + 1)], dtype=np.object_)
    falling = np.arange(MAX_DEPTH + 1, 0, -1).astype(np.float32)
    with refused(f"a ranking has {MAX_DEPTH + 1} passages, at most {MAX_DEPTH} are allowed."):
        rankings_from_rows(names, np.arange(MAX_DEPTH + 1)[None], falling[None])
