"""Passages longer than a model reads: cut, refused by name, or read in windows of which the best counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.data.records import Query
from ranker.data.run import Ranking, Run
from ranker.errors import DataError, ModelError
from ranker.model.loading import create_model
from ranker.reranking.plan import plan
from ranker.reranking.rerank import Window, candidates, rerank, rerank_candidates
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import build_token_file
from ranker.scoring.tokens import Pairs, Texts
from ranker.scoring.windows import in_windows, unwindowed
from ranker.settings.compute import Compute, Overflow
from ranker.settings.model import RankerConfig

WORDS = ["paris", "rome", "nile", "water", "stone", "red", "old", "river", "egypt", "city"]
QUERIES = {"short": Query("short", "rome"), "long": Query("long", "which river lies in egypt by the old red city")}


def text(length, seed):
    return " ".join(np.random.default_rng(seed).choice(WORDS, length))


PASSAGES = {f"p{length}": text(length, length) for length in (1, 20, 25, 26, 27, 35, 36, 37, 60, 61, 200)}
RUN = Run("x", {q: Ranking.ordered(list(PASSAGES), np.arange(len(PASSAGES), 0, -1)) for q in QUERIES})


@pytest.fixture(scope="module", params=["cross", "dual"])
def model(tiny, request):
    return create_model(RankerConfig(request.param, query_length=12, length=40), str(tiny()), seed=3)


def scorer_of(model, overflow="windows", stride=0):
    return Scorer(model, Compute("float32", "cpu"), Overflow(overflow, stride))


def ids(texts):
    return [texts[number].tolist() for number in range(len(texts))]


def end_to_end(parts):
    offsets = np.cumsum([0, *map(len, parts)])
    return Texts(np.concatenate(parts), offsets, np.zeros(len(parts), np.int64))


def windows_of(tokens, width, stride):
    """Slow and obvious: from the beginning in strides, the last one at the end of the passage."""
    found = [(0, tokens[:width])]
    while found[-1][0] + width < len(tokens):
        start = min(found[-1][0] + stride, len(tokens) - width)
        found.append((start, tokens[start : start + width]))
    return found


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    rooms=st.lists(st.integers(10, 40), min_size=5, max_size=5),
    width=st.integers(1, 10),
    data=st.data(),
)
def test_the_windows_are_those_of_going_along_each_passage(lengths, rooms, width, data):
    stride = data.draw(st.integers(1, width))
    chosen = st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5)
    rows = np.array([(0, passage) for passage in data.draw(chosen)], dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    passages = Texts(np.arange(offsets[-1], dtype=np.int32), offsets, np.zeros(len(lengths), np.int64))
    room = np.array(rooms[: len(rows)])
    found = in_windows(Pairs(passages, passages, rows), room, width, stride)
    for number, (passage, fits) in enumerate(zip(rows[:, 1], room, strict=True)):
        tokens = passages[passage].tolist()
        expected = [(0, tokens)] if len(tokens) <= fits else windows_of(tokens, width, stride)
        inputs = found.windows.rows[found.offsets[number] : found.offsets[number + 1]]
        assert (inputs[:, 0] == 0).all()
        assert [(found.starts[row], found.windows.passages[row].tolist()) for row in inputs[:, 1]] == expected


def test_a_passage_has_the_score_of_its_best_window(model, collection_of):
    scorer = scorer_of(model, stride=9)
    collection = collection_of(PASSAGES)
    reranked = rerank(scorer, RUN, QUERIES, collection, 100)
    won = {(window.query_id, window.doc_id): window for window in reranked.windows}
    for query_id, query in QUERIES.items():
        ranking = reranked.run[query_id]
        for doc_id, score in zip(ranking.doc_ids, ranking.scores, strict=True):
            tokens = scorer.passages([PASSAGES[doc_id]])[0]
            room = scorer.encoding.room - (0 if model.config.apart else len(scorer.queries([query.text])[0]))
            parts = [(0, tokens)] if len(tokens) <= room else windows_of(tokens, scorer.encoding.window, 9)
            texts = end_to_end([part for _, part in parts])
            rows = np.array([(0, number) for number in range(len(parts))])
            alone = scorer_of(model, "cut").scores(Pairs(scorer.queries([query.text]), texts, rows), lambda _: None)
            assert score == pytest.approx(alone.max(), abs=1e-5)
            if len(parts) == 1:
                assert (query_id, doc_id) not in won
                continue
            best = int(alone.argmax())
            first, kept = parts[best]
            assert won[query_id, doc_id] == Window(query_id, doc_id, best + 1, len(parts), first + 1, first + len(kept))


def test_nothing_counts_as_cut_in_windows(model, collection_of):
    collection = collection_of(PASSAGES)
    assert rerank(scorer_of(model), RUN, QUERIES, collection, 100).truncation.tokens == 0
    assert rerank(scorer_of(model, "cut"), RUN, QUERIES, collection, 100).truncation.tokens > 0


def test_passages_that_fit_score_as_without_windows(model, collection_of):
    collection, run = collection_of(PASSAGES), Run("x", {q: r.head(3) for q, r in RUN.items()})
    with_windows, without = (rerank(scorer_of(model, how), run, QUERIES, collection, 100) for how in ("windows", "cut"))
    assert with_windows.windows == ()
    assert with_windows.run == without.run


def test_a_token_file_gives_the_same_windows(model, collection_of, tmp_path, monkeypatch):
    monkeypatch.setenv("RANKER_CACHE", str(tmp_path / "cache"))
    collection, scorer = collection_of(PASSAGES), scorer_of(model)
    before = candidates(scorer, RUN, QUERIES, collection, 100)
    build_token_file(scorer.encoding, collection, lambda _: None)
    after = candidates(scorer, RUN, QUERIES, collection, 100)
    assert ids(after.windows.passages) == ids(before.windows.passages)
    assert (after.windows.rows == before.windows.rows).all()


def test_under_a_budget_the_windows_are_the_same(model, collection_of):
    collection, scorer = collection_of(PASSAGES), scorer_of(model)
    inputs = candidates(scorer, RUN, QUERIES, collection, 100)
    partial = rerank_candidates(scorer, RUN, inputs, 100, go_on=lambda: True)
    whole = rerank(scorer, RUN, QUERIES, collection, 100)
    assert partial.windows == whole.windows
    assert {q: r.doc_ids for q, r in partial.run.items()} == {q: r.doc_ids for q, r in whole.run.items()}


def test_a_plan_counts_windows_as_inputs(model, collection_of):
    found = plan(scorer_of(model), candidates(scorer_of(model), RUN, QUERIES, collection_of(PASSAGES), 100))
    assert found.pairs == len(QUERIES) * len(PASSAGES)
    assert found.inputs > (found.pairs if not model.config.apart else len(PASSAGES))


def test_the_work_left_is_counted_by_windows(model, collection_of):
    inputs = candidates(scorer_of(model), RUN, QUERIES, collection_of(PASSAGES), 100)
    job = scorer_of(model).job(inputs)
    assert len(job.lengths) == len(inputs)
    assert job.lengths.sum() == scorer_of(model).job(unwindowed(inputs.windows)).lengths.sum()
    assert len(job.scores(np.array([], np.int64))) == 0


def test_a_passage_that_is_too_long_is_refused_by_name(model, collection_of):
    with pytest.raises(DataError) as error:
        rerank(scorer_of(model, "fail"), RUN, QUERIES, collection_of(PASSAGES), 100)
    room = scorer_of(model).encoding.room - (0 if model.config.apart else 1)
    name = next(doc_id for doc_id in RUN["short"].doc_ids if int(doc_id[1:]) > room)
    assert str(error.value) == (
        f"passage {name}: has {name[1:]} tokens, expected at most the {room} that fit beside query short, "
        "or --overflow cut or windows."
    )


def test_what_fits_is_not_refused(model, collection_of):
    run = Run("x", {"short": RUN["short"].head(4)})
    reranked = rerank(scorer_of(model, "fail"), run, QUERIES, collection_of(PASSAGES), 100)
    assert reranked.pairs == 4


def test_a_passage_of_more_windows_than_are_allowed_is_refused(model, collection_of, monkeypatch):
    monkeypatch.setattr("ranker.reranking.rerank.MAX_WINDOWS", 8)
    with pytest.raises(
        DataError, match=r"^passage p200: has 200 tokens, expected at most 8 windows with a stride of 8\.$"
    ):
        rerank(scorer_of(model, stride=8), RUN, QUERIES, collection_of(PASSAGES), 100)


@pytest.mark.parametrize(
    ("overflow", "stride", "sentence"),
    [
        ("slide", 0, "overflow is 'slide', expected one of cut, fail, windows."),
        ("cut", 8, "stride is 8 with overflow 'cut', expected 8 tokens or more, and windows."),
        ("windows", 7, "stride is 7 with overflow 'windows', expected 8 tokens or more, and windows."),
        ("windows", -8, "stride is -8 with overflow 'windows', expected 8 tokens or more, and windows."),
    ],
)
def test_settings_that_say_nothing_are_refused(overflow, stride, sentence):
    with pytest.raises(ModelError) as error:
        Overflow(overflow, stride)
    assert str(error.value) == sentence


def test_a_stride_that_leaves_gaps_is_refused(model):
    width = scorer_of(model).encoding.window
    with pytest.raises(ModelError) as error:
        scorer_of(model, stride=width + 1)
    assert str(error.value).endswith(
        f": stride is {width + 1} in windows of {width}, expected at most that, which is what fits beside a query of "
        "12 tokens."
    )
    assert scorer_of(model, stride=width).encoding.stride == width


def test_windows_overlap_by_half_where_nothing_else_is_said(model):
    assert scorer_of(model).encoding.stride == scorer_of(model).encoding.window // 2
