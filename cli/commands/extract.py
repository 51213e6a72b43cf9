"""`clare extract`: stage one on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA, IMAGES, LARE, CLIP, RUN = "Data", "Images", "LaRE", "CLIP", "Run"


def extract(
    subset: Annotated[
        str | None,
        typer.Option(
            "--subset", "-s", help="Subsets by name, comma-separated.", rich_help_panel=DATA
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="All that a protocol trains and tests on, NAME or NAME/KEY; "
            "`clare manifest protocols` lists them.",
            rich_help_panel=DATA,
        ),
    ] = None,
    manifest: Annotated[
        list[Path] | None, typer.Option(help="A manifest file.", rich_help_panel=DATA)
    ] = None,
    manifests: Annotated[
        Path,
        typer.Option(
            envvar="CLARE_MANIFESTS",
            help="Folder that holds NAME.csv for --subset NAME.",
            rich_help_panel=DATA,
        ),
    ] = Path("data_manifests"),
    root: Annotated[
        list[str] | None,
        typer.Option(
            help="DIR or NAME=DIR: where a manifest's paths start. "
            "Else CLARE_ROOT, CLARE_ROOT_NAME.",
            rich_help_panel=DATA,
        ),
    ] = None,
    real: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of real images: no manifest needed.", rich_help_panel=DATA),
    ] = None,
    fake: Annotated[
        list[str] | None,
        typer.Option(
            help="DIR or NAME=DIR: folder of generated images. Each NAME is a subset; "
            "all share the reals.",
            rich_help_panel=DATA,
        ),
    ] = None,
    store: Annotated[
        Path, typer.Option(envvar="CLARE_STORE", help="The feature store.", rich_help_panel=DATA)
    ] = Path("features.zarr"),
    features: Annotated[
        str, typer.Option(help="Extractors, comma-separated: lare, clip, pixels, mask.")
    ] = "lare,clip",
    backbone: Annotated[
        str,
        typer.Option(
            help="real; mini: small models trained on drawn faces (`clare draw --mini`), offline; "
            "tiny: random ones, whose features mean nothing."
        ),
    ] = "real",
    preset: Annotated[
        str, typer.Option(help="clare, or clare-published: the authors' settings.")
    ] = "clare",
    resize: Annotated[
        int | None,
        typer.Option(
            help="Squash to NxN first: removes the size shortcut.", rich_help_panel=IMAGES
        ),
    ] = None,
    recode: Annotated[
        str | None,
        typer.Option(
            help="jpeg:95: encode anew in memory: removes the container shortcut.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    crop: Annotated[
        str, typer.Option(help="none, or boxes: the manifest's face boxes.", rich_help_panel=IMAGES)
    ] = "none",
    margin: Annotated[
        float, typer.Option(help="Share of the box added around it.", rich_help_panel=IMAGES)
    ] = 0.3,
    views: Annotated[
        int,
        typer.Option(
            min=1,
            help="Views of each training image: the plain one and seeded augmentations.",
            rich_help_panel=IMAGES,
        ),
    ] = 1,
    view_seed: Annotated[
        int, typer.Option(help="Seed of the augmentations.", rich_help_panel=IMAGES)
    ] = 0,
    thumbnails: Annotated[
        bool,
        typer.Option(help="Keep a small JPEG of each image, for reports.", rich_help_panel=IMAGES),
    ] = True,
    lare_model: Annotated[
        str | None,
        typer.Option(
            "--sd-model",
            help="sd2.1-base, sd2.1, sd1.5, a hub id or a local folder.",
            rich_help_panel=LARE,
        ),
    ] = None,
    lare_revision: Annotated[
        str | None, typer.Option("--sd-revision", help="Revision on the hub.", rich_help_panel=LARE)
    ] = None,
    lare_timesteps: Annotated[
        str | None,
        typer.Option(
            "--timesteps", help="Comma-separated, of 0-999. [default: 200]", rich_help_panel=LARE
        ),
    ] = None,
    lare_draws: Annotated[
        int | None, typer.Option("--draws", help="Noise draws. [default: 4]", rich_help_panel=LARE)
    ] = None,
    lare_prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            help="One for all images. [default: a photo of a face]",
            rich_help_panel=LARE,
        ),
    ] = None,
    lare_size: Annotated[
        int | None, typer.Option(help="Pixels a side. [default: 256]", rich_help_panel=LARE)
    ] = None,
    lare_latent: Annotated[
        str | None,
        typer.Option("--latent", help="mean or sample. [default: mean]", rich_help_panel=LARE),
    ] = None,
    lare_error: Annotated[
        str | None,
        typer.Option(
            "--error", help="squared or absolute. [default: squared]", rich_help_panel=LARE
        ),
    ] = None,
    lare_seed: Annotated[
        int | None,
        typer.Option("--seed", help="Seed of the noise. [default: 0]", rich_help_panel=LARE),
    ] = None,
    clip_model: Annotated[
        str | None,
        typer.Option(help="An open_clip model. [default: ViT-L-14]", rich_help_panel=CLIP),
    ] = None,
    clip_weights: Annotated[
        str | None,
        typer.Option(help="A weights tag or local file. [default: openai]", rich_help_panel=CLIP),
    ] = None,
    clip_layers: Annotated[
        str | None,
        typer.Option(
            "--layers", help="Blocks whose tokens are kept too, as 20,22.", rich_help_panel=CLIP
        ),
    ] = None,
    clip_mean_std: Annotated[
        str | None,
        typer.Option(
            "--mean-std", help="clip, or half: 0.5. [default: clip]", rich_help_panel=CLIP
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="EXTRACTOR.SETTING=VALUE (JSON or text), for any other setting."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=RUN)
    ] = "auto",
    dtype: Annotated[
        str,
        typer.Option(help="auto, float32, float16 or bfloat16.", rich_help_panel=RUN),
    ] = "auto",
    micro_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images a batch. [default: finds itself]", rich_help_panel=RUN),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="torch.compile the models.", rich_help_panel=RUN)
    ] = False,
    loaders: Annotated[
        int | None,
        typer.Option(min=1, help="Decoding threads. [default: the cores]", rich_help_panel=RUN),
    ] = None,
    max_failures: Annotated[
        str,
        typer.Option(
            help="Share of new rows that may fail before the exit code is 3.", rich_help_panel=RUN
        ),
    ] = "1%",
    strict: Annotated[
        bool, typer.Option(help="Stop at the first image that fails.", rich_help_panel=RUN)
    ] = False,
) -> None:
    """Extract features, each image once; run again, it does only what is missing."""
    from clare.cli.lists import split_names
    from clare.cli.views.progress import ExtractView
    from clare.errors import InputError
    from clare.pipeline.datasets.select import select_manifests, select_protocol
    from clare.pipeline.extraction.job import run_job
    from clare.pipeline.extraction.presets import merge_settings
    from clare.pipeline.extraction.settings import ExtractSettings
    from clare.pipeline.images.settings import ImageSettings
    from clare.settings import parse_assignments

    options: dict[str, dict[str, Any]] = {
        "lare": {
            "model": lare_model,
            "revision": lare_revision,
            "timesteps": lare_timesteps,
            "draws": lare_draws,
            "prompt": lare_prompt,
            "size": lare_size,
            "latent": lare_latent,
            "error": lare_error,
            "seed": lare_seed,
        },
        "clip": {
            "model": clip_model,
            "weights": clip_weights,
            "layers": clip_layers,
            "mean_std": clip_mean_std,
        },
    }
    if protocol is not None and (subset or manifest or real or fake):
        raise InputError("--protocol names its subsets: leave --subset, --manifest and folders out")
    given = {
        name: {key: value for key, value in values.items() if value is not None}
        for name, values in options.items()
    }
    settings = ExtractSettings(
        store=store,
        features=tuple(split_names(features) or ()),
        preset=preset,
        settings={
            name: values
            for name, values in merge_settings(given, parse_assignments(set_ or [])).items()
            if values
        },
        backbone=backbone,  # type: ignore[arg-type]
        images=ImageSettings(resize, recode, crop, margin, view_seed),  # type: ignore[arg-type]
        views=views,
        thumbnails=thumbnails,
        device=device,
        dtype=dtype,  # type: ignore[arg-type]
        compile=compile_,
        micro_batch=micro_batch,
        loaders=loaders,
        max_failures=max_failures,
        strict=strict,
    )
    with ExtractView() as view:
        if protocol is not None:
            selection, absent = select_protocol(
                protocol, manifests, root or [], progress=view.indexing
            )
            view.absent(protocol, absent)
        else:
            selection = select_manifests(
                subset,
                manifest or [],
                manifests,
                root or [],
                real or [],
                fake or [],
                progress=view.indexing,
            )
        report = run_job(settings, selection, view)
    view.finished(report)
    if report.too_many_failed:
        raise typer.Exit(3)
