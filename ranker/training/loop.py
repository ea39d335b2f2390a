"""The training loop, to be read from top to bottom."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

from ranker.errors import TrainingError
from ranker.model.backbone import layers_of, lowest_layers
from ranker.model.batch import TokenBatch
from ranker.model.cpu_attention import learning_in
from ranker.scoring.scorer import Scorer
from ranker.scoring.tokens import Pairs, Rows, Texts
from ranker.settings.training import TrainingConfig
from ranker.training.checkpoint import Checkpoint
from ranker.training.groups import Candidates, Group, draw_groups
from ranker.training.learner import Learner, Step, Trained
from ranker.training.losses import GROUP_LOSSES, Graded, contrastive, graded
from ranker.training.processes import ALONE, Team, current_team

_TOKENS_PER_PASS = {"cpu": 2_048, "cuda": 65_536}
"""Tokens computed at once within a step; the step's loss sees all of them."""


@dataclass(frozen=True)
class TrainingSet:
    """The groups' source, with every text as ids; ``query_rows`` and ``passage_rows`` say where each id's text is."""

    candidates: list[Candidates]
    queries: Texts
    passages: Texts
    query_rows: dict[str, int]
    passage_rows: dict[str, int]

    @cached_property
    def texts(self) -> dict[str, int]:
        """What the model reads of each passage, by a number; copies under other ids have the same."""
        seen: dict[bytes, int] = {}
        return {doc_id: seen.setdefault(self.passages[row].tobytes(), row) for doc_id, row in self.passage_rows.items()}

    @cached_property
    def positives(self) -> dict[str, frozenset[int]]:
        """The texts of each query's positives."""
        return {one.query_id: frozenset(self.texts[doc_id] for doc_id in one.positives) for one in self.candidates}


def train(
    scorer: Scorer,
    data: TrainingSet,
    config: TrainingConfig,
    validate: Callable[[], float] | None,
    on_step: Callable[[Step], object],
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Trains the scorer's model in place; where ``validate`` is given (higher is better), the best weights are kept.

    From a ``checkpoint`` it goes on as if it had not been stopped; who gives one takes it away when all is written.
    Of processes that were ``launched`` together each reads its share of every step.

    Raises: TrainingError where the loss is no longer a number, or does not fit the mode; ModelError where more layers
    are to be frozen than there are.
    """
    model, team = scorer.model, current_team()
    config = config.resolved(model.config)
    check_trainable(scorer, config)
    torch.manual_seed(config.seed + team.rank)  # the same dropout for every share would drop less
    with _frozen(lowest_layers(model.encoder.backbone, config.frozen_layers)):
        learner = Learner(model, config, validate, team)
        if checkpoint is not None and (state := team.handed(checkpoint.load)) is not None:
            learner.take_up(state)
        for progress, groups in training_steps(data, config, (learner.steps, learner.seconds), team, learner.closing):
            learner.begin(progress)
            found = _graded(scorer, data, groups, config, team)
            on_step(learner.learn(found, progress, sum(len(group.doc_ids) for group in groups)))
            if checkpoint is not None and team.agreed(lambda: checkpoint.due):
                state = learner.state()
                if team.leads:
                    checkpoint.save(state)
        return learner.finish()


def training_steps(
    data: TrainingSet,
    config: TrainingConfig,
    done: tuple[int, float] = (0, 0.0),
    team: Team = ALONE,
    closing: Callable[[], float] = lambda: 0.0,
) -> Iterator[tuple[float, list[Group]]]:
    """The groups of each step, and how far the training is before it, until epochs, steps or minutes are over.

    The groups depend on the seed alone, so every mode sees the same in the same order. The steps ``done`` are left out,
    which took so many seconds. Of the minutes what comes after the last step takes the seconds that ``closing`` gives,
    and a step is left out that would end further beyond them than the one before ended short of them. All of a team end
    with the first process's clock.
    """
    steps, seconds = done
    started = time.monotonic() - seconds
    total = config.epochs * math.ceil(len(data.candidates) / config.groups_per_step)
    total = min(total, config.max_steps) if config.max_steps else total

    def progress(step: int) -> float:
        if not config.max_minutes:
            return step / total
        spent, whole = time.monotonic() - started, 60 * config.max_minutes - closing()
        if step and whole - spent < spent / step / 2:
            return 1.0
        return max(step / total, spent / whole)

    for step, groups in islice(enumerate(_steps(data, config)), steps, None):
        before = team.agreed(partial(progress, step))
        if before >= 1.0:
            return
        yield before, groups


def _graded(scorer: Scorer, data: TrainingSet, groups: list[Group], config: TrainingConfig, team: Team) -> Graded:
    """The scores of a step as the loss sees them: of each group, or, ``contrastive``, of all passages of the step."""
    if config.loss == "contrastive":
        queries = team.all_of(groups, partial(_query_vectors, scorer, data))
        passages = team.all_of(groups, partial(_passage_vectors, scorer, data))
        size, known = len(groups[0].doc_ids), _known_positives(data, groups).to(scorer.device)
        return graded(queries @ passages.T / config.temperature, lambda scores: contrastive(scores, size, known))
    score = _scores_apart if scorer.model.config.apart else _scores_together
    scores = team.all_of(groups, partial(score, scorer, data))
    return graded(scores / config.temperature, GROUP_LOSSES[config.loss])


def _scores_together(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> Tensor:
    """Shape: (G, 1 + N)."""
    rows = [
        (data.query_rows[group.query_id], data.passage_rows[doc_id]) for group in groups for doc_id in group.doc_ids
    ]
    pairs = Pairs(data.queries, data.passages, np.array(rows))
    passes = scorer.encoding.pair_batches(pairs, _TOKENS_PER_PASS[scorer.device.type])
    return _in_own_order(scorer, passes, scorer.model.score).view(len(groups), -1)


def _scores_apart(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> Tensor:
    """Shape: (G, 1 + N)."""
    queries = _query_vectors(scorer, data, groups).repeat_interleave(len(groups[0].doc_ids), dim=0)
    return scorer.model.similarities(queries, _passage_vectors(scorer, data, groups)).view(len(groups), -1)


def _query_vectors(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> Tensor:
    """Shape: (G, H)."""
    return _vectors(scorer, data.queries, [data.query_rows[group.query_id] for group in groups])


def _passage_vectors(scorer: Scorer, data: TrainingSet, groups: list[Group]) -> Tensor:
    """Shape: (G * (1 + N), H)."""
    return _vectors(scorer, data.passages, [data.passage_rows[doc_id] for group in groups for doc_id in group.doc_ids])


def _vectors(scorer: Scorer, texts: Texts, rows: list[int]) -> Tensor:
    """Shape: (rows, H)."""
    passes = scorer.encoding.text_batches(texts, np.array(rows), _TOKENS_PER_PASS[scorer.device.type])
    return _in_own_order(scorer, passes, scorer.model.vectors)


def _in_own_order(
    scorer: Scorer, passes: Iterator[tuple[Rows, TokenBatch]], compute: Callable[[TokenBatch], Tensor]
) -> Tensor:
    """Inputs of like length are computed together, which wastes little on padding, and put back in order."""
    with learning_in(scorer.precision, scorer.device):
        rows, parts = zip(*((numbers, compute(batch.to(scorer.device))) for numbers, batch in passes), strict=True)
    found = torch.cat(parts)
    return found[torch.from_numpy(np.argsort(np.concatenate(rows))).to(found.device)]


def _known_positives(data: TrainingSet, groups: list[Group]) -> Tensor:
    """Where a passage of the batch is another positive of a query, or a copy of one, and so no negative of it.

    Shape: (G, G * (1 + N)), bool.
    """
    positives = data.positives
    texts = [data.texts[doc_id] for group in groups for doc_id in group.doc_ids]
    size = len(groups[0].doc_ids)
    known = [[text in positives[group.query_id] for text in texts] for group in groups]
    for number in range(len(groups)):
        known[number][number * size] = False
    return torch.tensor(known)


_LEARNED_IN = ("float32", "bf16")


def check_trainable(scorer: Scorer, config: TrainingConfig) -> None:
    """Refuses settings under which a model cannot learn.

    Raises: TrainingError.
    """
    model, mode = scorer.model, scorer.model.config.mode
    if scorer.precision not in _LEARNED_IN:
        raise TrainingError(f"precision {scorer.precision} is not to train in, expected {' or '.join(_LEARNED_IN)}.")
    if config.loss == "contrastive" and not model.config.apart:
        raise TrainingError(f"loss contrastive needs a mode that reads apart, but the mode is {mode!r}.")
    every_layer = model.config.frozen or config.frozen_layers > layers_of(model.encoder.backbone)
    if every_layer and not any(parameter.requires_grad for parameter in model.head_parameters()):
        raise TrainingError(
            f"mode {mode!r} frozen has nothing to learn, since its head has no weights; use it as it is."
        )


@contextlib.contextmanager
def _frozen(layers: list[nn.Module]) -> Iterator[None]:
    """Their weights get no gradients inside."""
    weights = [weight for layer in layers for weight in layer.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def _steps(data: TrainingSet, config: TrainingConfig) -> Iterator[list[Group]]:
    rng = np.random.default_rng(config.seed)
    for _ in range(config.epochs):
        groups = draw_groups(data.candidates, config.negatives, rng)
        for start in range(0, len(groups), config.groups_per_step):
            yield groups[start : start + config.groups_per_step]
