"""`clare predict`, end to end, against its own stages and a plain loop over the same models.

    python benchmarks/inference.py [--images N] [--rounds N] [--side PIXELS] [--processor-time]
        [--folder DIR] [--json]

Every round runs each contestant once, in an order of its own, in this process, on the same toy
pictures, with a run of the default head on tiny models: small models make the loop's own cost show
most. End to end is from paths to a CSV of scores; models are loaded before. Stages (decode, each
forward pass, head, write) are measured alone in the same round. Their slowest is what a device of
its own allows; on a CPU, where they share the cores, the limit is the sum of their times. The plain
loop decodes a batch, runs the models over it, and goes on: as most scripts do. On a machine that
others use too, --processor-time says what the loop itself costs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import clare
from clare.inference.inputs import collect_inputs
from clare.inference.predictor import Predictor
from clare.inference.scores import Basis, ScoreFile
from clare.inference.verdict import Verdict
from clare.pipeline.extraction.batching import BatchRunner, largest_batch
from clare.pipeline.extraction.loading import Inputs
from clare.pipeline.extraction.rebuild import recorded_images
from clare.pipeline.images.decode import read_content
from clare.pipeline.images.prepare import load_views
from clare.pipeline.synthetic.toys import draw_faces

TRAINED_ON = 64


@dataclass
class Bench:
    """What all contestants share."""

    predictor: Predictor
    paths: list[Path]
    scratch: Path
    clock: Callable[[], float]

    @property
    def batch(self) -> int:
        return largest_batch(self.predictor.runtime.device)

    def prepare(self, path: Path) -> list[Inputs]:
        """What each extractor takes of an image."""
        data = read_content(path)
        found = []
        for extractor, recorded, _ in self.predictor.extractors:
            (image,) = load_views(data, recorded_images(recorded), [0], content=path.name)
            found.append(extractor.prepare(image))
        return found

    def forward(self, number: int, inputs: Sequence[Inputs]) -> dict[str, torch.Tensor]:
        """The values of one extractor over a batch."""
        stacked = {name: np.stack([one[name] for one in inputs]) for name in inputs[0]}
        with torch.inference_mode():
            return self.predictor.extractors[number][0].forward(stacked)

    def head(self, features: dict[str, torch.Tensor]) -> list[float]:
        """The margins of a batch."""
        detector = self.predictor.run.detector
        with torch.inference_mode():
            batch = {name: features[name] for name in detector.fields}
            found: list[float] = detector.margins(batch).tolist()
        return found

    def write(self, verdicts: Iterator[Verdict]) -> None:
        """Scores as a new file."""
        out = self.scratch / "scores.csv"
        out.unlink(missing_ok=True)
        with ScoreFile(out, Basis.of(self.predictor, (), 1)) as file:
            for verdict in verdicts:
                file.add(verdict)


def end_to_end(bench: Bench) -> dict[str, float]:
    """The product's loop, from paths to a file."""
    inputs = collect_inputs(list(map(str, bench.paths)), lambda notice: None)
    began = bench.clock()
    bench.write(verdict for verdict, _ in bench.predictor.detect(inputs))
    return {"end to end": (bench.clock() - began) / len(inputs)}


def stages_alone(bench: Bench) -> dict[str, float]:
    """Each stage over all images, one after another."""
    seconds: dict[str, float] = {}
    began = bench.clock()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        prepared = list(pool.map(bench.prepare, bench.paths))
    seconds["decode"] = bench.clock() - began
    places = range(0, len(prepared), bench.batch)
    batches: list[dict[str, torch.Tensor]] = [{} for _ in places]
    for number, (extractor, _, _) in enumerate(bench.predictor.extractors):
        runner = BatchRunner(extractor, bench.predictor.runtime.device, bench.batch)
        began = bench.clock()
        for place, first in enumerate(places):
            rows = [one[number] for one in prepared[first : first + bench.batch]]
            values, _ = runner.launch(rows).fetch()
            batches[place] |= {
                name: torch.from_numpy(one).to(bench.predictor.runtime.device)
                for name, one in values.items()
            }
        seconds[f"forward {extractor.name}"] = bench.clock() - began
    began = bench.clock()
    margins = [margin for batch in batches for margin in bench.head(batch)]
    seconds["head"] = bench.clock() - began
    began = bench.clock()
    bench.write(_verdicts(bench.paths, margins))
    seconds["write"] = bench.clock() - began
    return {stage: spent / len(prepared) for stage, spent in seconds.items()}


def plain_loop(bench: Bench) -> dict[str, float]:
    """Batch after batch: decode, models, head; all scores are written at the end."""
    began = bench.clock()
    margins: list[float] = []
    for first in range(0, len(bench.paths), bench.batch):
        prepared = [bench.prepare(path) for path in bench.paths[first : first + bench.batch]]
        features: dict[str, torch.Tensor] = {}
        for number in range(len(bench.predictor.extractors)):
            features |= bench.forward(number, [one[number] for one in prepared])
        margins += bench.head(features)
    bench.write(_verdicts(bench.paths, margins))
    return {"plain loop": (bench.clock() - began) / len(bench.paths)}


def _verdicts(paths: Sequence[Path], margins: Sequence[float]) -> Iterator[Verdict]:
    for path, margin in zip(paths, margins, strict=True):
        yield Verdict(path, "fake", p_fake=1 / (1 + np.exp(-margin)), margin=margin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=256, help="of a picture, in pixels")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="seconds of all cores that this process took, in the place of the wall clock's",
    )
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        clock = time.process_time if args.processor_time else time.perf_counter
        bench = _prepare(Path(scratch), args.images, args.side, clock)
        contestants: list[Callable[[Bench], dict[str, float]]] = [
            end_to_end,
            stages_alone,
            plain_loop,
        ]
        for contestant in contestants:  # warm up
            contestant(bench)
        rounds = []
        chance = random.Random(0)
        for _ in range(args.rounds):
            found: dict[str, float] = {}
            for contestant in chance.sample(contestants, len(contestants)):
                found |= contestant(bench)
            rounds.append(found)
        summary = _summary(bench, rounds)
    if args.json:
        print(json.dumps(summary))
    else:
        _show(summary)


def _prepare(scratch: Path, count: int, side: int, clock: Callable[[], float]) -> Bench:
    for kind in ("real", "fake"):
        draw_faces(scratch / "few" / kind, TRAINED_ON // 2, seed=0, kind=kind)
        draw_faces(scratch / "many" / kind, count // 2, seed=1, kind=kind, size=side)
    few = {kind: scratch / "few" / kind for kind in ("real", "fake")}
    store = scratch / "features.zarr"
    clare.extract(store, real=few["real"], fake=few["fake"], subset="few", backbone="tiny")
    clare.train_head(store, scratch / "run", epochs=1)
    paths = sorted((scratch / "many").rglob("*.jpg"))
    return Bench(Predictor(scratch / "run"), paths, scratch, clock)


def _summary(bench: Bench, rounds: list[dict[str, float]]) -> dict[str, Any]:
    stages = [name for name in rounds[0] if name not in ("end to end", "plain loop")]
    device = bench.predictor.runtime.device
    for seconds in rounds:
        alone = [seconds[stage] for stage in stages]
        seconds["slowest stage"] = max(alone)
        if device == "cpu":
            seconds["sum of the stages"] = sum(alone)
    return {
        "images": len(bench.paths),
        "rounds": len(rounds),
        "device": device,
        "clock": "processor time" if bench.clock is time.process_time else "wall clock",
        "threads": torch.get_num_threads(),
        "rows": {
            name: {
                "images_per_second": statistics.median(1 / r[name] for r in rounds),
                "end_to_end_ratio": [r[name] / r["end to end"] for r in rounds],
            }
            for name in rounds[0]
        },
    }


def _show(summary: dict[str, Any]) -> None:
    table = Table(
        title=f"{summary['images']} images, {summary['rounds']} rounds interleaved, "
        f"{summary['device']}, {summary['threads']} threads, {summary['clock']}; tiny models"
    )
    for column in ("what", "images/s (median)", "end to end is faster by", "least", "most"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for name, row in summary["rows"].items():
        ratios = row["end_to_end_ratio"]
        table.add_row(
            name,
            f"{row['images_per_second']:.1f}",
            f"{statistics.median(ratios):.2f}x",
            f"{min(ratios):.2f}x",
            f"{max(ratios):.2f}x",
        )
    Console().print(table)
    limit = "the sum of the stages" if summary["device"] == "cpu" else "the slowest stage"
    Console().print(f"aim: end to end at least 0.90x of {limit}")


if __name__ == "__main__":
    main()
