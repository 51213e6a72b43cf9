"""Options that `clare extract` and `clare run` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clare.cli.options import SPLIT_HELP, Settings
from clare.pipeline.extraction.presets import list_presets
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extractors import find_extractor, list_extractors

DATA = "Data"
SETTINGS = Settings(
    ExtractSettings,
    {"store": DATA, "features": "Features", "resize": "Images", "device": "Run"},
    extra={
        "store": {"envvar": "CLARE_STORE"},
        "features": {
            "help": f"Extractors, comma-separated: {', '.join(list_extractors())}, or ./FILE.py."
        },
        "preset": {"help": f"{', '.join(list_presets())}."},
    },
)
LARE = Settings(
    find_extractor("lare").Settings,
    {"model": "LaRE"},
    part="lare",
    flags={
        "model": "--sd-model",
        "revision": "--sd-revision",
        "model_config": "--sd-config",
        "timesteps": "--timesteps",
        "draws": "--draws",
        "prompt": "--prompt",
        "latent": "--latent",
        "error": "--error",
        "noise": "--noise",
        "seed": "--seed",
    },
)
CLIP = Settings(
    find_extractor("clip").Settings,
    {"model": "CLIP"},
    part="clip",
    flags={"layers": "--layers", "mean_std": "--mean-std"},
)
TOWER = Settings(find_extractor("tower").Settings, {"model": "Tower"}, part="tower")
Real = Annotated[
    list[Path] | None,
    typer.Option(help="Folder of real images: no manifest needed.", rich_help_panel=DATA),
]
Fake = Annotated[
    list[str] | None,
    typer.Option(
        help="DIR or NAME=DIR: folder of generated images. Each NAME is a subset; "
        "all share the reals.",
        rich_help_panel=DATA,
    ),
]
Masks = Annotated[
    list[str] | None,
    typer.Option(
        help="DIR or NAME=DIR: folder of the fakes' masks, each of the path and name of its "
        "image, or NAME_mask.",
        rich_help_panel=DATA,
    ),
]
Split = Annotated[
    Literal["folders", "random"] | None, typer.Option(help=SPLIT_HELP, rich_help_panel=DATA)
]
