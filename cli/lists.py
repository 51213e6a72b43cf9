"""Lists on the command line."""

from __future__ import annotations


def split_names(text: str | None) -> list[str] | None:
    """The names of a comma-separated list; None where there is none."""
    return [name.strip() for name in text.split(",") if name.strip()] if text else None
