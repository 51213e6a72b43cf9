"""What a detector looked at in one image, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clare.heads.detector import Detector


@torch.inference_mode()
def plot_explanation(
    detector: Detector,
    features: Mapping[str, np.ndarray],
    picture: np.ndarray,
    title: str,
    path: Path,
) -> None:
    """Draw an image beside its LaRE map and the patches that the attention looked at.

    All three show the whole image squashed to a square, so that places correspond. LaRE is the
    mean over draws and channels; the attention is averaged over heads. What the detector does not
    have is left out.

    Args:
        detector: in evaluation mode.
        features: one row's stored fields.
        picture: uint8 (S, S, 3).
        title: the verdict, above the picture.
        path: the PNG to write.
    """
    device = next(iter(detector.state_dict().values())).device
    batch = {n: torch.from_numpy(features[n])[None].to(device) for n in detector.fields}
    panels: list[tuple[str, np.ndarray | None]] = [("image", None)]
    lare = features.get("lare")
    if "lare" in detector.fields and lare is not None:
        panels.append(("LaRE", lare.astype(np.float32).mean(axis=(0, 1, 2))))
    attention = detector.attention(batch)
    if attention is not None:
        side = round(attention.shape[1] ** 0.5)
        panels.append(("attention", attention[0].cpu().numpy().reshape(side, side)))
    figure = Figure(figsize=(3 * len(panels), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    drawn: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    extent = (0, picture.shape[1], picture.shape[0], 0)
    for axes, (name, values) in zip(drawn, panels, strict=True):
        axes.imshow(picture)
        if values is not None:
            colours = "magma" if name == "LaRE" else "viridis"
            shown = axes.imshow(values, cmap=colours, alpha=0.75, extent=extent)
            figure.colorbar(shown, ax=axes, fraction=0.046)
        axes.set_title(name)
        axes.axis("off")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
