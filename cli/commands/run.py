"""`clare run`: both stages, a test and a page in one command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from clare.cli import train_options as options
from clare.cli.command import AGAIN, typed, when_stopped
from clare.cli.extract_options import CLIP, LARE, SETTINGS, Fake, Masks, Real, Split
from clare.cli.options import Identities, MaskFakeOption, Video, folder_rules, with_settings
from clare.cli.train_options import MACHINE, RUN, TRAINING

IMAGES = ("resize", "recode")
EXTRACTION = ("store", "backbone", "dtype", "micro_batch", "max_failures")
LEARNING = ("fusion", "classifier", "decoder", "tune", "train", "seed", "lr", "epochs", "batch")
TRAIN = (
    "Names of --fake to train on, comma-separated; the others are for tests alone. [default: all]"
)
HEAD = replace(TRAINING, only=LEARNING, extra={**TRAINING.extra, "train": {"help": TRAIN}})


@with_settings
def run(
    real: Real = None,
    fake: Fake = None,
    masks: Masks = None,
    mask_fake: MaskFakeOption = None,
    *,
    training: Annotated[dict[str, Any], HEAD],
    preset: options.Preset = None,
    config: options.Config = None,
    set_: options.Assignments = None,
    settings: Annotated[dict[str, Any], replace(SETTINGS, only=(*EXTRACTION, *IMAGES))],
    lare: Annotated[dict[str, Any], replace(LARE, only=("model", "timesteps", "draws"))],
    clip: Annotated[dict[str, Any], replace(CLIP, only=("model", "layers"))],
    video: Video = None,
    identities: Identities = False,
    split: Split = None,
    machine: Annotated[dict[str, Any], replace(MACHINE, only=("device",))],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's folder. [default: runs/ and the names of its parts and of --train]",
            rich_help_panel=RUN,
        ),
    ] = None,
) -> None:
    """Extract, train on --train, test on every --fake, and write the page; run again, go on.

    Manipulations that are not trained on are for tests alone, with all their images; with
    --identities, those of people whom training does not show. Only the features that the head
    reads are extracted. For every other option, run extract, train-head, evaluate and report one
    by one.

    Exit code 3: more images failed than --max-failures allows, and nothing was trained.
    """
    from clare.experiment import PAGE, Experiment
    from clare.heads.config import create_config
    from clare.pipeline.extraction.settings import build_extraction
    from clare.plugins import part_name, trust_named

    trust_named([*training.values(), *options.assigned(set_).values()])
    found = create_config(training, options.base_config(preset, config, training))
    found = options.refine(found, None, None, None, None, set_ or [])
    own = {name: values for name, values in (("lare", lare), ("clip", clip)) if values}
    how = build_extraction({**settings, "settings": own})
    parts = map(part_name, found.detector.parts.values())
    named = "-".join(parts) + "".join(f"_{name}" for name in found.train)
    experiment = Experiment(
        real or [],
        fake or [],
        how,
        found,
        out or Path("runs") / named,
        machine.get("device", "auto"),
        folder_rules(video, identities, split),
        typed(),
        masks or [],
        mask_fake,
    )

    # Not before all names are checked: they bring torch.
    from clare.cli.views.console import console, show_progress, warn
    from clare.cli.views.figures import print_baselines, print_validation
    from clare.cli.views.masks import print_figures
    from clare.cli.views.progress import ExtractView, TrainView
    from clare.cli.wording import options as wording
    from clare.heads.evaluation.record import PREDICTIONS

    when_stopped(lambda: AGAIN)
    with ExtractView() as view:
        made = experiment.extract(view)
    view.finished(made)
    if experiment.too_many_failed(made):
        warn("exit code 3: nothing is trained, more images failed than --max-failures allows")
        raise typer.Exit(3)
    with TrainView() as training_view:
        trained = experiment.train(made, training_view)
    if not trained:
        console.print(f"{experiment.out} is trained already")
    print_validation(experiment.out)
    with show_progress("scoring") as show:
        record = experiment.test(show)
    print_figures(record)
    print_baselines(record)
    for note in record.notes:
        console.print(note, style="yellow")
    page = experiment.report(wording())
    for warning in page.warnings:
        warn(warning)
    console.print(f"\nevery test image: {experiment.out / PREDICTIONS}", soft_wrap=True)
    console.print(f"the page: {experiment.out / PAGE}", soft_wrap=True)
