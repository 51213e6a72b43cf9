"""A cold run on a GPU: drawn images to features, a head, its test and the report."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import clare
from benchmarks.rounds import Race, Ratio
from clare.pipeline.synthetic.toys import draw_faces

LOOP, SLOWEST = "extract, its loop", "extract, its slowest stage"


def cold_run(
    folder: Path,
    models: Mapping[str, Mapping[str, Any]],
    images: int,
    device: str,
    alone: Mapping[str, float],
    *,
    full: bool,
) -> Iterator[Race]:
    """Once, from nothing but the models' files.

    Args:
        folder: to work in.
        models: extractor name to the settings that name its models.
        images: to draw.
        device: a torch device.
        alone: extractor name to seconds an image of its forward pass, measured alone.
        full: whether the models are full-size, so that the head is trained for long.
    """
    kinds: tuple[Literal["real", "fake"], ...] = ("real", "fake")
    for kind in kinds:
        draw_faces(folder / "drawn" / kind, images // 2, seed=0, kind=kind, size=256)
    store, run = folder / "cold.zarr", folder / "cold-run"

    def turn() -> dict[str, float]:
        began = time.perf_counter()
        seconds: dict[str, float] = {}

        def lap(name: str) -> None:
            seconds[name] = time.perf_counter() - began - sum(seconds.values())

        settings = {name: dict(models[name]) for name in ("lare", "clip")}
        real, fake = (folder / "drawn" / kind for kind in kinds)
        made = clare.extract(
            store, real=real, fake=fake, subset="drawn", settings=settings, device=device
        )
        lap("extract")
        clare.train_head(store, run, epochs=20 if full else 1, device=device)
        lap("train-head")
        clare.evaluate(run, device=device)
        lap("evaluate")
        clare.report([run], run / "report.html")
        lap("report")
        whole = sum(seconds.values())
        busy = made.stage_seconds
        forward = sum(alone.values()) * made.rows
        decode = busy["decode"] / (os.cpu_count() or 1)
        slowest = max(forward, decode, busy["write"])
        return {**seconds, "cold, to the page": whole, LOOP: made.seconds, SLOWEST: slowest}

    yield Race(
        f"a cold run, {images} images",
        {"run": turn},
        [Ratio(LOOP, SLOWEST, 0.95)],
        rounds=1,
        warm=False,
    )
