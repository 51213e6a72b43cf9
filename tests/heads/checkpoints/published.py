"""Files of published formats with seeded weights, and features for the heads in them to read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clare.heads.importing import Features, import_checkpoint, open_checkpoint
from clare.heads.runs.record import ExtractorRecord
from clare.heads.runs.run import Run, open_run
from clare.heads.text.tower import TextTower
from clare.store.spec import Fingerprint

OPENAI = {"mean_std": "clip", "quick_gelu": True, "size": 224}
CENTRE = {"crop": "centre", "crop_side": None, "resize": None, "recode": None}


def one_extraction(
    specs: Mapping[str, tuple[int, ...]],
    settings: Mapping[str, Any] = OPENAI,
    images: Mapping[str, Any] = CENTRE,
    origin: Mapping[str, str] | None = None,
    extractor: str = "clip",
) -> Features:
    """Features of one extractor, as a store would have them."""
    fingerprint = Fingerprint(extractor, 1, "aa", {**settings, "images": dict(images)})
    known = {"model": "ViT-L-14", "weights": "openai"} if origin is None else origin
    return Features(
        "store.zarr",
        {fingerprint.key: ExtractorRecord(fingerprint, known)},
        {fingerprint.key: dict(specs)},
        _no_text,
    )


def together(*several: Features, text: TextTower | None = None) -> Features:
    """Features side by side in one store."""
    return Features(
        "store.zarr",
        {key: one for some in several for key, one in some.extractors.items()},
        {key: one for some in several for key, one in some.specs.items()},
        _no_text if text is None else lambda _: text,
    )


def imported(
    file: Path,
    features: Features,
    out: Path,
    *,
    format: str | None = None,
    text: TextTower | None = None,
    named: Mapping[str, str] | None = None,
    as_prepared: bool = False,
) -> Run:
    """The run that a file becomes."""
    name, checkpoint, head = open_checkpoint(file, format)
    import_checkpoint(
        name, checkpoint, head, features, out, named=named or {}, as_prepared=as_prepared
    )
    return open_run(out, text=text)


def margins(run: Run, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Logit of fake less logit of real."""
    with torch.inference_mode():
        return run.detector.margins(batch)


def _no_text(key: str) -> TextTower:
    raise AssertionError(f"{key} has no text tower")
