"""``--cluster``: models that the workers of a Ray cluster compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ranker.cli.options import say_notes
from ranker.cli.settings import checked_compute, settings_of, settings_options
from ranker.errors import SetupError
from ranker.limits import MAX_WORKERS
from ranker.settings.compute import CUT, Compute, Overflow
from ranker.settings.fields import check, setting
from ranker.settings.model import PlainConfig

if TYPE_CHECKING:
    from ranker.cluster.engine import Cluster
    from ranker.scoring.scorer import Scorer

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Sharing:
    """The cluster that a command shares its work with: its address, or nothing, and how many workers.

    Raises: SetupError for a number of workers that is not allowed, or without a cluster.
    """

    cluster: str = setting(
        "",
        "Share the work among the workers of a Ray cluster. local: one started on this machine; auto: the one that "
        "this machine belongs to; else HOST:PORT of its head; without, this process does all",
    )
    workers: int = setting(
        0,
        "Workers of the cluster; 0: one for each GPU, or for every 4 cores where there are none",
        least=0,
        most=MAX_WORKERS,
    )

    def __post_init__(self) -> None:
        """Refuses workers without a cluster, and too many."""
        check(self, SetupError, prefix="--")
        if self.workers and not self.cluster:
            raise SetupError(f"--workers is {self.workers}, but without --cluster this process does all.")


class Wanted(NamedTuple):
    """A model to open, with the arguments of ``load_model``."""

    source: str
    mode: str
    plain: PlainConfig
    trusted: bool


def cluster_options(command: F) -> F:
    """Adds ``--cluster`` and ``--workers``, for commands whose work several processes can share."""
    return settings_options(Sharing)(command)


@contextmanager
def joined_cluster(context: click.Context) -> Iterator[Cluster | None]:
    """Joins the cluster that a command works in, with nothing on stdout meanwhile; gives None where it works alone.

    Raises: SetupError as ``joined``.
    """
    sharing = settings_of(context, Sharing)
    if not sharing.cluster:
        yield None
        return
    from ranker.cluster.engine import joined

    with joined(sharing.cluster, sharing.workers, settings_of(context, Compute).device) as cluster:
        yield cluster


def open_scorer(context: click.Context, wanted: Wanted, cluster: Cluster | None, overflow: Overflow = CUT) -> Scorer:
    """Opens a model that computes here, or by the workers of a cluster."""
    from ranker.model.loading import load_model
    from ranker.scoring.scorer import Scorer

    if cluster is None:
        compute = checked_compute(context)
        return Scorer(say_notes(load_model(*wanted)), compute, overflow)
    from ranker.cluster.backend import RayBackend

    model, compute = say_notes(load_model(*wanted)), settings_of(context, Compute)
    return Scorer(model, compute, overflow, RayBackend(model, compute, cluster, wanted.trusted))
