"""What probes say, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from clare.bootstrap import Figure
from clare.heads.probing.record import Answer, Gain
from clare.wording import listed

SURE = 0.05
"""Largest corrected p-value of a difference that is called one."""


def interval_text(figure: Figure) -> str:
    """A figure, and below it its interval."""
    if figure.value is None:
        return "–"
    ends = "" if figure.low is None else f"\n{figure.low:.3f}–{figure.high:.3f}"
    return f"{figure.value:.3f}{ends}"


def gain_text(figure: Figure) -> str:
    """A difference, and below it its interval."""
    if figure.value is None:
        return "–"
    ends = "" if figure.low is None else f"\n{figure.low:+.3f} to {figure.high:+.3f}"
    return f"{figure.value:+.3f}{ends}"


def is_sure(gain: Gain) -> bool:
    """Whether a difference stays one after the correction for the number of them."""
    return gain.holm is not None and gain.holm <= SURE


def answers_said(answers: Sequence[Answer]) -> list[str]:
    """The answers in sentences: one for each clear gain or loss, one for all that is not clear."""
    clear, unclear = [], defaultdict[str, list[str]](list)
    for one in answers:
        sizes = {name: gain for name, gain in one.gains.items() if is_sure(gain)}
        mean = one.mean.auc.value
        if mean is None or not (sizes or is_sure(one.mean)):
            unclear[one.base].append(f"{one.added} ({'–' if mean is None else f'{mean:+.3f}'})")
            continue
        told = []
        if is_sure(one.mean):
            told.append(f"it {'adds' if mean > 0 else 'costs'} {abs(mean):.3f} AUC in the mean")
        for verb, up in (("adds", True), ("costs", False)):
            if some := [name for name, gain in sizes.items() if ((gain.auc.value or 0) > 0) == up]:
                told.append(f"it {verb} on {listed(some)}")
        clear.append(f"{one.added} beside {one.base}: {'; '.join(told)}.")
    return clear + [
        f"Nothing clear beside {base}: {listed(some)}; AUC in the mean in brackets."
        for base, some in unclear.items()
    ]
