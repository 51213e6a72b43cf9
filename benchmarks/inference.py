"""`clare predict`, end to end, against its own stages and a plain loop over the same models.

    python -m benchmarks.inference

All run in this process, on the same toy pictures, with a run of the default head on tiny models:
small models make the loop's own cost show most. End to end is from paths to a CSV of scores; models
are loaded before. Stages (decode, each forward pass, head, write) are measured alone in the same
round. Their slowest is what a device of its own allows; on a CPU, where they share the cores, the
limit is the sum of their times. The plain loop decodes a batch, runs the models over it, and goes
on: as most scripts do. On a machine that others use too, ``--clock process`` says what the loop
itself costs: seconds of all cores that this process took.

Then one photograph with the miniature's models, from the command to its verdict, in a process of
its own: against one that only imports the libraries that these models are of, and reads their
weights.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import clare
from benchmarks.extraction import LIMIT, limit_of_stages
from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.inference.inputs import collect_inputs
from clare.inference.predictor import Predictor
from clare.inference.scores import Basis, ScoreFile
from clare.inference.verdict import Verdict
from clare.models.backbones import Backbone
from clare.models.mini import WEIGHTS
from clare.pipeline.extraction.batching import BatchRunner, largest_batch
from clare.pipeline.extraction.loading import Inputs
from clare.pipeline.extraction.rebuild import recorded_images
from clare.pipeline.images.decode import read_content
from clare.pipeline.images.prepare import load_views
from clare.pipeline.synthetic.toys import draw_faces

TRAINED_ON = 64
OURS, PLAIN = "end to end", "plain loop"
START, IMPORTS = "predict", "imports and weights"

WHAT_IT_NEEDS = """
import sys

import numpy
import open_clip
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextModel, CLIPTokenizer

for path in sys.argv[1:]:
    load_file(path)
"""


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
    return {OURS: (bench.clock() - began) / len(inputs)}


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
    return {PLAIN: (bench.clock() - began) / len(bench.paths)}


def _verdicts(paths: Sequence[Path], margins: Sequence[float]) -> Iterator[Verdict]:
    for path, margin in zip(paths, margins, strict=True):
        yield Verdict(path, "fake", p_fake=1 / (1 + np.exp(-margin)), margin=margin)


def start(run: Path, picture: Path) -> Race:
    """One photograph, judged by a process that has nothing yet."""
    files = [*map(str, sorted(WEIGHTS.glob("clip/*.safetensors")))]
    files += map(str, sorted(WEIGHTS.glob("diffusion/*/*.safetensors")))
    commands = {
        START: ("-m", "clare", "--quiet", "predict", str(run), str(picture)),
        IMPORTS: ("-c", WHAT_IT_NEEDS, *files),
    }
    ways = {name: partial(in_own_process, *words) for name, words in commands.items()}
    ratios = [Ratio(START, IMPORTS, 1 / 1.2)]
    return Race("one photograph", ways, ratios, share=0.5, warm=False)


def in_own_process(*words: str) -> None:
    """Run Python with these words.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)


@dataclass(frozen=True)
class Sizes:
    images: int = 256
    side: int = 256
    clock: str = "wall"


def parts(sizes: Sizes, folder: Path) -> Parts:
    clock = {"wall": time.perf_counter, "process": time.process_time}[sizes.clock]
    bench = _prepare(folder, sizes.images, sizes.side, clock)
    ways = {OURS: end_to_end, "stages": stages_alone, PLAIN: plain_loop}
    yield Race(
        "images",
        {name: partial(way, bench) for name, way in ways.items()},
        [Ratio(OURS, LIMIT, 0.9), Ratio(OURS, PLAIN)],
        rate=(1, "images/s"),
        derive=partial(limit_of_stages, bench.predictor.runtime.device),
        share=0.5,
    )
    yield start(_train(folder, "mini"), bench.paths[0])


def _prepare(scratch: Path, count: int, side: int, clock: Callable[[], float]) -> Bench:
    for kind in ("real", "fake"):
        draw_faces(scratch / "few" / kind, TRAINED_ON // 2, seed=0, kind=kind)
        draw_faces(scratch / "many" / kind, count // 2, seed=1, kind=kind, size=side)
    paths = sorted((scratch / "many").rglob("*.jpg"))
    return Bench(Predictor(_train(scratch, "tiny")), paths, scratch, clock)


def _train(scratch: Path, backbone: Backbone) -> Path:
    """A run of the default head on models of our own."""
    few = {kind: scratch / "few" / kind for kind in ("real", "fake")}
    store, run = scratch / f"{backbone}.zarr", scratch / backbone
    clare.extract(store, real=few["real"], fake=few["fake"], subset="few", backbone=backbone)
    clare.train_head(store, run, epochs=1)
    return run


SCRIPT = Script("inference", __doc__, parts, Sizes(), toy=Sizes(16, 64), full=Sizes(1024))

if __name__ == "__main__":
    main(SCRIPT)
