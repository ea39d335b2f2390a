"""A study's report: tables and plots, as Markdown and as one page of HTML that needs nothing else."""

import json
import math
from html import escape
from importlib import resources
from statistics import median
from string import Template
from typing import Final

from ranker.evaluation.significance import ALPHA, interval
from ranker.experiments.arms import FIRST_STAGE, STANDARD
from ranker.experiments.claims import NEGLIGIBLE, PUBLISHED
from ranker.experiments.plots import all_plots
from ranker.experiments.results import ORACLE, RANDOM, StudyResult, usual_pace
from ranker.report.page import html_page
from ranker.report.tables import Table, p_value, signed
from ranker.wording import counted

_CLASSES: Final = {"held": "held", "not held": "lost", "undecided": "open"}

_MRR: Final = "RR@10"
"""The name of MRR@10 here."""


def markdown(result: StudyResult) -> str:
    """The report as Markdown, without plots."""
    parts = [f"# {result.frame.title}", summary(result)]
    for table in all_tables(result):
        parts += [f"## {table.title}", table.markdown(), "\n".join(f"- {note}" for note in table.notes)]
    return "\n\n".join(parts) + "\n"


def page(result: StudyResult) -> str:
    """The report as a page: tables and plots, each query's values of any two arms, and the settings."""
    tables = [table.html(_CLASSES) for table in all_tables(result)]
    plots = [f"<h2>{escape(title)}</h2>\n<figure>{svg}</figure>" for title, svg in all_plots(result).items()]
    quality, *differences, costs, published = tables
    template = Template(resources.files("ranker.experiments").joinpath("page.html").read_text(encoding="utf-8"))
    comparison = template.substitute(
        settings=escape(json.dumps(result.frame.settings, indent=2, ensure_ascii=False)), values=_values(result)
    )
    body = [quality, plots[0], *differences, *plots[1:], costs, published, comparison.rstrip()]
    return html_page(result.frame.title, summary(result), "\n".join(body))


def _values(result: StudyResult) -> str:
    """Each query's values as JSON, escaped so that no ``</script>`` in an id can end it."""
    headline = result.frame.headline
    best, *others = [arm.name for arm in result.arms]
    record = {
        "measure": headline,
        "queries": result.rows[best].mean.query_ids,
        "values": {
            name: [round(value, 6) for value in row.mean.values[headline].tolist()]
            for name, row in result.rows.items()
            if name != RANDOM
        },
        "pair": [best, "bm25" if not others or "dual" not in others else "dual"],
    }
    return json.dumps(record, ensure_ascii=False).replace("<", "\\u003c")


def all_tables(result: StudyResult) -> list[Table]:
    """Every table of a report, in order."""
    return [quality(result), claims(result), *against_standard(result), costs(result), published(result)]


def summary(result: StudyResult) -> str:
    """A sentence or two on the best arm."""
    measure = result.frame.headline
    best = result.arms[0]
    difference = result.comparison.of(best.name, measure)
    queries = len(best.mean.query_ids)
    outcome = {"won": "beats", "lost": "loses to", "undecided": "is not told apart from"}[difference.outcome]
    captured = result.captured(best.name)
    verb = "lost" if captured < 0 and _share(captured) != "0%" else "captured"
    gain = (
        ""
        if math.isnan(captured)
        else f" It {verb} {_share(abs(captured))} of what reordering {result.frame.depth} passages could gain."
    )
    return (
        f"Of {len(result.arms)} arms {best.name} is the best: it {outcome} {FIRST_STAGE} by {measure} "
        f"{difference.mean:.4f} against {difference.baseline_mean:.4f} on {counted(queries, 'query')} "
        f"(95% interval of the difference {signed(difference.low)} to {signed(difference.high)}).{gain}"
    )


def quality(result: StudyResult) -> Table:
    """Means over seeds, intervals, and p against the first stage."""
    measures, headline = result.frame.measures, result.frame.headline
    differences = {difference.run: difference for difference in result.comparison.by(headline)}
    rows = []
    for name in [ORACLE, *(arm.name for arm in result.arms), FIRST_STAGE, RANDOM]:
        row = result.rows[name]
        low, high = interval(row.mean.values[headline])
        means = [f"{row.mean.mean(measure):.4f}" for measure in measures]
        seeds = " ".join(f"{evaluation.mean(headline):.4f}" for evaluation in row.seeds.values())
        against = ["", ""]
        if name in differences:
            against = [signed(differences[name].difference), p_value(differences[name].p_randomisation_holm)]
        rows.append([name, *means, f"{low:.4f} to {high:.4f}", seeds, *against, _share(result.captured(name))])
    head = [
        "arm",
        *(measure.name for measure in measures),
        f"95% of {headline}",
        "each seed",
        f"difference from {FIRST_STAGE}",
        "p",
        "gain captured",
    ]
    notes = [
        "Means over seeds; intervals: percentile bootstrap over queries of these means, uncorrected. They say what the "
        "trained models would do on other questions; another training may differ as the seeds do.",
        f"p: paired randomisation test against {FIRST_STAGE} by {headline}, Holm-corrected over the arms.",
        f"{FIRST_STAGE} is the run that is reranked; {RANDOM} and {ORACLE} are of its first {result.frame.depth} "
        "passages, with what lies below beneath. A judged query that a run lacks counts 0.",
        *filter(None, [result.frame.leaks]),
    ]
    return Table(head, rows, notes, title="Quality")


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:z.0%}"


def claims(result: StudyResult) -> Table:
    """The claims of the papers, and their outcomes in this study."""
    rows = []
    for verdict in result.verdicts:
        cells = ["", "", ""]
        if verdict.answer != "not tested":
            # a claim on a share has an interval but no p
            compared = not math.isnan(verdict.p)
            shown = signed if compared else "{:.1%}".format
            between = f"{shown(verdict.low)} to {shown(verdict.high)}"
            cells = [shown(verdict.value), between, p_value(verdict.p) if compared else ""]
        rows.append([verdict.key, verdict.text, verdict.answer, *cells, verdict.tested])
    head = ["", "claim", "answer", "difference or share", "95% interval", "p", "tested as"]
    notes = [
        f"By {result.frame.headline}, means over seeds; p corrected by Holm over the claims tested, intervals not.",
        f"A difference whose whole interval lies within {NEGLIGIBLE} of 0 is none: no different holds, better not. "
        f"Else better holds where p < {ALPHA} and the difference is above 0, and does not where it is below. Not worse "
        f"holds where the interval lies above -{NEGLIGIBLE}, or better would. The rest is undecided.",
        "e and e' are shares, over queries: held or not held where the whole interval lies on one side. p in e is the "
        "logistic of a difference of scores; e' is of the best passage of at most 100 queries, where it has 20 words.",
    ]
    return Table(head, rows, notes, words=(0, 1, 2, 6), title="Claims")


def against_standard(result: StudyResult) -> list[Table]:
    """Every run against the standard cross-encoder; no table where that is not one of several arms."""
    headline, comparison = result.frame.headline, result.against_standard
    if comparison is None:
        return []
    rows = []
    for d in sorted(comparison.by(headline), key=lambda difference: -difference.difference):
        between = f"{signed(d.low)} to {signed(d.high)}"
        counts = f"{d.wins}/{d.ties}/{d.losses}"
        rows.append([d.run, signed(d.difference), between, p_value(d.p_randomisation_holm), counts])
    head = ["run", f"difference from {STANDARD}", "95% interval", "p", "better/equal/worse"]
    notes = [
        f"By {headline}, means over seeds; p: paired randomisation test, Holm-corrected over these runs, the intervals "
        "not. The claims are a family of their own: there, p of the same difference may be another.",
        "Better, equal and worse are queries.",
    ]
    return [Table(head, rows, notes, title=f"Against {STANDARD}")]


def costs(result: StudyResult) -> Table:
    """The training that each arm was given, and the time that it takes to rerank."""
    head = ["arm", "steps", "groups", "training", "ms per query", "ms indexed"]
    rows = []
    for arm in result.arms:
        costs = list(result.costs[arm.name].values())
        steps, groups = (" ".join(str(getattr(cost, key)) for cost in costs) for key in ("steps", "groups"))
        minutes = ", ".join(_duration(cost.training_seconds) for cost in costs if cost.steps)
        pace = usual_pace(result.costs[arm.name])
        indexed = median(cost.indexed_milliseconds for cost in costs)
        rows.append([arm.name, steps, groups, minutes, f"{pace:.1f}", "" if math.isnan(indexed) else f"{indexed:.1f}"])
    notes = [
        "Of each seed. Heads on a frozen backbone are trained in one pass over the data, whose time each shows.",
        "ms per query: of the model alone, texts tokenised, the mean of some queries, and the median of the seeds; one "
        "that reads apart encodes the passages anew, which an index spares.",
        "ms indexed: the time for a query whose passages were encoded beforehand, of arms that read apart.",
    ]
    if not any(row[-1] for row in rows):  # a study of an older version, or one of models that read together alone
        head, rows, notes = head[:-1], [row[:-1] for row in rows], notes[:-1]
    return Table(head, rows, notes, title="Costs")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def published(result: StudyResult) -> Table:
    """The published table, with the values of this study in the last column."""
    names = [measure.name for measure in result.frame.measures]
    measure = _MRR if _MRR in names else result.frame.headline
    rows = []
    for method, arm, value in PUBLISHED:
        ours = f"{result.rows[arm].mean.mean(measure):.4f}" if arm in result.rows else ""
        rows.append([method, f"{value:.4f}", arm, ours])
    notes = [
        "Qiao et al. 2019, table 1: BERT-Large on MS MARCO dev, reranking BM25's first 100; here another backbone, "
        "other data and minutes of training, so only the order can be compared.",
    ]
    head = ["published method", "MRR@10", "arm here", measure]
    return Table(head, rows, notes, words=(0, 2), title="Beside the published table")
