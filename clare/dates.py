"""Days and spans of days, as people write them: a year, a month, a day, from one to another, or up
to one."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date

_FORM = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)


@dataclass(frozen=True, order=True)
class Span:
    """Days from the first to the last, both counted."""

    first: date
    last: date


def read_span(text: str) -> Span:
    """The days of ``2024``, ``2024-03``, ``2024-03-05``, or of two of these with ``/`` between.

    Of ``/2024-03``, which says by when and not since when, the first day is that of the calendar.

    Raises:
        ValueError: it is none of these, in one sentence.
    """
    begin, slash, end = text.partition("/")
    last = _days(text, (end if slash else begin).strip())
    first = _days(text, begin.strip()) if begin.strip() or not slash else Span(date.min, date.min)
    if last.last < first.first:
        raise ValueError(f"{text!r} ends before it begins")
    return Span(first.first, last.last)


def is_span(text: str) -> bool:
    """Whether `read_span` reads it."""
    try:
        read_span(text)
    except ValueError:
        return False
    return True


def span_text(text: str) -> str:
    """A span for people: ``2014 to 2021``, ``by 2021``."""
    begin, slash, end = (part.strip() for part in text.partition("/"))
    return f"{begin} to {end}" if slash and begin else f"by {end}" if slash else begin


def _days(text: str, part: str) -> Span:
    found = _FORM.fullmatch(part)
    try:
        if found is None:
            raise ValueError
        year, month, day = (None if one is None else int(one) for one in found.groups())
        begin = date(year or 0, month or 1, day or 1)
        end = month or 12
        return Span(begin, date(begin.year, end, day or calendar.monthrange(begin.year, end)[1]))
    except ValueError:
        raise ValueError(
            f"{text[:80]!r} is no date: write 2024, 2024-03, 2024-03-05, two of these with / "
            "between, or /2024 for by then"
        ) from None
