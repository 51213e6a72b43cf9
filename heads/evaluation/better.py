"""Is one detector, or localiser, better than another? A comparison in a sentence a figure."""

from __future__ import annotations

from collections.abc import Mapping

from clare.bootstrap import Figure
from clare.heads.evaluation.comparison import Comparison
from clare.wording import listed

NAMED = 6
"""Subsets that a sentence names one by one, each with its difference."""

_BARE = -1
"""In the place of who is ahead, where a difference has no interval."""


COMPARED = {"iou": "IoU", "f1": "F1", "ap": "pixel AP"}
"""The figures of masks that sentences are about."""


def verdict(report: Comparison, names: tuple[str, str]) -> str:
    """Who is better, by paired differences, on each subset and in the mean.

    Args:
        report: of two detectors, or of two localisers.
        names: what they are called.

    Returns:
        One sentence a figure: of localisers those of `COMPARED`; the AUC where any subset has one.
        Where the interval of a difference holds zero, nobody leads; where there is none, nothing
        says who does. Of more than `NAMED` subsets it says on how many.
    """
    said = {}
    for figure, title in COMPARED.items() if report.masks else ():
        pairs = {name: pair.difference.get(figure) for name, pair in report.masks.items()}
        said[title] = _parts(_known(pairs), names)
    if report.detects or not report.masks:
        pairs = {name: pair.difference["auc"] for name, pair in report.subsets.items()}
        counted = len(report.counted)
        mean = report.macro.difference["auc"] if report.macro is not None and counted > 1 else None
        said["AUC"] = _parts(_known(pairs), names, mean, counted)
    said = {title: parts for title, parts in said.items() if parts}
    if not said:
        return "No subset has both real and fake rows of both, so nothing says which ranks better."
    # What a difference is of is said once.
    of = [f" of {names[1]} less {names[0]}", *([""] * len(said))]
    told = zip(said.items(), of, strict=False)
    return " ".join(f"By the {title}{whose}, {'; '.join(parts)}." for (title, parts), whose in told)


def _known(pairs: Mapping[str, Figure | None]) -> dict[str, Figure]:
    found = {name: one for name, one in pairs.items() if one is not None}
    return {name: one for name, one in found.items() if one.value is not None}


def _parts(
    found: Mapping[str, Figure],
    names: tuple[str, str],
    mean: Figure | None = None,
    counted: int = 0,
) -> list[str]:
    """What the differences of one figure say."""
    parts = []
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
    if mean is not None and mean.value is not None:
        place = leader(mean)
        who = "neither leads" if place is None else f"{names[place]} leads"
        who = who if has_interval(mean) else "nothing says who leads, without an interval"
        parts.append(f"in the mean over {counted} subsets {who} ({_said(mean)})")
    return parts


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
