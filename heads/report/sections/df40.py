"""A run as DF40's code measures, beside its published table, with what is wrong with that."""

from __future__ import annotations

from collections.abc import Sequence

from clare.heads.evaluation.df40 import DF40Record
from clare.heads.report.blocks import MISSING, Block, Cell, Items, Section, Table, Text
from clare.heads.report.formatting import number_cell
from clare.heads.report.run_results import Finding


def as_df40(findings: Sequence[Finding]) -> list[Section]:
    """The section of the runs that were measured so; none where no run was."""
    reports = {one.name: one.as_df40 for one in findings if one.as_df40 is not None}
    if not reports:
        return []
    blocks: list[Block] = [
        Text(
            "Not figures to report as your own: they repeat what DF40's code does, to stand beside "
            "its table 6.",
            "warning",
        )
    ]
    for name, report in reports.items():
        blocks.append(_table(name, report))
        notes = [f"store: {report.store}", report.unpublished]
        notes += [f"not tested, {absent}: {why}" for absent, why in report.absent.items()]
        blocks += [Text(f"{note[0].upper()}{note[1:]}.", "note") for note in notes if note]
    for title, key in (
        ("What is wrong with them:", "wrong"),
        ("What is not as its authors have it:", "unlike"),
    ):
        said = dict.fromkeys(line for report in reports.values() for line in getattr(report, key))
        blocks += [Text(title), Items(list(said))]
    return [Section("df40", "As DF40's code measures", blocks)]


def _table(name: str, report: DF40Record) -> Table:
    rows = []
    for line in report.lines:
        found = line.figures
        counts = f"{found.real:,} real, {found.fake:,} fake" if found else ""
        groups = Cell(MISSING)
        if found:
            groups = Cell(f"{found.groups:,}", f"{found.mixed:,} of both labels", found.groups)
        rows.append(
            [
                Cell(line.name, counts),
                number_cell(line.frame_auc),
                *(number_cell(value) for value in line.published.values()),
                number_cell(found.video_auc if found else None),
                groups,
            ]
        )
    published = [f"{system}, published" for system in report.published]
    heads = ["list", "frame AUC", *published, "their video AUC", "groups"]
    control = f" ({report.control})" if report.control else ""
    return Table(f"{name}, protocol {report.protocol}{control}", heads, rows)
