"""What the commands print: tables, progress bars, sizes and durations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from clare.wording import printable


class _Plain(Console):
    """A console that shows what a name holds that would steer the terminal."""

    def render_str(self, text: str, **how: Any) -> Text:
        """A text as it is printed, in a table too."""
        return super().render_str(printable(text), **how)


# Names of files and reasons are printed as they are: `[x]` is no style and `:x:` no picture.
console = _Plain(highlight=False, soft_wrap=False, markup=False, emoji=False)
messages = _Plain(stderr=True, highlight=False, markup=False, emoji=False)


def progress_bar() -> Progress:
    """A progress bar with its rate, on standard error; a log file gets nothing of it."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=messages,
        transient=True,
    )


@contextmanager
def show_progress(first: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar as a function of what is being done, how much is done, and of how much.

    Args:
        first: what is being done before the first call.
    """
    with progress_bar() as bar:
        task = bar.add_task(first, total=None)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total
        )


def table(
    title: str | None, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, left: int = 1
) -> Table:
    """A table; the first ``left`` columns hold names, the others numbers."""
    made = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for position, column in enumerate(columns):
        made.add_column(column, justify="left" if position < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*[str(cell) for cell in row])
    return made
