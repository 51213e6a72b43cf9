"""What `clare faces` prints: how many images have a face, and which have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from clare.cli.views.console import console
from clare.cli.views.table import table
from clare.pipeline.faces.look import FaceReport

SHOWN = 20


def show_faces(reports: Sequence[FaceReport]) -> None:
    """Print a line a manifest, then the images without a face and why."""
    lines = [
        (
            report.manifest,
            report.images,
            report.known,
            report.one,
            report.several,
            len(report.missing),
            ", ".join(f"{count} by {turn}°" for turn, count in sorted(report.turned.items()))
            or "–",
            report.rows,
        )
        for report in reports
    ]
    heads = ("manifest", "images", "known before", "one face", "several", "none", "turned", "rows")
    console.print(table(None, heads, lines))
    missing = [
        (report.manifest.name, sample, reason)
        for report in reports
        for sample, reason in report.missing.items()
    ]
    if not missing:
        return
    kinds = Counter(reason.partition(":")[0] for _, _, reason in missing)
    console.print(table("no face", ("reason", "images"), kinds.most_common()))
    console.print(table(None, ("manifest", "image", "reason"), missing[:SHOWN], left=3))
    if len(missing) > SHOWN:
        console.print(f"… and {len(missing) - SHOWN} more: the column no_face has them all")
