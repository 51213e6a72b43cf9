"""What it all cost: time and disk by stage, as far as the run folder and the store know."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from clare.errors import StoreError
from clare.heads.report.blocks import (
    MISSING,
    Block,
    Cell,
    Plots,
    Section,
    Table,
    Text,
    row,
    unreadable,
)
from clare.heads.report.run_results import Finding, log_times
from clare.heads.report.stores import Part
from clare.heads.report.svg import history_plots
from clare.store.feature_store import FeatureStore
from clare.wording import duration, size


def training(finding: Finding) -> list[Block]:
    """Losses and validation figures over the epochs."""
    epoch, (_, chief) = finding.validation.epoch, finding.validation.chief
    said = Text(
        f"The checkpoint is of epoch {epoch} of {len(finding.history)}, chosen on {chief.n} "
        "validation rows."
        if epoch
        else "Published weights: nothing was trained here."
        if finding.record.imported
        else "There is nothing to learn; it was fitted once."
    )
    return [said, *([Plots(history_plots(finding.history))] if finding.history else [])]


def cost(findings: Sequence[Finding], parts: Sequence[Part]) -> Section:
    """Time and disk of extraction, training and evaluation."""
    blocks: list[Block] = []
    for source, names in parts:
        try:
            blocks.append(_extraction(source.store, names))
        except StoreError as error:
            blocks.append(unreadable(error))
    blocks.append(_training(findings))
    blocks.append(
        Text(
            "Extraction is not timed: the span is between the files of its first and its last "
            "finished shard of 64 rows, pauses included, so that a single shard has none. Runs of "
            "a sweep that step together share their seconds. Evaluations are not timed.",
            "note",
        )
    )
    return Section("cost", "Cost", blocks)


def _extraction(store: FeatureStore, names: Sequence[str]) -> Table:
    found: dict[str, list[tuple[int, int, tuple[float, float] | None, str]]] = {}
    for name in names:
        for feature in store.features(name):
            counts, made = feature.counts(), feature.made_with() or {}
            entry = (counts["complete"], counts["bytes"], feature.written(), made.get("device", ""))
            found.setdefault(feature.key, []).append(entry)
    rows = []
    for key, entries in found.items():
        done, taken = sum(e[0] for e in entries), sum(e[1] for e in entries)
        spans = [e[2] for e in entries if e[2] is not None]
        rows.append(
            row(
                key,
                done,
                Cell(size(taken), f"{size(taken / max(done, 1))} a row", taken),
                _between(min(s[0] for s in spans), max(s[1] for s in spans)) if spans else "",
                Cell(", ".join(sorted({e[3] for e in entries} - {""})) or "unknown"),
            )
        )
    pictures = sum(store.thumbnail_bytes(name) for name in names)
    rows.append(row("thumbnails", "", Cell(size(pictures), value=pictures), "", ""))
    heads = ["extraction", "rows", "disk", "first to last shard", "device"]
    return Table(f"Extraction into {store.path.name}", heads, rows)


def _training(findings: Sequence[Finding]) -> Table:
    rows = []
    for one in findings:
        seconds = sum(float(epoch.get("seconds") or 0) for epoch in one.history)
        learnt = sum(one.record.rows.get("train", {}).values()) * len(one.history)
        rate = f"{learnt / seconds:,.0f} rows a second" if seconds else ""
        taken = _bytes(one.path)
        rows.append(
            row(
                one.name,
                len(one.history),
                Cell(duration(seconds), rate, seconds),
                _between(*times) if (times := log_times(one.path)) else "",
                Cell(size(taken), value=taken),
            )
        )
    if len(findings) > 1:
        taken = sum(_bytes(one.path) for one in findings)
        spans = [times for one in findings if (times := log_times(one.path))]
        whole = _between(min(s[0] for s in spans), max(s[1] for s in spans)) if spans else ""
        rows.append(row(f"all {len(findings)}", "", "", whole, Cell(size(taken), value=taken)))
    heads = ["run", "epochs", "time in epochs", "first to last line of its log", "disk"]
    return Table("Training", heads, rows)


def _between(first: float, last: float) -> Cell:
    begin = time.strftime("%Y-%m-%d %H:%M", time.localtime(first))
    if first == last:
        return Cell(MISSING, f"at {begin}")
    return Cell(duration(last - first), f"from {begin}", last - first)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
