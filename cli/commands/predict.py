"""`clare predict`: both stages on images of one's own."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clare.cli.command import AGAIN, when_stopped
from clare.cli.options import (
    WEIGHTS,
    ClipModel,
    ClipWeights,
    ModelSettings,
    Settings,
    with_settings,
)
from clare.inference.stability import StabilitySettings
from clare.pipeline.faces.settings import FaceSettings
from clare.pipeline.images.settings import Align
from clare.pipeline.video import FRAMES

if TYPE_CHECKING:
    from clare.inference.predictor import Predictor
    from clare.inference.verdict import Verdict
    from clare.pipeline.extraction.direct import ExtractedImage

FACES, STABILITY = "Faces", "Stability"


@with_settings
def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    images: Annotated[list[Path], typer.Argument(help="Images, videos, and folders of them.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "--csv",
            help="Write all scores here as they come, by its ending: .csv, .jsonl or .parquet; "
            "of a file that is there, only what it lacks is judged. [default: a table in the "
            "terminal]",
        ),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a picture an image: its LaRE map, where the attention looked or which "
            "parts of the face were read, or which pixels are fake."
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="Folder for what a run with a decoder finds: a mask an image (255 is fake), the "
            "mask over the image, and masks.json."
        ),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the scores as they come, a JSON object a line.")
    ] = False,
    frames: Annotated[
        int, typer.Option(min=1, help="Of each video at most, evenly spaced.")
    ] = FRAMES,
    stability: Annotated[
        bool,
        typer.Option(
            "--stability",
            help="Judge each image again as platforms would deliver it, and call it unsure where "
            "its verdict does not survive that.",
            rich_help_panel=STABILITY,
        ),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    *,
    align: Annotated[
        Align | None,
        typer.Option(
            help="Find faces and align them so before they are judged; none for images that are "
            "aligned already. [default: as in training]",
            rich_help_panel=FACES,
        ),
    ] = None,
    stable: Annotated[dict[str, Any], Settings(StabilitySettings, {"delivery_set": STABILITY})],
    faces: Annotated[dict[str, Any], Settings(FaceSettings, {"detector": FACES})],
    lare_model: Annotated[
        str | None,
        typer.Option("--sd-model", help="A hub id or a local folder.", rich_help_panel=WEIGHTS),
    ] = None,
    lare_revision: Annotated[
        str | None,
        typer.Option("--sd-revision", help="Revision on the hub.", rich_help_panel=WEIGHTS),
    ] = None,
    clip_model: ClipModel = None,
    clip_weights: ClipWeights = None,
    set_: ModelSettings = None,
) -> None:
    """Judge images and videos with a run: extract their features as it was trained, score them.

    A video's p(fake) is the mean of its frames'. Exit code 3: it is done, but some images could not
    be judged.
    """
    from clare.advice import LeaveOut, Name, Notice, Set
    from clare.cli.options import parse_assignments, prepare_file, prepare_folder
    from clare.cli.views.console import progress_bar, warn
    from clare.cli.views.verdicts import VerdictTable, remarks, show_file, show_masks
    from clare.errors import InputError
    from clare.heads.runs.record import require_run
    from clare.inference.inputs import collect_inputs
    from clare.inference.mask_files import MaskFolder, require_decoder
    from clare.inference.predictor import Predictor
    from clare.inference.redelivery import Redelivery
    from clare.inference.scores import Basis, ScoreFile, require_format
    from clare.inference.videos import most_images
    from clare.pipeline.extraction.presets import merge_settings
    from clare.settings import build_settings
    from clare.typed_json import to_json
    from clare.wording import counted

    if out is not None:
        when_stopped(lambda: AGAIN)
    require_run(run)
    if masks is not None:
        require_decoder(run)
    inputs = collect_inputs(images, warn)
    again = None
    if stability:
        again = Redelivery(build_settings("stability", StabilitySettings, stable), run, inputs)
    elif stable:
        raise InputError(
            "these say how the stability of verdicts is looked at, which was not asked for",
            Set("stability", True, effect="asks for it"),
            LeaveOut(*stable),
        )
    # Before the models run, which may take hours.
    if out is not None:
        require_format(out)
        prepare_file(out, "out")
        if json_:
            raise InputError(
                "scores go to a file or to the terminal", LeaveOut("out"), LeaveOut("json")
            )
    if explain is not None:
        prepare_folder(explain, "explain")
    if masks is not None:
        prepare_folder(masks, "masks")
    if masks is not None and explain is not None and masks.samefile(explain):
        raise InputError(
            f"masks and explanations of an image have one name, and {masks} can't hold both",
            Name("another folder", "explain"),
        )
    overrides = {
        "lare": {"model": lare_model, "revision": lare_revision},
        "clip": {"model": clip_model, "weights": clip_weights},
    }
    overrides = merge_settings(overrides, parse_assignments(set_ or []))
    detector = Predictor(run, device, overrides, align, faces)
    for notice in detector.notices:
        warn(notice)
    told = remarks(detector)
    basis, shown = Basis.of(detector, told, frames, again), VerdictTable(detector)
    total, before, seen, failed, crowded = len(inputs), 0, 0, 0, 0
    with ExitStack() as stack:
        file = None
        if out is not None:
            file = stack.enter_context(ScoreFile(out, basis))
            inputs = [one for one in inputs if not file.holds(one.path)]
            before = file.verdicts.total()
        if again is not None:
            for notice in again.notices:
                warn(notice)
            warn(again.cost(most_images(inputs, frames)))
        bar = stack.enter_context(progress_bar())
        written = None
        if masks is not None:
            written = stack.enter_context(MaskFolder(masks, detector, told))
        task = bar.add_task("judging", total=total, completed=total - len(inputs))
        judged = detector.detect(inputs, frames, again=again, pictures=explain is not None)
        for verdict, image in judged:
            if image is not None and verdict.margin is not None:
                if explain is not None:
                    _explain(detector, verdict, image, explain)
                if written is not None:
                    written.write(verdict, image.source)
            if file is not None:
                file.add(verdict)
            elif json_:
                typer.echo(json.dumps(to_json(basis.row(verdict))))
            if verdict.level == "frame":
                continue
            bar.advance(task)
            seen += verdict.seen is True
            failed += verdict.margin is None
            crowded += (verdict.faces or 0) > 1
            for remark in verdict.remarks:
                warn(f"{verdict.path}: {remark}")
            shown.add(verdict)
    of = len(inputs)
    if file is not None:
        failed, of = file.verdicts[None], file.verdicts.total()
        show_file(file.path, file.verdicts, before)
    elif not json_:
        shown.show(again)
    if written is not None:
        show_masks(written.folder, written.count)
    if crowded:
        several = f"{counted(crowded, 'image')} with several faces: one of each is judged"
        warn(Notice(several, Name("which", "pick")))
    if seen:
        warn(
            f"the run was trained or chosen on {seen} of these {len(inputs)} images: their "
            "verdicts say nothing about new ones"
        )
    if failed:
        warn(f"exit code 3: {failed} of {of} images could not be judged")
        raise typer.Exit(3)


def _explain(detector: Predictor, verdict: Verdict, image: ExtractedImage, folder: Path) -> None:
    from clare.heads.evaluation.explain import plot_explanation
    from clare.heads.evaluation.record import CONTROL
    from clare.inference.mask_files import unique_stem

    assert image.picture is not None
    target = folder / f"{unique_stem(verdict.path, verdict.frame)}.png"
    place = "" if verdict.frame is None else f", frame {verdict.frame}"
    title = f"{verdict.path.name}{place}: {verdict.label}, p(fake) {verdict.p_fake:.3f}"
    if verdict.fake_area is not None:
        title += f", fake area {100 * verdict.fake_area:.1f} %"
    title += f"\nfake from {detector.even:.3f} on"
    if detector.run.record.config.shuffle_labels:
        title += f"\n{CONTROL}"
    plot_explanation(
        detector.run.detector, image.features, image.picture, title, target, detector.timesteps
    )
