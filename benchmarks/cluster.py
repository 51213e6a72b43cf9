"""Extraction on Dask's workers, against plain processes that share a store.

    python -m benchmarks.cluster

Full-size tokens (257 × 1024, float16) are pretended: pictures are decoded and rows are written as
ever, and in the place of a model the extractor waits as long as one would compute. Each way runs in
processes of its own; timed is what `clare extract` prints as its seconds, so neither start nor
models: on a cluster these load before the first batch. The aims are 0.97 for one worker against
none and 0.95 for two against two plain processes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.pipeline.synthetic.toys import draw_faces

TASK = "--task"
NONE, ONE = "no cluster", "local:1"
PLAIN, TWO = "two processes", "local:2"

EXTRACTOR = '''
"""Tokens of full size that take the time of a model and mean nothing."""
import time
from dataclasses import dataclass

from clare.pipeline.extractor import Extractor
from clare.store.spec import FeatureSpec


@dataclass(frozen=True)
class PretendedSettings:
    """Settings of `pretended`.

    Args:
        seconds: for an image.
    """

    seconds: float = 0.0125


class Pretended(Extractor):
    """Field ``pretended_tokens``: float16 (257, 1024)."""

    Settings = PretendedSettings
    VERSION = 1

    def __init__(self, settings, images, runtime):
        self.seconds, self.runtime = settings.seconds, runtime
        self.fields = (FeatureSpec("pretended_tokens", (257, 1024), "float16"),)
        self.fingerprint = self.sign("", {}, images)

    def prepare(self, image):
        return {"pixels": image.pixels(224)}

    def forward(self, inputs):
        time.sleep(self.seconds * len(inputs["pixels"]))
        rows = self.runtime.tensor(inputs["pixels"]).flatten(1)[:, :1024].half()
        return {"pretended_tokens": rows[:, None].expand(-1, 257, -1).contiguous()}
'''


@dataclass(frozen=True)
class Sizes:
    images: int = 1024
    seconds: float = 0.0125


def parts(sizes: Sizes, folder: Path) -> Parts:
    draw_faces(folder / "real", sizes.images, seed=0)
    (folder / "pretended.py").write_text(EXTRACTOR)
    one = {NONE: partial(turn, folder, sizes, 1), ONE: partial(turn, folder, sizes, 1, ONE)}
    two = {PLAIN: partial(turn, folder, sizes, 2), TWO: partial(turn, folder, sizes, 1, TWO)}
    rate = (sizes.images, "images/s")
    yield Race("one", one, [Ratio(ONE, NONE, 0.97)], share=0.5, rate=rate)
    yield Race("two", two, [Ratio(TWO, PLAIN, 0.95)], share=0.5, rate=rate)


def turn(folder: Path, sizes: Sizes, processes: int, cluster: str = "") -> dict[str, float]:
    """Run one way anew; the seconds of the loop, of several processes those of the last."""
    store = folder / "features.zarr"
    shutil.rmtree(store, ignore_errors=True)
    words = [sys.executable, "-m", "benchmarks.cluster", TASK, str(folder), str(sizes.seconds)]
    started = [
        subprocess.Popen([*words, cluster], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    told = [json.loads(one.communicate()[0].splitlines()[-1]) for one in started]
    rows = sum(rows for rows, _ in told)
    if rows != sizes.images:
        raise SystemExit(f"{rows} rows were extracted, not {sizes.images}")
    name = cluster or (PLAIN if processes > 1 else NONE)
    return {name: max(seconds for _, seconds in told)}


def extract(folder: Path, seconds: float, cluster: str) -> None:
    """One process of a way: prints its rows and the seconds of its loop."""
    from clare.pipeline.cluster.job import run_cluster_job
    from clare.pipeline.datasets.select import select_manifests
    from clare.pipeline.extraction.job import run_job
    from clare.pipeline.extraction.settings import ExtractSettings
    from clare.plugins import trust_named

    part = str(folder / "pretended.py")
    trust_named([part])
    settings = ExtractSettings(
        folder / "features.zarr",
        features=(part,),
        settings={"pretended": {"seconds": seconds}},
        micro_batch=16,
    )
    selection = select_manifests(None, [], folder, [], [folder / "real"], [])
    if cluster:
        report = run_cluster_job(settings, selection, cluster)
    else:
        report = run_job(settings, selection)
    print(json.dumps([report.rows, report.seconds]))


SCRIPT = Script(
    "cluster", __doc__, parts, Sizes(), toy=Sizes(64, 0.001), full=Sizes(2048), seconds=400
)

if __name__ == "__main__":
    if sys.argv[1:2] == [TASK]:
        extract(Path(sys.argv[2]), float(sys.argv[3]), sys.argv[4])
    else:
        main(SCRIPT)
