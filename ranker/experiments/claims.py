"""Claims of the papers, tested on a study's runs: held, not held, or undecided."""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from ranker.evaluation.measures import Evaluation
from ranker.evaluation.significance import ALPHA, Difference, compare, holm, interval
from ranker.experiments.score_statistics import CERTAIN, ScoreStatistics

Answer = Literal["held", "not held", "undecided", "not tested"]

NEGLIGIBLE: Final = 0.01
"""A difference of means whose whole interval lies within it is too small for a user to see."""


class Claim(NamedTuple):
    """A claim that one arm is ``better`` or ``not worse`` than another, or ``no different`` from it."""

    key: str
    text: str
    run: str
    rival: str
    says: Literal["better", "not worse", "no different"]

    @property
    def tested(self) -> str:
        """The claim in the names of a study's arms."""
        return f"{self.run} {self.says} {'from' if self.says == 'no different' else 'than'} {self.rival}"


class Verdict(NamedTuple):
    """The outcome of a claim, with the difference or share that was measured and its 95% interval.

    ``p`` is corrected for all claims that compare two arms. A claim that was not tested has NaN.
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
"""Sources: a to d Qiao et al. 2019; 1 and 2 by analogy with Peters et al. 2019 and Kaneko & Komachi 2019."""

HALF: Final = 0.5
FEW: Final = 0.1
"""A few words decide where less than this share of them has half of all importance."""

SCORES_ARE_EXTREME: Final = Verdict(
    "e", "Scores are extreme", f"cross tells more than half of a query's pairs apart with p > {CERTAIN}", "not tested"
)
FEW_WORDS_DECIDE: Final = Verdict(
    "e'",
    "A few terms decide a score",
    f"cross has half of all change in less than {FEW:.0%} of the words",
    "not tested",
)
"""Source of e: Qiao et al. 2019, sections 4.2 and 4.4, as shares that can be counted under any loss."""


def verdicts(evaluations: Mapping[str, Evaluation], measure: str, claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """Decides every claim that compares two arms by its corrected p and its interval; ``evaluations`` are by arm."""
    differences: dict[Claim, Difference] = {}
    for claim in claims:
        if claim.run in evaluations and claim.rival in evaluations:
            pair = [evaluations[claim.rival], evaluations[claim.run]]
            differences[claim] = compare(pair, claim.rival, missing="zero").of(claim.run, measure)
    corrected = dict(
        zip(differences, holm([difference.p_randomisation for difference in differences.values()]), strict=True)
    )
    outcomes = []
    for claim in claims:
        verdict = Verdict(claim.key, claim.text, claim.tested, "not tested")
        if claim in differences:
            difference, p = differences[claim], corrected[claim]
            verdict = verdict._replace(
                answer=_answer(claim, difference, p),
                value=difference.difference,
                low=difference.low,
                high=difference.high,
                p=p,
            )
        outcomes.append(verdict)
    return outcomes


def share_verdicts(statistics: ScoreStatistics | None) -> list[Verdict]:
    """Decides what the paper claims of a cross-encoder's scores by the interval alone."""
    return [
        _share_verdict(SCORES_ARE_EXTREME, statistics and statistics.extreme, above=HALF),
        _share_verdict(FEW_WORDS_DECIDE, statistics and statistics.words_for_half, below=FEW),
    ]


def _answer(claim: Claim, difference: Difference, p: float) -> Answer:
    """The answer to a claim; that a difference is negligible counts before that it is significant."""
    above, below, certain = difference.low > -NEGLIGIBLE, difference.high < NEGLIGIBLE, p < ALPHA
    negligible = above and below
    held = {
        "better": certain and difference.difference > 0 and not negligible,
        "not worse": above or (certain and difference.difference > 0),
        "no different": negligible,
    }
    not_held = {
        "better": negligible or (certain and difference.difference < 0),
        "not worse": certain and difference.difference < 0,
        "no different": certain,
    }
    if held[claim.says]:
        return "held"
    return "not held" if not_held[claim.says] else "undecided"


def _share_verdict(verdict: Verdict, values: Sequence[float] | None, above: float = 0.0, below: float = 1.0) -> Verdict:
    """Decides whether a mean share, of which ``values`` has one for each query, lies above or below a bound."""
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
