"""Options that `clare extract`, `clare bench` and `clare run` have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from clare.cli.options import (
    MANIFESTS,
    SPLIT_HELP,
    Arguments,
    Assignments,
    FollowLinks,
    Identities,
    MaskFakeOption,
    Settings,
    Video,
    folder_rules,
    parse_assignments,
    split_names,
)
from clare.pipeline.extraction.presets import list_presets, merge_settings
from clare.pipeline.extraction.settings import ExtractSettings, build_extraction
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
Subset = Annotated[
    str | None,
    typer.Option("--subset", "-s", help="Subsets by name, comma-separated.", rich_help_panel=DATA),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        help="All that a protocol trains and tests on, NAME or NAME/KEY; "
        "`clare manifest protocols` lists them.",
        rich_help_panel=DATA,
    ),
]
ManifestFiles = Annotated[
    list[Path] | None, typer.Option(help="A manifest file.", rich_help_panel=DATA)
]
ManifestsFolder = Annotated[
    Path,
    typer.Option(
        envvar="CLARE_MANIFESTS",
        help="Folder that holds NAME.csv for --subset NAME.",
        rich_help_panel=DATA,
    ),
]
Root = Annotated[
    list[str] | None,
    typer.Option(
        help="DIR or NAME=DIR: where a manifest's paths start, on a disk or in a bucket "
        "(s3://…). Else CLARE_ROOT, CLARE_ROOT_NAME.",
        rich_help_panel=DATA,
    ),
]
Reals = Annotated[
    str | None,
    typer.Option(
        help="Subsets of reals to extract beside a --subset of fakes alone, comma-separated, "
        "or none. [default: the registry's pools for its domains]",
        rich_help_panel=DATA,
    ),
]
TestOnly = Annotated[
    str | None,
    typer.Option(
        help="Subsets of --fake NAME=DIR that are for tests alone, all their images, "
        "comma-separated.",
        rich_help_panel=DATA,
    ),
]
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


def read_settings(
    settings: Annotated[dict[str, Any], SETTINGS],
    lare: Annotated[dict[str, Any], LARE],
    clip: Annotated[dict[str, Any], CLIP],
    tower: Annotated[dict[str, Any], TOWER],
    set_: Assignments = None,
) -> ExtractSettings:
    """How an extraction goes; files of the user's own that it names may be run from now on.

    Raises:
        InputError: a value is not usable.
    """
    from clare.plugins import trust_named

    own = merge_settings(
        {"lare": lare, "clip": clip, "tower": tower}, parse_assignments(set_ or [])
    )
    named = {name: values for name, values in own.items() if values}
    how = build_extraction({**settings, "settings": named})
    trust_named([*how.features, how.images.view_recipe])
    return how


def read_source(
    subset: Subset = None,
    protocol: Protocol = None,
    manifest: ManifestFiles = None,
    manifests: ManifestsFolder = MANIFESTS,
    root: Root = None,
    real: Real = None,
    fake: Fake = None,
    masks: Masks = None,
    mask_fake: MaskFakeOption = None,
    reals: Reals = None,
    follow_links: FollowLinks = None,
    video: Video = None,
    identities: Identities = False,
    split: Split = None,
    test_only: TestOnly = None,
) -> Any:
    """Which images an extraction is of: a `clare.pipeline.extraction.source.Source`.

    Raises:
        InputError: a protocol is given, and something that it says itself.
    """
    from clare.pipeline.extraction.source import Source

    return Source(
        subset=subset,
        protocol=protocol,
        manifest=manifest or [],
        manifests=manifests,
        root=root or [],
        real=real or [],
        fake=fake or [],
        masks=masks or [],
        mask_fake=mask_fake,
        reals=reals,
        follow_links=follow_links,
        rules=folder_rules(video, identities, split),
        test_only=split_names(test_only) or (),
    )


EXTRACTION = Arguments(read_settings)
IMAGES = Arguments(read_source)
