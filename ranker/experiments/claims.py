"""What the papers claim, each put to the study's own runs: held, not held, or undecided."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from ranker.evaluation.significance import ALPHA, Difference, compare, holm, interval
from ranker.experiments.rows import Row
from ranker.experiments.score_statistics import CERTAIN, Behaviour

Answer = Literal["held", "not held", "undecided", "not tested"]

NEGLIGIBLE: Final = 0.01
"""A difference of means that lies within it, with its whole interval, is none that a user would see."""


class Claim(NamedTuple):
    """One run against another: ``better``, ``not worse`` or ``no different``."""

    key: str
    text: str
    run: str
    rival: str
    says: Literal["better", "not worse", "no different"]

    @property
    def tested(self) -> str:
        """The claim as arms of a study."""
        return f"{self.run} {self.says} {'from' if self.says == 'no different' else 'than'} {self.rival}"


class Verdict(NamedTuple):
    """What became of a claim: the difference or share that was found, and its 95% interval.

    ``p`` is corrected for all claims that compare two arms. What was not tested has NaN.
    """

    key: str
    text: str
    tested: str
    answer: Answer
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


CLAIMS: Final = (
    Claim(
        "a",
        "Reading together is above reading apart, trained by the paper's loss (there, MRR 0.34 against 0.04)",
        "cross",
        "dual-classification",
        "better",
    ),
    Claim("a'", "Reading together is above reading apart, trained contrastively", "cross", "dual", "better"),
    Claim("b", "The last layer's [CLS] is not worse than its term translations", "cross", "term-trans", "not worse"),
    Claim("b'", "Term translations are better than all layers' [CLS]", "term-trans", "mult-int", "better"),
    Claim("c", "Leaving out [CLS] and [SEP] costs (there, 15% of MRR)", "cross", "cross-no-markers", "better"),
    Claim("d", "Leaving out stopwords costs nothing", "cross-no-stopwords", "cross", "no different"),
    Claim("1", "Fine-tuning is better than frozen features", "cross", "cross-frozen", "better"),
    Claim("2", "The last layer's [CLS] is not worse than the sum over layers", "cross", "mult-int", "not worse"),
    Claim("2'", "The last layer's [CLS] is not worse than the mean of layers", "cross", "layer-mean", "not worse"),
    Claim(
        "2''", "The last layer's [CLS] is not worse than attention over layers", "cross", "layer-attention", "not worse"
    ),
)
"""a to d: Qiao et al. 2019. 1 and 2: what Peters et al. 2019 and Kaneko & Komachi 2019 lead to expect of matching."""

HALF: Final = 0.5
FEW: Final = 0.1
"""The share of the words that may have half of all importance where few decide."""

SCORES_ARE_EXTREME: Final = Verdict(
    "e", "Scores are extreme", f"cross tells more than half of a query's pairs apart with p > {CERTAIN}", "not tested"
)
FEW_WORDS_DECIDE: Final = Verdict(
    "e'",
    "A few terms decide a score",
    f"cross has half of all change in less than {FEW:.0%} of the words",
    "not tested",
)
"""e: Qiao et al. 2019, sections 4.2 and 4.4, put as a share that can be counted under any loss."""


def verdicts(rows: Mapping[str, Row], measure: str, claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """Every claim that compares two arms, decided by its corrected p and its interval."""
    found = {claim: _difference(claim, rows, measure) for claim in claims if {claim.run, claim.rival} <= rows.keys()}
    corrected = dict(zip(found, holm([one.p_randomisation for one in found.values()]), strict=True))
    return [
        _compared(claim, found[claim], corrected[claim])
        if claim in found
        else Verdict(claim.key, claim.text, claim.tested, "not tested")
        for claim in claims
    ]


def share_verdicts(behaviour: Behaviour | None) -> list[Verdict]:
    """What the paper says of how a cross-encoder's scores behave, decided by the interval alone."""
    return [
        _shared(SCORES_ARE_EXTREME, behaviour and behaviour.extreme, above=HALF),
        _shared(FEW_WORDS_DECIDE, behaviour and behaviour.words_for_half, below=FEW),
    ]


def _difference(claim: Claim, rows: Mapping[str, Row], measure: str) -> Difference:
    evaluations = [rows[claim.rival].mean, rows[claim.run].mean]
    return compare(evaluations, claim.rival, missing="zero").of(claim.run, measure)


def _compared(claim: Claim, found: Difference, p: float) -> Verdict:
    answer = _answer(claim, found, p)
    return Verdict(claim.key, claim.text, claim.tested, answer, found.difference, found.low, found.high, p)


def _answer(claim: Claim, found: Difference, p: float) -> Answer:
    """That a difference is none counts before that it is certain."""
    above, below, certain = found.low > -NEGLIGIBLE, found.high < NEGLIGIBLE, p < ALPHA
    none = above and below
    held = {
        "better": certain and found.difference > 0 and not none,
        "not worse": above or (certain and found.difference > 0),
        "no different": none,
    }
    not_held = {
        "better": none or (certain and found.difference < 0),
        "not worse": certain and found.difference < 0,
        "no different": certain,
    }
    if held[claim.says]:
        return "held"
    return "not held" if not_held[claim.says] else "undecided"


def _shared(verdict: Verdict, values: Sequence[float] | None, above: float = 0.0, below: float = 1.0) -> Verdict:
    """A mean share of the queries that is to lie above or below a bar; ``values`` has one for each query."""
    known = [value for value in values or () if not math.isnan(value)]
    if not known:
        return verdict
    low, high = interval(known)
    answer: Answer = "undecided"
    if low > above and high < below:
        answer = "held"
    elif high < above or low > below:
        answer = "not held"
    return verdict._replace(answer=answer, value=sum(known) / len(known), low=low, high=high)


class Published(NamedTuple):
    """A row of Table 1 of Qiao et al. 2019: MRR@10 of BERT-Large on MS MARCO dev, reranking BM25's first hundred."""

    method: str
    arm: str
    value: float


PUBLISHED: Final = (
    Published("Base (BM25)", "bm25", 0.1762),
    Published("K-NRM", "knrm", 0.2100),
    Published("Conv-KNRM", "conv-knrm", 0.2474),
    Published("BERT (Rep)", "dual-classification", 0.0432),
    Published("BERT (Last-Int)", "cross", 0.3367),
    Published("BERT (Mult-Int)", "mult-int", 0.3060),
    Published("BERT (Term-Trans)", "term-trans", 0.3310),
)
