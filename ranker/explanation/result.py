"""An explanation: what of a pair the score hangs on, and where the attention falls."""

import math
from dataclasses import dataclass
from typing import Any

from ranker.explanation.attention import LayerAttention, attention_mass
from ranker.explanation.occlusion import Occlusion, PairText, Watch, as_ids, occlude, share_for_half, unwatched
from ranker.scoring.scorer import Scorer


@dataclass(frozen=True)
class Explanation:
    """``unread`` is how many tokens of the two texts lie behind what the model reads."""

    model: str
    mode: str
    occlusion: Occlusion
    attention: tuple[LayerAttention, ...]
    unread: int


def explain(scorer: Scorer, pair: PairText, watch: Watch = unwatched) -> Explanation:
    """Why the model scores a pair as it does; ``watch`` as ``occlude`` has it.

    Raises: what scoring raises, and what ``occlude`` does.
    """
    (occlusion,) = occlude(scorer, [pair], watch=watch)
    pairs = as_ids(scorer, [pair])
    return Explanation(
        scorer.model.source,
        scorer.model.config.mode,
        occlusion,
        tuple(attention_mass(scorer, pair)),
        int(scorer.encoding.lost_of_passages(pairs).sum() + scorer.encoding.lost_of_queries(pairs).sum()),
    )


def record(explanation: Explanation) -> dict[str, Any]:
    """Everything, as JSON has it; places are in characters."""
    share = share_for_half(explanation.occlusion)
    return {
        "model": explanation.model,
        "mode": explanation.mode,
        **explanation.occlusion.pair._asdict(),
        "score": explanation.occlusion.score,
        "words": [
            {"part": one.part, **one.word._asdict(), "kind": one.word.kind, "importance": one.importance}
            for one in explanation.occlusion.words
        ],
        "share_of_words_with_half_of_the_importance": None if math.isnan(share) else share,
        "attention": [{"layer": one.layer, **one.shares} for one in explanation.attention],
        "tokens_unread": explanation.unread,
    }
