"""Does one input add to another? Paired differences, corrected for their number."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from clare.bootstrap import Figure
from clare.heads.linear.moments import Values
from clare.heads.metrics.measure import Measured, difference_of, mean_of
from clare.heads.probing.prober import Fitted, Prober, best_of
from clare.heads.probing.questions import Question
from clare.heads.probing.record import Answer, Gain, how_said

FEWEST = 200
"""Resamples that a standard error is taken from."""

_Gap = tuple[Figure, float | None]


def answer(
    prober: Prober,
    questions: Sequence[Question],
    fitted: Sequence[Fitted],
    share: tuple[float, int],
) -> list[Answer]:
    """What adds to what, all differences corrected together.

    Both sides, and the controls, have the same normalisations to choose from. A sum shifts what a
    strength means, so that even noise beside an input can gain a little: an input adds where both
    together beat the base, and beat the base beside shuffled rows.

    Args:
        prober: fits what is not fitted yet.
        questions: that are asked.
        fitted: what is.
        share: of the training rows, that is answered for.
    """
    known: dict[str, list[Fitted]] = defaultdict(list)
    for one in fitted:
        if (one.probe.fraction, one.probe.seed) == share:
            known[one.probe.input].append(one)
    wanted = {
        one.name: one
        for question in questions
        for one in (question.base, question.together, *question.controls)
    }
    for one in prober.probe([one for n, one in wanted.items() if n not in known], shares=[share]):
        known[one.probe.input].append(one)
    sides = []
    for question in questions:
        norms = {one.probe.norm for one in known[question.together.name]}
        names = (question.base, question.together, *question.controls)
        some = [[one for one in known[n.name] if one.probe.norm in norms] for n in names]
        if all(some):
            sides.append((question, [best_of(ones) for ones in some]))
    chosen = list({id(one): one for _, several in sides for one in several}.values())
    measured = dict(zip(map(id, chosen), prober.measure(chosen), strict=True))
    gains: list[list[_Gap]] = []
    controls = []
    for _, several in sides:
        (base, base_mean), (both, both_mean), *others = (measured[id(one)] for one in several)
        shuffled = {name: mean_of([sets[name] for sets, _ in others]) for name in prober.sets}
        shuffled_mean = mean_of([mean for _, mean in others])
        gaps = [_gap(base[name], both[name], shuffled[name]) for name in prober.sets]
        gains.append([*gaps, _gap(base_mean, both_mean, shuffled_mean)])
        controls.append(difference_of(base_mean, shuffled_mean).figures["auc"])
    corrected = iter(holm([p for gaps in gains for _, p in gaps]))
    answers = []
    for (question, (base_probe, both_probe, *_)), gaps, control in zip(
        sides, gains, controls, strict=True
    ):
        every = [Gain(figure, p, next(corrected)) for figure, p in gaps]
        answers.append(
            Answer(
                question.base.name,
                question.added.name,
                how_said(base_probe.probe),
                how_said(both_probe.probe),
                dict(zip(prober.sets, every[:-1], strict=True)),
                every[-1],
                control,
            )
        )
    return answers


def two_sided(value: float | None, draws: Values) -> float | None:
    """The p-value for no difference, by its bootstrap standard error and the normal law.

    Counting resamples beyond zero can't tell p below 2 / (resamples + 1), which a correction for
    many differences soon lifts above any bound.

    Args:
        value: the difference.
        draws: (B,) of it in each resample; of fewer than `FEWEST` there is no p.
    """
    if value is None or len(draws) < FEWEST or np.isnan(draws).any():
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


def _gap(base: Measured, both: Measured, shuffled: Measured) -> _Gap:
    """The gain over the base, and the larger p of it and of that over the shuffled controls."""
    gain, beyond = difference_of(base, both), difference_of(shuffled, both)
    values = [found.values["auc"] for found in (gain, beyond)]
    tests = [
        two_sided(value, found.draws.get("auc", np.empty(0)))
        for value, found in zip(values, (gain, beyond), strict=True)
    ]
    p: float | None = None
    if None not in tests and None not in values:
        same = (values[0] or 0) * (values[1] or 0) > 0
        p = max(one or 0.0 for one in tests) if same else 1.0
    return gain.figures["auc"], p
