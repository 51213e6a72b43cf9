"""The question that a run was made for, and what its figures answer, in a few sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clare.advice import Notice
from clare.bootstrap import Figure
from clare.heads.evaluation.record import EvaluationRecord
from clare.heads.metrics.by_subset import SubsetFigures
from clare.heads.report.answer_masks import mask_answer, mask_facts, masks_beaten
from clare.heads.report.beaten import beaten_said, few
from clare.heads.report.formatting import CHANCE, decimal, said, span
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
    what = f"images of {few(tested)}" if tested else "generated faces"
    where = {one.localises for one in findings}
    if len(findings) > 1:
        if where == {True}:
            asked = f"localisers finds the fake pixels in {what} best"
        else:
            asked = f"detectors tell {what} from real ones"
            asked += ", and find their fake pixels" if True in where else ""
        unseen = all(one.record.published is None for one in findings)
        return f"Which of {len(findings)} {asked}{', all unseen' if unseen else ''}?"
    (one,) = findings
    if one.record.published is None:
        what += " that it has never seen"
    trained = f"Does {one.detector}, trained on {few(one.trained_on)},"
    if one.localises:
        return f"{trained} find the fake pixels in {what}?"
    return f"{trained} tell {what} from real ones?"


def answer_of(finding: Finding) -> str:
    """What a run's figures say, with interval, n and the baselines; no more than that."""
    return " ".join(paragraphs_of(finding))


def paragraphs_of(finding: Finding) -> list[str]:
    """The answer in paragraphs: of a localiser its maps first, then its scores if they say any."""
    test = finding.test
    if test is None:
        name, figure = finding.validation.chief
        if finding.record.imported is not None:
            return ["Not known yet: these published weights were not tested here."]
        return [
            f"Not known yet: it was not tested on {finding.rows_said}. On the {figure.n} "
            f"validation rows that chose its checkpoint: {said(figure, name)}."
        ]
    if not test.counted:
        are = "are" if len(test.subsets) > 1 else "is"
        return [f"Not known: {listed(list(test.subsets))} {are} in no mean."]
    found = [] if test.masks is None else [mask_answer(test)]
    if known := _measured(test):
        verdict = f"{_verdict(test, known)} {_beside_baselines(test, known) or _UNMEASURED}"
        found.append(f"Fakes told from reals by the map's score: {verdict}" if found else verdict)
    return found or ["Not known: no tested subset has both real and fake rows."]


_UNMEASURED = (
    "Whether it clearly beats what needs no training (file format, size, bytes, pixel statistics, "
    "mean LaRE, the cosine to real images) was not measured."
)


def beside_baselines(test: EvaluationRecord) -> str | None:
    """What a tested run beats of what needs no training; None where no baseline was measured."""
    if test.masks is not None:
        return masks_beaten(test)
    return _beside_baselines(test, _measured(test))


def facts_of(finding: Finding) -> list[tuple[str, str, str]]:
    """The figures that a reader looks for first."""
    name, validation = finding.validation.chief
    last = [(f"{name} on validation", decimal(validation.value), span(validation))]
    if finding.record.imported is not None:
        last = []  # nothing was measured as it was imported
    test = finding.test
    if test is None or not test.counted:
        return last
    facts = [] if test.masks is None else mask_facts(test, finding.rows_said)
    counted, macro = test.counted, test.macro.subsets
    of = finding.rows_said
    of = of if len(test.subsets) == 1 else f"{of} of {counted[0]}"
    of = f"mean of {len(counted)} subsets" if len(counted) > 1 else of
    names = {"auc": "AUC"}
    if test.masks is None:
        names |= {"ap": "AP", "balanced_accuracy": "balanced accuracy"}
    for figure, title in names.items():
        one = macro.frame.get(figure) if macro else None
        if one and one.value is not None:
            facts.append((f"{title}, {of}", decimal(one.value), span(one)))
    return [*facts, *last]


def _beside_baselines(test: EvaluationRecord, known: Mapping[str, SubsetFigures]) -> str | None:
    rows = {name: one.frame["auc"].n for name, one in known.items()}
    return beaten_said(test.baselines, rows, "AUC")


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


def _subsets(finding: Finding) -> Mapping[str, SubsetFigures]:
    return finding.test.subsets if finding.test else {}
