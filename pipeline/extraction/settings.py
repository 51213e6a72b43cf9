"""Everything that a user may ask of an extraction, beside which images it is about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from clare.advice import Name, Set
from clare.errors import InputError
from clare.models.backbones import Backbone
from clare.models.runtime import Dtype
from clare.models.weights import DETECTOR
from clare.pipeline import extractors
from clare.pipeline.extraction.presets import read_preset
from clare.pipeline.images.settings import ImageSettings
from clare.plugins import resolve_part
from clare.settings import build_settings
from clare.store.claims.terms import EXPIRE, LEAST_EXPIRE


@dataclass(frozen=True)
class ExtractSettings:
    """How an extraction goes, and into which store.

    Args:
        store: the feature store, a folder or the URL of one in a bucket. Made if it is not there.
        features: extractors: lare, clip, tower, pixels, mask, face_parts, or one of your own.
        preset: named settings to start from; clare-published are the authors'.
        settings: settings of extractors that differ from their defaults and the preset's.
        tuned: a run whose tower was tuned: its features are extracted, as new ones of the extractor
            that read it.
        backbone: real models; mini, small ones trained on drawn faces; or tiny, random ones whose
            features mean nothing.
        images: how images are prepared.
        views: views of each training image: the plain one and seeded augmentations.
        thumbnails: keep a small JPEG of each image, for reports.
        device: auto, cpu, cuda, cuda:1 or mps.
        dtype: precision of the models; auto is float16 on a GPU and float32 elsewhere.
        compile: pass the models through torch.compile.
        micro_batch: images a batch; by default the largest that fits.
        loaders: decoding threads; by default one a core.
        max_failures: share of new rows that may fail, as 1% or 0.01.
        strict: stop at the first image that fails.
        claims: how processes keep out of each other's way: auto, by locks, or by leases where locks
            don't reach every host; leases, always, for the store and for good.
        lease_seconds: seconds without a sign of life after which a process has lost its leases.

    Raises:
        InputError: a value is out of range.
    """

    store: Path = Path("features.zarr")
    features: tuple[str, ...] = ("lare", "clip")
    preset: str = "clare"
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuned: Path | None = None
    backbone: Backbone = "real"
    images: ImageSettings = field(default_factory=ImageSettings)
    views: int = 1
    thumbnails: bool = True
    device: str = "auto"
    dtype: Dtype | Literal["auto"] = "auto"
    compile: bool = False
    micro_batch: int | None = None
    loaders: int | None = None
    max_failures: float | str = "1%"
    strict: bool = False
    claims: Literal["auto", "leases"] = "auto"
    lease_seconds: float = EXPIRE

    def __post_init__(self) -> None:
        if not self.features:
            raise InputError("no extractor is named", Name("some", "features", "lare,clip"))
        for name in self.features:
            if (Path(name) / DETECTOR).is_file():
                raise InputError(
                    f"{name} is a run, and no extractor", Set("tuned", name, "reads its tower")
                )
            resolve_part(extractors, name)
        read_preset(self.preset)
        for name in ("views", "micro_batch", "loaders"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
        if not LEAST_EXPIRE <= self.lease_seconds < math.inf:
            raise InputError(
                f"lease_seconds must be at least {LEAST_EXPIRE}, not {self.lease_seconds}"
            )
        _ = self.allowed_failures

    @property
    def allowed_failures(self) -> float:
        """``max_failures`` as a number from 0 to 1.

        Raises:
            InputError: it is no share.
        """
        text = str(self.max_failures)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            raise InputError(f"max_failures {text} is not a share such as 1% or 0.01")
        return share


def build_extraction(given: Mapping[str, Any]) -> ExtractSettings:
    """Settings of an extraction from plain values, those of its images among them.

    Args:
        given: fields of `ExtractSettings` and of `ImageSettings`.

    Raises:
        InputError: a name or a value is not usable.
    """
    names = {one.name for one in fields(ImageSettings)}
    images = {name: value for name, value in given.items() if name in names}
    own = {name: value for name, value in given.items() if name not in names}
    made: ExtractSettings = build_settings("extraction", ExtractSettings, {**own, "images": images})
    return made
