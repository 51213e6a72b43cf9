"""Figures of the tested runs as tables, and what they stand beside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clare.advice import Notice, Run
from clare.bootstrap import Figures
from clare.heads.evaluation.baselines import BASELINES
from clare.heads.evaluation.published import TABLES, published
from clare.heads.evaluation.record import EARLIER, Baselines, EvaluationRecord
from clare.heads.metrics.by_subset import SubsetFigures
from clare.heads.report.answer import against_baselines
from clare.heads.report.blocks import (
    MISSING,
    Block,
    Cell,
    Heading,
    Plots,
    Section,
    Table,
    Text,
    row,
)
from clare.heads.report.formatting import NAMES, figure_cell, lead_cell, number_cell
from clare.heads.report.run_results import Finding
from clare.heads.report.svg import roc_plot, score_plots
from clare.wording import listed

PANELS = 12
"""Subsets whose scores are drawn."""


def results(findings: Sequence[Finding]) -> Section:
    """Figures with intervals, and curves, of every run."""
    blocks: list[Block] = []
    for finding in findings:
        if len(findings) > 1:
            blocks.append(Heading(f"{finding.name}: {finding.detector}"))
        blocks += _of_run(finding)
    return Section("results", "Results on unseen rows", blocks)


def matrix(findings: Sequence[Finding]) -> Section:
    """AUC of several runs, a row each, on every subset that one of them was tested on."""
    tested = [one for one in findings if one.test is not None]
    found = {name for one in tested if one.test for name in one.test.subsets}
    # First what the runs were trained on: then the diagonal is the easy part.
    own = dict.fromkeys(name for one in tested for name in one.trained_on)
    columns = [name for name in own if name in found] + sorted(found - set(own))
    rows = []
    for one in tested:
        subsets = one.test.subsets if one.test else {}
        cells = [
            figure_cell(subsets[n].frame["auc"] if n in subsets else None, tinted=True)
            for n in columns
        ]
        rows.append([Cell(one.name, under=f"on {', '.join(one.trained_on)}"), *cells])
    blocks: list[Block] = [
        Table("AUC: trained on (rows), tested on (columns)", ["run", *columns], rows),
        Text("Blue is above chance, red below; the paler, the nearer to 0.5.", "note"),
    ]
    untested = [one for one in findings if one.test is None]
    if untested:
        what = f"Not tested yet: {listed(one.name for one in untested)}"
        run = Run("evaluate", tuple(one.path for one in untested), effect="tests what is missing")
        blocks.append(Text(Notice(what, run), "note"))
    return Section("matrix", "Train × test", blocks)


def baselines(findings: Sequence[Finding]) -> list[Block]:
    """What a detector must beat: AUC of each baseline beside each run's."""
    blocks: list[Block] = []
    for finding in findings:
        test = finding.test
        measured = test.baselines if test else None
        which = f" of {finding.name}" if len(findings) > 1 else ""
        if test is None or measured is None:
            blocks.append(
                Text(
                    Notice(
                        "What needs no training (file format, size, bytes, plain pixel statistics, "
                        "mean LaRE, the cosine to real images) tells about the test rows"
                        f"{which} was not measured",
                        Run("evaluate", (finding.path,), {"baselines": True}, "measures it"),
                    )
                )
            )
            continue
        rows = [
            [
                Cell(name),
                figure_cell(test.subsets[name].frame["auc"]),
                *(figure_cell(found.get(baseline)) for baseline in BASELINES),
                *_lead(measured, name),
                Cell(against_baselines(test, name)),
            ]
            for name, found in measured.subsets.items()
        ]
        columns = [
            "subset",
            "detector",
            *BASELINES.values(),
            "hardest to beat",
            "detector's lead",
            "clearly beats all?",
        ]
        blocks.append(Table(f"AUC{which} and of what it must beat, on test rows", columns, rows))
        source = measured.pixels_from
        blocks.append(
            Text(
                "None of these needs training. A number of the file or its pixels counts in "
                "whichever direction it tells more, so its AUC is at least 0.5; that of the format "
                "may fall a little below, as it is judged on rows that it was not learned from. "
                "The direction of mean LaRE and of the cosine, and the centroid, are from training "
                "rows. “Yes” needs a paired interval of the detector's lead above 0 for every "
                "baseline. The hardest is the one that is beaten least clearly: it is chosen on "
                "these rows, which favours the baselines. "
                + (f"Laplacian energy and size as JPEG: of the {source}." if source else ""),
                "note",
            )
        )
    return blocks


def _lead(measured: Baselines, subset: str) -> list[Cell]:
    """The baseline that is the hardest to beat, and how far the detector is above it."""
    hardest = measured.hardest(subset)
    if hardest is None:
        return [Cell(MISSING), Cell(MISSING)]
    return [Cell(BASELINES[hardest]), lead_cell(measured.lead(subset, hardest))]


def _of_run(finding: Finding) -> list[Block]:
    test = finding.test
    if test is None:
        return [Text(Notice("Not tested on unseen rows yet", Run("evaluate", (finding.path,))))]
    blocks: list[Block] = []
    for level, title in (("frame", "Each image"), ("video", "Each video: mean of its frames")):
        rows = _level_rows(test, level)
        if rows:
            columns = ["subset", "rows" if level == "frame" else "videos", *NAMES.values()]
            blocks.append(Table(title, columns, rows))
    blocks.append(Text(_how(test), "note"))
    for name, count in test.skipped.items():
        blocks.append(Text(f"{name}: {count} rows have no features and are left out.", "note"))
    blocks += [Text(f"{name}: {why}.", "note") for name, why in test.absent.items()]
    if outside := [name for name in test.subsets if name not in test.counted]:
        blocks.append(Text(f"In no mean: {listed(outside)}.", "note"))
    blocks += [Text(note, "note") for note in test.notes]
    sets = finding.sets()
    roc = roc_plot(sets, test.aucs)
    margins = score_plots(dict(list(sets.items())[:PANELS]), test.threshold)
    if roc or margins:
        blocks.append(Plots([*([roc] if roc else []), *margins]))
    return blocks + _beside_published(test) + _other_tests(finding)


def _other_tests(finding: Finding) -> list[Block]:
    """The AUC of a run's earlier tests, a line a subset."""
    rows = [
        [
            Cell(name, under=test.protocol or f"split {test.split}"),
            Cell(f"{found.real:,} real, {found.fake:,} fake"),
            figure_cell(found.frame["auc"]),
            Cell(test.name),
        ]
        for test in finding.earlier
        for name, found in test.subsets.items()
    ]
    if not rows:
        return []
    heads = ["subset", "rows", "AUC", "kept as"]
    return [
        Table("Other tests of this run", heads, rows),
        Text(f"Their files are in {finding.path / EARLIER}.", "note"),
    ]


def _level_rows(test: EvaluationRecord, level: str) -> list[list[Cell]]:
    rows = []
    for name, found in test.subsets.items():
        if figures := getattr(found, level):
            rows.append([Cell(name), _count(found, level), *_figures(figures)])
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
    under = f"reals: {', '.join(found.beside)}" if found.beside else ""
    return Cell(f"{found.real:,} real, {found.fake:,} fake", under)


def _figures(figures: Figures) -> list[Cell]:
    return [figure_cell(figures.get(name)) for name in NAMES]


def _how(test: EvaluationRecord) -> str:
    threshold = test.threshold
    at = "without a threshold" if threshold is None else f"at the margin {threshold:.4g}"
    return (
        f"Below each figure its 95 % interval, from {test.resamples:,} resamples of whole "
        "videos or identities where known: of these test rows alone, another training would add "
        f"its own spread. Accuracy, balanced accuracy and F1 are {at}, chosen on validation."
    )


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
