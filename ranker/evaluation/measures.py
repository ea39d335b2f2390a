"""Evaluates runs by relevance judgments, query by query, with values equal to trec_eval's.

The only module that imports ir_measures.
"""

import difflib
import re
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import ir_measures
import numpy as np
from numpy.typing import NDArray

from ranker.data.records import Qrels
from ranker.data.run import Ranking, Run
from ranker.errors import DataError, RankerError, SetupError
from ranker.limits import MAX_DEPTH, MAX_RELEVANCE
from ranker.wording import counted

_OF_QRELS: Final = ("NumQ", "NumRel")

_BATCH_PASSAGES = 500_000
"""Passages handed to the evaluators at a time, some 100 MB of dicts: 7 M lines need little memory beside the run."""

_FALLING = [float(rank) for rank in range(MAX_DEPTH, 0, -1)]
"""Distinct scores, exact in float32: whatever an evaluator does with ties, it meets none."""

_MAX_NAME = 200
"""Characters of a measure: ir_measures reads it with Python's own parser, which deep nesting would exhaust."""

_EXAMPLES = "expected one that ir-measures knows, such as nDCG@10, RR@10, AP, AP(rel=2), R@100."

_TINY_QRELS = {"1": {"a": 1, "b": 0}}
_TINY_RUN = {"1": {"b": 2.0, "a": 1.0}}

_FOREIGN = (ArithmeticError, AssertionError, LookupError, NameError, RuntimeError, SyntaxError, TypeError, ValueError)
"""The errors of ir_measures and its providers for a measure that they cannot read or compute."""


@dataclass(frozen=True)
class Measure:
    """A measure that ir_measures defines, checked to be computable here; it prints as ir_measures does.

    ``cutoff`` is None where the whole ranking is read. ``counts`` is of measures that add up over the queries (NumRet),
    where others have a mean.
    """

    name: str
    cutoff: int | None
    counts: bool
    definition: Any = field(repr=False, compare=False)

    def __str__(self) -> str:
        """The name."""
        return self.name

    @property
    def depth(self) -> int:
        """The depth to which it reads a ranking: a measure of judged passages alone reads below its cutoff."""
        return MAX_DEPTH if self.cutoff is None or self.definition.params.get("judged_only") else self.cutoff


class Share(NamedTuple):
    """The number of passages retrieved for the judged queries down to a measure's cutoff, and of the unjudged ones."""

    unjudged: int
    retrieved: int

    @property
    def fraction(self) -> float:
        """Between 0 and 1; 0 where nothing was retrieved."""
        return self.unjudged / self.retrieved if self.retrieved else 0.0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The values of one run by some measures, query by query; ``evaluation[RR @ 10]`` is the value over all queries.

    ``values`` and ``unjudged`` are by the measure's name; methods take a measure of this package or of ir_measures, or
    its name. ``query_ids`` are all judged queries, in the order of the qrels. ``missing`` are those of them that the
    run does not answer; each counts 0, as under ``trec_eval -c``. ``ignored`` are queries of the run without judgments.
    Shape: values[name] (queries,), float64.
    """

    name: str
    measures: tuple[Measure, ...]
    query_ids: tuple[str, ...]
    values: Mapping[str, NDArray[np.float64]]
    missing: tuple[str, ...]
    ignored: tuple[str, ...]
    unjudged: Mapping[str, Share]

    def __getitem__(self, measure: Measure | str) -> float:
        """The value that trec_eval prints for all queries: the mean, or the sum of a measure that counts.

        Raises: KeyError where it was not evaluated by the measure.
        """
        counts = any(known.counts for known in self.measures if known.name == str(measure))
        return float(self.values[str(measure)].sum()) if counts else self.mean(measure)

    def mean(self, measure: Measure | str) -> float:
        """The mean over all judged queries."""
        return float(self.values[str(measure)].mean())

    def per_query(self, measure: Measure | str) -> dict[str, float]:
        """The value of each judged query."""
        return dict(zip(self.query_ids, self.values[str(measure)].tolist(), strict=True))


def parse_measures(names: Iterable[str]) -> tuple[Measure, ...]:
    """Parses measures as ir_measures writes them (``nDCG@10``, ``AP(rel=2)``); one named twice is kept once.

    Raises: RankerError for what is no measure, SetupError for one whose evaluator is not installed.
    """
    return tuple(dict.fromkeys(_parse(name) for name in names))


def beyond_judgments(measures: Sequence[Measure], qrels: Qrels) -> list[str]:
    """A sentence for each measure for which no passage is judged relevant enough, so that every run has 0."""
    highest = max((relevance for judged in qrels.values() for relevance in judged.values()), default=0)
    asked = {measure.name: _least_relevance(measure.definition) for measure in measures}
    beyond = {name: least for name, least in asked.items() if least > highest}
    return [
        f"{name}: no passage is judged {least} or higher, the highest relevance is {highest}; so every run has 0."
        for name, least in beyond.items()
    ]


def _least_relevance(definition: Any) -> int:
    """The relevance from which a measure calls a passage relevant; below every relevance where it has no such bound."""
    known = definition.SUPPORTED_PARAMS.get("rel")
    least = definition.params.get("rel", known.default if known else None)
    return least if isinstance(least, int) else -MAX_RELEVANCE


def evaluate(run: Run, qrels: Qrels, measures: Sequence[Measure]) -> Evaluation:
    """Evaluates a run over every judged query; a query without a relevant passage counts 0, as in trec_eval.

    Measures are those of ``parse_measures``, or ir_measures' own. Evaluators see falling ranks in the order of the
    ranking, so float32 ties are broken once, by doc_id falling.
    Raises: DataError where the run answers none of the judged queries; and as ``parse_measures``.

    >>> from ir_measures import RR, nDCG
    >>> from ranker import Ranking, Run, evaluate
    >>> run = Run("bm25", {"q1": Ranking.ordered(["a", "b"], [2, 1]), "q2": Ranking.ordered(["c"], [1])})
    >>> evaluation = evaluate(run, {"q1": {"b": 1}, "q2": {"c": 1}}, [RR @ 10, nDCG @ 10])
    >>> evaluation[RR @ 10]
    0.75
    >>> evaluation.per_query(RR @ 10)
    {'q1': 0.5, 'q2': 1.0}
    """
    measures = tuple(measure if isinstance(measure, Measure) else _parse(str(measure)) for measure in measures)
    query_ids = tuple(qrels)
    answered = [query_id for query_id in query_ids if query_id in run and len(run[query_id])]
    _check_overlap(run, query_ids, answered)
    row_of = {query_id: row for row, query_id in enumerate(query_ids)}
    values = {measure.name: np.zeros(len(query_ids)) for measure in measures}
    for group, depth in _groups(measures):
        for batch in _batches(run, answered, depth):
            for measure, query_id, value in _scored({q: run[q] for q in batch}, qrels, group, depth):
                values[measure][row_of[query_id]] = value
    in_run = set(answered)
    return Evaluation(
        name=run.name,
        measures=measures,
        query_ids=query_ids,
        values=values,
        missing=tuple(query_id for query_id in query_ids if query_id not in in_run),
        ignored=tuple(query_id for query_id in run if query_id not in qrels),
        unjudged=_unjudged(run, qrels, answered, measures),
    )


def _check_overlap(run: Run, query_ids: tuple[str, ...], answered: list[str]) -> None:
    if not query_ids:
        raise DataError("the qrels have no query, expected at least one.")
    if not answered:
        example = next(iter(run), None)
        raise DataError(
            f"run {run.name} answers none of the {counted(len(query_ids), 'judged query')}: its first query is "
            f"{example!r}, that of the qrels {query_ids[0]!r}."
        )


def _groups(measures: Sequence[Measure]) -> Iterator[tuple[list[Measure], int]]:
    """Yields measures with the depth to which they read, so that those with a cutoff are spared the rest."""
    cut = [m for m in measures if m.depth < MAX_DEPTH]
    whole = [m for m in measures if m not in cut]
    if cut:
        yield cut, max(m.depth for m in cut)
    if whole:
        yield whole, MAX_DEPTH


def _batches(run: Run, query_ids: list[str], depth: int) -> Iterator[list[str]]:
    """Yields the queries in batches of some ``_BATCH_PASSAGES`` passages."""
    batch: list[str] = []
    passages = 0
    for query_id in query_ids:
        batch.append(query_id)
        passages += min(depth, len(run[query_id]))
        if passages >= _BATCH_PASSAGES:
            yield batch
            batch, passages = [], 0
    if batch:
        yield batch


def _scored(
    rankings: Mapping[str, Ranking], qrels: Qrels, measures: list[Measure], depth: int
) -> Iterator[tuple[str, str, float]]:
    """Yields measure, query_id and value; evaluators see queries by number, since gdeval takes no other names."""
    query_ids = {str(number): query_id for number, query_id in enumerate(rankings, start=1)}
    judged = {number: _with_a_grade(qrels[query_id]) for number, query_id in query_ids.items()}
    falling = {number: _ranks(rankings[query_id], depth) for number, query_id in query_ids.items()}
    names = {measure.definition: measure.name for measure in measures}
    try:
        for metric in ir_measures.iter_calc(list(names), judged, falling):
            if metric.query_id in query_ids:
                yield names[metric.measure], query_ids[metric.query_id], float(metric.value)
    except subprocess.CalledProcessError as error:
        asked = ", ".join(names.values())
        raise DataError(f"gdeval cannot compute {asked} on these qrels: it takes relevance up to 4.") from error


def _with_a_grade(judged: dict[str, int]) -> dict[str, int]:
    """The judgments of a query, raised to 0 where all are negative: for those trec_eval's nDCG never returns."""
    if max(judged.values(), default=-1) >= 0:
        return judged
    return dict.fromkeys(judged, 0)


def _ranks(ranking: Ranking, depth: int) -> dict[str, float]:
    doc_ids = ranking.doc_ids[:depth]
    return dict(zip(doc_ids, _FALLING[MAX_DEPTH - len(doc_ids) :], strict=True))


def _unjudged(run: Run, qrels: Qrels, answered: list[str], measures: Sequence[Measure]) -> dict[str, Share]:
    depths = {measure.cutoff or MAX_DEPTH for measure in measures}
    counts = {depth: [0, 0] for depth in depths}
    for query_id in answered:
        judged = list(map(qrels[query_id].__contains__, run[query_id].doc_ids[: max(depths, default=0)]))
        for depth, count in counts.items():
            count[0] += judged[:depth].count(False)
            count[1] += min(depth, len(judged))
    return {measure.name: Share(*counts[measure.cutoff or MAX_DEPTH]) for measure in measures}


def _parse(name: str) -> Measure:
    if len(name) > _MAX_NAME:
        raise RankerError(f"measure {name[:40]!r}... has {len(name)} characters, at most {_MAX_NAME} are allowed.")
    with warnings.catch_warnings():  # ir_measures 0.4.3 reads names with parts of ast that Python 3.12 deprecates
        warnings.simplefilter("ignore")
        try:
            definition = ir_measures.parse_measure(name.strip())
        except NameError as error:
            raise RankerError(f"measure {name!r} is not known{_suggestion(name)}; {_EXAMPLES}") from error
        except _FOREIGN as error:
            raise RankerError(f"measure {name!r} cannot be read{_suggestion(name)}; {_EXAMPLES}") from error
        if definition.NAME in _OF_QRELS:
            raise RankerError(f"measure {name!r} counts what is in the qrels, whatever the run; {_EXAMPLES}")
        _check_parameters(name, definition)
        _check_computable(name, definition)
    counts = isinstance(definition.aggregator(), ir_measures.SumAgg)
    return Measure(str(definition), definition.params.get("cutoff"), counts, definition)


def _check_parameters(name: str, definition: Any) -> None:
    """Refuses what ir_measures lets through and trec_eval answers by ending the process, or with a silent 0."""
    for parameter, bound in {"cutoff": MAX_DEPTH, "rel": MAX_RELEVANCE}.items():
        value = definition.params.get(parameter, 1)
        if type(value) is not int or not 1 <= value <= bound:
            raise RankerError(f"measure {name!r}: {parameter} is {value!r}, expected a whole number from 1 to {bound}.")
    gains = definition.params.get("gains", {})
    if not isinstance(gains, dict) or any(type(gain) is not int or gain > MAX_RELEVANCE for gain in gains.values()):
        raise RankerError(f"measure {name!r}: gains are {gains!r}, expected whole numbers up to {MAX_RELEVANCE}.")
    recall = definition.params.get("recall", 0)
    if isinstance(recall, float) and round(recall, 2) != recall:
        raise RankerError(f"measure {name!r}: recall is {recall}, expected hundredths, which is all trec_eval reads.")


def _check_computable(name: str, definition: Any) -> None:
    """Computes the measure on a query of two passages: only that tells whether an evaluator takes it."""
    try:
        definition.validate_params()
        list(ir_measures.iter_calc([definition], _TINY_QRELS, _TINY_RUN))
    except (*_FOREIGN, OSError, subprocess.CalledProcessError) as error:
        lacking = " or ".join(re.findall(r"^ - (.+)$", str(error), flags=re.MULTILINE))
        if lacking:
            raise SetupError(f"measure {name!r} needs an evaluator that is not installed: {lacking}.") from error
        raise RankerError(f"measure {name!r} cannot be computed so: {_signature(definition)}.") from error


def _signature(definition: Any) -> str:
    parameters = [f"{key} (needed)" if p.required else key for key, p in definition.SUPPORTED_PARAMS.items()]
    return f"{definition.NAME} takes {', '.join(parameters) or 'no parameter'}, though not every combination"


def _suggestion(name: str) -> str:
    """The nearest measures, with the number at the end of the name as cutoff: ``ndcg_cut_10`` means nDCG@10."""
    known = {key.lower(): str(value) for key, value in ir_measures.measures.registry.items()}
    base = re.split(r"[^A-Za-z]", name.strip(), maxsplit=1)[0].lower()
    near = [base] if base in known else difflib.get_close_matches(base, known, n=3, cutoff=0.6)
    cutoff = re.search(r"[1-9]\d*$", name.strip())
    words = dict.fromkeys(known[key] + (f"@{cutoff[0]}" if cutoff else "") for key in near)
    return f", did you mean {' or '.join(words)}" if words else ""
