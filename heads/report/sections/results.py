"""Figures of the tested runs as tables, and what they stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clare.advice import Notice, Run
from clare.bootstrap import Figures
from clare.heads.evaluation.baseline_names import in_order, title_of
from clare.heads.evaluation.published import TABLES, published
from clare.heads.evaluation.record import EARLIER, Baselines, EvaluationRecord
from clare.heads.metrics.by_subset import SubsetFigures
from clare.heads.report.beaten import against_baselines
from clare.heads.report.blocks import (
    MISSING,
    Block,
    Cell,
    Plots,
    Table,
    Text,
    row,
)
from clare.heads.report.formatting import NAMES, figure_cell, lead_cell, number_cell
from clare.heads.report.run_results import Finding
from clare.heads.report.sections.localization import mask_baselines, mask_figures
from clare.heads.report.sections.pairs import pair_figures
from clare.heads.report.sections.variants import variant_figures
from clare.heads.report.svg import roc_plot, score_plots
from clare.wording import listed

PANELS = 11
"""Subsets whose scores are drawn: a dozen pictures with the ROC curves."""


def results(finding: Finding, *, alone: bool = True) -> list[Block]:
    """Figures with intervals, and curves, of a run; alone, with what the intervals are.

    Of a localiser those of its maps alone; see `detection`.
    """
    test = finding.test
    if test is None:
        told = f"Not tested on {finding.rows_said} yet"
        return [Text(Notice(told, Run("evaluate", (finding.path,))))]
    blocks = _tables(test) if test.masks is None else mask_figures(test)
    blocks += [*pair_figures(test), *variant_figures(test)]
    said = [*([_threshold_said(finding, test)] if test.masks is None else [])]
    said += [intervals_said([test])] if alone else []
    blocks += [Text(" ".join(said), "note")] if said else []
    for name, count in test.skipped.items():
        blocks.append(Text(f"{name}: {count} rows have no features and are left out.", "note"))
    blocks += [Text(f"{name}: {why}.", "note") for name, why in test.absent.items()]
    means = test.counted if test.masks is None else set(test.subsets) - set(test.aside)
    if outside := [name for name in test.subsets if name not in means]:
        blocks.append(Text(f"In no mean: {listed(outside)}.", "note"))
    blocks += [Text(note, "note") for note in test.notes]
    blocks += [] if test.masks is not None else _curves(finding, test)
    return blocks + _other_tests(finding)


def detection(finding: Finding) -> list[Block]:
    """How far a localiser's scores tell fakes from reals; nothing without reals.

    Args:
        finding: a tested localiser's.
    """
    test = finding.test
    if test is None or not test.detects:
        return []
    return [*_tables(test), Text(_threshold_said(finding, test), "note"), *_curves(finding, test)]


def _tables(test: EvaluationRecord) -> list[Block]:
    blocks: list[Block] = []
    for level, title in (("frame", "Each image"), ("video", "Each video: mean of its frames")):
        rows = _level_rows(test, level)
        if rows:
            columns = ["subset", "rows" if level == "frame" else "videos", *NAMES.values()]
            blocks.append(Table(title, columns, rows))
    return blocks


def _curves(finding: Finding, test: EvaluationRecord) -> list[Block]:
    sets = finding.sets()
    roc = roc_plot(sets, test.aucs)
    margins = score_plots(dict(list(sets.items())[:PANELS]), test.threshold)
    drawn: list[Block] = [Plots([*([roc] if roc else []), *margins])] if roc or margins else []
    return drawn + _beside_published(test)


def baselines(findings: Sequence[Finding]) -> list[Block]:
    """What runs must beat: the figures of each baseline beside each run's."""
    localisers = [one for one in findings if one.localises]
    several = len(findings) > 1
    blocks = mask_baselines(localisers, several) if localisers else []
    # A localiser's scores are beside baselines where it was tested so on reals too.
    scored = [one for one in findings if not one.localises or (one.test and one.test.baselines)]
    return blocks + (_detection_baselines(scored, several) if scored else [])


def _detection_baselines(findings: Sequence[Finding], several: bool) -> list[Block]:
    """The AUC of each baseline beside each run's."""
    blocks: list[Block] = []
    rows: list[list[Cell]] = []
    sources: list[str] = []
    known = [one.test.baselines.subsets for one in findings if one.test and one.test.baselines]
    names = in_order(name for one in known for found in one.values() for name in found)
    for finding in findings:
        test = finding.test
        measured = test.baselines if test else None
        if test is None or measured is None:
            which = f" of {finding.name}" if several else ""
            what = (
                "What needs no training (file format, size, bytes, plain pixel statistics, "
                f"mean LaRE, the cosine to real images) tells about the test rows{which} was not "
                "measured"
            )
            run = Run("evaluate", (finding.path,), {"baselines": True}, "measures it")
            blocks.append(Text(Notice(what, run)))
            continue
        sources += [measured.pixels_from] if measured.pixels_from else []
        rows += [
            [
                Cell(name, finding.name if several else ""),
                figure_cell(test.subsets[name].frame["auc"]),
                *(figure_cell(found.get(baseline)) for baseline in names),
                *_lead(measured, name, test.subsets[name].frame["auc"].n),
                _beaten(measured, name),
            ]
            for name, found in measured.subsets.items()
        ]
    if not rows:
        return blocks
    columns: list[str | Cell] = [
        Cell("subset", "run" if several else ""),
        "detector",
        *map(title_of, names),
        "hardest to beat",
        "detector's lead",
        "clearly beats each?",
    ]
    told = (
        "None of these needs training. A number of the file or its pixels counts in whichever "
        "direction it tells more, so its AUC is at least 0.5; that of the format may fall a little "
        "below, as it is judged on rows that it was not learned from. The direction of mean LaRE "
        "and of the cosine, and the centroid, are from training rows. “Yes” needs a paired "
        "interval of the detector's lead above 0 for each baseline that was measured."
        " A lead is of the rows that have what it is over. The hardest is the one that "
        "is beaten least clearly: it is chosen on these rows, which favours the baselines. "
    )
    if sources:
        of = listed(dict.fromkeys(sources))
        told += f"Laplacian energy and size as JPEG: of the {of}."
    caption = (
        "AUC of each run and of what it must beat, on test rows"
        if several
        else ("AUC and what it must beat, on test rows")
    )
    return [Table(caption, columns, rows), Text(told, "note"), *blocks]


def _lead(measured: Baselines, subset: str, rows: int) -> list[Cell]:
    """The baseline that is the hardest to beat, and how far the detector is above it."""
    hardest = measured.hardest(subset)
    if hardest is None:
        return [Cell(MISSING), Cell(MISSING)]
    return [Cell(title_of(hardest)), lead_cell(measured.lead(subset, hardest), rows)]


def _beaten(measured: Baselines, subset: str) -> Cell:
    """Whether the detector beats each baseline, and of how many that is said."""
    beaten = against_baselines(measured, subset)
    return Cell(beaten, "" if beaten == "unknown" else f"{measured.measured(subset)} measured")


def _other_tests(finding: Finding) -> list[Block]:
    """The AUC, and a localiser's IoU, of a run's earlier tests, a line a subset."""
    scored = not finding.localises or any(test.detects for test in finding.earlier)
    rows = [
        [
            Cell(name, under=test.protocol or f"split {test.split}"),
            Cell(f"{found.real:,} real, {found.fake:,} fake"),
            *([figure_cell(test.iou(name))] if finding.localises else []),
            *([figure_cell(found.frame["auc"])] if scored else []),
            Cell(test.name),
        ]
        for test in finding.earlier
        for name, found in test.subsets.items()
    ]
    if not rows:
        return []
    figures = [*(["IoU"] if finding.localises else []), *(["AUC"] if scored else [])]
    return [
        Table("Other tests of this run", ["subset", "rows", *figures, "kept as"], rows),
        Text(f"Their files are in {finding.path / EARLIER}.", "note"),
    ]


def _level_rows(test: EvaluationRecord, level: str) -> list[list[Cell]]:
    rows = []
    for name, found in test.subsets.items():
        if figures := getattr(found, level):
            beside = f"reals: {', '.join(found.beside)}" if found.beside else ""
            rows.append([Cell(name, beside), _count(found, level), *_figures(figures)])
    kinds, macro = test.categories, test.macro
    several: list[tuple[str, Any]] = []
    if len(kinds) > 1:
        several = [
            (f"{kind}, mean of {len(one.subsets)}", one)
            for kind, one in kinds.items()
            if len(one.subsets) > 1
        ]
        several.append((f"mean of {len(kinds)} categories", macro.categories))
    if len(counted := test.counted) > 1:
        several.append((f"mean of {len(counted)} subsets", macro.subsets))
    rows += [
        row(n, "", *_figures(getattr(one, level))) for n, one in several if getattr(one, level)
    ]
    return rows


def _count(found: SubsetFigures, level: str) -> Cell:
    if level == "video":
        count = found.video["auc"].n if found.video else 0
        return Cell(f"{count:,}", value=count)
    return Cell(f"{found.real:,} real", f"{found.fake:,} fake")


def _figures(figures: Figures) -> list[Cell]:
    return [figure_cell(figures.get(name)) for name in NAMES]


def intervals_said(tests: Sequence[EvaluationRecord]) -> str:
    """What the intervals of some tests are, and where there are none."""
    drawn = [test for test in tests if test.resamples]
    if not drawn:
        return "No figure has an interval, for there are no resamples."
    counts = " or ".join(f"{count:,}" for count in sorted({test.resamples for test in drawn}))
    said = (
        f"Below a figure its 95 % interval, from {counts} resamples of whole videos or "
        "identities where known: of these test rows alone, another training would add its own "
        "spread."
    )
    if len(drawn) < len(tests):
        said += " A run that was tested without resamples has none."
    aucs = [(name, one.frame["auc"]) for test in drawn for name, one in test.subsets.items()]
    bare = dict.fromkeys(n for n, auc in aucs if auc.value is not None and auc.low is None)
    if bare:
        said += (
            f" There is none on {listed(bare)}, where all reals, or all fakes, are a single video, "
            "identity or row."
        )
    return said


def _threshold_said(finding: Finding, test: EvaluationRecord) -> str:
    threshold = test.threshold
    at = "without a threshold" if threshold is None else f"at the margin {threshold:.4g}"
    return f"Accuracy, balanced accuracy and F1 are {at}, {finding.validation.threshold_source}."


def _beside_published(test: EvaluationRecord) -> list[Block]:
    blocks: list[Block] = []
    for table in TABLES:
        theirs = {name: published(table, name) for name in test.subsets}
        theirs = {name: found for name, found in theirs.items() if found}
        if not theirs:
            continue
        systems = list(dict.fromkeys(system for found in theirs.values() for system in found))
        for figure, title in (("ap", "Average precision"), ("accuracy", "Accuracy")):
            ours = {"ours": figure}
            if figure == "accuracy":
                ours["ours: oracle, as published"] = "accuracy_oracle"
            rows = [
                [Cell(label), *(figure_cell(test.subsets[n].frame.get(key)) for n in theirs)]
                for label, key in ours.items()
            ]
            rows += [
                [
                    Cell(system),
                    *(number_cell(found.get(system, {}).get(figure)) for found in theirs.values()),
                ]
                for system in systems
            ]
            blocks.append(Table(f"{title} beside {table}", ["system", *theirs], rows))
        blocks.append(
            Text(
                "Published figures are their authors', on their rows and without intervals; their "
                "accuracy is at a threshold searched on the test set, as in the oracle's line.",
                "note",
            )
        )
    return blocks
