"""Where commands print: results, remarks that --quiet silences, warnings, and progress bars."""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from clare.advice import Notice, Run
from clare.cli.command import loudness
from clare.cli.wording import command_line, worded
from clare.progress import StepProgress
from clare.wording import duration, printable

WHOLE = 1 << 20
"""Columns of an output that is no terminal: a log, or what `less -S` shows, keeps whole rows."""


class _Plain(Console):
    """A console that shows what a name holds that would steer the terminal."""

    def print(self, *objects: Any, **how: Any) -> None:
        """Print; a word that is wider than the terminal, as a long path is, stays whole."""
        if not how.get("soft_wrap"):
            objects = tuple(self._filled(one) if isinstance(one, str) else one for one in objects)
            how["soft_wrap"] = all(isinstance(one, str) for one in objects)
        super().print(*objects, **{"crop": False, **how})

    def _filled(self, text: str) -> str:
        lines = (
            textwrap.fill(line, self.width, break_long_words=False, break_on_hyphens=False)
            for line in text.split("\n")
        )
        return "\n".join(lines)

    def render_str(self, text: str, **how: Any) -> Text:
        """A text as it is printed, in a table too."""
        return super().render_str(printable(text), **how)

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        """The terminal's own; of no terminal as wide as is needed, unless COLUMNS says it."""
        known, told = super().size, os.environ.get("COLUMNS", "")
        if told.isdecimal() and int(told):
            return ConsoleDimensions(int(told), known.height)
        return known if self.is_terminal else ConsoleDimensions(WHOLE, known.height)


class _Remarks(_Plain):
    """What nobody asked for, as progress and advice: silent with --quiet."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is printed."""
        return loudness.quiet

    @quiet.setter
    def quiet(self, _: bool) -> None: ...


# Names of files and reasons are printed as they are: `[x]` is no style and `:x:` no picture.
console = _Plain(highlight=False, soft_wrap=False, markup=False, emoji=False)
messages = _Remarks(stderr=True, highlight=False, markup=False, emoji=False)
_warnings = _Plain(stderr=True, highlight=False, markup=False, emoji=False)


def warn(said: Notice | str) -> None:
    """Say what may spoil an experiment, with --quiet too."""
    _warnings.print(worded(said), style="yellow", soft_wrap=True)


def tell_next(run: Run) -> None:
    """Name the command that usually comes next."""
    messages.print(f"next: {command_line(run)}", soft_wrap=True)


class _Stages(Progress):
    """Progress whose tasks' times are told with --verbose, each as it ends."""

    _stage: tuple[str, float] | None = None

    def add_task(self, description: str, *how: Any, **fields: Any) -> TaskID:
        """A task; ``detail`` is shown after its description."""
        fields.setdefault("detail", "")
        self._begin(description)
        return super().add_task(description, *how, **fields)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task; another description is another stage."""
        if "description" in changes:
            self._begin(changes["description"])
        super().update(task_id, **changes)

    def stop(self) -> None:
        """Take the bar away."""
        self._begin(None)
        super().stop()

    def _begin(self, name: str | None) -> None:
        if self._stage is not None and self._stage[0] == name:
            return
        if self._stage is not None and loudness.verbose:
            what, began = self._stage
            messages.print(f"{what}: {duration(time.monotonic() - began)}", style="dim")
        self._stage = None if name is None else (name, time.monotonic())


def progress_bar(*, remaining: bool = True) -> Progress:
    """A progress bar with its rate, on standard error; a log file gets nothing of it.

    Args:
        remaining: whether the bar says the time that is left, which a caller may know better.
    """
    return _Stages(
        SpinnerColumn(),
        TextColumn("{task.description}{task.fields[detail]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if remaining else []),
        console=messages,
        transient=True,
        disable=loudness.quiet or not messages.is_terminal,
    )


@contextmanager
def show_progress(first: str) -> Iterator[StepProgress]:
    """A progress bar as a function of what is being done, how much is done, and of how much.

    Args:
        first: what is being done before the first call.
    """
    with progress_bar() as bar:
        task = bar.add_task(first, total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )
