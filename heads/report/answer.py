"""The question that a run was made for, and what its figures answer, in two sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from clare.advice import Notice
from clare.bootstrap import Figure
from clare.heads.evaluation.baseline_names import title_of
from clare.heads.evaluation.record import Baselines, Beaten, EvaluationRecord
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
    """What a run's figures say, with interval, n and the baselines; no more than that."""
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
    if not (known := _measured(finding.test)):
        return "Not known: no tested subset has both real and fake rows."
    return f"{_verdict(finding.test, known)} {_beside_baselines(finding.test, known)}"


def beside_baselines(test: EvaluationRecord) -> str | None:
    """What a tested run beats of what needs no training; None where no baseline was measured."""
    known = _measured(test)
    if all(against_baselines(test, name) == "unknown" for name in known):
        return None
    return _beside_baselines(test, known)


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


def against_baselines(test: EvaluationRecord, subset: str) -> Beaten:
    """Whether a detector beats each measured baseline of a subset; see `Baselines.verdict`."""
    hardest = test.baselines.hardest(subset) if test.baselines else None
    return test.baselines.verdict(subset, hardest) if test.baselines and hardest else "unknown"


def baselines_said(counts: Collection[int], each: str = "each of ") -> str:
    """How many baselines are spoken of: those that were measured, whatever others there are.

    Args:
        counts: of the baselines measured, by subset or by run; at least one.
        each: what stands before the number.
    """
    least, most = min(counts), max(counts)
    if most == 1:
        return "the one baseline that was measured"
    return (
        f"{each}the {most if least == most else f'{least} to {most}'} baselines that were measured"
    )


def _measured(test: EvaluationRecord) -> dict[str, SubsetFigures]:
    """The subsets that count in the mean, where they have both real and fake rows."""
    counted = {name: test.subsets[name] for name in test.counted}
    return {n: one for n, one in counted.items() if one.frame["auc"].value is not None}


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


def _beside_baselines(test: EvaluationRecord, known: Mapping[str, SubsetFigures]) -> str:
    verdicts = {name: against_baselines(test, name) for name in known}
    if test.baselines is None or set(verdicts.values()) == {"unknown"}:
        return (
            "Whether it clearly beats what needs no training (file format, size, bytes, pixel "
            "statistics, mean LaRE, the cosine to real images) was not measured."
        )
    if len(known) == 1:
        return _beside_one(test.baselines, test.subsets, *verdicts)
    judged = {name: verdict for name, verdict in verdicts.items() if verdict != "unknown"}
    beaten = sum(verdict == "yes" for verdict in judged.values())
    lost: dict[str, list[str]] = defaultdict(list)
    for name in known:
        for baseline in test.baselines.aucs(name):
            if test.baselines.verdict(name, baseline) in ("no", "not clearly"):
                lost[title_of(baseline)].append(name)
    together: dict[str, list[str]] = defaultdict(list)
    for title, names in lost.items():
        every = len(names) == len(known) > 2
        together[f"all {len(known)}" if every else _few(names)].append(title)
    but = "; ".join(f"{listed(titles)} on {where}" for where, titles in together.items())
    unknown = [name for name in verdicts if name not in judged]
    each = baselines_said([test.baselines.measured(name) for name in judged])
    return (
        f"It clearly beats {each} (what needs no training) on {beaten} of {len(judged)}"
        f"{f', which was not measured on {_few(unknown)}' if unknown else ''}"
        f"{f'; what it does not clearly beat is {but}' if lost else ''}."
    )


def _beside_one(baselines: Baselines, subsets: Mapping[str, SubsetFigures], subset: str) -> str:
    rows = subsets[subset].frame["auc"].n
    aucs = baselines.aucs(subset)
    beaten = {name: baselines.verdict(subset, name) for name in aucs}
    named = {name: f"{title_of(name)} (AUC {decimal(auc)})" for name, auc in aucs.items()}
    by = {name: _by(baselines.lead(subset, name), rows) for name in aucs}
    measured = [baselines.measured(subset)]
    lost = listed(named[name] for name in aucs if beaten[name] == "no")
    above = [f"{named[name]} {by[name]}" for name in aucs if beaten[name] == "not clearly"]
    parts = [f"does not beat {lost}"] if "no" in beaten.values() else []
    parts += [f"is above {listed(above)}, but not clearly"] if above else []
    if parts:
        of = baselines_said(measured, "")
        return f"Of {of} (what needs no training), it {', and '.join(parts)}."
    each, name = baselines_said(measured), baselines.hardest(subset) or ""
    which = "; the hardest, " if measured[0] > 1 else ": "
    return f"It clearly beats {each} (what needs no training){which}{named[name]}, {by[name]}."


def _by(lead: Figure | None, rows: int) -> str:
    """How far a detector is above a baseline, and on how many rows where not on all."""
    if lead is None:
        return "by an unknown lead"
    ends = f"paired 95 % interval {span(lead, 3)}" if span(lead) else "no interval"
    on = "" if lead.n == rows else f", on the {lead.n:,} rows of {rows:,} that have it"
    return f"by {decimal(lead.value)} ({ends}{on})"


def _subsets(finding: Finding) -> Mapping[str, SubsetFigures]:
    return finding.test.subsets if finding.test else {}


def _few(names: Sequence[str]) -> str:
    return listed(names) if len(names) < 5 else f"{len(names)} subsets"
