"""Evaluations and comparisons as text: aligned for a terminal, as Markdown, as JSON and as CSV. Nothing is computed."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from ranker.evaluation.measures import Evaluation, Measure
from ranker.evaluation.significance import ALPHA, Comparison, Difference
from ranker.evaluation.ties import Ties
from ranker.limits import MAX_DEPTH
from ranker.wording import counted

if TYPE_CHECKING:
    from ranker.reranking.plan import Plan

Format = Literal["table", "markdown", "json", "csv"]
FORMATS: Final[tuple[Format, ...]] = ("table", "markdown", "json", "csv")

_LISTED = 5
"""Query_ids named in a sentence; JSON names them all."""

_BAR: Final = 40
"""Characters of a histogram's longest bar."""

Rows = Sequence[Sequence[str]]


def render_evaluations(
    evaluations: Sequence[Evaluation], form: Format = "table", per_query: bool = False, ties: Sequence[Ties] = ()
) -> str:
    """One row per run, or per run and query; a table also says what was missing and unjudged, and what ties decide.

    All evaluations are of the same measures. CSV has one value a row: run, query_id (``all``), measure, value.
    """
    if form == "json":
        decided = {one.expected.name: _ties_record(one) for one in ties}
        records = [_evaluation_record(e, per_query) | decided.get(e.name, {}) for e in evaluations]
        return _json({"runs": records})
    if form == "csv":
        return _csv(_evaluation_csv(evaluations, per_query))
    rows = _query_rows(evaluations) if per_query else _run_rows(evaluations)
    said = [note for e in evaluations for note in notes(e)] + [note for one in ties for note in tie_notes(one)]
    return "\n".join([_table(form)(rows, 2 if per_query else 1), "", *_bullets(said, form)]) + "\n"


def render_depths(evaluations: Mapping[int, Evaluation], form: Format = "table") -> str:
    """One row per depth of reranking, 0 being none."""
    measures = evaluations[0].measures
    means = {depth: {m.name: e.summary(m.name) for m in measures} for depth, e in evaluations.items()}
    if form == "json":
        return _json({"depths": [{"depth": depth, "measures": values} for depth, values in means.items()]})
    if form == "csv":
        values = [[str(depth), name, repr(value)] for depth, row in means.items() for name, value in row.items()]
        return _csv([["depth", "measure", "value"], *values])
    rows = [[str(depth), *(_number(m, row[m.name]) for m in measures)] for depth, row in means.items()]
    return _table(form)([["depth", *(m.name for m in measures)], *rows], 0) + "\n"


def render_comparison(comparison: Comparison, form: Format = "table") -> str:
    """One row per measure and run; a table also says what was tested and how."""
    if form == "json":
        return _json(_comparison_record(comparison))
    if form == "csv":
        names = [field.name for field in fields(Difference)]
        rows = [[_exact(getattr(d, name)) for name in names] for d in comparison.differences]
        return _csv([["baseline", *names], *([comparison.baseline, *row] for row in rows)])
    rows = [_COMPARISON_HEADER, *map(_comparison_row, comparison.differences)]
    return "\n".join([_table(form)(rows, 2), "", *_bullets(_comparison_notes(comparison), form)]) + "\n"


def render_plan(plan: "Plan", what: str) -> str:
    """What a reranking would take, a fact a line."""
    width = max((len(f"{count:,}") for count in plan.histogram.values()), default=0)
    most = max(plan.histogram.values(), default=1)
    bars = [
        f"  {bound:>6} tokens  {count:>{width},}  {'#' * round(_BAR * count / most)}".rstrip()
        for bound, count in plan.histogram.items()
    ]
    truncation = plan.truncation
    are = "is" if truncation.pairs == 1 else "are"
    lost = f"{counted(truncation.pairs, 'pair', ',')} {are} cut, by {counted(truncation.tokens, 'token', ',')} in all"
    cut = lost if truncation.pairs else "none is cut"
    cut += f"; {counted(truncation.queries, 'query', ',')} cut" if truncation.queries else ""
    return "\n".join(
        [
            f"{what}: {counted(plan.queries, 'query', ',')}, {counted(plan.pairs, 'pair', ',')}; {cut}.",
            f"{counted(plan.inputs, 'input', ',')} of {counted(plan.tokens, 'token', ',')}, "
            f"with {plan.padding:.1%} padding; within:",
            *bars,
            f"{_duration(plan.seconds)} by a probe of {plan.probed:.1f} s; {plan.memory / 2**20:,.0f} MiB at most.",
        ]
    )


def notes(evaluation: Evaluation) -> list[str]:
    """What the numbers do not show: judged queries without an answer, answers without a judgment."""
    name, queries = evaluation.name, len(evaluation.query_ids)
    said = [f"{name}: {queries - len(evaluation.missing)} of {counted(queries, 'judged query')} answered"]
    if evaluation.missing:
        said[0] += f"; the missing count 0: {_listed(evaluation.missing)}"
    if evaluation.ignored:
        said.append(f"{name}: without judgments and left out: {_listed(evaluation.ignored)}")
    by_depth = sorted(evaluation.measures, key=lambda measure: measure.cutoff or MAX_DEPTH)
    shares = {_extent(measure): evaluation.unjudged[measure.name].fraction for measure in by_depth}
    if shares:
        said.append(f"{name}: unjudged " + ", ".join(f"{share:.1%} of {extent}" for extent, share in shares.items()))
    return said


def tie_notes(ties: Ties) -> list[str]:
    """The values that hang on the order of equal scores: the least, the expected and the greatest."""
    ranges = []
    for measure in ties.expected.measures:
        least, expected, greatest = (_number(measure, e.summary(measure.name)) for e in ties.extent)
        if least != greatest:
            ranges.append(f"{measure.name} {least} to {greatest}, {expected} expected")
    if not ranges:
        return []
    tied = f"{ties.expected.name}: equal scores in {counted(len(ties.queries), 'query')} leave open"
    return [f"{tied} {'; '.join(ranges)}{'' if ties.exact else ' by orders at random'}"]


def verdict(difference: Difference, baseline: str) -> str:
    """One sentence: whether the run beat the baseline, by how much, and with what corrected p."""
    d = difference
    outcome = {"won": f"{d.run} beats {baseline}", "lost": f"{d.run} loses to {baseline}"}.get(
        d.outcome, f"{d.run} and {baseline} are not told apart"
    )
    return (
        f"{outcome}: {d.measure} {d.mean:.4f} against {d.baseline_mean:.4f}, difference {signed(d.difference)} "
        f"({_COVERAGE} interval {signed(d.low)} to {signed(d.high)}), {_p_said(d.p_randomisation_holm)}."
    )


def _duration(seconds: float) -> str:
    """As ``--budget`` takes it."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{seconds:.1f}s"


def _run_rows(evaluations: Sequence[Evaluation]) -> Rows:
    measures = evaluations[0].measures if evaluations else ()
    header = ["run", *(measure.name for measure in measures)]
    return [header, *([e.name, *(_number(m, e.summary(m.name)) for m in measures)] for e in evaluations)]


def _query_rows(evaluations: Sequence[Evaluation]) -> Rows:
    measures = evaluations[0].measures if evaluations else ()
    rows = [["run", "query", *(measure.name for measure in measures)]]
    for e in evaluations:
        columns = [[_number(m, value) for value in e.values[m.name].tolist()] for m in measures]
        rows += [[e.name, query_id, *values] for query_id, *values in zip(e.query_ids, *columns, strict=True)]
        rows.append([e.name, "all", *(_number(m, e.summary(m.name)) for m in measures)])
    return rows


def _evaluation_csv(evaluations: Sequence[Evaluation], per_query: bool) -> list[list[str]]:
    rows = [["run", "query_id", "measure", "value"]]
    for e in evaluations:
        for measure in e.measures:
            if per_query:
                rows += [[e.name, query_id, measure.name, repr(v)] for query_id, v in e.per_query(measure.name).items()]
            rows.append([e.name, "all", measure.name, repr(e.summary(measure.name))])
    return rows


def _evaluation_record(evaluation: Evaluation, per_query: bool) -> dict[str, Any]:
    names = [measure.name for measure in evaluation.measures]
    record: dict[str, Any] = {
        "name": evaluation.name,
        "queries": len(evaluation.query_ids),
        "measures": {name: evaluation.summary(name) for name in names},
        "unjudged": {name: evaluation.unjudged[name].fraction for name in names},
        "missing": list(evaluation.missing),
        "ignored": list(evaluation.ignored),
    }
    if per_query:
        record["per_query"] = {name: evaluation.per_query(name) for name in names}
    return record


def _ties_record(ties: Ties) -> dict[str, Any]:
    names = [measure.name for measure in ties.expected.measures]
    words = ("least", "expected", "greatest")
    values = {name: dict(zip(words, (e.summary(name) for e in ties.extent), strict=True)) for name in names}
    return {"ties": {"queries": list(ties.queries), "exact": ties.exact, "measures": values}}


def _extent(measure: Measure) -> str:
    return "all passages" if measure.cutoff is None else f"the first {measure.cutoff}"


_COVERAGE = f"{1 - ALPHA:.0%}"

_COMPARISON_HEADER = ["measure", "run", "mean", "difference", f"{_COVERAGE} interval", "p", "p (t-test)", "w/t/l"]


def _comparison_row(d: Difference) -> list[str]:
    interval = f"[{signed(d.low)}, {signed(d.high)}]"
    sizes = [f"{d.mean:.4f}", signed(d.difference), interval]
    return [
        d.measure,
        d.run,
        *sizes,
        p_value(d.p_randomisation_holm),
        p_value(d.p_t_holm),
        f"{d.wins}/{d.ties}/{d.losses}",
    ]


def _comparison_notes(comparison: Comparison) -> list[str]:
    means = {d.measure: d.baseline_mean for d in comparison.differences}
    runs = len({d.run for d in comparison.differences})
    said = [
        f"baseline {comparison.baseline}: " + ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()),
        f"{counted(comparison.queries, 'query')}; w/t/l: those better, equal and worse than the baseline's",
        f"{_COVERAGE} interval: percentile bootstrap over queries, uncorrected",
        f"p: paired randomisation test ({comparison.samples:,} samples, seed {comparison.seed}); "
        f"p (t-test): paired t-test; both two-sided, Holm-corrected over {counted(runs, 'run')} a measure",
    ]
    return said + [
        f"{name} lacks {counted(len(query_ids), 'judged query')}, which count 0: {_listed(query_ids)}"
        for name, query_ids in comparison.missing.items()
    ]


def _comparison_record(comparison: Comparison) -> dict[str, Any]:
    return {
        "baseline": comparison.baseline,
        "queries": comparison.queries,
        "samples": comparison.samples,
        "seed": comparison.seed,
        "confidence": 1 - ALPHA,
        "missing": {name: list(query_ids) for name, query_ids in comparison.missing.items()},
        "differences": [asdict(d) | {"outcome": d.outcome} for d in comparison.differences],
    }


def _table(form: Format) -> Callable[[Rows, int], str]:
    return _markdown if form == "markdown" else _aligned


def _aligned(rows: Rows, words: int) -> str:
    """Columns apart by two spaces: the first ``words`` of them to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _markdown(rows: Rows, words: int) -> str:
    header, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    rule = ["---" if place < words else "---:" for place in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *body])


def _bullets(notes: Sequence[str], form: Format) -> list[str]:
    return [f"- {note}" for note in notes] if form == "markdown" else list(notes)


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _listed(query_ids: Sequence[str]) -> str:
    more = len(query_ids) - _LISTED
    return ", ".join(query_ids[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _number(measure: Measure, value: float) -> str:
    return f"{value:.0f}" if measure.counts else f"{value:.4f}"


def signed(value: float) -> str:
    """With its sign and four digits; adding 0 turns the -0.0 of rounding into 0.0."""
    return f"{round(value, 4) + 0.0:+.4f}"


def _exact(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value)


def p_value(p: float) -> str:
    """Four digits, or that it is below them."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _p_said(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"
