"""Does one input add to another? Paired differences, corrected for their number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from clare.bootstrap import Figure
from clare.heads.linear.moments import Values
from clare.heads.metrics.measure import Measured, difference_of
from clare.heads.probing.prober import Fitted, Prober
from clare.heads.probing.questions import Question
from clare.heads.probing.record import Answer, Gain


def answer(
    prober: Prober,
    questions: Sequence[Question],
    best: Mapping[str, Fitted],
    share: tuple[float, int],
) -> list[Answer]:
    """What adds to what, all differences corrected together."""
    if not questions:
        return []
    known = dict(best)
    wanted = {
        one.name: one
        for question in questions
        for one in (question.base, question.together, question.control)
    }
    for fitted in prober.probe(
        [one for n, one in wanted.items() if n not in known], shares=[share]
    ):
        mine = known.get(fitted.probe.input)
        if mine is None or fitted.probe.val_auc > mine.probe.val_auc:
            known[fitted.probe.input] = fitted
    names = [*wanted]
    measured = dict(zip(names, prober.measure([known[name] for name in names]), strict=True))
    gains: list[tuple[Figure, float | None]] = []
    controls = []
    for question in questions:
        sets, mean = measured[question.base.name]
        both, both_mean = measured[question.together.name]
        for one, other in ((sets[n], both[n]) for n in sets):
            gains.append(_gain(one, other))
        gains.append(_gain(mean, both_mean))
        controls.append(_gain(mean, measured[question.control.name][1])[0])
    corrected = holm([p for _, p in gains])
    every = [Gain(figure, p, q) for (figure, p), q in zip(gains, corrected, strict=True)]
    per = len(prober.sets) + 1
    return [
        Answer(
            question.base.name,
            question.added.name,
            _how(known[question.base.name]),
            _how(known[question.together.name]),
            dict(zip(prober.sets, every[number * per : number * per + per - 1], strict=True)),
            every[(number + 1) * per - 1],
            controls[number],
        )
        for number, question in enumerate(questions)
    ]


def two_sided(value: float | None, draws: Values) -> float | None:
    """The p-value for no difference, by its bootstrap standard error and the normal law.

    Counting resamples beyond zero can't tell p below 2 / (resamples + 1), which a correction for
    many differences soon lifts above any bound.

    Args:
        value: the difference.
        draws: (B,) of it in each resample; where there are none, there is no p.
    """
    if value is None or len(draws) < 2 or np.isnan(draws).any():
        return None
    error = float(np.std(draws, ddof=1))
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return math.erfc(abs(value) / error / math.sqrt(2))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number (Holm 1979); None stays."""
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        found[place] = highest
    return found


def _gain(one: Measured, other: Measured) -> tuple[Figure, float | None]:
    found = difference_of(one, other)
    return found.figures["auc"], two_sided(found.values["auc"], found.draws.get("auc", np.empty(0)))


def _how(fitted: Fitted) -> str:
    probe = fitted.probe
    strength = "" if probe.strength is None else f" at {probe.strength:g}"
    return f"{probe.norm}, {probe.kind}{strength}"
