"""Options made from the declarations of settings, and the options of modes, models and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

import click

from ranker.cli.options import Choice
from ranker.settings.compute import Compute
from ranker.settings.fields import Option, options_of
from ranker.settings.model import MODES

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S")

MODEL_HELP: Final = "A model directory, a hub name, or 'offline' for the embedded MiniLM."


def settings_options(settings: type[Any], only: Collection[str] = ()) -> Callable[[F], F]:
    """Adds an option for each setting that has a help text, or for those of ``only``.

    ``settings_of`` reads the values back.
    """

    def decorate(command: F) -> F:
        # click lists options in the opposite order of their decorators
        for name, option in reversed(options_of(settings).items()):
            if option.help and (not only or name in only):
                command = _option(settings, name, option)(command)
        return command

    return decorate


def settings_of(
    context: click.Context, settings: Callable[..., S], others: Mapping[str, str] = MappingProxyType({})
) -> S:
    """Returns the settings that the command line gave, with values of ``others``.

    Raises: what the class raises for values it does not allow.
    """
    return settings(**context.meta.get(_key(settings), {}), **others)


def checked_compute(context: click.Context) -> Compute:
    """Returns the ``Compute`` that the command line gave, after checking that this machine supports it.

    Raises: SetupError for a device that is not here, or a precision that it does not compute.
    """
    from ranker.model.device import choose_device, choose_precision

    compute = settings_of(context, Compute)
    choose_precision(compute.precision, choose_device(compute.device))
    return compute


def mode_option(required: bool) -> Callable[[F], F]:
    """Adds ``--mode``, which names how a model reads and scores."""
    meanings = ". ".join(f"{name} {mode.help}" for name, mode in MODES.items())
    return click.option("--mode", type=Choice(tuple(MODES)), required=required, help=f"{meanings}.")


def checkpoint_option(command: F) -> F:
    """Adds ``--checkpoint-minutes``."""
    option = click.option(
        "--checkpoint-minutes",
        default=1.0,
        show_default=True,
        type=click.FloatRange(min=0),
        help="Minutes between two checkpoints, which lie beside the output; a training that was stopped goes on from "
        "the last.",
    )
    return option(command)


def _option(settings: type[Any], name: str, option: Option) -> Callable[[F], F]:
    def keep(context: click.Context, parameter: click.Parameter, value: object) -> None:  # noqa: ARG001
        context.meta.setdefault(_key(settings), {})[name] = value

    spelling = "--" + name.replace("_", "-")
    kind: Any = Choice(tuple(option.choices)) if option.choices else type(option.default)
    if kind is bool and option.default:
        spelling = f"{spelling}/--no-{spelling[2:]}"
    return click.option(
        spelling,
        type=kind,
        is_flag=kind is bool,
        default=option.default,
        show_default=kind is not bool,
        expose_value=False,
        callback=keep,
        help=f"{option.help}.",
    )


def _key(settings: Callable[..., Any]) -> str:
    return f"ranker.settings.{settings.__name__}"
