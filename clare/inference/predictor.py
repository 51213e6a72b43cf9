"""Both stages on single images: models to features to a verdict, without a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clare.advice import LeaveOut, Name, Notice
from clare.errors import InputError
from clare.inference.inputs import collect_inputs
from clare.inference.notices import notices_of
from clare.inference.verdict import PIXEL_CUT, Verdict
from clare.pipeline.video import FRAMES
from clare.settings import build_settings
from clare.wording import listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clare.heads.layers.tower import BaseTower
    from clare.heads.runs.run import Run
    from clare.inference.inputs import Images
    from clare.inference.redelivery import Redelivery
    from clare.inference.stability import StabilitySettings
    from clare.inference.videos import Judged
    from clare.models.runtime import Runtime
    from clare.pipeline.extraction.direct import ExtractedImage, InputImage
    from clare.pipeline.extractor import Extractor
    from clare.pipeline.faces.settings import FaceSettings
    from clare.pipeline.images.settings import Align, ImageSettings
    from clare.pipeline.video.read import Video
    from clare.store.spec import Fingerprint


class Predictor:
    """A run together with the models that made its features.

    Args:
        run: folder of a finished run.
        device: ``auto`` or a torch device.
        overrides: extractor to settings that say where its weights are now; where the run reads
            two fingerprints of one extractor, ``clip_2`` is the second.
        align: how faces are found and aligned: deepfakebench, arcface, or none for images that are
            aligned already. None does what was done in training.
        faces: how they are looked for: fields of `FaceSettings`.

    Attributes:
        run: the run.
        notices: what a user should know before trusting a verdict, and which files of a folder
            the last `predict` left out.
        of_precision: those of them that say where values are of another precision than recorded.

    Raises:
        InputError: the run is not finished, or the weights are not those it was trained on.
        WeightsError: weights are not on disk and can't be fetched.
    """

    def __init__(
        self,
        run: Path,
        device: str = "auto",
        overrides: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        align: Align | None = None,
        faces: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        from clare.heads.detector import blocks_read
        from clare.heads.runs.record import read_record
        from clare.heads.runs.run import open_run
        from clare.heads.runs.tower import carried_place, tower_of
        from clare.heads.text.tower import TextTower
        from clare.models.runtime import choose_runtime
        from clare.pipeline.extraction.direct import Source
        from clare.pipeline.extraction.rebuild import rebuild_extractor

        self.notices: list[Notice] = []
        extractors: dict[str, tuple[Extractor, Fingerprint]] = {}
        text: TextTower | None = None
        tower: BaseTower | None = None
        record = read_record(run)
        for name, made in record.extractors.items():
            recorded = made.fingerprint
            given = {k: v for k, v in overrides.get(name, {}).items() if v is not None}
            if name == record.tower:  # its part that moved is the run's, float32
                tower = tower_of(run, record, {name: given})
                assert tower is not None
                text = text or TextTower.of_assets(tower.loaded.text())
                if not blocks_read(record.config.detector):
                    continue  # else it is asked what its first blocks make, as it was recorded
            self.runtime = self._runtime(choose_runtime(device), recorded)
            if "model" not in given:
                given |= carried_place(run, record, name)
            extractor = rebuild_extractor(recorded, made.origin, given, self.runtime, name)
            extractors[name] = extractor, recorded
            text = text or TextTower.of_assets(extractor.assets())
        self.run: Run = open_run(run, text=text, tower=tower)
        self.run.detector.to(self.runtime.device)
        # A localiser's masks are what it learned from, and a text tower needs no image.
        self.extractors = [
            (extractor, recorded, fields)
            for name, (extractor, recorded) in extractors.items()
            if (fields := self._read_of(name, extractor))
        ]
        self._sources = [
            Source(extractor, _images(recorded, align), fields)
            for extractor, recorded, fields in self.extractors
        ]
        self._faces = self._choose_faces(faces)
        self.of_precision = tuple(self.notices)
        self.notices += notices_of(
            self.run,
            [recorded for _, recorded, _ in self.extractors],
            self.templates,
            None if self._faces is None else self._faces.points,
        )
        self._always = tuple(self.notices)

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The diffusion steps of LaRE, as they are stored; none where it is not extracted."""
        return tuple(
            step for _, made, _ in self.extractors for step in made.settings.get("timesteps", ())
        )

    @property
    def is_localizer(self) -> bool:
        """Whether it says which pixels are fake."""
        from clare.heads.localizer import Localizer

        return isinstance(self.run.detector, Localizer)

    @property
    def templates(self) -> tuple[Align, ...]:
        """Those that faces are found and aligned to, in the order of the extractors."""
        aligned = dict.fromkeys(one.images.align for one in self._sources)
        return tuple(one for one in aligned if one != "none")

    @property
    def preparation(self) -> str:
        """How a face is found and aligned, in words; empty where none is looked for.

        With the beginning of a digest of all that decides which faces are found.

        Raises:
            InputError: a file of the face detector is missing.
        """
        if self._faces is None:
            return ""
        turned = " upright" if self._faces.upright else ""
        found = f"the {self._faces.pick}{turned} face that {self._faces.points} finds"
        aligned = f", aligned as {listed(self.templates)}" if self.templates else ""
        return f"{found} ({self._faces.digest}){aligned}"

    @property
    def even(self) -> float:
        """The threshold as a score: the sigmoid of its margin."""
        from clare.heads.metrics.predictions import p_fake

        return float(p_fake(self.run.threshold))

    def predict(
        self, images: Images, frames: int = FRAMES, stability: StabilitySettings | None = None
    ) -> list[Verdict]:
        """Judge images and videos, in their order.

        Args:
            images: files, folders (every image and video below them), arrays uint8 (H, W, 3) of
                RGB, or Pillow's images; one or several.
            frames: of each video at most, evenly spaced.
            stability: how each image is delivered and judged again; not at all if None.

        Returns:
            One verdict each; that on a video holds those on its frames.

        Raises:
            InputError: a file is not there, a folder holds no image, or an array is none.
        """
        from clare.inference.redelivery import Redelivery

        self.notices = [*self._always]
        inputs = collect_inputs(images, self.notices.append)
        again = None if stability is None else Redelivery(stability, self.run.path, inputs)
        judged = self.detect(inputs, frames, again=again)
        return [verdict for verdict, _ in judged if verdict.level != "frame"]

    def detect(
        self,
        inputs: Sequence[InputImage | Video],
        frames: int = FRAMES,
        *,
        again: Redelivery | None = None,
        pictures: bool = False,
    ) -> Iterator[Judged]:
        """Judge images and videos as they come, in their order.

        Memory does not grow with their number.

        Args:
            inputs: see `collect_inputs`.
            frames: of each video at most, evenly spaced.
            again: how each image is delivered and judged again; not at all if None.
            pictures: whether pictures for looking at are made too.

        Yields:
            Each image with what the extractors made of it; of a video each frame likewise, and
            then the video itself.
        """
        from clare.inference.videos import add_videos, images_of, most_images
        from clare.pipeline.extraction.batching import largest_batch
        from clare.pipeline.extraction.direct import extract_images

        locate = None
        if self._faces is not None:
            from clare.pipeline.faces.finder import FaceFinder

            locate = FaceFinder(self._faces).mark
        most = most_images(inputs, frames)
        most *= 1 if again is None else 1 + len(again)
        size = min(largest_batch(self.runtime.device), max(1, most))
        images = images_of(inputs, frames)
        if again is not None:
            images = again.images(images)
        batches = extract_images(
            images, self._sources, self.runtime, size, locate, pictures=pictures
        )
        judged: Iterator[tuple[Verdict, ExtractedImage]] = (
            pair for batch in batches for pair in zip(self._judge(batch), batch, strict=True)
        )
        if again is not None:
            judged = again.gather(judged)
        finish = None if again is None else again.of_video
        yield from add_videos(judged, self.run.threshold, finish)

    def _choose_faces(self, given: Mapping[str, Any]) -> FaceSettings | None:
        """How faces are looked for; None where none are."""
        from clare.pipeline.faces.settings import FaceSettings

        if self.templates or any(one.needs_face for one, _, _ in self.extractors):
            chosen: FaceSettings = build_settings("faces", FaceSettings, given)
            return chosen
        if given:
            raise InputError(
                "no face is looked for: images are judged as they are",
                Name("how faces are aligned", "align", "deepfakebench"),
                LeaveOut(*given),
            )
        return None

    def _read_of(self, name: str, extractor: Extractor) -> dict[str, str]:
        """The fields that are read of an extractor, by their names in the run; a second one may
        have others of their names."""
        from clare.store.spec import split_field

        own, sources = {one.field for one in extractor.fields}, self.run.record.sources
        named = {one: split_field(one)[0] for one in self.run.detector.fields}
        return {n: f for n, f in named.items() if f in own and sources.get(n, name) == name}

    def _judge(self, images: Sequence[ExtractedImage]) -> Iterator[Verdict]:
        """A verdict on each image of a batch."""
        import numpy as np
        import torch

        from clare.heads.localizer import Localizer

        detector = self.run.detector
        good = [image for image in images if not image.failure]
        scored: Iterator[tuple[float, NDArray[np.float32] | None]] = iter(())
        if good:
            with torch.inference_mode():
                batch = {
                    name: torch.from_numpy(np.stack([one.features[name] for one in good])).to(
                        self.runtime.device
                    )
                    for name in detector.fields
                }
                if isinstance(detector, Localizer):
                    maps = detector.maps(batch)
                    margins = detector.score(maps)
                    squashed = [*maps.float().sigmoid().cpu().numpy()]
                else:
                    margins = detector.margins(batch)
                    squashed = [None] * len(good)
            scored = zip(margins.tolist(), squashed, strict=True)
        for image in images:
            if image.failure:
                yield Verdict(image.source.path, failure=image.failure, faces=image.faces)
            else:
                yield self._verdict(image, *next(scored))

    def _verdict(
        self, image: ExtractedImage, margin: float, squashed: NDArray[np.float32] | None
    ) -> Verdict:
        from clare.heads.metrics.predictions import p_fake

        found = Verdict(
            path=image.source.path,
            label="fake" if margin >= self.run.threshold else "real",
            p_fake=float(p_fake(margin)),
            margin=margin,
            seen=self.run.seen.holds_image(image.content),
            size=image.size,
            squashed=squashed,
            faces=image.faces,
            alignment=image.alignment,
        )
        whole = found.map
        return (
            found if whole is None else replace(found, fake_area=float((whole > PIXEL_CUT).mean()))
        )

    def _runtime(self, runtime: Runtime, recorded: Any) -> Runtime:
        """The recorded precision, or full precision where a CPU would crawl with half."""
        dtype = recorded.settings.get("dtype", "float32")
        if runtime.device == "cpu" and dtype != "float32":
            self.notices.append(
                Notice(
                    f"{recorded.extractor} was extracted in {dtype} and runs in float32 here: "
                    "values differ by about a percent"
                )
            )
            dtype = "float32"
        return replace(runtime, dtype=dtype)


def _images(recorded: Fingerprint, align: Align | None) -> ImageSettings:
    """How images are prepared: as in training, but that no manifest says where a face's box is."""
    from clare.pipeline.extraction.rebuild import recorded_images

    settings = recorded_images(recorded)
    if settings.crop == "boxes":
        settings = replace(settings, crop="none")
    return settings if align is None else replace(settings, align=align)


def load_detector(
    run: Path | str,
    *,
    align: Align | None = None,
    device: str = "auto",
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    **faces: Any,
) -> Predictor:
    """A finished run with the models that made its features, to judge images with.

    Args:
        run: its folder.
        align: how faces are found and aligned: deepfakebench, arcface, or none for images that are
            aligned already. None does what was done in training.
        device: ``auto`` or a torch device.
        settings: where weights are, if not where they were: extractor to its settings, as
            ``{"lare": {"model": "models/sd21"}}``.
        faces: how faces are looked for: fields of `FaceSettings`, as ``pick`` or ``detector``.

    Raises:
        InputError: the run is not finished, or the weights are not those it was trained on.
        WeightsError: weights are not on disk and can't be fetched.
    """
    return Predictor(Path(run), device, settings, align, faces)


def predict(
    run: Path | str,
    images: Images,
    *,
    frames: int = FRAMES,
    align: Align | None = None,
    device: str = "auto",
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    stability: StabilitySettings | None = None,
    **faces: Any,
) -> list[Verdict]:
    """Judge images and videos with a run: extract their features as it was trained, score them.

    LaRE's noise depends on the bytes of a file, so an array has a slightly other score than the
    file that it was read from. `load_detector` keeps the models for more than one call.

    Args:
        run: folder of a finished run.
        images: files, folders (every image and video below them), arrays uint8 (H, W, 3) of RGB,
            or Pillow's images; one or several.
        frames: of each video at most, evenly spaced; its p(fake) is the mean of theirs.
        align: as `load_detector` takes it.
        device: ``auto`` or a torch device.
        settings: as `load_detector` takes them.
        stability: how each image is delivered and judged again; not at all if None.
        faces: as `load_detector` takes them.

    Raises:
        InputError: an image or the run is not usable.
        WeightsError: weights are not on disk and can't be fetched.
    """
    detector = load_detector(run, align=align, device=device, settings=settings, **faces)
    return detector.predict(images, frames, stability)
