"""What a user should know of a run before trusting its verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clare.advice import LeaveOut, Name, Notice, Set
from clare.advice import Run as Operation
from clare.wording import listed

if TYPE_CHECKING:
    from clare.heads.runs.run import Run
    from clare.pipeline.images.settings import Align
    from clare.store.spec import Fingerprint


def notices_of(
    run: Run,
    extractors: Sequence[Fingerprint],
    templates: Sequence[Align] = (),
    detector: str | None = None,
) -> list[Notice]:
    """What there is to say of a run whose verdicts are about to be read.

    Args:
        run: a finished run.
        extractors: whose features it reads.
        templates: that faces are aligned to, one after the other; none where they are as they are.
        detector: that finds them; None where none are looked for.
    """
    imported = map(Notice, run.caveats)
    return [*imported, *_of_training(run), *_of_crops(run, extractors, templates, detector)]


def remarks_of(run: Run, extractors: Sequence[Fingerprint]) -> list[Notice]:
    """What there is to say of a run to whoever prepares its inputs, as they do of an export.

    Args:
        run: a finished run.
        extractors: whose features it reads.
    """
    said = [*map(Notice, run.caveats), *_of_training(run)]
    images = [recorded.settings["images"] for recorded in extractors]
    if any(one.get("align", "none") != "none" or one["crop"] == "boxes" for one in images):
        return [*said, Notice(f"it is to be given faces as in training: {run.record.cropping}")]
    return [*said, *_of_crops(run, extractors, (), None)]


def _of_training(run: Run) -> Iterator[Notice]:
    from clare.heads.detector import Detector
    from clare.heads.evaluation.record import CONTROL
    from clare.heads.localizer import Localizer

    config, detector = run.record.config, run.detector
    if config.shuffle_labels:
        yield Notice(f"{CONTROL}: the run learned nothing, and its verdicts say nothing")
    if isinstance(detector, Detector) and not list(detector.classifier.parameters()):
        yield Notice(
            f"{config.detector.classifier} compares similarities: its p(fake) puts images in "
            "order, and is no probability"
        )
    if not isinstance(detector, Localizer):
        return
    if run.record.imported is None and not run.record.rows["train"]["real"]:
        yield Notice(
            "the run learned on fakes alone: of a real image its score and its area say little",
            Operation(
                "train_head", settings={"empty_masks": True}, effect="trains on real images too"
            ),
        )
    if config.supervision == "image":
        yield Notice(
            "the run learned from labels alone and was never shown a mask: its map says what told "
            "fakes from real images, which may be more or less than what is fake"
        )


def _of_crops(
    run: Run, extractors: Sequence[Fingerprint], templates: Sequence[Align], detector: str | None
) -> Iterator[Notice]:
    images = [recorded.settings["images"] for recorded in extractors]
    aligned = tuple(dict.fromkeys(one.get("align", "none") for one in images))
    margins = {one["margin"] for one in images if one["crop"] == "boxes"}
    if trained := tuple(one for one in aligned if one != "none"):
        yield from _of_alignment(run, trained, tuple(templates), detector)
        return
    if margins:
        yield Notice(
            f"the run was trained on faces cut out with a margin of {margins.pop()}, and images "
            "are judged as they are",
            "cut the faces out in the same way",
        )
    crops = "; ".join(run.record.face_crops)
    if templates:
        told = f"faces cropped as {crops}" if crops else "images as they were"
        yield Notice(f"the run was trained on {told}, and these are aligned as {listed(templates)}")
    elif crops:
        yield Notice(
            f"the run was trained on faces cropped as {crops}",
            "crop these images in the same way",
            Set("align", "deepfakebench", effect="finds faces and crops them as DeepfakeBench"),
        )
    elif not margins and run.record.imported is None:
        yield Notice(
            "the run does not say how its faces were cropped; a verdict holds for images that are "
            "cropped as in training"
        )


def _of_alignment(
    run: Run, trained: tuple[Align, ...], templates: tuple[Align, ...], detector: str | None
) -> Iterator[Notice]:
    """What there is to say of a run that was trained on aligned faces."""
    if templates != trained:
        done = (
            f"these are aligned as {listed(templates)}"
            if templates
            else "images are judged as they are"
        )
        yield Notice(
            f"the run was trained on faces aligned as {listed(trained)}, and {done}",
            LeaveOut("align"),
        )
    others = [name for name in run.record.face_detectors if name != detector]
    if detector is not None and others:
        yield Notice(
            f"the run was trained on faces that {listed(run.record.face_detectors)} found, and "
            f"{detector} finds these: the crops differ",
            Name("that", "detector"),
        )
