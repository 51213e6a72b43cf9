"""What an exported file says of itself, so that it can be used where its run is not at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clare.exports.module import BATCH, MAP_OUTPUT, ExportedModel, HeadAlone, TowerInput
from clare.heads.base import MAP
from clare.heads.config import PARTS, DetectorConfig
from clare.inference.verdict import PIXEL_CUT
from clare.models.backbones import remark_on
from clare.pipeline.faces.dlib_points import FIVE
from clare.pipeline.images.align import template
from clare.pipeline.images.settings import DLIB
from clare.plugins import part_name
from clare.version import __version__
from clare.wording import listed

if TYPE_CHECKING:
    from clare.heads.runs.record import ExtractorRecord
    from clare.heads.runs.run import Run
    from clare.pipeline.images.settings import Align
    from clare.store.spec import Fingerprint

LABELS = ("real", "fake")
"""By label."""

UNNAMED = "a detector that is not recorded"
"""In the place of a detector's name, where the manifests of a run name none."""

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Alignment:
    """The similarity transform, by least squares, that brings a face into a square.

    Args:
        side: of the square in pixels.
        templates: where the five points go, x and y in pixels of the square, by the detector whose
            points they are. Whole numbers are centres of pixels, in the image too.
        points: which five they are, in their order.
        sampling: of pixels.
        outside: what lies beyond the image.
    """

    side: int
    templates: Mapping[str, tuple[tuple[float, ...], ...]]
    points: str
    sampling: str = "bilinear"
    outside: str = "black"


@dataclass(frozen=True)
class Pixels:
    """How an image becomes an input.

    Args:
        size: side of the square in pixels.
        mean: subtracted from values of 0 to 1; R, G, B.
        std: that they are divided by then.
        images: the settings of the image preparation: crop, align, resize, recode and others.
        steps: all of it in words, in its order.
        alignment: of the face, which comes before all else; None where it is not aligned.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    images: Mapping[str, Any]
    steps: tuple[str, ...]
    alignment: Alignment | None = None


@dataclass(frozen=True)
class Input:
    """One input, float32.

    Args:
        name: of it.
        shape: the batch first.
        meaning: what it is.
        extractor: which of the extractors reads these pixels; None of a stored feature.
        pixels: how they are made; None of a stored feature.
    """

    name: str
    shape: Shape
    meaning: str
    extractor: str | None = None
    pixels: Pixels | None = None


@dataclass(frozen=True)
class Output:
    """One output, float32.

    Args:
        name: of it.
        shape: the batch first.
        meaning: what it is.
    """

    name: str
    shape: Shape
    meaning: str


@dataclass(frozen=True)
class Extracted:
    """What the features that a head learned from were made by.

    Args:
        key: name and digest of the fingerprint.
        fingerprint: everything that decides a value.
        origin: where the weights came from; of local files the name alone.
    """

    key: str
    fingerprint: Mapping[str, Any]
    origin: Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """The metadata of an export.

    Args:
        clare: the version that made it.
        torch: the version of torch below it.
        run: name of the run's folder.
        kind: ``detector``, or ``localizer``, which says which pixels are fake.
        inputs: in their order.
        outputs: in their order.
        labels: what 0 and 1 stand for.
        threshold: the margin from which on an image is called fake.
        threshold_from: how it was chosen.
        pixel_threshold: the probability above which a localiser calls a pixel fake.
        detector: fusion and classifier, or decoder, with their settings.
        extractors: by name.
        remarks: what there is to know before trusting a verdict.
        architecture: the module as torch prints it: each layer by the name that its weights have.
    """

    clare: str
    torch: str
    run: str
    kind: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, str]
    threshold: float
    threshold_from: str
    pixel_threshold: float | None
    detector: DetectorConfig
    extractors: Mapping[str, Extracted]
    remarks: tuple[str, ...]
    architecture: str


def gather_facts(
    run: Run, model: ExportedModel, inputs: Iterable[Input], remarks: Sequence[str]
) -> Facts:
    """The facts of a run's export.

    Args:
        run: the run.
        model: that is exported.
        inputs: see `pixel_inputs` and `feature_inputs`.
        remarks: see `Facts`.
    """
    config = run.record.config.detector
    localizes = MAP_OUTPUT in model.outputs
    backbones = {one.fingerprint.settings.get("backbone") for one in run.record.extractors.values()}
    trials = [remark_on(str(name)) for name in sorted(filter(None, backbones))]
    return Facts(
        clare=__version__,
        torch=version("torch"),
        run=run.path.resolve().name,
        kind="localizer" if localizes else "detector",
        inputs=tuple(inputs),
        outputs=tuple(_output(name, localizes) for name in model.outputs),
        labels=LABELS,
        threshold=run.threshold,
        threshold_from=(
            "even odds, since validation had no real images"
            if run.chosen_threshold is None
            else run.validation.threshold_source
        ),
        pixel_threshold=PIXEL_CUT if localizes else None,
        detector=_placeless(config),
        extractors={name: _extracted(one) for name, one in run.record.extractors.items()},
        remarks=(*filter(None, trials), *remarks),
        architecture=str(model),
    )


def pixel_inputs(
    towers: Sequence[tuple[TowerInput, str, Fingerprint]], detectors: Sequence[str]
) -> list[Input]:
    """The inputs of a whole detector.

    Args:
        towers: each with the extractor's name in the run, and its fingerprint.
        detectors: that found the faces it learned from.
    """
    found = []
    for tower, extractor, recorded in towers:
        size, images = tower.model.size, recorded.settings["images"]
        alignment = _alignment(images, detectors)
        pixels = Pixels(
            size=size,
            mean=tuple(tower.model.mean),
            std=tuple(tower.model.std),
            images=images,
            steps=preparation(images, size, alignment),
            alignment=alignment,
        )
        shape = (BATCH, 3, size, size)
        meaning = "normalised pixels, R, G, B; see pixels.steps"
        found.append(Input(tower.name, shape, meaning, extractor, pixels))
    return found


def feature_inputs(model: HeadAlone) -> list[Input]:
    """The inputs of a head alone."""
    return [
        Input(name, (BATCH, *shape), f"field {name} of a feature store, as it is read, in float32")
        for name, shape in model.inputs.items()
    ]


def preparation(
    images: Mapping[str, Any], size: int, alignment: Alignment | None
) -> tuple[str, ...]:
    """How pixels are prepared, in words; settings that have no words here are named as they are.

    Args:
        images: the recorded settings.
        size: side of the tower's input in pixels.
        alignment: of the face, if it is aligned.
    """
    given = dict(images)
    steps = [
        "decode the image (of an animation the first frame), turn it upright by its EXIF "
        "orientation, lay transparency over white, and bring it to 8-bit RGB"
    ]
    align, side = given.pop("align", "none"), given.pop("align_side", None)
    if alignment is not None:
        onto = "; ".join(
            f"as {detector} finds them, onto {' '.join(f'({x:.2f}, {y:.2f})' for x, y in points)}"
            for detector, points in alignment.templates.items()
        )
        steps.append(
            f"bring the face's five points ({alignment.points}), {onto}: the template of {align} "
            f"in a square of {side} pixels, by the similarity transform of least squares; "
            f"{alignment.sampling}, {alignment.outside} beyond the image"
        )
    crop = given.pop("crop")
    if crop == "boxes":
        steps.append(f"cut out the face's box, grown by {given.pop('margin')} of its sides")
    elif crop == "centre":
        whole = given.pop("crop_side", None)
        told = f"{whole} pixels, black beyond the image" if whole else "the image's shorter side"
        steps.append(f"cut out the square in the middle, of {told}")
    elif crop != "none":
        steps.append(f"crop: {crop}")
    resize, recode = given.pop("resize", None), given.pop("recode", None)
    views = ("view_seed", "view_recipe", "view_recipe_version")
    for known in ("version", *views, "margin", "crop_side"):
        given.pop(known, None)
    steps += [f"{name}: {value}" for name, value in given.items() if value is not None]
    squash = "squash to {0} x {0} pixels, bicubic, antialiased where it shrinks (Pillow's BICUBIC)"
    if resize is not None:
        steps.append(squash.format(resize))
    if recode is not None:
        container, _, quality = recode.partition(":")
        how = "subsampling 4:2:0" if container == "jpeg" else "method 4"
        steps.append(
            f"encode as {container.upper()} of quality {quality}, {how}, by Pillow, and decode "
            "again"
        )
    steps += [
        squash.format(size),
        "divide by 255, subtract mean, divide by std, a channel at a time: float32 (3, size, size)",
    ]
    return tuple(steps)


def _alignment(images: Mapping[str, Any], detectors: Sequence[str]) -> Alignment | None:
    align: Align = images.get("align", "none")
    if align == "none":
        return None
    side = images["align_side"]
    templates = {name: template(align, name, side) for name in detectors or (UNNAMED,)}
    told = "eye on the left as seen, other eye, nose, corners of the mouth likewise; face upright"
    if DLIB in templates:
        told = f"{told}; of dlib's landmarks, from 0, {listed(map(str, FIVE))}"
    plain = {name: tuple(map(tuple, one.tolist())) for name, one in templates.items()}
    return Alignment(side, plain, told)


def _output(name: str, localizes: bool) -> Output:
    shape: Shape = (BATCH, MAP, MAP) if name == MAP_OUTPUT else (BATCH,)
    meanings = {
        "margin": "score of the map as a logit: fake from threshold on"
        if localizes
        else "logit of fake less logit of real: fake from threshold on",
        "p_fake": "sigmoid of margin",
        MAP_OUTPUT: "p(fake) of each pixel of the squashed image, 0 to 1",
    }
    return Output(name, shape, meanings[name])


def _placeless(config: DetectorConfig) -> DetectorConfig:
    """With parts that are files by their names: where they stand is of no use elsewhere."""
    names: dict[str, Any] = {kind: part_name(getattr(config, kind)) for kind in PARTS}
    return replace(config, **names)


def _extracted(one: ExtractorRecord) -> Extracted:
    """With local files by their names alone."""
    origin = {
        key: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
        for key, value in one.origin.items()
    }
    return Extracted(one.fingerprint.key, one.fingerprint.to_json(), origin)
