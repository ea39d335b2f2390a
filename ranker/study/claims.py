"""What the papers claim, each put to the study's own runs: held, not held, or undecided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from ranker.comparison import ALPHA, Difference, compare, holm
from ranker.study.rows import Row

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


CLAIMS: Final = (
    Claim(
        "a",
        "Reading together is far above reading apart, trained by the paper's loss",
        "cross",
        "dual-classification",
        "better",
    ),
    Claim("a'", "Reading together is above reading apart, trained contrastively", "cross", "dual", "better"),
    Claim("b", "The last layer's [CLS] is not worse than its term translations", "cross", "term-trans", "not worse"),
    Claim("b'", "Term translations are better than all layers' [CLS]", "term-trans", "mult-int", "better"),
    Claim("c", "Leaving out the markers [CLS] and [SEP] costs", "cross", "cross-no-markers", "better"),
    Claim("d", "Leaving out stopwords costs nothing", "cross-no-stopwords", "cross", "no different"),
    Claim("1", "Fine-tuning is better than frozen features", "cross", "cross-frozen", "better"),
    Claim("2", "The last layer's [CLS] is not worse than the sum over layers", "cross", "mult-int", "not worse"),
    Claim("2'", "The last layer's [CLS] is not worse than the mean of layers", "cross", "layer-mean", "not worse"),
    Claim(
        "2''", "The last layer's [CLS] is not worse than attention over layers", "cross", "layer-attention", "not worse"
    ),
)
"""a to d: Qiao et al. 2019. 1 and 2: what Peters et al. 2019 and Kaneko & Komachi 2019 lead to expect of matching."""


@dataclass(frozen=True)
class Verdict:
    """What became of a claim; ``p`` is corrected for all claims of the study. Nothing is known of one not tested."""

    claim: Claim
    answer: Answer
    difference: Difference | None
    p: float


def verdicts(rows: Mapping[str, Row], measure: str, claims: Sequence[Claim] = CLAIMS) -> list[Verdict]:
    """Every claim whose two runs the study has, decided by its corrected p and its interval."""
    found = {claim: _difference(claim, rows, measure) for claim in claims if {claim.run, claim.rival} <= rows.keys()}
    corrected = dict(zip(found, holm([one.p_randomisation for one in found.values()]), strict=True))
    return [
        Verdict(claim, _answer(claim, found[claim], corrected[claim]), found[claim], corrected[claim])
        if claim in found
        else Verdict(claim, "not tested", None, float("nan"))
        for claim in claims
    ]


def _difference(claim: Claim, rows: Mapping[str, Row], measure: str) -> Difference:
    evaluations = [rows[claim.rival].mean, rows[claim.run].mean]
    return compare(evaluations, claim.rival, missing="zero").of(claim.run, measure)


def _answer(claim: Claim, found: Difference, p: float) -> Answer:
    certain = p < ALPHA
    if claim.says == "no different":
        if found.low > -NEGLIGIBLE and found.high < NEGLIGIBLE:
            return "held"
        return "not held" if certain else "undecided"
    if certain:
        return "held" if found.difference > 0 else "not held"
    return "held" if claim.says == "not worse" and found.low > -NEGLIGIBLE else "undecided"


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
