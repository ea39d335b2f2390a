"""What an encoder answers and a head reads."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ranker.settings.model import Needs


@dataclass(frozen=True)
class Views:
    """P pairs as V layers see them, shallow to deep; what was not asked for has no tokens or no layers.

    Shape: query (P, V, Lq, H), passage (P, V, Lp, H), query_mask (P, Lq), passage_mask (P, Lp), cls (P, V, H).
    Masks are True at tokens; markers are in neither text. Where question and passage are read apart there is no joint
    ``cls`` (V = 0), and ``query`` and ``passage`` hold one vector each, their pooled ones (Lq = Lp = 1).
    """

    query: Tensor
    passage: Tensor
    query_mask: Tensor
    passage_mask: Tensor
    cls: Tensor


def joint_needs(needs: Iterable[Needs]) -> Needs:
    """What several heads read together; ``words`` goes with nothing else, since no head tells it from a layer."""
    wanted = list(needs)
    layers = {one.layers for one in wanted}
    return Needs("all" if "all" in layers else wanted[0].layers, any(one.tokens for one in wanted))
