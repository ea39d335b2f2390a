"""Views of a frozen backbone, which stay the same throughout a training and are kept for all heads and epochs."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ranker.model.inputs import Views, joint_needs
from ranker.scoring.batching import batches
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs, Rows, Texts

_MAX_BYTES: Final = 2 * 2**30
"""Of views that are kept; the views of other pairs are computed again in the next epoch."""


class _PairViews(NamedTuple):
    """The views of one pair, without padding.

    Shape: query (Lq, V, H), passage (Lp, V, H), cls (V, H).
    """

    query: Tensor
    passage: Tensor
    cls: Tensor


class FrozenViews:
    """Views of pairs for heads on one frozen backbone, each computed once and kept while they fit into memory."""

    def __init__(self, scorers: Sequence[Scorer], queries: Texts, passages: Texts, max_bytes: int = _MAX_BYTES) -> None:
        self._scorer, self._queries, self._passages = scorers[0], queries, passages
        self._needs = joint_needs(scorer.model.config.needs for scorer in scorers)
        self._backend = scorers[0].backend.runner(self._needs)
        self._bytes_left = max_bytes
        self._kept: dict[tuple[int, int], _PairViews] = {}

    def of(self, rows: Rows) -> Views:
        """The views of pairs of rows of queries and passages, in their order.

        Shape: rows (P, 2).
        """
        pairs = [(query, passage) for query, passage in rows.tolist()]
        missing = list(dict.fromkeys(pair for pair in pairs if pair not in self._kept))
        computed = dict(zip(missing, self._compute(missing), strict=True)) if missing else {}
        for pair, views in computed.items():
            size = sum(tensor.nbytes for tensor in views)
            if size <= self._bytes_left:
                self._bytes_left -= size
                self._kept[pair] = views
        return _joined([self._kept.get(pair) or computed[pair] for pair in pairs])

    def _compute(self, rows: Sequence[tuple[int, int]]) -> list[_PairViews]:
        scorer, pairs = self._scorer, Pairs(self._queries, self._passages, np.array(rows, dtype=np.int64))
        views: dict[int, _PairViews] = {}
        with torch.no_grad():
            numbers = list(batches(scorer.encoding.pair_lengths(pairs), scorer.backend.tokens_per_batch))
            for batch, inputs in zip(numbers, scorer.encoding.pair_inputs(pairs, numbers), strict=True):
                views |= zip(batch.tolist(), _split(self._backend.views(inputs, self._needs)), strict=True)
        return [views[number] for number in range(len(rows))]


def _split(views: Views) -> list[_PairViews]:
    """The views of each pair of a batch, in memory of its own, so that the batch's can be freed."""
    query_lengths, passage_lengths = views.query_mask.sum(dim=1).tolist(), views.passage_mask.sum(dim=1).tolist()
    split = []
    for pair, (query_length, passage_length) in enumerate(zip(query_lengths, passage_lengths, strict=True)):
        # (V, L, H) to (L, V, H), as pad_sequence takes it
        query = views.query[pair, :, :query_length].transpose(0, 1).clone()
        passage = views.passage[pair, :, :passage_length].transpose(0, 1).clone()
        split.append(_PairViews(query, passage, views.cls[pair].clone()))
    return split


def _joined(pairs: Sequence[_PairViews]) -> Views:
    query, query_mask = _padded([pair.query for pair in pairs])
    passage, passage_mask = _padded([pair.passage for pair in pairs])
    return Views(query, passage, query_mask, passage_mask, torch.stack([pair.cls for pair in pairs]))


def _padded(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Shape: (L, V, H) each to (P, V, L, H) and (P, L)."""
    tokens = pad_sequence(list(texts), batch_first=True).transpose(1, 2)
    lengths = torch.tensor([len(text) for text in texts], device=tokens.device)
    return tokens, torch.arange(tokens.shape[2], device=tokens.device) < lengths.unsqueeze(1)
