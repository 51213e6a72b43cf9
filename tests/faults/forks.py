"""Work in forks of one process that has imported everything once: each costs milliseconds, and may
be killed, hang or run out of room without harm to the others."""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clare.errors import ClareError

How = Literal["done", "refused", "failed"]
PATIENCE = 60.0
MEMORY = 24 << 30
"""Bytes of address space: more than any honest work here takes, less than a forged size asks."""


@dataclass(frozen=True)
class End:
    """How a piece of work ended.

    Args:
        how: it was done, was refused in a sentence, or failed: a traceback, a hang, a crash.
        said: the sentence, the traceback, or what else there is to say.
        value: that the work returned, plain.
    """

    how: How
    said: str = ""
    value: Any = None


def warm() -> None:
    """Import what work without models needs."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import typer

    import clare.cli.app
    import clare.pipeline.checks.check
    import clare.pipeline.datasets.build
    import clare.pipeline.official_lists.json_list
    import clare.store.maintenance.repair
    from clare.cli.command import LazyGroup

    group = typer.main.get_command(clare.cli.app.app)
    assert isinstance(group, LazyGroup)
    for name in ("manifest", "store"):
        group.load(name)
    gc.freeze()  # a fork that collects garbage copies no pages for it


def warm_models() -> None:
    """Import all that any of the work needs; forks of a process that is so large take longer."""
    import diffusers
    import matplotlib.pyplot
    import open_clip
    import sklearn.metrics
    import torch
    import transformers

    import clare.cli.app
    from clare.cli.command import commands_below

    del matplotlib, open_clip, sklearn
    for library, names in (
        (diffusers, ("AutoencoderKL", "UNet2DConditionModel", "DDPMScheduler")),
        (transformers, ("CLIPTextModel", "CLIPTokenizer")),
    ):
        for name in names:  # each is imported as it is asked for
            getattr(library, name)
    import typer

    import clare.heads.evaluation.evaluate
    import clare.heads.report.write
    import clare.heads.training.trainer
    import clare.inference.predictor
    import clare.models.tiny
    import clare.pipeline.extraction.job
    import clare.pipeline.extractors.clip
    import clare.pipeline.extractors.lare
    import clare.store.export

    list(commands_below(typer.main.get_command(clare.cli.app.app)))
    torch.set_num_threads(1)
    gc.freeze()


def begin(work: Callable[[], Any], note: int | None = None, **limits: int) -> int:
    """Fork, do the work there, and write how it ended to a pipe; returns the child's number.

    Args:
        work: what is to be done; it returns something plain.
        note: the pipe's descriptor, open already: whatever is refused later, it can be told.
        limits: of the child, as ``FSIZE=4096``.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
        done = end(work)
        if note is not None:
            _tell(note, done)
    finally:
        os._exit(0)


def _tell(note: int, done: End) -> None:
    data = json.dumps([done.how, done.said, done.value]).encode()
    while data:
        data = data[os.write(note, data) :]


def end(work: Callable[[], Any]) -> End:
    """The end of work in this process."""
    try:
        return End("done", value=work())
    except ClareError as error:
        return End("refused", str(error))
    except BaseException:
        return End("failed", traceback.format_exc())


def call(work: Callable[[], Any], seconds: float = PATIENCE, **limits: int) -> End:
    """The end of work in a fork."""
    reading, writing = os.pipe()
    child = begin(work, writing, **limits)
    os.close(writing)
    os.set_blocking(reading, False)
    told, until = b"", time.monotonic() + seconds
    done = 0
    while not done and time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        told += _available(reading)
        time.sleep(0.002)
    told += _available(reading)
    os.close(reading)
    if not done:
        kill(child)
        return End("failed", f"it did not end within {seconds:.0f} s")
    if not told:
        return End("failed", f"the process died (status {status})")
    return End(*json.loads(told))


def _available(pipe: int) -> bytes:
    told = b""
    with suppress(BlockingIOError):
        while more := os.read(pipe, 1 << 20):
            told += more
    return told


def kill(child: int) -> None:
    """End a child as a power cut would."""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def command(
    *arguments: object, folder: Path, out: str = os.devnull, settings: Mapping[str, str] = {}
) -> Callable[[], Any]:
    """A command line as work: refused where it exits with 1 and one sentence.

    Args:
        arguments: after ``clare``.
        folder: that it works in.
        out: the file that gets its output.
        settings: of the environment.
    """

    def work() -> int:
        from clare.cli.app import main

        os.chdir(folder)
        os.environ.update(settings)
        os.dup2(os.open(out, os.O_WRONLY), 1)
        sys.stdout = os.fdopen(1, "w")
        sys.stderr = io.StringIO()
        sys.argv = ["clare", *map(str, arguments)]
        code: Any = 0
        try:
            main()
        except SystemExit as done:
            code = done.code or 0
        said = sys.stderr.getvalue()
        if "Traceback" in said or "Errno" in said:
            raise AssertionError(said)
        if code == 1:
            raise ClareError(said.strip() or "it said nothing")
        return int(code)

    return work
