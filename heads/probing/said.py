"""What probes say, in words."""

from __future__ import annotations

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


def answer_said(answer: Answer) -> str:
    """The answer to one question, in a sentence."""
    question = f"{answer.added} beside {answer.base}"
    mean = answer.mean.auc
    if mean.value is None:
        return f"{question}: no figure."
    size = f"{mean.value:+.3f} AUC"
    if answer.mean.p is None:
        return f"{question}: {size} in the mean, without an interval."
    ups = [n for n, one in answer.gains.items() if is_sure(one) and (one.auc.value or 0) > 0]
    downs = [n for n, one in answer.gains.items() if is_sure(one) and (one.auc.value or 0) < 0]
    told = []
    if is_sure(answer.mean):
        told.append(f"it {'adds' if mean.value > 0 else 'costs'} {size} in the mean")
    else:
        told.append(f"nothing clear in the mean ({size})")
    told += [f"it adds on {listed(ups)}"] if ups else []
    told += [f"it costs on {listed(downs)}"] if downs else []
    return f"{question}: {'; '.join(told)}."
