"""Is one detector better than another? A comparison in one sentence."""

from __future__ import annotations

from clare.bootstrap import Figure
from clare.heads.evaluation.compare import Comparison
from clare.wording import listed

NAMED = 6
"""Subsets that a sentence names one by one, each with its difference."""

_BARE = -1
"""In the place of who is ahead, where a difference has no interval."""


def verdict(report: Comparison, names: tuple[str, str]) -> str:
    """Who ranks better, by the paired difference of the AUC, on each subset and in the mean.

    Args:
        report: of two detectors.
        names: what they are called.

    Returns:
        One sentence. Where the interval of a difference holds zero, nobody leads; where there is
        none, nothing says who does. Of more than `NAMED` subsets it says on how many.
    """
    parts = []
    found = {name: pair.difference["auc"] for name, pair in report.subsets.items()}
    found = {name: difference for name, difference in found.items() if difference.value is not None}
    said = {
        1: f"{names[1]} is better",
        0: f"{names[0]} is better",
        None: "neither is clearly better",
        _BARE: "without an interval nothing says who is better",
    }
    for place, who in said.items():
        ahead = [name for name, difference in found.items() if _place(difference) == place]
        if ahead:
            where = [f"{name} ({_said(found[name])})" for name in ahead]
            many = len(found) > NAMED
            parts.append(f"{who} on {len(ahead) if many else listed(where)}")
            parts[-1] += f" of {len(found)} subsets" if many else ""
    if report.macro is not None and len(report.counted) > 1:
        mean = report.macro.difference["auc"]
        if mean.value is not None:
            place = leader(mean)
            who = "neither leads" if place is None else f"{names[place]} leads"
            who = who if has_interval(mean) else "nothing says who leads, without an interval"
            parts.append(f"in the mean over {len(report.counted)} subsets {who} ({_said(mean)})")
    if not parts:
        return "No subset has both real and fake rows of both, so nothing says which ranks better."
    what = f"AUC of {names[1]} less {names[0]}"
    return f"By the {what}, {'; '.join(parts)}."


def leader(difference: Figure) -> int | None:
    """Who is ahead by a difference of the second less the first: 0, 1, or nobody."""
    low, high = difference.low, difference.high
    if low is None or high is None or low <= 0 <= high:
        return None
    return 1 if low > 0 else 0


def has_interval(difference: Figure) -> bool:
    """Whether anything can be said of who is ahead; without an interval nothing can."""
    return difference.low is not None and difference.high is not None


def _place(difference: Figure) -> int | None:
    return leader(difference) if has_interval(difference) else _BARE


def _said(difference: Figure) -> str:
    ends = ""
    if difference.low is not None and difference.high is not None:
        ends = f", 95 % {difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.value:+.3f}{ends}"
