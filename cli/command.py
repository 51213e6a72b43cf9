"""Commands as Typer builds them, with two gifts: a group imports one when it is asked for, and
what is said while one runs is worded in its own options."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from clare.advice import Advice, Notice

AGAIN = "the same command goes on where this one stopped"

MARKUP: Literal["markdown"] = "markdown"  # Rich's own takes "[default: 4]" for a style and drops it

_running: ContextVar[typer.Context | None] = ContextVar("running", default=None)
_going_on: ContextVar[Callable[[], Advice | None] | None] = ContextVar("going_on", default=None)
_typed: ContextVar[tuple[str, ...]] = ContextVar("typed", default=())


class StoppedError(Exception):
    """The user stopped a command.

    Args:
        advice: how to go on, if anything is to.
    """

    def __init__(self, advice: Advice | None) -> None:
        super().__init__(advice)
        self.notice = Notice("stopped") if advice is None else Notice("stopped", advice)


class Command(TyperCommand):
    """A command that is known as the running one, even after it has failed."""

    def get_params(self, ctx: Any) -> Any:
        """Its parameters; a switch is shown without a type, for it takes no value."""
        return _without_types(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        _running.set(ctx)
        _going_on.set(None)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            ask = _going_on.get()
            raise StoppedError(ask() if ask is not None else None) from error


class LazyGroup(TyperGroup):
    """A group whose commands are files of `clare.cli.commands`, imported when they are asked for.

    Until then a placeholder stands for a command in the help, which needs its first line alone.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        """Run what is typed, or what stands in ``args``."""
        _typed.set(tuple(sys.argv[1:] if args is None else args))
        return super().main(args, *rest, **settings)

    def get_params(self, ctx: Any) -> Any:
        """Its parameters; a switch is shown without a type, for it takes no value."""
        return _without_types(super().get_params(ctx))

    def load(self, name: str) -> Any:
        """The command itself, from its file: the group ``app``, or the function of its name."""
        if not isinstance(self.commands[name], Command | TyperGroup):
            file = name.replace("-", "_")
            module = import_module(f"clare.cli.commands.{file}")
            made = getattr(module, "app", None)
            if made is None:
                made = typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
                made.command(name, cls=Command)(getattr(module, file))
            self.commands[name] = get_command(made)
            self.commands[name].name = name
        return self.commands[name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, and the other words."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, placeholder and self.load(str(name)), rest


def _without_types(parameters: Any) -> Any:
    for one in parameters:
        if getattr(one, "is_flag", False):
            one.metavar = ""
    return parameters


def lazy_group(lines: Mapping[str, str], **settings: Any) -> typer.Typer:
    """A Typer of commands that are not imported yet.

    Args:
        lines: the first line of each command's help, by its name.
        settings: of `typer.Typer`.
    """
    app = typer.Typer(cls=LazyGroup, rich_markup_mode=MARKUP, **settings)
    for name, line in lines.items():
        app.command(name, help=line)(lambda: None)
    return app


def subgroup(line: str) -> typer.Typer:
    """A Typer of a few commands in one file, with the first line of its help."""
    return typer.Typer(
        help=line, no_args_is_help=True, add_completion=False, rich_markup_mode=MARKUP
    )


def when_stopped(advice: Callable[[], Advice | None]) -> None:
    """Settle what a user is told who stops the running command: how to go on, if anything is to."""
    _going_on.set(advice)


def running() -> typer.Context | None:
    """The context of the command that runs, or ran last; None before the first."""
    return _running.get()


def typed() -> tuple[str, ...]:
    """The command line as it was typed, to be kept with what it makes: ``clare``, ``extract``…"""
    return ("clare", *_typed.get())


def commands_below(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of a group and of its groups, imported, by its words."""
    for name in list(group.commands):
        command = group.load(name) if isinstance(group, LazyGroup) else group.commands[name]
        if isinstance(command, TyperGroup):
            yield from commands_below(command, (*path, name))
        else:
            yield (*path, name), command
