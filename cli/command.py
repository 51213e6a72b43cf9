"""Commands as Typer builds them, with two gifts: a group imports one when it is asked for, and
what is said while one runs is worded in its own options."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from clare.advice import Advice, Notice
from clare.errors import InputError
from clare.stopping import EXIT_STOPPED, StopAskedError, heed_signals
from clare.wording import duration

AGAIN = "the same command goes on where this one stopped"

EXIT_INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as a shell has it."""

_HEEDED = "clare.heeds_signals"

_LIST = re.compile(r"<list\[(\w+)\]>")

HELP_WIDTH = 100
"""Columns that the help takes at most, however wide the terminal is."""


@dataclass
class Loudness:
    """How much the running command says beside its result.

    Args:
        quiet: neither progress nor remarks; errors and warnings of spoilt experiments stay.
        verbose: also versions, devices, places, the time of each stage, and tracebacks.
    """

    quiet: bool = False
    verbose: bool = False


loudness = Loudness()

_running: ContextVar[typer.Context | None] = ContextVar("running", default=None)
_going_on: ContextVar[Callable[[], Advice | None] | None] = ContextVar("going_on", default=None)
_typed: ContextVar[tuple[str, ...]] = ContextVar("typed", default=())


class StoppedError(Exception):
    """The user, or a scheduler, stopped a command.

    Args:
        advice: how to go on, if anything is to.
        by: the scheduler's signal; None where it was Ctrl-C.
    """

    def __init__(self, advice: Advice | None, by: str | None = None) -> None:
        super().__init__(advice, by)
        what = "stopped" if by is None else f"stopped by {by}"
        self.notice = Notice(what) if advice is None else Notice(what, advice)
        self.exit_code = EXIT_INTERRUPTED if by is None else EXIT_STOPPED


class _Quick:
    """A command whose defaults are taken as they are, and whose help is panels of plain text.

    Typer would load pydantic to look at a default, and build a reader for each; drawn boxes take
    longer than all else of a help.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for one in self.params:  # type: ignore[attr-defined]
            one.process_value = _only_given(one, one.process_value)

    def get_params(self, ctx: Any) -> Any:
        """Its parameters; a switch is shown without a type, for it takes no value."""
        parameters = super().get_params(ctx)  # type: ignore[misc]
        reads_store = any(one.name == "store" for one in parameters)
        added = [one for one in _switches() if reads_store or one.name not in _OF_COPIES]
        parameters = [*parameters[:-1], *added, parameters[-1]]
        for one in parameters:
            if getattr(one, "is_flag", False):
                one.metavar = ""
                if one.callback is not None:  # of no setting, whose None may mean something
                    one.default = one.default or False
        return parameters

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then the panels, then the options of none."""
        panels: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        others = []
        for one in self.get_params(ctx):
            record = one.get_help_record(ctx)
            if record is None:
                continue
            name = _LIST.sub(lambda found: f"<{found[1].lower()}>...", record[0])
            text = record[1].replace("``", "")
            if one.param_type_name == "argument":
                panels["Arguments"].append((name.partition(" ")[0].upper(), text))
            elif panel := getattr(one, "rich_help_panel", None):
                panels.setdefault(panel, []).append((name, text))
            else:
                others.append((name, text))
        for title, records in {**panels, "Options": others}.items():
            if records:
                with formatter.section(typer.style(title, bold=True)):
                    formatter.write_dl(records)


def _only_given(parameter: Any, read: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """How a parameter's value is read, once a default stays what it is."""
    if parameter.required or parameter.callback is not None:
        return read
    several = parameter.multiple or parameter.nargs == -1

    def process(ctx: Any, value: Any) -> Any:
        if value is None and several:
            return ()
        return value if value is parameter.default else read(ctx, value)

    return process


class Command(_Quick, TyperCommand):
    """A command that is known as the running one, even after it has failed."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        _running.set(ctx)
        _going_on.set(None)
        _place(ctx)
        try:
            with _telling() if loudness.verbose else nullcontext():
                return super().invoke(ctx)
        except (KeyboardInterrupt, StopAskedError) as error:
            ask, by = _going_on.get(), error.name if isinstance(error, StopAskedError) else None
            raise StoppedError(ask() if ask is not None else None, by) from error


_OF_COPIES = ("cache", "cache_gib")
"""Options about copies of stores in buckets, which every command has that takes a store."""


def _place(context: Any) -> None:
    """Take URLs of buckets for what they are, and their copies to where the user wants them."""
    cache, gib = (context.params.pop(name, None) for name in _OF_COPIES)
    if gib is not None and not 1 <= gib * (1 << 30) < inf:
        raise InputError(f"--cache-gib {gib:g} is no number of GiB", "name one above 0")
    plain = cache is None and gib is None
    if plain and not any(":/" in str(value) for value in context.params.values()):
        return  # spares an import
    from clare.store.bucket.places import CACHE, ROOM, bucket_url, place_of, require_plain_words

    require_plain_words(typed())  # a path has lost what is amiss with it
    for name, value in context.params.items():
        if isinstance(value, Path) and bucket_url(value):  # `Path` took a slash of it
            context.params[name] = place_of(value)
    folder = None if cache is None else cache.expanduser().absolute()
    for name, value in ((CACHE, folder), (ROOM, gib)):
        if value is not None:
            context.call_on_close(partial(_restore, name, os.environ.get(name)))
            os.environ[name] = str(value)  # of workers too


@contextmanager
def _telling() -> Iterator[None]:
    """Send what the library notes of its work to standard error, between versions and the time."""
    import logging
    import platform
    import time
    from importlib.metadata import version

    names = ("clare-features", "torch", "numpy", "zarr", "open_clip_torch", "diffusers")
    began, log, handler = time.monotonic(), logging.getLogger("clare"), logging.StreamHandler()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        log.info("Python %s on %s", platform.python_version(), platform.platform())
        log.info(", ".join(f"{name} {version(name)}" for name in names))
        log.info("working in %s", Path.cwd())
        yield
        log.info("took %s", duration(time.monotonic() - began))
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


class Group(_Quick, TyperGroup):
    """A group of commands."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first sentence of their help, then the group's options."""
        with formatter.section(typer.style("Commands", bold=True)):
            lines = [
                (name, (one.help or "").split("\n\n")[0]) for name, one in self.commands.items()
            ]
            formatter.write_dl(lines)
        super().format_options(ctx, formatter)


class LazyGroup(Group):
    """A group whose commands are files of `clare.cli.commands`, imported when they are asked for.

    Until then a placeholder stands for a command in the help, which needs its first line alone.
    """

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> Any:
        """Run what is typed, or what stands in ``args``."""
        _typed.set(tuple(sys.argv[1:] if args is None else args))
        loudness.quiet = loudness.verbose = False
        return super().main(args, *rest, **settings)

    def load(self, name: str) -> Any:
        """The command itself, from its file: the group ``app``, or the function of its name."""
        self.commands[name] = _load(name)
        return self.commands[name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names, and the other words."""
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, placeholder and self.load(str(name)), rest


@cache
def _load(name: str) -> Any:
    file = name.replace("-", "_")
    module = import_module(f"clare.cli.commands.{file}")
    made = getattr(module, "app", None)
    if made is None:
        made = typer.Typer(add_completion=False, rich_markup_mode=None)
        made.command(name, cls=Command)(getattr(module, file))
    command = get_command(made)
    command.name = name
    return command


@cache
def _switches() -> Sequence[Any]:
    """The parameters that every command and group has, whose values go to `loudness`."""

    def quietly(value: bool) -> None:
        loudness.quiet |= value

    def verbosely(value: bool) -> None:
        loudness.verbose |= value

    def command(
        cache: Path | None = typer.Option(  # noqa: B008 - as for the others
            None,
            help="DIR of local copies of stores in buckets. [default: the job's disk, or the "
            "user's cache]",
        ),
        cache_gib: float | None = typer.Option(
            None,
            help="GiB that these copies may take together; shards that were not used for longest "
            "are deleted. [default: any number]",
        ),
        quiet: bool = typer.Option(
            False,
            "-q",
            "--quiet",
            callback=quietly,
            expose_value=False,
            help="Print the result alone, warnings of spoilt experiments, and errors.",
        ),
        verbose: bool = typer.Option(
            False,
            "-v",
            "--verbose",
            callback=verbosely,
            expose_value=False,
            help="Also print versions, devices, places, each stage's time, and tracebacks.",
        ),
    ) -> None: ...

    made = typer.Typer(add_completion=False)
    made.command()(command)
    found: list[Any] = list(get_command(made).params)
    for one in found:
        one.process_value = _only_given(one, one.process_value)
    return found


def _restore(name: str, before: str | None) -> None:
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


def lazy_group(lines: Mapping[str, str], **settings: Any) -> typer.Typer:
    """A Typer of commands that are not imported yet.

    Args:
        lines: the first line of each command's help, by its name.
        settings: of `typer.Typer`.
    """
    app = typer.Typer(cls=LazyGroup, rich_markup_mode=None, **settings)
    for name, line in lines.items():
        app.command(name, help=line)(lambda: None)
    return app


def subgroup(line: str) -> typer.Typer:
    """A Typer of a few commands in one file, with the first line of its help."""
    return typer.Typer(
        cls=Group, help=line, no_args_is_help=True, add_completion=False, rich_markup_mode=None
    )


def when_stopped(advice: Callable[[], Advice | None]) -> None:
    """Settle what a user is told who stops the running command: how to go on, if anything is to.

    From here on a scheduler may stop it too; see `clare.stopping`.
    """
    _going_on.set(advice)
    context = _running.get()
    if context is not None and not context.meta.get(_HEEDED):
        context.meta[_HEEDED] = True
        context.with_resource(heed_signals())


def running() -> typer.Context | None:
    """The context of the command that runs, or ran last; None before the first."""
    return _running.get()


def typed() -> tuple[str, ...]:
    """The command line as it was typed, to be kept with what it makes: ``clare``, ``extract``…"""
    return ("clare", *_typed.get())


def commands_below(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of a group and of its groups, imported, by its words."""
    for name in list(group.commands):
        command = find_command(group, (name,))
        if isinstance(command, TyperGroup):
            yield from commands_below(command, (*path, name))
        else:
            yield (*path, name), command


def find_command(group: Any, path: Sequence[str]) -> Any:
    """The command of a group that some words name, imported; None where there is none."""
    for name in path:
        if name not in getattr(group, "commands", ()):
            return None
        group = group.load(name) if isinstance(group, LazyGroup) else group.commands[name]
    return group
