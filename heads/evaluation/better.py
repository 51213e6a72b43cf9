"""Is one detector better than another? A comparison in one sentence."""

from __future__ import annotations

from clare.bootstrap import Figure
from clare.heads.evaluation.compare import Comparison
from clare.wording import listed


def verdict(report: Comparison, names: tuple[str, str]) -> str:
    """Who ranks better, by the paired difference of the AUC, on each subset and in the mean.

    Args:
        report: of two detectors.
        names: what they are called.

    Returns:
        One sentence. Where the interval of a difference holds zero, nobody leads.
    """
    parts = []
    for place in (1, 0, None):
        ahead = [
            f"{subset} ({_said(difference)})"
            for subset, pair in report.subsets.items()
            if (difference := pair.difference["auc"]).value is not None
            and leader(difference) == place
        ]
        if ahead:
            who = "neither is clearly better" if place is None else f"{names[place]} is better"
            parts.append(f"{who} on {listed(ahead)}")
    if report.macro is not None and len(report.counted) > 1:
        mean = report.macro.difference["auc"]
        if mean.value is not None:
            place = leader(mean)
            who = "neither leads" if place is None else f"{names[place]} leads"
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


def _said(difference: Figure) -> str:
    ends = ""
    if difference.low is not None and difference.high is not None:
        ends = f", 95 % {difference.low:+.3f} to {difference.high:+.3f}"
    return f"{difference.value:+.3f}{ends}"
