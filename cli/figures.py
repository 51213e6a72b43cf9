"""How figures of detectors look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clare.cli.output import console, table

HEADS = {
    "auc": "AUC",
    "ap": "AP",
    "eer": "EER",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "f1": "F1",
    "tpr_at_fpr_1": "TPR@1%",
    "tpr_at_fpr_5": "TPR@5%",
    "ece": "ECE",
    "accuracy_at_0.5": "acc@0.5",
}
"""Headings of the figures; "balanced" is the balanced accuracy."""

SHORTCUTS = {
    "format": "format",
    "size": "size",
    "bytes": "bytes",
    "laplacian": "Laplacian",
    "jpeg_size": "as JPEG",
}


def print_report(report: Mapping[str, Any]) -> None:
    """Print every subset's figures, each above its 95 % interval, and their means."""
    for level in ("frame", "video"):
        rows = [
            (f"{name}\n{_count(found, level)}", *_cells(found[level]))
            for name, found in report["subsets"].items()
            if found[level]
        ]
        if rows:
            rows += _means(report, level)
            title = "Each image" if level == "frame" else "Each video: mean score of its frames"
            console.print(table(title, ("subset", *HEADS.values()), rows))
            console.print()
    threshold = report["threshold"]
    at = "no threshold" if threshold is None else f"threshold {threshold:.4g}"
    console.print(
        f"{at} for accuracy, balanced accuracy and F1; below each figure its 95 % interval "
        f"({report['resamples']} resamples of whole videos or identities where known)",
        style="dim",
    )


def print_skipped(report: Mapping[str, Any]) -> None:
    """Say which rows could not be scored."""
    for name, count in report["skipped"].items():
        console.print(
            f"[yellow]{name}: {count} rows have no features and are left out; "
            "`clare store info` says why[/]"
        )


def print_baselines(report: Mapping[str, Any]) -> None:
    """Print the AUC of each shortcut beside the detector's."""
    found = report["baselines"]
    rows = [
        (
            name,
            _cell(report["subsets"][name]["frame"]["auc"]),
            *(_cell(shortcuts.get(shortcut)) for shortcut in SHORTCUTS),
        )
        for name, shortcuts in found["subsets"].items()
    ]
    columns = ("subset", "detector", *SHORTCUTS.values())
    console.print(table("\nAUC of what a detector must beat", columns, rows))
    source = found["pixels_from"]
    console.print(
        f"Laplacian energy and size after compression: of the {source}"
        if source
        else "the store has neither pixels nor thumbnails of all these rows, which Laplacian "
        "energy and compression need: `clare extract --features pixels`",
        style="dim",
    )


def print_against(report: Mapping[str, Any]) -> None:
    """Print published average precision and accuracy beside ours."""
    found = report["against"]
    subsets = found["subsets"]
    systems = list(dict.fromkeys(s for one in subsets.values() for s in one["published"]))
    for figure, heading in (("ap", "Average precision"), ("accuracy", "Accuracy")):
        ours = ["ours"] if figure == "ap" else ["ours", "ours: oracle, as published"]
        rows = []
        for name, one in subsets.items():
            cells = [_cell(one["ours"][figure])]
            if figure == "accuracy":
                cells.append(_cell(one["ours"]["accuracy_oracle"]))
            published = (one["published"].get(system, {}).get(figure) for system in systems)
            rows.append((name, *cells, *("–" if v is None else f"{v:.3f}" for v in published)))
        console.print(
            table(f"\n{heading} beside {found['table']}", ("subset", *ours, *systems), rows)
        )
    console.print(
        "published accuracy is at a threshold searched on the test set, as in the oracle's column; "
        "ours is at the threshold from validation",
        style="dim",
    )


def print_comparison(report: Mapping[str, Any], names: tuple[str, str]) -> None:
    """Print the figures of two detectors and their differences."""
    named = [*report["subsets"].items()]
    if len(named) > 1:
        named.append((f"mean over {len(named)} subsets", report["macro"]))
    rows = [
        (subset if first else "", label, *_cells(found[which]))
        for subset, found in named
        for first, which, label in (
            (True, "first", names[0]),
            (False, "second", names[1]),
            (False, "difference", "difference"),
        )
    ]
    console.print(table(None, ("subset", "", *HEADS.values()), rows, left=2))
    console.print(
        f"{report['rows']} rows that both have ({report['only_first']} only {names[0]}, "
        f"{report['only_second']} only {names[1]}); differences are {names[1]} less {names[0]}, "
        "their 95 % intervals paired",
        style="dim",
    )


def _means(report: Mapping[str, Any], level: str) -> list[tuple[str, ...]]:
    several = [name for name, found in report["subsets"].items() if found[level]]
    rows = []
    if len(report["categories"]) > 1:
        for name, found in report["categories"].items():
            if found[level]:
                rows.append((f"{name}\nmean of {len(found['subsets'])}", *_cells(found[level])))
    macro = report["macro"]
    if len(several) > 1 and macro["subsets"][level]:
        rows.append((f"mean of\n{len(several)} subsets", *_cells(macro["subsets"][level])))
    if len(report["categories"]) > 1 and macro["categories"][level]:
        count = len(report["categories"])
        rows.append((f"mean of\n{count} categories", *_cells(macro["categories"][level])))
    return rows


def _count(found: Mapping[str, Any], level: str) -> str:
    if level == "video":
        return f"{found['video']['auc']['n']} videos"
    return f"{found['real']} real, {found['fake']} fake"


def _cells(figures: Mapping[str, Any]) -> Sequence[str]:
    return [_cell(figures.get(name)) for name in HEADS]


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "–"
    text = f"{figure['value']:.3f}"
    if figure["low"] is None:
        return text
    return f"{text}\n{_short(figure['low'])}–{_short(figure['high'])}"


def _short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)
