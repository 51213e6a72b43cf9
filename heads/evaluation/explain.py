"""What a detector looked at in one image, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clare.heads.base import INPUTS
from clare.heads.evaluation.overlay import lay_over
from clare.heads.localizer import Localizer
from clare.heads.metrics.masks import probability_map
from clare.heads.model import Model
from clare.wording import printable

_THROUGH = {"alpha": 0.75}
"""The image shows through."""


def lare_map(detector: Model, features: Mapping[str, np.ndarray]) -> NDArray[np.float32] | None:
    """The LaRE that a detector takes, (h, w): its timestep, the mean over its draws and channels.

    Of several, the first.

    Args:
        detector: says which; before its standardisation, which would hide how large errors are.
        features: one row's stored fields.

    Returns:
        None where the detector takes none.
    """
    drawn = (
        name
        for role, name in zip(detector.roles, detector.fields, strict=True)
        if INPUTS[role].drawn
    )
    if (name := next(drawn, None)) is None:
        return None
    config = detector.config
    stored = torch.from_numpy(features[name])[None]
    taken = INPUTS["lare"].take(stored, config.timestep, config.draws)[0]
    mean: NDArray[np.float32] = taken.mean(0).numpy()
    return mean


def _parts_of(detector: Model, features: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The boxes (N, 4) of the parts that are there; None where the detector reads none."""
    name = detector.config.fields.get("parts", INPUTS["parts"].field)
    if name not in detector.fields:
        return None
    boxes = features[name]
    return boxes[boxes.any(1)]


def _with_boxes(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A picture with outlines of boxes, left, top, right and bottom as shares of its sides."""
    image = Image.fromarray(picture)
    draw, thick = ImageDraw.Draw(image), max(1, image.width // 128)
    for box in np.rint(boxes * np.array(image.size * 2)).astype(int):
        begin, end = box[:2], np.maximum(box[:2], box[2:] - 1)  # of the smallest, one pixel
        draw.rectangle([*begin.tolist(), *end.tolist()], outline="yellow", width=thick)
    return np.asarray(image)


@torch.inference_mode()
def plot_explanation(
    detector: Model,
    features: Mapping[str, np.ndarray],
    picture: np.ndarray,
    title: str,
    path: Path,
    timesteps: Sequence[int] = (),
) -> None:
    """Draw an image beside its LaRE map and what the detector makes of its places.

    That is the patches that the attention looked at, averaged over heads; the parts of the face
    that tokens were pooled over; of a localiser the probability of each pixel, alone and over the
    image. All show the whole image squashed to a
    square, so that places correspond. LaRE is that of `lare_map`. What the detector does not have
    is left out.

    Args:
        detector: in evaluation mode.
        features: one row's stored fields.
        picture: uint8 (S, S, 3).
        title: the verdict, above the picture.
        path: the PNG to write.
        timesteps: the diffusion steps of the stored LaRE, to name the one that is shown.
    """
    device = next(iter(detector.state_dict().values())).device
    batch = {n: torch.from_numpy(features[n])[None].to(device) for n in detector.fields}
    panels: list[tuple[str, np.ndarray, dict[str, Any]]] = [("image", picture, {})]
    lare = lare_map(detector, features)
    if lare is not None:
        step = detector.config.timestep
        named = f"timestep {timesteps[step]}" if step < len(timesteps) else f"stored step {step}"
        panels.append((f"LaRE, {named}", lare, {**_THROUGH, "cmap": "magma"}))
    attention = detector.attention(batch)
    if attention is not None:
        side = round(attention.shape[1] ** 0.5)
        patches = attention[0].cpu().numpy().reshape(side, side)
        panels.append(("attention", patches, {**_THROUGH, "cmap": "viridis"}))
    if (boxes := _parts_of(detector, features)) is not None:
        panels.append((f"{len(boxes)} parts of the face", _with_boxes(picture, boxes), {}))
    if isinstance(detector, Localizer):
        found = probability_map(detector.maps(batch)[0], (picture.shape[0], picture.shape[1]))
        panels.append(("p(fake) of each pixel", found, {"cmap": "gray", "vmin": 0, "vmax": 1}))
        panels.append(("outlined above 0.5", lay_over(picture, found), {}))
    figure = Figure(figsize=(3 * len(panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    drawn: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    extent = (0, picture.shape[1], picture.shape[0], 0)
    for axes, (name, values, how) in zip(drawn, panels, strict=True):
        axes.imshow(picture)
        shown = axes.imshow(values, extent=extent, **how)
        if values.ndim == 2:
            figure.colorbar(shown, ax=axes, fraction=0.046)
        axes.set_title(name)
        axes.axis("off")
    figure.suptitle(printable(title), size=10, parse_math=False)  # it names a file
    figure.savefig(path, dpi=120)
