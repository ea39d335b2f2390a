"""Heads trained on a frozen backbone: it reads each pair once, and all heads learn from what it saw."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ranker.errors import TrainingError
from ranker.model.views import Views, joint_needs
from ranker.scoring.batching import batches
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs
from ranker.settings.training import TrainingConfig
from ranker.training.learner import Learner, Step, Trained
from ranker.training.loop import TrainingSet, check_trainable, training_steps
from ranker.training.losses import GROUP_LOSSES, graded
from ranker.training.processes import current_team

_MOST_BYTES: Final = 2 * 2**30
"""Of views that are kept; what does not fit is computed again in the next epoch."""


def train_heads(
    scorers: Sequence[Scorer],
    data: TrainingSet,
    config: TrainingConfig,
    validates: Sequence[Callable[[], float] | None],
    on_step: Callable[[Step], object],
) -> list[Trained]:
    """Trains heads on one frozen backbone, in place and side by side: the same groups for all, read once.

    Raises: TrainingError where a backbone is not frozen, a head has nothing to learn, or a loss is no longer a number.
    """
    configs = [config.resolved(scorer.model.config) for scorer in scorers]
    for scorer, own in zip(scorers, configs, strict=True):
        if not scorer.model.config.frozen:
            raise TrainingError(f"mode {scorer.model.config.mode!r} is fine-tuned, expected a frozen backbone.")
        check_trainable(scorer, own)
    team = current_team()
    torch.manual_seed(config.seed + team.rank)
    models = [scorer.model for scorer in scorers]
    learners = [Learner(*one, team) for one in zip(models, configs, validates, strict=True)]
    seen = FrozenViews(scorers, data)

    def closing() -> float:
        return sum(learner.closing() for learner in learners)

    for progress, groups in training_steps(data, config, team=team, closing=closing):
        share = team.share(groups)
        views = seen.of([(group.query_id, doc_id) for group in share for doc_id in group.doc_ids]) if share else None
        steps: list[Step] = []
        for model, own, learner in zip(models, configs, learners, strict=True):
            learner.begin(progress)
            found = model.from_views(views).view(len(share), -1) if views else None
            scores = team.joined(found) / own.temperature
            steps.append(learner.learn(graded(scores, GROUP_LOSSES[own.loss]), progress, scores.numel()))
        # of heads side by side the one is told that tells passages apart least
        on_step(min(steps, key=lambda step: step.spread))
    return [learner.finish() for learner in learners]


class _Seen(NamedTuple):
    """The views of one pair, without padding.

    Shape: query (Lq, V, H), passage (Lp, V, H), cls (V, H).
    """

    query: Tensor
    passage: Tensor
    cls: Tensor


class FrozenViews:
    """Views of pairs by their ids, computed once for each pair and kept while they fit into memory."""

    def __init__(self, scorers: Sequence[Scorer], data: TrainingSet, most_bytes: int = _MOST_BYTES) -> None:
        self._scorer = scorers[0]
        self._reads = joint_needs(scorer.model.config.needs for scorer in scorers)
        self._reader = scorers[0].backend.runner(self._reads)
        self._data = data
        self._room = most_bytes
        self._kept: dict[tuple[str, str], _Seen] = {}

    def of(self, pairs: Sequence[tuple[str, str]]) -> Views:
        """The views of these pairs, in their order."""
        missing = list(dict.fromkeys(pair for pair in pairs if pair not in self._kept))
        found = dict(zip(missing, self._computed(missing), strict=True)) if missing else {}
        for pair, seen in found.items():
            size = sum(tensor.nbytes for tensor in seen)
            if size <= self._room:
                self._room -= size
                self._kept[pair] = seen
        return _together([self._kept.get(pair) or found[pair] for pair in pairs])

    def _computed(self, pairs: Sequence[tuple[str, str]]) -> list[_Seen]:
        data, scorer = self._data, self._scorer
        rows = torch.tensor([(data.query_rows[query], data.passage_rows[doc]) for query, doc in pairs]).numpy()
        seen: dict[int, _Seen] = {}
        with torch.no_grad():
            unread = Pairs(data.queries, data.passages, rows)
            cuts = list(batches(scorer.encoding.pair_lengths(unread), scorer.backend.tokens_per_batch))
            for numbers, inputs in zip(cuts, scorer.encoding.pair_inputs(unread, cuts), strict=True):
                views = self._reader.views(inputs, self._reads)
                seen |= zip(numbers.tolist(), _apart(views), strict=True)
        return [seen[number] for number in range(len(pairs))]


def _apart(views: Views) -> list[_Seen]:
    query_lengths, passage_lengths = views.query_mask.sum(dim=1).tolist(), views.passage_mask.sum(dim=1).tolist()
    return [
        _Seen(
            views.query[pair, :, :query].transpose(0, 1).clone(),
            views.passage[pair, :, :passage].transpose(0, 1).clone(),
            views.cls[pair].clone(),
        )
        for pair, (query, passage) in enumerate(zip(query_lengths, passage_lengths, strict=True))
    ]


def _together(seen: Sequence[_Seen]) -> Views:
    query, query_mask = _padded([one.query for one in seen])
    passage, passage_mask = _padded([one.passage for one in seen])
    return Views(query, passage, query_mask, passage_mask, torch.stack([one.cls for one in seen]))


def _padded(texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Shape: (L, V, H) each to (P, V, L, H) and (P, L)."""
    tokens = pad_sequence(list(texts), batch_first=True).transpose(1, 2)
    lengths = torch.tensor([len(text) for text in texts], device=tokens.device)
    return tokens, torch.arange(tokens.shape[2], device=tokens.device) < lengths.unsqueeze(1)
