"""Reranking: a model's scores for the head of every ranking, the tail kept beneath; within a time, or by stages."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final, Literal, NamedTuple

import numpy as np

from ranker.data.collection import Collection
from ranker.data.manifest import BudgetRecord, RunManifest
from ranker.data.records import Oddity, Query
from ranker.data.run import Ranking, Run, Scores, check_finite, strictly_falling, to_float32
from ranker.errors import DataError, ModelError
from ranker.limits import MAX_DEPTH, MAX_WINDOWS
from ranker.model.inputs import positions_in_groups
from ranker.progress import Advance, Progress, no_progress, silent
from ranker.scoring.batching import Matrix, input_names
from ranker.scoring.cache import JobCache
from ranker.scoring.jobs import ScoringJob
from ranker.scoring.scorer import Scorer
from ranker.scoring.token_file import encode_passages, keep_token_file
from ranker.scoring.tokens import Pairs, Rows, Truncation
from ranker.scoring.windows import WindowedPairs, windowed
from ranker.wording import counted

Caching = Literal["none", "tokens", "all"]
"""Which of the cache folder is used: the token files of collections, or these and the scores."""

_SHALLOWEST: Final = 10
"""Ranks scored first of every query within a budget; then as many again, and from there twice as deep each time."""

_SLICE_SECONDS: Final = 2.0
"""Work between two looks at the clock; a stop loses less than this."""

_FIRST_SLICE_TOKENS: Final = 8_192


class Window(NamedTuple):
    """The window of a passage that had the best score: its number from 1, of how many, and its first and last token.

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
    """A reranked run, and what its making took.

    ``pairs`` were scored, and ``truncation`` tells what of them was not read; ``ties`` counts the pairs whose score
    another passage of the query has too, though it reads otherwise, and ``windows`` tells of passages read in several.
    ``stopped`` is ``time``, ``Ctrl-C`` or, where all was scored, empty. ``answers_lost`` counts the pairs that lost an
    answer to truncation, and ``remembered`` is the share of scores that the cache had.
    Shape: depths (queries,): ranks scored of each; scores (P,): NaN where a pair was not scored.
    """

    run: Run
    pairs: int
    truncation: Truncation
    ties: int
    windows: tuple[Window, ...]
    depths: Rows
    scores: Matrix
    stopped: str = ""
    answers_lost: int = 0
    remembered: float = 0.0
    seconds: float = 0.0

    @property
    def reached(self) -> tuple[int, int, int]:
        """The least, the median and the most ranks scored of a query."""
        least, median, most = (int(ranks) for ranks in np.percentile(self.depths, (0, 50, 100)))
        return least, median, most

    def manifest(self, scorer: Scorer, depth: int, budget: float | None = None) -> RunManifest:
        """The manifest of the scoring to a depth; ``budget`` is in seconds, where there was one."""
        counts = {"pairs": self.pairs, **self.truncation.record(), "answers_cut": self.answers_lost}
        rate = round(self.pairs * (1 - self.remembered) / self.seconds, 1)
        return RunManifest(
            depth=depth,
            scoring=scorer.record(),
            budget=None if budget is None else BudgetRecord(budget, self.stopped, *self.reached),
            counts={**counts, "ties": self.ties, "in_windows": len(self.windows)},
            facts={"remembered": self.remembered, "pairs_per_second": rate},
        )


class Stage(NamedTuple):
    """One model of a cascade, and how far down it reranks."""

    scorer: Scorer
    depth: int


def rerank(
    scorer: Scorer,
    run: Run,
    queries: Mapping[str, Query],
    collection: Collection,
    depth: int,
    budget: float | None = None,
    caching: Caching = "none",
    progress: Progress = silent,
) -> Reranked:
    """Puts the first ``depth`` passages of each ranking in the model's order; the others keep theirs, beneath.

    Within a ``budget``, in seconds, shallow ranks of all queries are scored before deeper ones.
    Raises: DataError for a depth outside its bounds, or a run of other queries or passages.
    """
    check_depth(depth)
    check_run(run, queries, collection, depth)
    if caching != "none":
        passages = {doc_id for ranking in run.values() for doc_id in ranking.doc_ids[:depth]}
        keep_token_file(scorer.encoding, collection, len(passages), partial(progress, "tokens"))
    pairs = candidates(scorer, run, queries, collection, depth)
    started, label = time.monotonic(), f"rerank {scorer.model.config.mode}"
    with progress(label, len(pairs.windows), "pair") as advance, _cache(scorer, pairs, caching) as cache:
        remembered = round(cache.share, 4) if cache else 0.0
        end = None if budget is None else time.monotonic() + budget
        go_on = None if end is None else lambda: time.monotonic() < end
        reranked = rerank_candidates(scorer, run, pairs, depth, advance, cache, go_on)
    seconds = time.monotonic() - started
    answers_lost = _answers_lost(scorer, run, pairs, queries, collection, depth)
    return replace(reranked, answers_lost=answers_lost, remembered=remembered, seconds=seconds)


def cascade(
    stages: Sequence[Stage],
    run: Run,
    queries: Mapping[str, Query],
    collection: Collection,
    budget: float | None = None,
    caching: Caching = "none",
    progress: Progress = silent,
) -> list[Reranked]:
    """Reranks a run by several models, each on the run of the one before; ``budget`` is that of each.

    Raises: as ``rerank``.
    """
    results: list[Reranked] = []
    for scorer, depth in stages:
        results.append(rerank(scorer, run, queries, collection, depth, budget, caching, progress))
        run = results[-1].run
    return results


def rerank_candidates(
    scorer: Scorer,
    run: Run,
    pairs: WindowedPairs,
    depth: int,
    advance: Advance = no_progress,
    cache: JobCache | None = None,
    go_on: Callable[[], bool] | None = None,
) -> Reranked:
    """Scores ``candidates`` that are at hand, and reorders the run.

    With ``go_on`` shallow ranks of all queries are scored before deeper ones, while it says so or until Ctrl-C. Of each
    query the ranks down to the first that was not scored are reordered, and what lies beneath keeps its order.
    """
    depths = np.array([min(depth, len(ranking)) for ranking in run.values()], dtype=np.int64)  # (queries,)
    job, stopped = scorer.job(pairs, cache), ""
    with input_names(partial(_input_name, run, depth, pairs)):
        if go_on is None:
            scored = np.arange(len(pairs))
            scores = job.scores(scored, advance)
        else:
            ranks, ends = positions_in_groups(depths), np.cumsum(depths)
            scores, stopped = _scores_by_tiers(job, ranks, advance, go_on)
            depths = np.array([_leading(scores[end - n : end]) for end, n in zip(ends, depths, strict=True)], np.int64)
            scored = np.flatnonzero(~np.isnan(scores))
    whole = pairs.whole.only(scored)
    return Reranked(
        Run(run.name, reordered(run, scores, depth, depths)),
        len(scored),
        scorer.encoding.truncation(whole),
        tied(whole, scores[scored]),
        _best_windows(run, depth, pairs, job.best, scored),
        depths,
        scores,
        stopped,
    )


def _cache(scorer: Scorer, pairs: WindowedPairs, caching: Caching) -> AbstractContextManager[JobCache | None]:
    return scorer.job_cache(pairs) if caching == "all" else nullcontext()


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
    """Says why a run may hold a passage that the collection has not."""
    also = ", or is the passage without words, and so left out" if collection.oddities[Oddity.EMPTY_PASSAGE] else ""
    return f"is not in the collection; is it a run for another dataset{also}?"


def candidates(
    scorer: Scorer, run: Run, queries: Mapping[str, Query], collection: Collection, depth: int
) -> WindowedPairs:
    """Encodes the pairs to score: each query with the best ``depth`` passages of its ranking, every text once.

    Raises: DataError for a passage that is too long, where the scorer is to refuse it, or of too many windows.
    """
    doc_ids = list(dict.fromkeys(doc_id for ranking in run.values() for doc_id in ranking.doc_ids[:depth]))
    passage_row = {doc_id: row for row, doc_id in enumerate(doc_ids)}
    rows = [
        (query_row, passage_row[doc_id])
        for query_row, ranking in enumerate(run.values())
        for doc_id in ranking.doc_ids[:depth]
    ]
    pairs = Pairs(
        scorer.queries(queries[query_id].text for query_id in run),
        encode_passages(scorer.encoding, collection, doc_ids),
        np.array(rows, dtype=np.int64).reshape(-1, 2),
    )
    _check_overflow(scorer, pairs, list(run), doc_ids)
    return windowed(scorer.encoding, pairs)


def _check_overflow(scorer: Scorer, pairs: Pairs, query_ids: Sequence[str], doc_ids: Sequence[str]) -> None:
    """Refuses passages that are longer than the scorer's ``overflow`` allows."""
    encoding = scorer.encoding
    overflow, rooms = encoding.overflow.overflow, encoding.rooms(pairs)
    tokens = (pairs.passages.lengths + pairs.passages.lost)[pairs.rows[:, 1]]
    in_windows = np.full_like(rooms, encoding.window + encoding.stride * (MAX_WINDOWS - 1))
    allowed = {"cut": tokens, "fail": rooms, "windows": in_windows}[overflow]
    too_long = np.flatnonzero(tokens > allowed)
    if len(too_long):
        pair = too_long[0]
        query, passage = pairs.rows[pair]
        expected = (
            f"the {rooms[pair]} that fit beside query {query_ids[query]}, or --overflow cut or windows"
            if overflow == "fail"
            else f"{MAX_WINDOWS} windows with a stride of {encoding.stride}"
        )
        raise DataError(
            f"passage {doc_ids[passage]}: has {counted(tokens[pair], 'token')}, expected at most {expected}."
        )


def _answers_lost(
    scorer: Scorer,
    run: Run,
    pairs: WindowedPairs,
    queries: Mapping[str, Query],
    collection: Collection,
    depth: int,
) -> int:
    """Counts the pairs that lost an answer that their passage has, with the end of it."""
    if not any(queries[query_id].answers for query_id in run):
        return 0
    ids = list(_ids(run, depth))

    def texts(index: int) -> tuple[Query, str]:
        query_id, doc_id = ids[index]
        return queries[query_id], collection[doc_id].contents

    return scorer.encoding.answers_lost(pairs.whole, texts)


def _ids(run: Run, depth: int) -> Iterator[tuple[str, str]]:
    """Yields the query_id and doc_id of each pair of ``candidates``."""
    return ((query_id, doc_id) for query_id, ranking in run.items() for doc_id in ranking.doc_ids[:depth])


def _input_name(run: Run, depth: int, pairs: WindowedPairs, window: int) -> str:
    """Names the query and passage of a window of ``candidates``."""
    pair = int(np.searchsorted(pairs.offsets, window, side="right")) - 1
    query_id, doc_id = next(islice(_ids(run, depth), pair, None))
    return f"query {query_id}, passage {doc_id}"


def _best_windows(run: Run, depth: int, pairs: WindowedPairs, best: Rows, scored: Rows) -> tuple[Window, ...]:
    """Tells the best windows of those of the scored pairs that have several.

    Shape: best (P,), scored (pairs,): their indices.
    """
    counts, windows = pairs.counts, list[Window]()
    several = np.zeros(len(pairs), dtype=bool)
    several[scored] = counts[scored] > 1
    if not several.any():
        return ()
    text_of = pairs.windows.rows[pairs.offsets[:-1] + best, 1]  # (P,): the text of each pair's best window
    first, lengths = pairs.starts[text_of], pairs.windows.passages.lengths[text_of]  # (P,), in tokens
    for index, (query_id, doc_id) in enumerate(_ids(run, depth)):
        if several[index]:
            start, end = int(first[index]), int(first[index] + lengths[index])
            windows.append(Window(query_id, doc_id, int(best[index]) + 1, int(counts[index]), start + 1, end))
    return tuple(windows)


def tiers(ranks: Rows) -> Iterator[Rows]:
    """Yields the indices of the pairs of each tier of ranks: 0 to 9, 10 to 19, 20 to 39, and so on."""
    start, end = 0, _SHALLOWEST
    while start <= ranks.max(initial=-1):
        yield np.flatnonzero((ranks >= start) & (ranks < end))
        start, end = end, 2 * end


def _scores_by_tiers(job: ScoringJob, ranks: Rows, advance: Advance, go_on: Callable[[], bool]) -> tuple[Matrix, str]:
    """Scores pairs tier by tier, in slices of some seconds, and says why it stopped, if it did.

    Shape: ranks (P,), scores (P,), NaN where a pair was not scored.
    """
    scores = np.full(len(ranks), np.nan, dtype=np.float32)
    slice_tokens = float(_FIRST_SLICE_TOKENS)
    try:
        for tier in tiers(ranks):
            remaining = tier[np.argsort(-job.lengths[tier], kind="stable")]
            while len(remaining):
                if not go_on():
                    return scores, "time"
                costs = job.costs(remaining)
                size = 1 + int(np.searchsorted(np.cumsum(costs), slice_tokens))
                now, remaining = remaining[:size], remaining[size:]
                started = time.monotonic()
                scores[now] = _checked(job.scores(now))
                spent = time.monotonic() - started
                advance(len(now))
                # the next slice is as many tokens as this one's speed makes of the seconds of a slice
                slice_tokens = max(slice_tokens / 2, float(costs[:size].sum()) * _SLICE_SECONDS / max(spent, 1e-3))
    except KeyboardInterrupt:
        return scores, "Ctrl-C"
    return scores, ""


def _checked(scores: Matrix) -> Matrix:
    """Refuses NaN, which stands for pairs that were not scored, and infinities."""
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise ModelError(f"the model gives the score {scores[wrong[0]]}, expected finite numbers.")
    return scores


def _leading(scores: Matrix) -> int:
    """Counts the scores before the first that is missing."""
    missing = np.flatnonzero(np.isnan(scores))
    return int(missing[0]) if len(missing) else len(scores)


def tied(pairs: Pairs, scores: Scores) -> int:
    """Counts the pairs that have the score of another of their query whose passage reads otherwise.

    Shape: scores (P,).
    """
    order = np.lexsort((scores, pairs.rows[:, 0]))  # equal scores of a query lie side by side
    queries, values = pairs.rows[order, 0], scores[order]
    edges = np.flatnonzero((queries[1:] != queries[:-1]) | (values[1:] != values[:-1])) + 1
    ties = 0
    for group in np.split(order, edges):
        if len(group) > 1 and len({pairs.passages[pairs.rows[pair, 1]].tobytes() for pair in group}) > 1:
            ties += len(group)
    return ties


def reordered(run: Run, scores: Scores, depth: int, depths: Rows | None = None) -> dict[str, Ranking]:
    """Reorders the run's rankings by new scores for their first ``depth`` passages, query by query.

    Shape: scores (pairs of all queries,); depths (queries,): of how many of them the order changes, where not of all.
    """
    rankings, start = {}, 0
    for query, (query_id, ranking) in enumerate(run.items()):
        end = start + min(depth, len(ranking))
        reached = end - start if depths is None else int(depths[query])
        rankings[query_id] = with_tail(ranking, scores[start : start + reached]) if reached else ranking
        start = end
    return rankings


def with_tail(ranking: Ranking, scores: Scores) -> Ranking:
    """Gives a ranking new scores for its head; the tail keeps its order, scored one by one below the least of them.

    Where two scores are equal the passage that stood higher stays higher; no two of the new ones are.
    Raises: DataError for a score that is not finite.
    """
    depth = len(scores)
    check_finite(ranking.doc_ids, scores)
    order = np.argsort(-scores, kind="stable")
    head, tail = tuple(ranking.doc_ids[rank] for rank in order), ranking.doc_ids[depth:]
    falling = strictly_falling(scores[order])
    below = _below(falling[-1], len(tail)) if tail else falling[:0]
    return Ranking((*head, *tail), np.concatenate((falling, below)))


def _below(score: np.float32, count: int) -> Scores:
    """Makes falling float32 scores below a score, in steps wide enough to be told apart at its magnitude."""
    step = max(np.float32(1.0), np.spacing(np.abs(score)) * 2)
    return to_float32(score - step * np.arange(1, count + 1, dtype=np.float64))
