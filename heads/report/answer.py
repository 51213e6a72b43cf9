"""The question that a run was made for, and what its figures answer, in two sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clare.advice import Notice
from clare.bootstrap import Figure
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.evaluation.shortcuts import SHORTCUTS
from clare.heads.metrics.by_subset import SubsetFigures
from clare.heads.report.formatting import decimal, said, span
from clare.heads.report.run_results import Finding
from clare.wording import listed

TINY = (
    "The features come from small random models (the tiny backbone): every figure on this page "
    "shows that the pipeline works, and says nothing about detecting generated faces."
)
MINI = (
    "The features come from the miniature, small models trained on drawn faces: figures hold for "
    "drawn faces alone (see miniature/README.md for what they are)."
)
SHUFFLED = (
    "The labels were shuffled before training: this is the control, which has to find nothing on "
    "rows of its own labels."
)
CHANCE = 0.5


def warnings_of(findings: Sequence[Finding]) -> list[str | Notice]:
    """What a reader has to know before any figure."""
    backbones = {name for one in findings for name in one.backbones}
    found: list[str | Notice] = [
        text for name, text in (("tiny", TINY), ("mini", MINI)) if name in backbones
    ]
    shuffled = [one.name for one in findings if one.record.config.shuffle_labels]
    if shuffled:
        which = "" if len(shuffled) == len(findings) else f" ({listed(shuffled)})"
        found.append(SHUFFLED.replace("shuffled before", f"shuffled{which} before"))
    found += [
        f"{one.name} was {one.record.remainder}: its figures are not the protocol's."
        for one in findings
        if one.record.lacking
    ]
    return found + list({str(told): told for one in findings for told in one.missing}.values())


def question_of(findings: Sequence[Finding]) -> str:
    """What is asked of these runs."""
    tested = list(dict.fromkeys(name for one in findings for name in _subsets(one)))
    what = f"images of {_few(tested)}" if tested else "generated faces"
    if len(findings) > 1:
        return f"Which of {len(findings)} detectors tell {what} from real ones, all unseen?"
    (one,) = findings
    return (
        f"Does {one.detector}, trained on {_few(one.trained_on)}, tell {what} that it has never "
        "seen from real ones?"
    )


def answer_of(finding: Finding) -> str:
    """What a run's figures say, with interval, n and the shortcuts; no more than that."""
    if finding.test is None:
        auc = finding.validation.auc
        return (
            f"Not known yet: it was not tested on unseen rows. On the {auc.n} validation rows "
            f"that chose its checkpoint: {said(auc)}."
        )
    subsets = _subsets(finding)
    counted = finding.test.counted
    if not counted:
        return (
            f"Not known: {listed(list(subsets))} {'are' if len(subsets) > 1 else 'is'} in no mean."
        )
    known = {n: subsets[n] for n in counted if subsets[n].frame["auc"].value is not None}
    if not known:
        return "Not known: no tested subset has both real and fake rows."
    return f"{_verdict(finding.test, known)} {_beside_shortcuts(finding.test, known)}"


def facts_of(finding: Finding) -> list[tuple[str, str, str]]:
    """The figures that a reader looks for first."""
    validation = finding.validation.auc
    facts = [("AUC on validation", decimal(validation.value), span(validation))]
    if finding.test is None:
        return facts
    counted = finding.test.counted
    if not counted:
        return facts
    macro = finding.test.macro.subsets
    of = "unseen rows" if len(finding.test.subsets) == 1 else f"unseen rows of {counted[0]}"
    of = f"mean of {len(counted)} subsets" if len(counted) > 1 else of
    for figure, name in (("auc", "AUC"), ("ap", "AP"), ("balanced_accuracy", "balanced accuracy")):
        one = macro.frame.get(figure) if macro else None
        if one and one.value is not None:
            facts.append((f"{name}, {of}", decimal(one.value), span(one)))
    return [*facts[1:], facts[0]]


def best_shortcut(test: EvaluationRecord, subset: str) -> tuple[str, float] | None:
    """The shortcut with the highest AUC on a subset, and that AUC."""
    return test.baselines.best(subset) if test.baselines else None


def against_shortcut(test: EvaluationRecord, subset: str) -> str:
    """Whether a detector beats the best shortcut of a subset: yes, not clearly, no, or unknown."""
    best = best_shortcut(test, subset)
    return against(test.subsets[subset].frame["auc"], best[1] if best else None)


def against(auc: Figure, best: float | None) -> str:
    """Whether an AUC is above that of the best shortcut; see `against_shortcut`."""
    if best is None or auc.value is None:
        return "unknown"
    if auc.value <= best:
        return "no"
    return "yes" if auc.low is not None and auc.low > best else "not clearly"


def _verdict(test: EvaluationRecord, known: Mapping[str, SubsetFigures]) -> str:
    if len(known) == 1:
        ((name, one),) = known.items()
        rows = f"{one.real:,} real and {one.fake:,} fake rows of {name}"
        return f"{said(one.frame['auc'])} on {rows}: {_judged(one.frame['auc'])}."
    macro = test.macro.subsets.frame["auc"] if test.macro.subsets else Figure(None, None, None, 0)
    values = {name: one.frame["auc"].value or 0 for name, one in known.items()}
    least, most = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    above = [n for n, one in known.items() if (one.frame["auc"].low or 0) > CHANCE]
    ends = f" ({span(macro)})" if span(macro) else ""
    lowest, highest = decimal(values[least]), decimal(values[most])
    spread = f"from {lowest} on {least} to {highest} on {most}"
    return (
        f"Mean AUC {decimal(macro.value)}{ends} over {len(known)} subsets{_fakes(known)}, "
        f"{f'{lowest} on each' if lowest == highest else spread}; above chance, "
        f"by its 95 % interval, on {len(above)} of {len(known)}."
    )


def _fakes(known: Mapping[str, SubsetFigures]) -> str:
    counts = sorted(one.fake for one in known.values())
    each = f"{counts[0]:,}" + (f" to {counts[-1]:,}" if counts[0] < counts[-1] else "")
    return f" of {each} fakes each"


def _judged(auc: Figure) -> str:
    if auc.low is None or auc.high is None:
        return "without an interval, this settles nothing"
    if auc.low > CHANCE:
        return "better than chance"
    if auc.high < CHANCE:
        return "worse than chance, for it ranks fakes below reals"
    return "not told from chance, which is 0.5"


def _beside_shortcuts(test: EvaluationRecord, known: Mapping[str, SubsetFigures]) -> str:
    verdicts = {name: against_shortcut(test, name) for name in known}
    if set(verdicts.values()) == {"unknown"}:
        return (
            "Whether it beats what file format, size, bytes and plain pixel statistics tell was "
            "not measured."
        )
    if len(known) > 1:
        beaten = sum(verdict == "yes" for verdict in verdicts.values())
        return f"It clearly beats the best shortcut on {beaten} of {len(known)}."
    ((name, verdict),) = verdicts.items()
    shortcut, value = best_shortcut(test, name) or ("", 0.0)
    best = f"the best shortcut ({SHORTCUTS[shortcut].title}, AUC {decimal(value)})"
    return {
        "yes": f"It beats {best}.",
        "not clearly": f"It is above {best}, but not clearly: its interval reaches below that.",
        "no": f"It does not beat {best}.",
    }[verdict]


def _subsets(finding: Finding) -> Mapping[str, SubsetFigures]:
    return finding.test.subsets if finding.test else {}


def _few(names: Sequence[str]) -> str:
    return listed(names) if len(names) < 5 else f"{len(names)} subsets"
