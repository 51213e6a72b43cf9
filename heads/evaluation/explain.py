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

from clare.heads.base import INPUTS
from clare.heads.model import Model


def lare_map(detector: Model, features: Mapping[str, np.ndarray]) -> NDArray[np.float32] | None:
    """The LaRE that a detector takes, (h, w): its timestep, the mean over its draws and channels.

    Args:
        detector: says which; before its standardisation, which would hide how large errors are.
        features: one row's stored fields.

    Returns:
        None where the detector takes none.
    """
    name = detector.config.fields.get("lare", INPUTS["lare"].field)
    if name not in detector.fields:
        return None
    config = detector.config
    stored = torch.from_numpy(features[name])[None]
    taken = INPUTS["lare"].take(stored, config.timestep, config.draws)[0]
    mean: NDArray[np.float32] = taken.mean(0).numpy()
    return mean


@torch.inference_mode()
def plot_explanation(
    detector: Model,
    features: Mapping[str, np.ndarray],
    picture: np.ndarray,
    title: str,
    path: Path,
    timesteps: Sequence[int] = (),
) -> None:
    """Draw an image beside its LaRE map and the patches that the attention looked at.

    All three show the whole image squashed to a square, so that places correspond. LaRE is that
    of `lare_map`; the attention is averaged over heads. What the detector does not have is left
    out.

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
    panels: list[tuple[str, np.ndarray | None]] = [("image", None)]
    lare = lare_map(detector, features)
    if lare is not None:
        step = detector.config.timestep
        named = f"timestep {timesteps[step]}" if step < len(timesteps) else f"stored step {step}"
        panels.append((f"LaRE, {named}", lare))
    attention = detector.attention(batch)
    if attention is not None:
        side = round(attention.shape[1] ** 0.5)
        panels.append(("attention", attention[0].cpu().numpy().reshape(side, side)))
    figure = Figure(figsize=(3 * len(panels), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    drawn: Any = figure.subplots(1, len(panels), squeeze=False)[0]
    extent = (0, picture.shape[1], picture.shape[0], 0)
    for axes, (name, values) in zip(drawn, panels, strict=True):
        axes.imshow(picture)
        if values is not None:
            colours = "magma" if name.startswith("LaRE") else "viridis"
            shown = axes.imshow(values, cmap=colours, alpha=0.75, extent=extent)
            figure.colorbar(shown, ax=axes, fraction=0.046)
        axes.set_title(name)
        axes.axis("off")
    figure.suptitle(title, size=10)
    figure.savefig(path, dpi=120)
