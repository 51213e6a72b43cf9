"""What is to be judged: files, folders, and pictures that are in memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from clare.advice import Notice
from clare.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from clare.pipeline.extraction.direct import InputImage
    from clare.pipeline.video.read import Video

    Picture = str | Path | NDArray[np.uint8] | Image
    Images = Picture | Sequence[Picture]


def collect_inputs(images: Images, notice: Callable[[Notice], None]) -> list[InputImage | Video]:
    """The images and videos that files, folders, arrays and pictures stand for, in their order.

    Args:
        images: files, folders (every image and video below them), arrays uint8 (H, W, 3) of RGB,
            or Pillow's images; one or several.
        notice: called once for each folder in which files are left out. Videos below folders are
            among them where PyAV is not installed.

    Raises:
        InputError: a file is not there, is a video and PyAV is not installed, a folder holds
            nothing to judge, or an array is no image.
    """
    import numpy as np
    from PIL import Image

    from clare.pipeline.extraction.direct import InputImage
    from clare.pipeline.manifests.scan import list_images
    from clare.pipeline.video.read import Video, can_read_videos, is_video, require_video

    def of_file(path: Path) -> InputImage | Video:
        if not is_video(path):
            return InputImage.of_file(path)
        require_video(path)
        return Video(path)

    one = isinstance(images, str | Path | np.ndarray | Image.Image)
    found: list[InputImage | Video] = []
    for number, image in enumerate(cast(Any, [images] if one else images), start=1):
        if isinstance(image, str | Path):
            files = list_images([Path(image)], notice, videos=can_read_videos())
            found += map(of_file, files)
            continue
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
                raise InputError(
                    f"image {number} is {image.dtype} {image.shape}, not uint8 (H, W, 3)"
                )
            image = Image.fromarray(image)
        found.append(InputImage(Path(f"<image {number}>"), partial(_png, image)))
    return found


def _png(image: Image) -> bytes:
    """A picture as a file, turned upright, as a file is when it is decoded; PNG keeps no flag."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA"):
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
