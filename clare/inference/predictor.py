"""Both stages on single images: models to features to a verdict, without a store."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

from clare.advice import Notice
from clare.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from clare.heads.runs.run import Run
    from clare.models.runtime import Runtime
    from clare.pipeline.extraction.direct import ExtractedImage
    from clare.pipeline.extractor import Extractor

    Picture = str | Path | NDArray[np.uint8] | Image
    Images = Picture | Sequence[Picture]


@dataclass(frozen=True)
class Verdict:
    """What a run says of an image.

    Args:
        path: the file; ``<image 2>`` for the second of the images where that came from memory.
        label: ``fake`` from the run's threshold on, else ``real``; None where the image can't be
            used.
        p_fake: the sigmoid of the margin.
        margin: logit of fake less logit of real.
        failure: why the image can't be used; empty where it can.
        seen: whether the run was trained, or its checkpoint chosen, on this very file: then the
            verdict says nothing about new images.
    """

    path: Path
    label: Literal["real", "fake"] | None = None
    p_fake: float | None = None
    margin: float | None = None
    failure: str = ""
    seen: bool = False


class Predictor:
    """A run together with the models that made its features.

    Args:
        run: folder of a finished run.
        device: ``auto`` or a torch device.
        overrides: extractor to settings that say where its weights are now.

    Attributes:
        run: the run.
        notices: what a user should know before trusting a verdict; `predict` adds which files of
            a folder it leaves out.

    Raises:
        InputError: the run is not finished, or the weights are not those it was trained on.
        WeightsError: weights are not on disk and can't be fetched.
    """

    def __init__(
        self,
        run: Path,
        device: str = "auto",
        overrides: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    ) -> None:
        from clare.heads.runs.record import read_record
        from clare.heads.runs.run import TEXT_TOWER, open_run
        from clare.heads.text.tower import TOKENIZER, TextTower
        from clare.models.runtime import choose_runtime
        from clare.pipeline.extraction.rebuild import rebuild_extractor
        from clare.store.spec import Fingerprint

        self.notices: list[Notice] = []
        self.extractors: list[tuple[Extractor, Fingerprint]] = []
        text = None
        for name, made in read_record(run).extractors.items():
            recorded = made.fingerprint
            self.runtime = self._runtime(choose_runtime(device), recorded)
            given = {k: v for k, v in overrides.get(name, {}).items() if v is not None}
            extractor = rebuild_extractor(recorded, made.origin, given, self.runtime)
            self.extractors.append((extractor, recorded))
            assets = extractor.assets()
            if TEXT_TOWER in assets:
                with TemporaryDirectory(prefix="clare-") as folder:
                    for file in {TEXT_TOWER, TOKENIZER} & set(assets):
                        (Path(folder) / file).write_bytes(assets[file])
                    text = TextTower.load(Path(folder) / TEXT_TOWER)
        self.run: Run = open_run(run, text=text)
        self.run.detector.to(self.runtime.device)
        self._note_the_run()
        self._note_crops()

    @property
    def timesteps(self) -> tuple[int, ...]:
        """The diffusion steps of LaRE, as they are stored; none where it is not extracted."""
        return tuple(
            step for _, made in self.extractors for step in made.settings.get("timesteps", ())
        )

    @property
    def even(self) -> float:
        """The threshold as a score: the sigmoid of its margin."""
        from clare.heads.metrics.predictions import p_fake

        return float(p_fake(self.run.threshold))

    def predict(self, images: Images) -> list[Verdict]:
        """Judge images, in their order.

        Args:
            images: files, folders (every image below them), arrays uint8 (H, W, 3) of RGB, or
                Pillow's images; one or several.

        Raises:
            InputError: a file is not there, a folder holds no image, or an array is none.
        """
        paths, contents = _collect(images, self.notices.append)
        return [verdict for verdict, _ in self.detect(paths, contents)]

    def detect(
        self, paths: Sequence[Path], contents: Mapping[Path, bytes] = MappingProxyType({})
    ) -> Iterator[tuple[Verdict, ExtractedImage]]:
        """Judge image files, in their order; with what the extractors made of each.

        Args:
            paths: image files, or names of images that are in memory.
            contents: encoded images in memory, by name.
        """
        from clare.pipeline.extraction.direct import extract_images
        from clare.pipeline.extraction.rebuild import recorded_images

        # There is no manifest here, so nothing knows where the face is.
        prepared = [(e, replace(recorded_images(f), crop="none")) for e, f in self.extractors]
        for image in extract_images(paths, prepared, self.runtime, contents=contents):
            yield self._judge(image), image

    def _judge(self, image: ExtractedImage) -> Verdict:
        import torch

        if image.failure:
            return Verdict(image.path, failure=image.failure)
        detector = self.run.detector
        with torch.inference_mode():
            batch = {
                name: torch.from_numpy(image.features[name])[None].to(self.runtime.device)
                for name in detector.fields
            }
            margin = detector.margins(batch)
        label: Literal["real", "fake"] = "fake" if margin.item() >= self.run.threshold else "real"
        seen = self.run.seen.holds_image(image.content)
        return Verdict(image.path, label, margin.sigmoid().item(), margin.item(), seen=seen)

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

    def _note_the_run(self) -> None:
        from clare.heads.detector import Detector
        from clare.heads.evaluation.evaluate import CONTROL

        config = self.run.record.config
        if config.shuffle_labels:
            what = f"{CONTROL}: the run learned nothing, and its verdicts say nothing"
            self.notices.append(Notice(what))
        detector = self.run.detector
        if isinstance(detector, Detector) and not list(detector.classifier.parameters()):
            self.notices.append(
                Notice(
                    f"{config.detector.classifier} compares similarities: its p(fake) puts images "
                    "in order, and is no probability"
                )
            )

    def _note_crops(self) -> None:
        margins = {
            recorded.settings["images"]["margin"]
            for _, recorded in self.extractors
            if recorded.settings["images"]["crop"] == "boxes"
        }
        if margins:
            self.notices.append(
                Notice(
                    f"the run was trained on faces cut out with a margin of {margins.pop()}, and "
                    "images are judged as they are",
                    "cut the faces out in the same way",
                )
            )
        if crops := self.run.record.face_crops:
            self.notices.append(
                Notice(
                    f"the run was trained on faces cropped as {'; '.join(crops)}",
                    "crop these images in the same way",
                )
            )
        elif not margins:
            self.notices.append(
                Notice(
                    "the run does not say how its faces were cropped; a verdict holds for images "
                    "that are cropped as in training"
                )
            )


def load_detector(
    run: Path | str,
    *,
    device: str = "auto",
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Predictor:
    """A finished run with the models that made its features, to judge images with.

    Args:
        run: its folder.
        device: ``auto`` or a torch device.
        settings: where weights are, if not where they were: extractor to its settings, as
            ``{"lare": {"model": "models/sd21"}}``.

    Raises:
        InputError: the run is not finished, or the weights are not those it was trained on.
        WeightsError: weights are not on disk and can't be fetched.
    """
    return Predictor(Path(run), device, settings)


def predict(
    run: Path | str,
    images: Images,
    *,
    device: str = "auto",
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[Verdict]:
    """Judge images with a run: extract their features as it was trained, and score them.

    LaRE's noise depends on the bytes of a file, so an array has a slightly other score than the
    file that it was read from. `load_detector` keeps the models for more than one call.

    Args:
        run: folder of a finished run.
        images: files, folders (every image below them), arrays uint8 (H, W, 3) of RGB, or Pillow's
            images; one or several.
        device: ``auto`` or a torch device.
        settings: as `load_detector` takes them.

    Raises:
        InputError: an image or the run is not usable.
        WeightsError: weights are not on disk and can't be fetched.
    """
    return load_detector(run, device=device, settings=settings).predict(images)


def _collect(
    images: Images, notice: Callable[[Notice], None]
) -> tuple[list[Path], dict[Path, bytes]]:
    """Files to be read, and names of images in memory with their content as PNG."""
    import numpy as np
    from PIL import Image, ImageOps

    from clare.pipeline.manifests.scan import list_images

    one = isinstance(images, str | Path | np.ndarray | Image.Image)
    paths: list[Path] = []
    contents: dict[Path, bytes] = {}
    for number, image in enumerate(cast(Any, [images] if one else images), start=1):
        if isinstance(image, str | Path):
            paths += list_images([Path(image)], notice)
            continue
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
                raise InputError(
                    f"image {number} is {image.dtype} {image.shape}, not uint8 (H, W, 3)"
                )
            image = Image.fromarray(image)
        # Turned upright, as a file is when it is decoded; PNG keeps no such flag.
        image = ImageOps.exif_transpose(image)
        if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
            image = image.convert("RGB")
        file = io.BytesIO()
        image.save(file, "PNG")
        name = Path(f"<image {number}>")
        paths.append(name)
        contents[name] = file.getvalue()
    return paths, contents
