"""The mean over seeds, and how sure it is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

SHARE = 0.95


def mean_interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of the mean of figures between 0 and 1, one a seed (Student's t).

    Args:
        values: of independent runs.

    Returns:
        Its ends, within 0 and 1; nothing with fewer than two values.
    """
    if len(values) < 2:
        return None, None
    mean = statistics.fmean(values)
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return max(0.0, mean - half), min(1.0, mean + half)


def t_quantile(freedom: int) -> float:
    """What the size of t stays below in 95 % of cases, by bisection.

    Args:
        freedom: degrees of freedom, at least 1.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, freedom) < SHARE:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """P(|t| < sqrt(freedom) tan(angle)), exact (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    odd = freedom % 2
    cosine = math.cos(angle)
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for number in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (number - 1) / number
        total += term
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total
