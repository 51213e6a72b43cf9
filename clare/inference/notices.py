"""What a user should know of a run before trusting its verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from clare.advice import Notice
from clare.advice import Run as Operation

if TYPE_CHECKING:
    from clare.heads.runs.run import Run
    from clare.store.spec import Fingerprint


def notices_of(run: Run, extractors: Sequence[Fingerprint]) -> list[Notice]:
    """What there is to say of a run whose verdicts are about to be read.

    Args:
        run: a finished run.
        extractors: whose features it reads.
    """
    imported = map(Notice, run.caveats)
    return [*imported, *_of_training(run), *_of_crops(run, extractors)]


def _of_training(run: Run) -> Iterator[Notice]:
    from clare.heads.detector import Detector
    from clare.heads.evaluation.evaluate import CONTROL
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


def _of_crops(run: Run, extractors: Sequence[Fingerprint]) -> Iterator[Notice]:
    margins = {
        recorded.settings["images"]["margin"]
        for recorded in extractors
        if recorded.settings["images"]["crop"] == "boxes"
    }
    if margins:
        yield Notice(
            f"the run was trained on faces cut out with a margin of {margins.pop()}, and images "
            "are judged as they are",
            "cut the faces out in the same way",
        )
    if crops := run.record.face_crops:
        yield Notice(
            f"the run was trained on faces cropped as {'; '.join(crops)}",
            "crop these images in the same way",
        )
    elif not margins and run.record.imported is None:
        yield Notice(
            "the run does not say how its faces were cropped; a verdict holds for images that are "
            "cropped as in training"
        )
