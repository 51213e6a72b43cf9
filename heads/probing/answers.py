"""Does one input add to another? Paired differences, corrected for their number."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from clare.advice import Notice
from clare.bootstrap import Figure
from clare.heads.linear.moments import Values
from clare.heads.metrics.measure import Measured, difference_of, mean_of
from clare.heads.probing.prober import Fitted, Prober, best_of
from clare.heads.probing.questions import Question
from clare.heads.probing.record import Answer, Gain, how_said

FEWEST = 200
"""Resamples that a standard error is taken from."""

_NO_LUCK = 1e-4
"""Share of a variance below which its degrees of freedom are too many to matter."""

_Gap = tuple[Figure, float | None]


def answer(
    prober: Prober,
    questions: Sequence[Question],
    fitted: Sequence[Fitted],
    share: tuple[float, int],
) -> tuple[list[Answer], list[Notice]]:
    """What adds to what, all differences corrected together; and which questions have no answer.

    Both sides have the same normalisations to choose from. A sum shifts what a strength means, so
    that even noise beside an input can gain or lose a little: an input adds where both together
    beat the base, and beat the base beside shuffled rows by more than one shuffle differs from
    another. Shuffles are fitted as both together are: did they choose for themselves, what they
    differ by would mostly be whether they chose alike, which so few can't tell.

    Args:
        prober: fits what is not fitted yet.
        questions: that are asked.
        fitted: what is.
        share: of the training rows, that is answered for.
    """
    sides, notices = _sides(prober, questions, fitted, share)
    chosen = list({id(one): one for _, several in sides for one in several}.values())
    measured = dict(
        zip(map(id, chosen), prober.measure([one.scores for one in chosen]), strict=True)
    )
    gains: list[list[_Gap]] = []
    controls = []
    for _, several in sides:
        (base, base_mean), (both, both_mean), *others = (measured[id(one)] for one in several)
        gaps = [_gap(base[n], both[n], [sets[n] for sets, _ in others]) for n in prober.sets]
        means = [mean for _, mean in others]
        gains.append([*gaps, _gap(base_mean, both_mean, means)])
        controls.append(difference_of(base_mean, mean_of(means)).figures["auc"])
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
    return answers, notices


def _sides(
    prober: Prober,
    questions: Sequence[Question],
    fitted: Sequence[Fitted],
    share: tuple[float, int],
) -> tuple[list[tuple[Question, list[Fitted]]], list[Notice]]:
    """Of each question the base alone, both together and the controls; and what has none."""
    known: dict[str, list[Fitted]] = defaultdict(list)
    for one in fitted:
        if (one.probe.fraction, one.probe.seed) == share:
            known[one.probe.input].append(one)
    wanted = {one.name: one for q in questions for one in (q.base, q.together)}
    for one in prober.probe([one for n, one in wanted.items() if n not in known], shares=[share]):
        known[one.probe.input].append(one)
    sides, notices = [], []
    for question in questions:
        both = known[question.together.name]
        norms = {one.probe.norm for one in both}
        alone = [one for one in known[question.base.name] if one.probe.norm in norms]
        lacking = [
            one.name
            for one, found in ((question.base, alone), (question.together, both))
            if not found
        ]
        if lacking:
            asked = f"whether {question.added.name} adds to {question.base.name}"
            notices.append(
                Notice(f"{asked} has no answer: nothing could be fitted to {lacking[0]}")
            )
            continue
        together = best_of(both)
        controls = prober.probe(question.controls, shares=[share], like=together.probe)
        sides.append((question, [best_of(alone), together, *controls]))
    return sides, notices


def two_sided(
    value: float | None, draws: Values, luck: float = 0.0, freedom: int = 1
) -> float | None:
    """The p-value for no difference, by its standard error and Student's law.

    Counting resamples beyond zero can't tell p below 2 / (resamples + 1), which a correction for
    many differences soon lifts above any bound. The bootstrap's variance counts as known, so that
    without luck the law is the normal one. A variance of a few values is far too small now and
    then: what both together are worth has Satterthwaite's (1946) degrees of freedom.

    Args:
        value: the difference.
        draws: (B,) of it in each resample; of fewer than `FEWEST` there is no p.
        luck: a variance that resamples do not show.
        freedom: degrees of freedom that it was estimated with.
    """
    from scipy.special import stdtr

    if value is None or len(draws) < FEWEST or np.isnan(draws).any():
        return None
    variance = float(np.var(draws, ddof=1)) + luck
    if variance == 0:
        return 1.0 if value == 0 else 0.0
    size = abs(value) / math.sqrt(variance)
    share = luck / variance
    if share < _NO_LUCK:
        return math.erfc(size / math.sqrt(2))
    return float(2 * stdtr(freedom / share**2, -size))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number (Holm 1979); None stays."""
    known = sorted((p, place) for place, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        found[place] = highest
    return found


def _gap(base: Measured, both: Measured, controls: Sequence[Measured]) -> _Gap:
    """The gain over the base, and the larger p of it and of that over the shuffled controls.

    What controls differ by is the luck of fitting and choosing: as much of it is in both together,
    and a share in the controls' mean.
    """
    gain, beyond = difference_of(base, both), difference_of(mean_of(controls), both)
    found = [one.values["auc"] for one in controls]
    spread = [one for one in found if one is not None]
    luck = float(np.var(spread, ddof=1)) * (1 + 1 / len(spread)) if len(spread) > 1 else 0.0
    values = gain.values["auc"], beyond.values["auc"]
    draws = [one.draws.get("auc", np.empty(0)) for one in (gain, beyond)]
    tests = [
        two_sided(values[0], draws[0]),
        two_sided(values[1], draws[1], luck, max(1, len(spread) - 1)),
    ]
    p: float | None = None
    if None not in tests and None not in values:
        same = (values[0] or 0) * (values[1] or 0) > 0
        p = max(one or 0.0 for one in tests) if same else 1.0
    return gain.figures["auc"], p
