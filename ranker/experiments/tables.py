"""What a study says in tables, for the Markdown report and the page alike."""

import math
from statistics import median
from typing import Final, NamedTuple

from ranker.evaluation.significance import ALPHA, Difference, interval
from ranker.experiments.arms import FIRST_STAGE, STANDARD
from ranker.experiments.claims import NEGLIGIBLE, PUBLISHED, Verdict
from ranker.experiments.results import StudyResult, usual_pace
from ranker.experiments.rows import ORACLE, RANDOM
from ranker.report.tables import p_value, signed
from ranker.wording import counted

_MRR: Final = "RR@10"
"""What MRR@10 is called here."""


class Table(NamedTuple):
    """Cells as text, the first column and those in ``words`` to be read from the left; the notes stand below."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: tuple[int, ...] = (0,)


def all_tables(result: StudyResult) -> list[Table]:
    """Every table of a report, in order."""
    return [quality(result), claims(result), *against_standard(result), costs(result), published(result)]


def summary(result: StudyResult) -> str:
    """What came out, in a sentence or two."""
    measure = result.frame.headline
    best = result.arms[0]
    found = result.comparison.of(best.name, measure)
    queries = len(best.mean.query_ids)
    words = {"won": "beats", "lost": "loses to", "undecided": "is not told apart from"}[found.outcome]
    captured = result.captured(best.name)
    verb = "lost" if captured < 0 and _share(captured) != "0%" else "captured"
    gain = (
        ""
        if math.isnan(captured)
        else f" It {verb} {_share(abs(captured))} of what reordering {result.frame.depth} passages could gain."
    )
    return (
        f"Of {len(result.arms)} arms {best.name} is the best: it {words} {FIRST_STAGE} by {measure} "
        f"{found.mean:.4f} against {found.baseline_mean:.4f} on {counted(queries, 'query')} "
        f"(95% interval of the difference {signed(found.low)} to {signed(found.high)}).{gain}"
    )


def quality(result: StudyResult) -> Table:
    """Means over seeds, intervals, and p against the first stage."""
    measures, headline = result.frame.measures, result.frame.headline
    found = {one.run: one for one in result.comparison.by(headline)}
    order = [ORACLE, *(arm.name for arm in result.arms), FIRST_STAGE, RANDOM]
    rows = []
    for name in order:
        row = result.rows[name]
        low, high = interval(row.mean.values[headline])
        means = [f"{row.mean.mean(measure.name):.4f}" for measure in measures]
        seeds = " ".join(f"{one.mean(headline):.4f}" for one in row.seeds.values())
        difference = found.get(name)
        rows.append(
            (name, *means, f"{low:.4f} to {high:.4f}", seeds, *_against(difference), _share(result.captured(name)))
        )
    head = (
        "arm",
        *(measure.name for measure in measures),
        f"95% of {headline}",
        "each seed",
        f"difference from {FIRST_STAGE}",
        "p",
        "gain captured",
    )
    notes = (
        "Means over seeds; intervals: percentile bootstrap over queries of these means, uncorrected. They say what the "
        "trained models would do on other questions; another training may differ as the seeds do.",
        f"p: paired randomisation test against {FIRST_STAGE} by {headline}, Holm-corrected over the arms.",
        f"{FIRST_STAGE} is the run that is reranked; {RANDOM} and {ORACLE} are of its first {result.frame.depth} "
        "passages, with what lies below beneath. A judged query that a run lacks counts 0.",
        *filter(None, [result.frame.leaks]),
    )
    return Table("Quality", head, tuple(rows), notes)


def _against(difference: Difference | None) -> tuple[str, str]:
    return ("", "") if difference is None else (signed(difference.difference), p_value(difference.p_randomisation_holm))


def _share(value: float) -> str:
    return "" if math.isnan(value) else f"{value:z.0%}"


def claims(result: StudyResult) -> Table:
    """What the papers claim, and what became of it here."""
    head = ("", "claim", "answer", "difference or share", "95% interval", "p", "tested as")
    rows = tuple(_claim(verdict) for verdict in result.verdicts)
    notes = (
        f"By {result.frame.headline}, means over seeds; p corrected by Holm over the claims tested, intervals not.",
        f"A difference whose whole interval lies within {NEGLIGIBLE} of 0 is none: no different holds, better not. "
        f"Else better holds where p < {ALPHA} and the difference is above 0, and does not where it is below. Not worse "
        f"holds where the interval lies above -{NEGLIGIBLE}, or better would. The rest is undecided.",
        "e and e' are shares, over queries: held or not held where the whole interval lies on one side. p in e is the "
        "logistic of a difference of scores; e' is of the best passage of at most 100 queries, where it has 20 words.",
    )
    return Table("Claims", head, rows, notes, words=(0, 1, 2, 6))


def _claim(verdict: Verdict) -> tuple[str, ...]:
    if verdict.answer == "not tested":
        return (verdict.key, verdict.text, verdict.answer, "", "", "", verdict.tested)
    compared = not math.isnan(verdict.p)
    number = signed if compared else "{:.1%}".format
    between = f"{number(verdict.low)} to {number(verdict.high)}"
    p = p_value(verdict.p) if compared else ""
    return (verdict.key, verdict.text, verdict.answer, number(verdict.value), between, p, verdict.tested)


def against_standard(result: StudyResult) -> list[Table]:
    """Every run against the standard way of reading together; none where that is not one of several arms."""
    headline, compared = result.frame.headline, result.against_standard
    if compared is None:
        return []
    found = sorted(compared.by(headline), key=lambda one: -one.difference)
    rows = tuple(
        (
            one.run,
            signed(one.difference),
            f"{signed(one.low)} to {signed(one.high)}",
            p_value(one.p_randomisation_holm),
            f"{one.wins}/{one.ties}/{one.losses}",
        )
        for one in found
    )
    head = ("run", f"difference from {STANDARD}", "95% interval", "p", "better/equal/worse")
    notes = (
        f"By {headline}, means over seeds; p: paired randomisation test, Holm-corrected over these runs, the intervals "
        "not. The claims are a family of their own: there, p of the same difference may be another.",
        "Better, equal and worse are queries.",
    )
    return [Table(f"Against {STANDARD}", head, rows, notes)]


_COSTS: Final = ("arm", "steps", "groups", "training", "ms per query", "ms indexed")


def costs(result: StudyResult) -> Table:
    """What each arm was given, and what it takes."""
    rows: list[tuple[str, ...]] = []
    for arm in result.arms:
        costs = list(result.costs[arm.name].values())
        steps, groups = (" ".join(str(getattr(cost, key)) for cost in costs) for key in ("steps", "groups"))
        minutes = ", ".join(_duration(cost.training_seconds) for cost in costs if cost.steps)
        time = usual_pace(result.costs[arm.name])
        indexed = median(cost.indexed_milliseconds for cost in costs)
        rows.append((arm.name, steps, groups, minutes, f"{time:.1f}", "" if math.isnan(indexed) else f"{indexed:.1f}"))
    if not any(row[-1] for row in rows):  # a study of an older version, or one of models that read together alone
        rows = [row[:-1] for row in rows]
    head = _COSTS[: len(rows[0])]
    notes: tuple[str, ...] = (
        "Of each seed. Heads on a frozen backbone are trained in one pass over the data, whose time each shows.",
        "ms per query: of the model alone, texts tokenised, the mean of some queries, and the median of the seeds; one "
        "that reads apart encodes the passages anew, which an index spares.",
    )
    if len(head) == len(_COSTS):
        notes += ("ms indexed: the time for a query whose passages were encoded beforehand, of arms that read apart.",)
    return Table("Costs", head, tuple(rows), notes)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def published(result: StudyResult) -> Table:
    """The table of the paper beside ours."""
    names = [measure.name for measure in result.frame.measures]
    ours = _MRR if _MRR in names else result.frame.headline
    rows = tuple(
        (
            one.method,
            f"{one.value:.4f}",
            one.arm,
            f"{result.rows[one.arm].mean.mean(ours):.4f}" if one.arm in result.rows else "",
        )
        for one in PUBLISHED
    )
    head = ("published method", "MRR@10", "arm here", ours)
    notes = (
        "Qiao et al. 2019, table 1: BERT-Large on MS MARCO dev, reranking BM25's first 100; here another backbone, "
        "other data and minutes of training, so only the order can be compared.",
    )
    return Table("Beside the published table", head, rows, notes, words=(0, 2))
