"""`clare predict`: both stages on images of one's own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clare.inference.predictor import Predictor, Verdict
    from clare.pipeline.extraction.direct import ExtractedImage

WEIGHTS = "Where weights are, if not where they were"


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    images: Annotated[list[Path], typer.Argument(help="Image files and folders.")],
    out: Annotated[
        Path | None, typer.Option(help="Write a CSV here. [default: a table in the terminal]")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(
            help="Folder for a picture an image: its LaRE map, and where the attention looked."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    lare_model: Annotated[
        str | None,
        typer.Option("--sd-model", help="A hub id or a local folder.", rich_help_panel=WEIGHTS),
    ] = None,
    lare_revision: Annotated[
        str | None,
        typer.Option("--sd-revision", help="Revision on the hub.", rich_help_panel=WEIGHTS),
    ] = None,
    clip_model: Annotated[
        str | None,
        typer.Option(help="A name of open_clip or a local folder.", rich_help_panel=WEIGHTS),
    ] = None,
    clip_weights: Annotated[
        str | None, typer.Option(help="A tag or a local file.", rich_help_panel=WEIGHTS)
    ] = None,
) -> None:
    """Judge images with a run: extract their features as it was trained, and score them.

    Exit code 3: it is done, but some images could not be judged.
    """
    from clare.cli.options import prepare_file, prepare_folder
    from clare.cli.views.console import progress_bar, warn
    from clare.heads.runs.record import require_run
    from clare.inference.predictor import Predictor
    from clare.pipeline.manifests.scan import list_images

    require_run(run)
    paths = list_images(images, warn)
    # Before the models run, which may take hours.
    if out is not None:
        prepare_file(out, "out")
    if explain is not None:
        prepare_folder(explain, "explain")
    overrides = {
        "lare": {"model": lare_model, "revision": lare_revision},
        "clip": {"model": clip_model, "weights": clip_weights},
    }
    detector = Predictor(run, device, overrides)
    for notice in detector.notices:
        warn(notice)
    verdicts = []
    with progress_bar() as bar:
        task = bar.add_task("judging", total=len(paths))
        for verdict, image in detector.detect(paths):
            verdicts.append(verdict)
            bar.advance(task)
            if explain is not None and verdict.margin is not None:
                _explain(detector, verdict, image, explain)
    _show(verdicts, detector, out)
    if seen := sum(verdict.seen for verdict in verdicts):
        warn(
            f"the run was trained or chosen on {seen} of these {len(verdicts)} images: their "
            "verdicts say nothing about new ones"
        )
    if failed := sum(verdict.margin is None for verdict in verdicts):
        warn(f"exit code 3: {failed} of {len(verdicts)} images could not be judged")
        raise typer.Exit(3)


_SEEN = "the run was trained or chosen on this very file"


def _explain(detector: Predictor, verdict: Verdict, image: ExtractedImage, folder: Path) -> None:
    from clare.heads.evaluation.evaluate import CONTROL
    from clare.heads.evaluation.explain import plot_explanation

    assert image.picture is not None
    # Two folders may hold files of one name.
    place = hashlib.sha256(str(verdict.path).encode()).hexdigest()[:8]
    target = folder / f"{verdict.path.stem}-{place}.png"
    title = f"{verdict.path.name}: {verdict.label}, p(fake) {verdict.p_fake:.3f}"
    title += f"\nfake from {detector.even:.3f} on"
    if detector.run.record.config.shuffle_labels:
        title += f"\n{CONTROL}"
    plot_explanation(
        detector.run.detector, image.features, image.picture, title, target, detector.timesteps
    )


def _show(verdicts: Sequence[Verdict], detector: Predictor, out: Path | None) -> None:
    from clare.cli.views.console import console
    from clare.cli.views.table import table
    from clare.cli.wording import worded
    from clare.own_csv import csv_text

    threshold = detector.run.threshold
    rows = [(v.path, v.p_fake, v.margin, v.label or f"failed: {v.failure}") for v in verdicts]
    if out is not None:
        # A row alone says what its verdict hangs on, wherever the file goes.
        remarks = [*map(worded, detector.notices)]
        columns = ("path", "score", "margin", "verdict", "threshold", "remarks")
        said = ["; ".join([*remarks, *([_SEEN] if verdict.seen else [])]) for verdict in verdicts]
        text = csv_text(
            [columns, *((*row, threshold, one) for row, one in zip(rows, said, strict=True))]
        )
        out.write_text(text, "utf-8", newline="")
        console.print(f"{out}: {len(rows)} images")
        return
    shown = [
        (path, verdict, *("-" if value is None else f"{value:.4f}" for value in (score, margin)))
        for path, score, margin, verdict in rows
    ]
    console.print(table(None, ("image", "verdict", "p(fake)", "margin"), shown, left=2))
    console.print(
        f"fake from p(fake) {detector.even:.4f} on, a margin of {threshold:.4f}, which was chosen "
        "on validation"
    )
