"""Options of commands that train: how a model reads, and how it learns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ranker.cli.options import Choice
from ranker.cli.settings import settings_options
from ranker.settings.model import CHOSEN_POOLINGS, CHOSEN_SIMILARITIES, MODES, STOPWORDS, PlainConfig, RankerConfig
from ranker.settings.training import LOSSES, TrainingConfig

F = TypeVar("F", bound=Callable[..., Any])

MODEL_HELP = "A model directory, a hub name, or 'offline' for the embedded MiniLM."
_APART = {
    "pooling": "A text's vector, for models that read apart; several joined by +. "
    + "; ".join(f"{name}: {meaning}" for name, meaning in CHOSEN_POOLINGS.items()),
    "similarity": "How a model that reads apart compares two vectors. "
    + "; ".join(f"{name}: {meaning}" for name, meaning in CHOSEN_SIMILARITIES.items()),
    "query_prompt": "Text before every query, as in 'query: '; auto: as the model says",
    "passage_prompt": "Text before every passage; auto: as the model says",
}
_READING = {
    **_APART,
    "query_length": "Tokens that a query has beside a passage that needs the rest, or of a query read apart",
    "length": "Tokens of a pair, or of a passage read apart, markers included",
    "frozen": "Leave the backbone as it is and train the head alone",
    "markers": "Put [CLS] and [SEP] in, as the backbone was trained",
    "stopwords": "; ".join(f"{name}: {meaning}" for name, meaning in STOPWORDS.items()),
}
_TRAINING = {
    "loss": "; ".join(f"{name}: {meaning}" for name, meaning in LOSSES.items()),
    "negatives": "Negatives in a group, beside one positive",
    "groups_per_step": "Groups in a step",
    "learning_rate": "The highest learning rate",
    "head_learning_rate": "The same for the head; 0 is learning-rate, or 1e-3 where the backbone is frozen",
    "weight_decay": "Decay of matrices, not of biases and norms",
    "warmup": "Share of the training in which the learning rate rises",
    "clip": "Largest norm of a step's gradient",
    "temperature": "Divides the scores that the loss sees; 0 is 0.05 for dual, else 1",
    "epochs": "Times each query gives a group",
    "max_minutes": "Stop after so long, with dev's evaluations but without BM25 and opening, the learning rate falling "
    "to 0 by then; 0 is no limit",
    "max_steps": "The same in steps, which no other work on the machine makes fewer",
    "validations": "Times that dev is evaluated; the best weights are kept",
    "seed": "Seed of the new head, the groups and dropout",
    "frozen_layers": "Lowest layers that keep their weights: 1 is the embeddings, 3 these and two layers",
    "dropout": "Drop units as the backbone was trained to; without, a step is faster and overfits sooner",
}
_PLAIN = {
    **_APART,
    "query_length": "Tokens that a query has beside a passage that needs the rest, or of a query read apart; 0: as the "
    "model says, else 64, and all of a query read apart",
    "length": "Tokens of a pair, or of a passage read apart, for a model that was not trained here; 0: as the model "
    "says, else 512, or as many as it has positions for",
}
_CHOICES = {"similarity": CHOSEN_SIMILARITIES, "stopwords": STOPWORDS, "loss": LOSSES}


def mode_option(required: bool) -> Callable[[F], F]:
    """``--mode``: how the model reads and what it scores by."""
    meanings = ". ".join(f"{name} {mode.help}" for name, mode in MODES.items())
    return click.option("--mode", type=Choice(tuple(MODES)), required=required, help=f"{meanings}.")


def checkpoint_option(command: F) -> F:
    """``--checkpoint-minutes``, which becomes the command's ``checkpoint_minutes``."""
    option = click.option(
        "--checkpoint-minutes",
        default=1.0,
        show_default=True,
        type=click.FloatRange(min=0),
        help="Between two states of a training on disk, beside the output, from which it goes on if it is stopped.",
    )
    return option(command)


def plain_options(command: F) -> F:
    """Options of how a model is read, instead of as it says itself."""
    return settings_options(PlainConfig, _PLAIN, _CHOICES)(command)


def reading_options(command: F) -> F:
    """Everything that ``ranker train`` decides about how a model reads, beside its mode."""
    return settings_options(RankerConfig, _READING, _CHOICES)(command)


def training_options(command: F) -> F:
    """Every setting of a training."""
    return settings_options(TrainingConfig, _TRAINING, _CHOICES)(command)


def shared_options(command: F) -> F:
    """What is the same for all arms of a study: its arms decide the rest."""
    reading = {name: _READING[name] for name in ("query_length", "length")}
    own = ("loss", "temperature", "epochs", "max_minutes", "max_steps", "validations", "seed")
    training = {name: meaning for name, meaning in _TRAINING.items() if name not in own}
    command = settings_options(TrainingConfig, training, _CHOICES)(command)
    return settings_options(RankerConfig, reading, _CHOICES)(command)
