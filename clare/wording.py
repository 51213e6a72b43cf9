"""Sizes, times, counts and lists as a person reads them, in the terminal and on a page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

NAMED_ROWS = 5
"""Rows that a message names; it counts the others."""


def size(count: float) -> str:
    """Bytes, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def time_range(low: float, high: float) -> str:
    """Two numbers of seconds as a person says them: ``20 to 35 seconds``, ``4 to 7 minutes``."""
    if high <= 180:
        begin, end, unit = 5 * int(low // 5), 5 * max(math.ceil(high / 5), 1), "seconds"
    elif high <= 5400:
        begin, end, unit = int(low // 60), math.ceil(high / 60), "minutes"
    else:
        begin, end, unit = int(low // 3600), math.ceil(high / 3600), "hours"
    return f"{begin} to {end} {unit}" if begin else f"up to {end} {unit}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 file``, ``2,000 files``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(names: Iterable[str]) -> str:
    """Names as a sentence lists them: ``a, b and c``."""
    *first, last = list(names) or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def name_rows(rows: Sequence[str], separator: str = ", ") -> str:
    """The first few rows by name and the others by number."""
    shown = separator.join(rows[:NAMED_ROWS])
    return shown if len(rows) <= NAMED_ROWS else f"{shown} and {len(rows) - NAMED_ROWS} more"


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Sort key that puts ``2.jpg`` before ``10.jpg``."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def printable(text: str) -> str:
    """A text whose characters that steer a terminal, or are none, are shown as escapes."""
    return "".join(one if one.isprintable() or one in "\n\t" else _escape(one) for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
