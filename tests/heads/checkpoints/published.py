"""Files of published formats with seeded weights, and features for the heads in them to read."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from clare.heads.importing import Features, import_checkpoint, open_checkpoint
from clare.heads.runs.record import ExtractorRecord
from clare.heads.runs.run import Run, open_run
from clare.heads.text.tower import TextTower
from clare.inference.predictor import load_detector
from clare.models.normalisations import NORMALISATIONS
from clare.store.spec import Fingerprint

OPENAI = {"mean_std": "clip", "quick_gelu": True, "size": 224}
CENTRE = {"crop": "centre", "crop_side": None, "resize": None, "recode": None}


LARE = {"size": 256, "timesteps": [200], "latent": "sample", "error": "squared"}
"""How the published heads' maps are made."""


def one_extraction(
    specs: Mapping[str, tuple[int, ...]],
    settings: Mapping[str, Any] = OPENAI,
    images: Mapping[str, Any] = CENTRE,
    origin: Mapping[str, str] | None = None,
    extractor: str = "clip",
    weights: str = "aa",
) -> Features:
    """Features of one extractor, as a store would have them."""
    fingerprint = Fingerprint(extractor, 1, weights, {**settings, "images": dict(images)})
    known = {"model": "ViT-L-14", "weights": "openai"} if origin is None else origin
    return Features(
        "store.zarr",
        {fingerprint.key: ExtractorRecord(fingerprint, known)},
        {fingerprint.key: dict(specs)},
        _no_text,
    )


def lare_maps(
    origin: Mapping[str, str] | None = None, settings: Mapping[str, Any] = LARE
) -> Features:
    """Maps of Stable Diffusion 1.5, or of another model."""
    hub = {"model": "stable-diffusion-v1-5/stable-diffusion-v1-5", "revision": "main"}
    known = hub if origin is None else origin
    return one_extraction({"lare": (1, 4, 4, 32, 32)}, settings, {}, known, "lare")


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


def dassl_training(state: Mapping[str, torch.Tensor], epoch: int = 2) -> dict[str, Any]:
    """What Dassl saves beside a model: its scheduler's successor is code, pickled whole."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-5)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2)
    kept = {"successor": scheduler, "last_epoch": epoch}
    told = {"epoch": epoch, "optimizer": optimizer.state_dict(), "scheduler": kept}
    return {"state_dict": OrderedDict(state), **told, "val_result": None}


def margins(run: Run, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Logit of fake less logit of real."""
    with torch.inference_mode():
        return run.detector.margins(batch)


def seeded(model: nn.Module, seed: int = 0) -> Any:
    """A model with weights under which no part of it goes unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.08)
            if parameter.ndim == 1 and "bias" not in name:
                parameter.add_(1)
    return model.eval()


def draw_photograph(path: Path, side: int) -> Path:
    """Write a picture of the very size that a tower takes, so that no resizing is compared."""
    colours = np.random.default_rng(0).integers(0, 256, (7, 7, 3), np.uint8)
    Image.fromarray(colours).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path


def normalised(image: Path, name: str) -> torch.Tensor:
    """A picture (1, 3, S, S) as a tower takes it, computed in float64."""
    pixels = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1)[None].double() / 255
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in NORMALISATIONS[name])
    return ((pixels - mean) / std).float()


def judged(run: Path, image: Path) -> float:
    """The margin that a run gives an image, its models and all."""
    (verdict,) = load_detector(run, device="cpu").predict(image)
    assert verdict.margin is not None
    return verdict.margin


def _no_text(key: str) -> TextTower:
    raise AssertionError(f"{key} has no text tower")
