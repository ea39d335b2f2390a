"""Options made from the fields of a settings class, so that names, defaults and bounds are written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from types import MappingProxyType
from typing import Any, TypeVar

import click

from ranker.cli.options import Choice
from ranker.settings.compute import DEVICES, PRECISIONS, Compute

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S")


def settings_options(
    settings: type[Any], helps: Mapping[str, str], choices: Mapping[str, Mapping[str, str]]
) -> Callable[[F], F]:
    """An option for each field that ``helps`` explains; ``settings_of`` puts their values together."""

    def decorate(command: F) -> F:
        for field in reversed(fields(settings)):
            if field.name in helps:
                command = _option(settings, field, helps[field.name], choices)(command)
        return command

    return decorate


def compute_options(command: F) -> F:
    """``--precision``, ``--device`` and ``--tokens-per-batch``, for every command that runs a model."""
    helps = {
        "precision": "; ".join(f"{name}: {meaning}" for name, meaning in PRECISIONS.items()),
        "device": "; ".join(f"{name}: {meaning}" for name, meaning in DEVICES.items()),
        "tokens_per_batch": "Tokens computed at once, padding included; 0 suits the device",
    }
    return settings_options(Compute, helps, {"precision": PRECISIONS, "device": DEVICES})(command)


def settings_of(
    context: click.Context, settings: Callable[..., S], known: Mapping[str, str] = MappingProxyType({})
) -> S:
    """The settings that the command line gave, and what else is ``known``.

    Raises: what the class raises for values it does not allow.
    """
    return settings(**context.meta.get(_key(settings), {}), **known)


def checked_compute(context: click.Context) -> Compute:
    """The ``Compute`` that the command line gave, once it is known that this machine computes so.

    Raises: SetupError for a device that is not here, or a precision that it does not compute.
    """
    from ranker.model.device import choose_device, choose_precision

    compute = settings_of(context, Compute)
    choose_precision(compute.precision, choose_device(compute.device))
    return compute


def _option(
    settings: type[Any], field: Field[Any], meaning: str, choices: Mapping[str, Mapping[str, str]]
) -> Callable[[F], F]:
    name = "--" + field.name.replace("_", "-")
    if field.default is MISSING:
        raise TypeError(f"{settings.__name__}.{field.name} has no default to show")

    def keep(context: click.Context, parameter: click.Parameter, value: object) -> None:  # noqa: ARG001
        context.meta.setdefault(_key(settings), {})[field.name] = value

    if isinstance(field.default, bool):
        switch = f"{name}/--no-{name[2:]}" if field.default else name
        return click.option(
            switch, default=field.default, is_flag=True, expose_value=False, callback=keep, help=meaning + "."
        )
    kind = Choice(tuple(choices[field.name])) if field.name in choices else type(field.default)
    return click.option(
        name, type=kind, default=field.default, show_default=True, expose_value=False, callback=keep, help=meaning + "."
    )


def _key(settings: Callable[..., Any]) -> str:
    return f"ranker.settings.{settings.__name__}"
