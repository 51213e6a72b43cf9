"""`clare evaluate`: a run on rows that it has never seen."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clare.cli.options import ClipModel, ClipWeights, ModelSettings
from clare.heads.metrics import COVERAGE
from clare.protocol import Sampling

if TYPE_CHECKING:
    from clare.heads.evaluation.record import Evaluation

RESAMPLES = 1000


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")],
    subset: Annotated[
        str | None,
        typer.Option(
            "--subset",
            "-s",
            help="Test on these, comma-separated. [default: every subset that has fakes]",
        ),
    ] = None,
    reals: Annotated[
        str | None,
        typer.Option(
            help="Subsets whose reals stand beside fakes that have none, comma-separated. "
            "[default: the run's own reals]"
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="NAME or FILE.yaml: decides subsets, reals, domains and frames; "
            "`clare manifest protocols` lists them."
        ),
    ] = None,
    domains: Annotated[
        str | None, typer.Option(help="Rows of these domains alone, comma-separated.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=1, help="Of each video at most. [default: the protocol's, else all]"),
    ] = None,
    sampling: Annotated[
        Sampling | None, typer.Option(help="Which frames: even, or first_n. [default: even]")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            help="The feature store. [default: the run's own; CLARE_STORE where that is gone]"
        ),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Also the AUC of what needs no training, and the lead over it: file format, "
            "size, bytes, pixel statistics, mean LaRE, the cosine to the real centroid.",
        ),
    ] = False,
    against: Annotated[
        str | None, typer.Option(help="Published figures to stand beside: clare-paper.")
    ] = None,
    compat: Annotated[
        Literal["df40"] | None,
        typer.Option(
            help="Only its authors' frames, lists and grouping, beside their table 6. "
            "Not for figures of your own."
        ),
    ] = None,
    variants: Annotated[
        bool,
        typer.Option(
            "--variants",
            help="Also the figures of deliveries of these rows (`clare manifest variants`), and "
            "what each costs.",
        ),
    ] = False,
    deliveries: Annotated[
        str | None,
        typer.Option(help="With --variants, these deliveries alone, comma-separated."),
    ] = None,
    resamples: Annotated[
        int | None,
        typer.Option(min=0, help=f"Of the bootstrap behind each interval. [default: {RESAMPLES}]"),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            help="Share of reals, and of fakes, whose conformal set of labels is to hold the true "
            f"one. [default: {COVERAGE}]"
        ),
    ] = None,
    seen_until: Annotated[
        str | None,
        typer.Option(
            help="Date of the newest image that towers can have seen in training, where `clare "
            "models` does not know it: figures on newer images stand beside."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Where matrix.png of several runs goes. [default: beside the first]"),
    ] = None,
    parquet: Annotated[
        bool,
        typer.Option("--parquet", help="Also write the predictions as Parquet."),
    ] = False,
    json_: Annotated[
        bool, typer.Option("--json", help="Print what test_metrics.json holds.")
    ] = False,
    clip_model: ClipModel = None,
    clip_weights: ClipWeights = None,
    set_: ModelSettings = None,
) -> None:
    """Test runs on rows that they have never seen, at the threshold from validation."""
    from clare.advice import LeaveOut, Run, Set
    from clare.cli.command import typed
    from clare.cli.options import prepare_folder, split_names, weights_at
    from clare.cli.views.console import console, show_progress, tell_next, warn
    from clare.errors import InputError
    from clare.heads.runs.record import require_run
    from clare.models.runtime import choose_runtime
    from clare.typed_json import to_json
    from clare.wording import listed

    # Not the option's default: it would silently go before the run's own record.
    elsewhere = os.environ.get("CLARE_STORE") or None
    # Files of a sweep's folder are among what a pattern finds beside its runs.
    files = [run for run in runs if run.is_file()]
    if files and len(files) < len(runs):
        runs = [run for run in runs if run not in files]
        warn(f"{listed(map(str, files))}: no run, left out")
    if compat is not None:
        idle = {
            "subset": subset,
            "reals": reals,
            "domains": domains,
            "frames": frames,
            "sampling": sampling,
            "baselines": baselines or None,
            "against": against,
            "variants": variants or None,
            "resamples": resamples,
            "coverage": coverage,
            "seen_until": seen_until,
            "parquet": parquet or None,
            "out": out,
        }
        if named := [name for name, value in idle.items() if value is not None]:
            raise InputError(
                "measuring as DF40's authors do decides these itself", LeaveOut(*named)
            )
    elif out is not None:
        if len(runs) < 2:
            raise InputError("one run has no matrix.png, which goes there", LeaveOut("out"))
        prepare_folder(out, "out")
    only = split_names(deliveries) or ()
    if only and not variants:
        raise InputError("deliveries are measured among variants", Set("variants", True))
    for run in runs:
        require_run(run)

    # Not before all names are checked: they bring torch.
    from clare.heads.evaluation.evaluate import MATRIX, write_matrix
    from clare.heads.evaluation.evaluate import evaluate as evaluate_run

    chosen = choose_runtime(device).device
    if compat is not None:
        places = weights_at(clip_model, clip_weights, set_)
        _measure_as_df40(runs, (store, elsewhere), protocol, chosen, json_, places)
        return
    with show_progress("scoring") as show:
        results = [
            evaluate_run(
                run,
                store,
                split_names(subset),
                reals=split_names(reals),
                protocol=protocol,
                domains=split_names(domains) or (),
                frames=frames,
                sampling=sampling,
                elsewhere=elsewhere,
                baselines=baselines,
                against=against,
                variants=only or variants,
                device=chosen,
                resamples=RESAMPLES if resamples is None else resamples,
                coverage=COVERAGE if coverage is None else coverage,
                progress=show,
                command=typed(),
                parquet=parquet,
                settings=weights_at(clip_model, clip_weights, set_),
                seen_until=seen_until,
            )
            for run in runs
        ]
    if not json_:
        for result in results:
            _print(result, seen_until is not None)
    if len(runs) > 1:
        folder = out or runs[0].absolute().parent
        write_matrix(results, folder / MATRIX)
        if not json_:
            console.print(f"{folder / MATRIX}")
    if not json_:
        tell_next(Run("report", tuple(runs)))
    if json_:
        found = [to_json(result.record) for result in results]
        typer.echo(json.dumps(found if len(found) > 1 else found[0], indent=2))


def _measure_as_df40(
    runs: list[Path],
    stores: tuple[Path | None, str | None],
    protocol: str | None,
    device: str,
    as_json: bool,
    places: dict[str, dict[str, Any]],
) -> None:
    from clare.cli.command import typed
    from clare.cli.views.console import show_progress
    from clare.cli.views.figures import print_as_df40
    from clare.heads.evaluation.df40 import PROTOCOL, measure_as_df40
    from clare.typed_json import to_json

    tests = protocol or PROTOCOL
    with show_progress("scoring") as show:
        reports = [
            measure_as_df40(
                run,
                stores[0],
                tests,
                elsewhere=stores[1],
                device=device,
                progress=show,
                command=typed(),
                settings=places,
            )
            for run in runs
        ]
    if as_json:
        typer.echo(json.dumps(to_json(reports if len(reports) > 1 else reports[0]), indent=2))
        return
    for report in reports:
        print_as_df40(report)


def _print(found: Evaluation, dated: bool) -> None:
    """Print an evaluation; where no image says when it was made, that too if a date was given."""
    from clare.cli.views.certainty import print_abstention, print_sets
    from clare.cli.views.console import console
    from clare.cli.views.figures import print_against, print_baselines, print_left_out
    from clare.cli.views.masks import print_figures
    from clare.cli.views.newer import print_newer
    from clare.cli.views.pairs import print_pairs
    from clare.cli.views.variants import print_variants

    report = found.record
    trained_on = f", trained on {', '.join(report.trained_on)}"
    console.print(f"\n{found.path}{trained_on}", style="bold")
    console.print(f"store: {report.store}")
    if report.control:
        console.print(f"{report.control}; its figures have to be those of chance", style="yellow")
    console.print()
    print_figures(report)
    print_left_out(found)
    print_baselines(report)
    print_against(report)
    print_pairs(report)
    print_variants(report)
    print_sets(report)
    print_abstention(report)
    if report.newer is not None and (dated or not report.newer.silent):
        print_newer({report.run: report.newer}, [*report.subsets], 1)
    console.print(f"\n{found.path}: {', '.join(file.name for file in found.files)}")
