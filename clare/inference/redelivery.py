"""Whether a verdict survives delivery: the image judged again as platforms would hand it on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from clare.advice import Name, Notice
from clare.augmentation.deliveries import Delivery, read_set
from clare.errors import InputError
from clare.heads.evaluation.conformal import calibrate_run
from clare.heads.metrics.predictions import mean_margins, p_fake
from clare.inference.stability import Labels, Redelivered, Stability, StabilitySettings
from clare.inference.verdict import Verdict
from clare.inference.videos import VideoImage
from clare.pipeline.extraction.direct import ExtractedImage, InputImage
from clare.pipeline.video.read import Video

if TYPE_CHECKING:
    from clare.heads.metrics.conformal import LabelSets

USUAL = 12
"""Re-deliveries of an image where nothing is asked for."""

_DIGITS = 8


class Redelivery:
    """The re-deliveries that each image of a run's inputs is judged by.

    Args:
        settings: how.
        run: folder of the run that judges.
        inputs: that are judged.

    Raises:
        InputError: the set of deliveries is not there or damaged or has not so many different
            ones, or the coverage is not between 0 and 1.
    """

    def __init__(
        self, settings: StabilitySettings, run: Path, inputs: Sequence[InputImage | Video]
    ) -> None:
        self.settings = settings
        self._videos = any(isinstance(one, Video) for one in inputs)
        self._set = read_set(settings.delivery_set)
        count = settings.times or max(USUAL, len(self._set))
        self._plan = list(islice(_in_turns([*self._set]), count))
        if settings.times is not None and len(self._plan) < count:
            raise InputError(
                f"deliveries {self._set.name} draw nothing, so an image can be delivered "
                f"{len(self._plan)} times and not {count}"
            )
        self._found = calibrate_run(run, settings.coverage)

    @property
    def sets(self) -> LabelSets | None:
        """The run's conformal sets of images; None where it has no scores of validation."""
        return None if self._found is None else self._found.frame

    @property
    def notices(self) -> list[Notice]:
        """What there is to know before a verdict is called sure."""
        told = []
        if self._videos:
            told.append(
                Notice(
                    "frames of a video are delivered as images, all of one alike: platforms encode "
                    "videos as videos, which is not tried here"
                )
            )
        alone = "what is unsure is told by the deliveries alone"
        if self._found is None:
            none = "the run has no scores of validation, so it has no conformal sets of labels"
            return [*told, Notice(f"{none}: {alone}")]
        if self._videos and self._found.video is None:
            none = "the run's validation has no videos, so there are no conformal sets of them"
            told.append(Notice(f"{none}: {alone}"))
        lower = Name("a lower one", "coverage")
        return told + [Notice(one, lower) for one in self._found.said(videos=self._videos)]

    def __len__(self) -> int:
        """How often each image is judged again."""
        return len(self._plan)

    def __str__(self) -> str:
        """What decides the verdicts, with the beginning of a digest of the deliveries."""
        digest = hashlib.sha256(self._set.text.encode()).hexdigest()[:_DIGITS]
        times = "re-delivery" if len(self) == 1 else "re-deliveries"
        told = f"{len(self)} {times} of {self._set.name} ({digest})"
        told += f", unsure where more than {self.settings.turned:g} of them turn the verdict"
        if self.sets is None:
            return told
        return (
            f"{told} or where its set, of coverage {self.sets.coverage:g}, does not hold it alone"
        )

    def cost(self, images: int) -> str:
        """What it costs to judge so many images and frames, in a sentence."""
        total = images * len(self)
        passes = "pass" if total == 1 else "passes"
        what = "image and frame" if self._videos else "image"
        most = "at most " if self._videos else ""
        return (
            f"each {what} is judged {len(self)} times more, delivered as {self._set.name} has it: "
            f"{most}{total:,} more {passes} through the models"
        )

    def images(self, images: Iterable[InputImage]) -> Iterator[InputImage]:
        """Each image, and behind it its re-deliveries; all frames of a video draw what its first
        one does."""
        video, content = None, ""
        for image in images:
            yield image
            if not isinstance(image, VideoImage) or image.frame is None:
                content = ""
            elif image.video is not video:
                video, content = image.video, hashlib.sha256(image.read()).hexdigest()
            for delivery, seed in self._plan:
                yield replace(image, delivery=delivery, seed=seed, drawn_by=content)

    def gather(
        self, judged: Iterable[tuple[Verdict, ExtractedImage]]
    ) -> Iterator[tuple[Verdict, ExtractedImage]]:
        """The verdicts on the images, each with its stability.

        Args:
            judged: in the order of `images`.
        """
        rest = iter(judged)
        for verdict, image in rest:
            again = [found for found, _ in islice(rest, len(self._plan))]
            if verdict.margin is not None:
                redelivered = [
                    Redelivered(delivery.name, seed, one.label, one.p_fake, one.margin, one.failure)
                    for (delivery, seed), one in zip(self._plan, again, strict=True)
                ]
                stable = self._stability(verdict, redelivered, self.sets)
                verdict = replace(verdict, stability=stable)
            yield verdict, image

    def of_video(self, verdict: Verdict, threshold: float) -> Verdict:
        """The verdict on a video with its stability: what its frames add up to, delivered alike.

        Args:
            verdict: on the video, with those on its frames.
            threshold: margin from which on it is called fake.
        """
        if verdict.margin is None:
            return verdict
        frames = [one.stability.redelivered for one in verdict.frames if one.stability is not None]
        again = [_whole(every, threshold) for every in zip(*frames, strict=True)]
        sets = None if self._found is None else self._found.video
        return replace(verdict, stability=self._stability(verdict, again, sets))

    def _stability(
        self, verdict: Verdict, again: Sequence[Redelivered], sets: LabelSets | None
    ) -> Stability:
        judged = [one.label for one in again if one.label is not None]
        agreeing = sum(label == verdict.label for label in judged)
        labels = _labels(verdict.margin, sets)
        agree = agreeing / len(judged) if judged else None
        # A share of whole numbers, compared so: 0.8 of 5 is 4.
        turned = len(judged) - agreeing > self.settings.turned * len(judged) + 1e-9
        sure = bool(judged) and not turned and labels in (None, verdict.label)
        return Stability(tuple(again), agree, labels, sure)


def _whole(frames: Sequence[Redelivered], threshold: float) -> Redelivered:
    """What one delivery of all frames of a video adds up to; of those that could be judged."""
    margins = np.array([one.margin for one in frames if one.margin is not None])
    one = frames[0]
    if not len(margins):
        return one
    margin = float(mean_margins(np.zeros(len(margins), np.int64), margins)[0])
    label: Literal["real", "fake"] = "fake" if margin >= threshold else "real"
    return Redelivered(one.delivery, one.seed, label, float(p_fake(margin)), margin)


def _labels(margin: float | None, sets: LabelSets | None) -> Labels | None:
    if sets is None or margin is None:
        return None
    real, fake = sets.holds(np.array([margin]))[0].tolist()
    if real == fake:
        return "both" if real else "neither"
    return "real" if real else "fake"


def _in_turns(deliveries: list[Delivery]) -> Iterator[tuple[Delivery, int]]:
    """Each delivery with seed 0, then those that draw something with 1, and so on."""
    seed = 0
    while deliveries:
        yield from ((one, seed) for one in deliveries)
        deliveries = [one for one in deliveries if one.draws]
        seed += 1
