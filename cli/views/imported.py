"""What `clare import-head` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clare.advice import Run as Operation
from clare.cli.views.console import console, tell_next

if TYPE_CHECKING:
    from clare.heads.runs.run import Run


def print_imported(run: Run) -> None:
    """Print what a run was made of, what it reads, and what is to be known of it."""
    from clare.heads.metrics.predictions import p_fake

    record = run.record
    assert record.imported is not None
    about = record.imported.about
    console.print(f"{run.path}: {about.title}, from {record.imported.file}")
    console.print(f"licence {about.licence}; {about.url}", style="dim")
    console.print(
        f"reads {', '.join(run.detector.fields)} of {', '.join(record.fingerprints.values())}"
    )
    console.print(
        f"calls an image fake from p(fake) {float(p_fake(run.threshold)):.2f} on, as published"
    )
    for caveat in run.caveats:
        console.print(f"note: {caveat}")
    if extraction := _own_extraction(run):
        tell_next(extraction)
    tell_next(Operation("evaluate", (run.path,)))


def _own_extraction(run: Run) -> Operation | None:
    """What makes features by the tower that a head brought along; None where it brought none."""
    from clare.heads.runs.record import CARRIED
    from clare.pipeline.extractors import find_extractor

    brought = [
        (name, made)
        for name, made in run.record.extractors.items()
        if made.origin.get("model") == CARRIED and (run.path / CARRIED).is_dir()
    ]
    if not brought:
        return None
    ((name, made),) = brought
    found = made.fingerprint.settings
    images = found["images"]
    crop = {
        key: images[key] for key in ("crop", "crop_side") if images.get(key) not in (None, "none")
    }
    usual = vars(find_extractor(made.fingerprint.extractor).Settings())
    own = {f"{name}.{key}": found[key] for key in ("size", "mean_std") if found[key] != usual[key]}
    settings = {"features": name, f"{name}.model": run.path / CARRIED, **own, **crop}
    return Operation("extract", settings={**settings, "dtype": found["dtype"]})
