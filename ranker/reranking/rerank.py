"""Reranking: a model's scores for the head of every ranking, the tail kept beneath."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.records import Oddity, Query
from ranker.data.run import Ranking, Run, Scores, check_finite, strictly_falling, to_float32
from ranker.errors import DataError
from ranker.limits import MAX_DEPTH, MAX_WINDOWS
from ranker.scoring.answers import answers_cut
from ranker.scoring.cache import ScoreSource, computed
from ranker.scoring.pairs import Pairs, Truncation
from ranker.scoring.scorer import Advance, Scorer
from ranker.scoring.survival import named
from ranker.scoring.windows import Inputs, Rows
from ranker.wording import counted


class Window(NamedTuple):
    """Which window of a passage had the best score: its number from 1, of how many, and its tokens from first to last.

    Tokens are numbered from 1.
    """

    query_id: str
    doc_id: str
    window: int
    windows: int
    first: int
    last: int


@dataclass(frozen=True)
class Reranked:
    """A reranked run, how many pairs were scored for it, and what of them could not be read.

    ``ties`` are the pairs whose score another passage of the query has too, though it reads otherwise; ``windows``
    those of the passages that were read in several.
    """

    run: Run
    pairs: int
    cut: Truncation
    ties: int
    windows: tuple[Window, ...]


def check_depth(depth: int) -> None:
    """Refuses a depth that no run has.

    Raises: DataError.
    """
    if not 1 <= depth <= MAX_DEPTH:
        raise DataError(f"depth is {depth}, expected 1 to {MAX_DEPTH} passages.")


def check_run(run: Run, queries: Mapping[str, Query], collection: Collection, depth: int) -> None:
    """Refuses a run that was made for other queries or another collection.

    Raises: DataError that names the first query or passage that is unknown.
    """
    known: set[str] = set()
    for query_id, ranking in run.items():
        if query_id not in queries:
            raise DataError(
                f"run {run.name}: query {query_id} is not in the dataset's split; is it a run for another one?"
            )
        for doc_id in ranking.doc_ids[:depth]:
            if doc_id not in known and doc_id not in collection:
                raise DataError(f"run {run.name}: passage {doc_id} of query {query_id} {_unknown(collection)}")
            known.add(doc_id)


def _unknown(collection: Collection) -> str:
    """Why a run may hold a passage that the collection has not."""
    also = ", or is the passage without words, and so left out" if collection.oddities[Oddity.EMPTY_PASSAGE] else ""
    return f"is not in the collection; is it a run for another dataset{also}?"


def candidates(scorer: Scorer, run: Run, queries: Mapping[str, Query], collection: Collection, depth: int) -> Inputs:
    """The pairs to score: each query with the best ``depth`` passages of its ranking, every text tokenised once.

    Raises: DataError for a passage that is too long, where the scorer is to refuse it, or of too many windows.
    """
    doc_ids = list(dict.fromkeys(doc_id for ranking in run.values() for doc_id in ranking.doc_ids[:depth]))
    row_of = {doc_id: row for row, doc_id in enumerate(doc_ids)}
    rows = [
        (number, row_of[doc_id]) for number, ranking in enumerate(run.values()) for doc_id in ranking.doc_ids[:depth]
    ]
    pairs = Pairs(
        scorer.queries(queries[query_id].text for query_id in run),
        scorer.passages_of(collection, doc_ids),
        np.array(rows, dtype=np.int64).reshape(-1, 2),
    )
    _check_overflow(scorer, pairs, list(run), doc_ids)
    return scorer.inputs(pairs)


def _check_overflow(scorer: Scorer, pairs: Pairs, query_ids: Sequence[str], doc_ids: Sequence[str]) -> None:
    """Refuses what the scorer's ``overflow`` does not allow."""
    rooms = scorer.rooms(pairs)
    tokens = (pairs.passages.lengths + pairs.passages.lost)[pairs.rows[:, 1]]
    in_windows = np.full_like(rooms, scorer.window + scorer.stride * (MAX_WINDOWS - 1))
    most = {"cut": tokens, "fail": rooms, "windows": in_windows}
    over = np.flatnonzero(tokens > most[scorer.overflow.overflow])
    if len(over):
        query, passage = pairs.rows[over[0]]
        allowed = (
            f"the {rooms[over[0]]} that fit beside query {query_ids[query]}, or --overflow cut or windows"
            if scorer.overflow.overflow == "fail"
            else f"{MAX_WINDOWS} windows with a stride of {scorer.stride}"
        )
        raise DataError(
            f"passage {doc_ids[passage]}: has {counted(tokens[over[0]], 'token')}, expected at most {allowed}."
        )


def rerank(
    scorer: Scorer,
    run: Run,
    queries: Mapping[str, Query],
    collection: Collection,
    depth: int,
    advance: Advance,
    recall: ScoreSource = computed,
) -> Reranked:
    """The run with the first ``depth`` passages of each ranking in the model's order, the others as they were beneath.

    ``recall`` may know of some scores from before.

    Raises: DataError for a depth outside its bounds, and a run of other queries or passages.
    """
    check_depth(depth)
    check_run(run, queries, collection, depth)
    return rescored(scorer, run, candidates(scorer, run, queries, collection, depth), depth, advance, recall)


def rescored(
    scorer: Scorer, run: Run, inputs: Inputs, depth: int, advance: Advance, recall: ScoreSource = computed
) -> Reranked:
    """The same for ``candidates`` that are at hand; ``recall`` may know of some scores from before."""
    work, every = inputs.work(scorer, recall), np.arange(len(inputs))
    with named(partial(input_name, run, depth, inputs)):
        scores = work.scores(every, advance)
    reranked = Run(run.name, reordered(run, scores, depth))
    windows = windows_of(run, depth, inputs, work.best, every)
    return Reranked(reranked, len(inputs), scorer.cut(inputs.whole), tied(inputs.whole, scores), windows)


def gold_answers_cut(
    scorer: Scorer, run: Run, inputs: Inputs, queries: Mapping[str, Query], collection: Collection, depth: int
) -> int:
    """How many of the pairs lost an answer that their passage has, with the end of it."""
    if not any(queries[query_id].answers for query_id in run):
        return 0
    ids = list(_ids(run, depth))

    def texts(number: int) -> tuple[Query, str]:
        query_id, doc_id = ids[number]
        return queries[query_id], collection[doc_id].contents

    return answers_cut(scorer, inputs.whole, texts)


def input_name(run: Run, depth: int, inputs: Inputs, number: int) -> str:
    """The query and passage of something that is read for ``candidates``, in words."""
    pair = int(np.searchsorted(inputs.begins, number, side="right")) - 1
    query_id, doc_id = next(islice(_ids(run, depth), pair, None))
    return f"query {query_id}, passage {doc_id}"


def windows_of(run: Run, depth: int, inputs: Inputs, best: Rows, scored: Rows) -> tuple[Window, ...]:
    """The best windows of those of the scored pairs that have several.

    Shape: best (P,), scored (pairs,): their numbers.
    """
    counts = inputs.counts
    several = np.zeros(len(inputs), dtype=bool)
    several[scored] = counts[scored] > 1
    texts = inputs.read.rows[inputs.begins[:-1] + best, 1] if several.any() else best
    first, lengths = inputs.starts, inputs.read.passages.lengths
    return tuple(
        Window(
            *ids, int(best[n]) + 1, int(counts[n]), int(first[texts[n]]) + 1, int(first[texts[n]] + lengths[texts[n]])
        )
        for n, ids in enumerate(_ids(run, depth))
        if several[n]
    )


def _ids(run: Run, depth: int) -> Iterator[tuple[str, str]]:
    """The query_id and doc_id of each pair of ``candidates``."""
    return ((query_id, doc_id) for query_id, ranking in run.items() for doc_id in ranking.doc_ids[:depth])


def tied(pairs: Pairs, scores: Scores) -> int:
    """How many pairs have the score of another of their query whose passage reads otherwise."""
    order = np.lexsort((scores, pairs.rows[:, 0]))
    queries, values = pairs.rows[order, 0], scores[order]
    edges = np.flatnonzero((queries[1:] != queries[:-1]) | (values[1:] != values[:-1])) + 1
    groups = (group for group in np.split(order, edges) if len(group) > 1)
    return sum(len(group) for group in groups if len({_passage(pairs, number) for number in group}) > 1)


def _passage(pairs: Pairs, number: int) -> bytes:
    return pairs.passages[pairs.rows[number, 1]].tobytes()


def reordered(run: Run, scores: Scores, depth: int) -> dict[str, Ranking]:
    """The run's rankings by new scores for their first ``depth`` passages, query by query."""
    rankings, start = {}, 0
    for query_id, ranking in run.items():
        end = start + min(depth, len(ranking))
        rankings[query_id] = with_tail(ranking, scores[start:end])
        start = end
    return rankings


def with_tail(ranking: Ranking, scores: Scores) -> Ranking:
    """The ranking with new scores for its head; the tail keeps its order, scored one by one below the least of them.

    Where two scores are equal the passage that stood higher stays higher; no two of the new ones are.
    Raises: DataError for a score that is not finite.
    """
    depth = len(scores)
    check_finite(ranking.doc_ids, scores)
    order = np.argsort(-scores, kind="stable")
    head, tail = tuple(ranking.doc_ids[place] for place in order), ranking.doc_ids[depth:]
    falling = strictly_falling(scores[order])
    below = _below(falling[-1], len(tail)) if tail else falling[:0]
    return Ranking((*head, *tail), np.concatenate((falling, below)))


def _below(score: np.float32, count: int) -> Scores:
    """Falling float32 scores beneath one, in steps wide enough to be told apart at its magnitude."""
    step = max(np.float32(1.0), np.spacing(np.abs(score)) * 2)
    return to_float32(score - step * np.arange(1, count + 1, dtype=np.float64))
