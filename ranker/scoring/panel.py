"""Several heads behind one backbone: each pair is read once, whatever number of models score it."""

from collections.abc import Sequence

import numpy as np
import torch

from ranker.errors import ModelError
from ranker.model.inputs import Packed, joint_needs
from ranker.scoring.batching import batches
from ranker.scoring.pairs import Pairs
from ranker.scoring.scorer import Advance, Matrix, Scorer


def panel_scores(scorers: Sequence[Scorer], pairs: Pairs, advance: Advance) -> Matrix:
    """One logit per model and pair, of models whose backbones are one frozen one; the first one's reads for all.

    Shape: (models, P). Raises: ModelError where a model is fine-tuned or reads apart.
    """
    for scorer in scorers:
        config = scorer.model.config
        if config.apart or not config.frozen:
            raise ModelError(f"mode {config.mode!r} cannot share a backbone, expected frozen modes that read together.")
    first = scorers[0]
    needs = joint_needs(scorer.model.config.needs for scorer in scorers)
    scores = np.empty((len(scorers), len(pairs.rows)), dtype=np.float32)
    reader = first.reader(needs)

    def logits(inputs: Packed) -> Matrix:
        views = reader.views(inputs, needs)
        return np.stack([scorer.model.from_views(views).cpu().numpy() for scorer in scorers], axis=1)

    with torch.inference_mode():
        for scorer in scorers:
            scorer.model.eval()
        cuts = list(batches(first.pair_lengths(pairs), first.tokens_per_batch))
        for place, found in first.survived(cuts, first.pair_inputs(pairs, cuts), logits):
            scores[:, cuts[place]] = found.T
            advance(len(found))
    return scores
