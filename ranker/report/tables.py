"""Evaluations, comparisons and plans as text: tables for a terminal, as Markdown, CSV and HTML, and JSON."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from html import escape
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from ranker.evaluation.measures import Evaluation, Measure
from ranker.evaluation.significance import ALPHA, Comparison, Difference
from ranker.evaluation.ties import Ties
from ranker.limits import MAX_DEPTH
from ranker.wording import counted

if TYPE_CHECKING:
    from ranker.reranking.plan import Plan  # loads torch, which tables of evaluations do without

Format = Literal["table", "markdown", "json", "csv"]
FORMATS: Final[tuple[Format, ...]] = ("table", "markdown", "json", "csv")

_LISTED = 5
"""Query_ids named in a sentence; JSON names them all."""

_BAR: Final = 40
"""Characters of a histogram's longest bar."""

_LONG: Final = 24
"""Letters from which a cell of words needs some width of its own, or a narrow screen breaks it after each word."""

_COVERAGE = f"{1 - ALPHA:.0%}"


class Table(NamedTuple):
    """Cells as text under a head, with notes below; columns in ``words`` are aligned left, the others right."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    words: Sequence[int] = (0,)
    title: str = ""

    def render(self, form: Format) -> str:
        """The table and its notes for a terminal or as Markdown, or the cells as CSV; it ends in a newline."""
        if form == "csv":
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([self.head, *self.rows])
            return text.getvalue()
        table = self.markdown() if form == "markdown" else self.aligned()
        notes = [f"- {note}" if form == "markdown" else note for note in self.notes]
        return "\n".join([table, *(["", *notes] if notes else [])]) + "\n"

    def aligned(self) -> str:
        """The cells in columns that stand two spaces apart."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        lines = []
        for row in (self.head, *self.rows):
            cells = []
            for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
                cells.append(cell.ljust(width) if column in self.words else cell.rjust(width))
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def markdown(self) -> str:
        """The cells as a Markdown table."""
        rule = ["---" if column in self.words else "---:" for column in range(len(self.head))]
        lines = []
        for row in (self.head, rule, *self.rows):
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        return "\n".join(lines)

    def html(self, classes: Mapping[str, str]) -> str:
        """The title, the cells and the notes as HTML; ``classes`` has the class of a cell with a certain text."""
        lines = []
        for tag, row in (("th", self.head), *(("td", row) for row in self.rows)):
            cells = []
            for column, text in enumerate(row):
                words = column in self.words
                names = ["words"] * words + ["long"] * (words and len(text) > _LONG) + [classes.get(text, "")]
                name = " ".join(filter(None, names))
                cells.append(f'<{tag} class="{name}">' if name else f"<{tag}>")
                cells.append(f"{escape(text)}</{tag}>")
            lines.append(f"<tr>{''.join(cells)}</tr>")
        head = f'<h2>{escape(self.title)}</h2>\n<div class="scroll"><table>'
        notes = [f"<p><small>{'<br>'.join(map(escape, self.notes))}</small></p>"] if self.notes else []
        return "\n".join([head, *lines, "</table></div>", *notes])


def render_evaluations(
    evaluations: Sequence[Evaluation], form: Format = "table", per_query: bool = False, ties: Sequence[Ties] = ()
) -> str:
    """One row per run, or per run and query; a table's notes tell what was missing and unjudged, and what ties decide.

    All evaluations are of the same measures. CSV has one value a row: run, query_id (``all``), measure, value.
    """
    if form == "json":
        ties_of = {tied.expected.name: _ties_record(tied) for tied in ties}
        return _json({"runs": [_evaluation_record(e, per_query) | ties_of.get(e.name, {}) for e in evaluations]})
    if form == "csv":
        return _value_rows(evaluations, per_query).render(form)
    names = [measure.name for measure in evaluations[0].measures] if evaluations else []
    rows: list[list[str]] = []
    for e in evaluations:
        means = [_number(m, e[m]) for m in e.measures]
        if not per_query:
            rows.append([e.name, *means])
            continue
        columns = [[_number(m, value) for value in e.values[m.name].tolist()] for m in e.measures]
        rows += [[e.name, query_id, *values] for query_id, *values in zip(e.query_ids, *columns, strict=True)]
        rows.append([e.name, "all", *means])
    words = ("run", "query") if per_query else ("run",)
    said = [note for e in evaluations for note in notes(e)] + [note for tied in ties for note in tie_notes(tied)]
    return Table([*words, *names], rows, said, range(len(words))).render(form)


def render_depths(evaluations: Mapping[int, Evaluation], form: Format = "table") -> str:
    """One row per depth of reranking, 0 being none."""
    measures = evaluations[0].measures
    if form == "json":
        means = {depth: {m.name: e[m] for m in measures} for depth, e in evaluations.items()}
        return _json({"depths": [{"depth": depth, "measures": values} for depth, values in means.items()]})
    if form == "csv":
        values = [[str(depth), m.name, repr(e[m])] for depth, e in evaluations.items() for m in measures]
        return Table(["depth", "measure", "value"], values).render(form)
    rows = [[str(depth), *(_number(m, e[m]) for m in measures)] for depth, e in evaluations.items()]
    return Table(["depth", *(m.name for m in measures)], rows, words=()).render(form)


def render_comparison(comparison: Comparison, form: Format = "table") -> str:
    """One row per measure and run; a table's notes tell what was tested and how."""
    if form == "json":
        return _json(_comparison_record(comparison))
    if form == "csv":
        names = [field.name for field in fields(Difference)]
        exact = []
        for d in comparison.differences:
            values = [getattr(d, name) for name in names]
            exact.append([comparison.baseline, *(v if isinstance(v, str) else repr(v) for v in values)])
        return Table(["baseline", *names], exact).render(form)
    head = ["measure", "run", "mean", "difference", f"{_COVERAGE} interval", "p", "p (t-test)", "w/t/l"]
    rows = []
    for d in comparison.differences:
        interval = f"[{signed(d.low)}, {signed(d.high)}]"
        tests = [p_value(d.p_randomisation_holm), p_value(d.p_t_holm)]
        sizes = [f"{d.mean:.4f}", signed(d.difference), interval]
        rows.append([d.measure, d.run, *sizes, *tests, f"{d.wins}/{d.ties}/{d.losses}"])
    return Table(head, rows, _comparison_notes(comparison), (0, 1)).render(form)


def render_plan(plan: "Plan", subject: str) -> str:
    """Renders the plan of a reranking, one fact a line; ``subject`` names the reranking."""
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
            f"{subject}: {counted(plan.queries, 'query', ',')}, {counted(plan.pairs, 'pair', ',')}; {cut}.",
            f"{counted(plan.inputs, 'input', ',')} of {counted(plan.tokens, 'token', ',')}, "
            f"with {plan.padding:.1%} padding; within:",
            *bars,
            f"{_duration(plan.seconds)} by a probe of {plan.probed:.1f} s; {plan.memory / 2**20:,.0f} MiB at most.",
        ]
    )


def notes(evaluation: Evaluation) -> list[str]:
    """Sentences on judged queries without an answer, and on answers without a judgment."""
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
    """Sentences on the values that depend on the order of equal scores: the least, the expected and the greatest."""
    ranges = []
    for measure in ties.expected.measures:
        least, expected, greatest = (_number(measure, e[measure]) for e in ties.extent)
        if least != greatest:
            ranges.append(f"{measure.name} {least} to {greatest}, {expected} expected")
    if not ranges:
        return []
    tied = f"{ties.expected.name}: equal scores in {counted(len(ties.queries), 'query')} leave open"
    return [f"{tied} {'; '.join(ranges)}{'' if ties.exact else ' by orders at random'}"]


def verdict(difference: Difference, baseline: str) -> str:
    """One sentence on whether the run beat the baseline, by how much, and with what corrected p."""
    d = difference
    outcome = {"won": f"{d.run} beats {baseline}", "lost": f"{d.run} loses to {baseline}"}.get(
        d.outcome, f"{d.run} and {baseline} are not told apart"
    )
    return (
        f"{outcome}: {d.measure} {d.mean:.4f} against {d.baseline_mean:.4f}, difference {signed(d.difference)} "
        f"({_COVERAGE} interval {signed(d.low)} to {signed(d.high)}), {_p_said(d.p_randomisation_holm)}."
    )


def _duration(seconds: float) -> str:
    """Seconds in the form that ``--budget`` takes."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{seconds:.1f}s"


def _value_rows(evaluations: Sequence[Evaluation], per_query: bool) -> Table:
    """A row for each value, with every digit."""
    rows: list[list[str]] = []
    for e in evaluations:
        for measure in e.measures:
            if per_query:
                rows += [[e.name, query_id, measure.name, repr(v)] for query_id, v in e.per_query(measure).items()]
            rows.append([e.name, "all", measure.name, repr(e[measure])])
    return Table(["run", "query_id", "measure", "value"], rows)


def _evaluation_record(evaluation: Evaluation, per_query: bool) -> dict[str, Any]:
    names = [measure.name for measure in evaluation.measures]
    record: dict[str, Any] = {
        "name": evaluation.name,
        "queries": len(evaluation.query_ids),
        "measures": {name: evaluation[name] for name in names},
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
    values = {name: dict(zip(words, (e[name] for e in ties.extent), strict=True)) for name in names}
    return {"ties": {"queries": list(ties.queries), "exact": ties.exact, "measures": values}}


def _extent(measure: Measure) -> str:
    return "all passages" if measure.cutoff is None else f"the first {measure.cutoff}"


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


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _listed(query_ids: Sequence[str]) -> str:
    more = len(query_ids) - _LISTED
    return ", ".join(query_ids[:_LISTED]) + (f" and {more} more" if more > 0 else "")


def _number(measure: Measure, value: float) -> str:
    return f"{value:.0f}" if measure.counts else f"{value:.4f}"


def signed(value: float) -> str:
    """A number with its sign and four digits; adding 0 turns the -0.0 of rounding into 0.0."""
    return f"{round(value, 4) + 0.0:+.4f}"


def p_value(p: float) -> str:
    """A p-value with four digits, or that it is below them."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def _p_said(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"
