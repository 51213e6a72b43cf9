"""Where the miniature's models are, and how to make the extractors use them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clare.errors import WeightsError

SIZE = 32
"""Side of the miniature's pictures, in pixels."""

WEIGHTS = Path(__file__).parent / "mini_weights"
"""The models: diffusion (seen by LaRE), unseen (makes fakes only) and clip."""


def mini_overrides(folder: Path = WEIGHTS) -> dict[str, dict[str, Any]]:
    """Extractor name to the settings that replace its defaults.

    Args:
        folder: holds the folders diffusion and clip.

    Raises:
        WeightsError: they are not there.
    """
    return {
        "lare": {
            "model": str(find_model(folder, "diffusion")),
            "revision": None,
            "size": SIZE,
        },
        "clip": {"model": str(find_model(folder, "clip")), "weights": None},
    }


def find_model(folder: Path, name: str) -> Path:
    """The folder of one of the models.

    Raises:
        WeightsError: it is not there.
    """
    if not (folder / name).is_dir():
        raise WeightsError(
            f"the miniature's model {name} is not in {folder}: train it with the scripts in the "
            "repository's folder miniature"
        )
    return folder / name
