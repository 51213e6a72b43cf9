"""The `clare` command: its sub-commands, and the one place where errors become sentences."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress

import typer

from clare.advice import Notice
from clare.cli.command import EXIT_INTERRUPTED, HELP_WIDTH, StoppedError, lazy_group, loudness
from clare.cli.defaults import load_defaults
from clare.cli.wording import worded
from clare.errors import ClareError
from clare.files import TRACEBACK, environment_error
from clare.slurm import scratch
from clare.wording import printable

EXIT_ERROR = 1

app = lazy_group(
    {
        "run": "Extract, train on --train, test on every --fake, and write the page; run again, "
        "go on.",
        "extract": "Extract features, each image once; run again, it does only what is missing.",
        "bench": "Measure what an extraction will cost here: rates, bottleneck, memory, time and "
        "disk.",
        "faces": "Find the face in every image of a manifest, with its five points; run again, "
        "go on.",
        "pairs": "Make a fake of each real image that lies on it, pixel by pixel; run again, "
        "go on.",
        "train-head": "Train a head on a store's features; checkpoint and threshold come from "
        "validation.",
        "import-head": "Make a run of published weights: tested, compared and judging as any "
        "other.",
        "models": "Published heads that can be imported; what image towers cost and have seen.",
        "evaluate": "Test runs on rows that they have never seen, at the threshold from "
        "validation.",
        "predict": "Judge images and videos with a run: extract their features as it was trained, "
        "score them.",
        "frames": "Write evenly spaced frames of videos; run again, it reads only videos that are "
        "new.",
        "export": "Write a run as ONNX, TorchScript, torch.export, safetensors or a folder for a "
        "model hub.",
        "sweep": "Train every combination; run again, it does only what is missing.",
        "probe": "Fit linear probes to every cached feature, in minutes, and say what adds to "
        "what.",
        "report": "Write one self-contained page: answer, figures, images, cost and settings.",
        "score": "Measure any detector's scores, as `clare evaluate` measures a run's.",
        "compare": "Compare two detectors on the rows that both have scored, with paired "
        "intervals.",
        "manifest": "The lists of the subsets' images.",
        "store": "The feature store.",
        "slurm": "Job scripts for SLURM: printed, never submitted.",
        "trust": "Let runs and stores that name a file as their part use its code.",
        "draw": "Draw faces, so that the pipeline can be tried without a dataset.",
    },
    name="clare",
    help="Detect generated faces: extract LaRE and CLIP features once, train heads many times.",
    epilog="Exit codes: 0 done; 1 it could not be done, in one sentence; 2 an option or a value "
    "that does not exist; 3 done, but some images or runs failed; 75 stopped by "
    "SIGTERM or SIGUSR1, and work remains; 130 stopped by Ctrl-C. "
    f"--verbose, or {TRACEBACK}=1 in the environment, shows where an error came from.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": HELP_WIDTH},
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from clare.version import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a user's error is one sentence, a bug keeps its traceback."""
    # Torch's threads would spin while they wait, and take the cores from decoding, from the workers
    # beside them and from other programs. It is read as torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if place := scratch():  # the node's own disk, for all that is written for a moment
        os.environ["TMPDIR"] = place
    try:
        try:
            load_defaults()
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on, as after `| head`
        _let_go()
    except StoppedError as error:
        _say(error.notice)
        sys.exit(error.exit_code)
    except SystemExit as end:  # Typer says nothing of Ctrl-C while it reads the command line
        if end.code == EXIT_INTERRUPTED:
            _say(StoppedError(None).notice)
        raise
    except ClareError as error:
        _trace(error)
        _say(error)
    except Exception as error:  # libraries tell of the machine in errors of their own
        refused = environment_error(error)
        if refused is None:
            raise
        _let_go()
        _trace(error)
        _say(refused)
    sys.exit(EXIT_ERROR)


def _say(error: ClareError | Notice) -> None:
    with suppress(OSError):
        print(f"clare: {printable(worded(error))}", file=sys.stderr, flush=True)


def _trace(error: Exception) -> None:
    """Show where an error came from, if that is asked for."""
    if loudness.verbose or os.environ.get(TRACEBACK):
        with suppress(OSError):
            traceback.print_exception(error)


def _let_go() -> None:
    """Send what is still to be printed nowhere: Python would fail over it once more as it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
