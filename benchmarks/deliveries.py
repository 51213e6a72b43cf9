"""Deliveries of images against damaging by hand: files of the damaged pixels, and their extraction.

    python -m benchmarks.deliveries

All run the product's loop over LaRE and CLIP, small models that make the loop's own cost show
most, into a new store. Ours decodes each JPEG once and damages it in every way of the set
`compact`. By hand, as many PNGs are written first, by one thread, and each is decoded by itself;
the damaged files are the same with the clock started once they are there, so that ours alone
damages anything. One by one, each delivery is extracted by itself, from the images, which are
decoded once more for each.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.rounds import Race, Ratio
from benchmarks.script import Parts, Script, main
from clare.augmentation.deliveries import read_set
from clare.models.runtime import choose_runtime
from clare.models.tiny import tiny_overrides
from clare.pipeline.extraction.batching import BatchRunner, largest_batch
from clare.pipeline.extraction.claims import open_features
from clare.pipeline.extraction.loading import Loader
from clare.pipeline.extraction.loop import extract_subset
from clare.pipeline.extraction.store_rows import rows_of_samples
from clare.pipeline.extractor import Extractor
from clare.pipeline.extractors import create_extractor
from clare.pipeline.images.decode import decode_rgb
from clare.pipeline.images.settings import ImageSettings
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.manifests.variants import make_variants
from clare.pipeline.synthetic.toys import draw_faces
from clare.store.feature_store import create_store

OURS, BY_HAND, FILES = "deliveries", "by hand", "damaged files"
ONE_BY_ONE = "one by one"


@dataclass(frozen=True)
class Sizes:
    images: int = 32
    side: int = 512


@dataclass(frozen=True)
class Bench:
    """What all ways share."""

    extractors: list[Extractor]
    device: str
    store: Path


def parts(sizes: Sizes, folder: Path) -> Parts:
    files = draw_faces(folder / "images", sizes.images, seed=0, size=sizes.side)
    samples = [Sample(f.stem, f.name, 0, "images", split="test") for f in files]
    made = make_variants(Manifest("images", tuple(samples)), read_set("compact"))
    ours = made, Roots(folder / "images", {})
    overrides, runtime = tiny_overrides(folder), choose_runtime()
    extractors = [
        create_extractor(name, overrides[name], ImageSettings(), runtime)
        for name in ("lare", "clip")
    ]
    bench = Bench(extractors, runtime.device, folder / "store")
    turns = {
        OURS: partial(extract, OURS, *ours, bench),
        ONE_BY_ONE: partial(one_by_one, *ours, bench),
        BY_HAND: partial(by_hand, *ours, folder / "damaged", bench),
    }
    ratios = [
        Ratio(OURS, ONE_BY_ONE, aim=1.0),
        Ratio(OURS, BY_HAND, aim=1.0),
        Ratio(OURS, FILES),
    ]
    yield Race("images", turns, ratios, rate=(len(made.samples), "images/s"))


def damage(made: Manifest, roots: Roots, folder: Path) -> tuple[Manifest, Roots]:
    """Each delivery as a file of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rows = []
    for sample in made.samples:
        image = decode_rgb(roots.resolve(sample).read_bytes())
        delivery = sample.delivered
        assert delivery is not None
        path = f"{sample.sample_id.replace('#', '-')}.png"
        delivery.view(sample.sample_id, image.size).apply(image).save(folder / path)
        rows.append(Sample(sample.sample_id, path, sample.label, made.name, split="test"))
    return Manifest(made.name, tuple(rows)), Roots(folder, {})


def by_hand(made: Manifest, roots: Roots, damaged: Path, bench: Bench) -> Mapping[str, float]:
    """Both what follows the files, and all of it."""
    began = time.perf_counter()
    theirs = damage(made, roots, damaged)
    seconds = time.perf_counter() - began
    found = extract(FILES, *theirs, bench)
    return {**found, BY_HAND: seconds + found[FILES]}


def one_by_one(made: Manifest, roots: Roots, bench: Bench) -> Mapping[str, float]:
    """As many extractions as there are deliveries."""
    seconds = 0.0
    for delivery in dict.fromkeys(sample.delivery for sample in made.samples):
        rows = tuple(sample for sample in made.samples if sample.delivery == delivery)
        seconds += extract(ONE_BY_ONE, Manifest(made.name, rows), roots, bench)[ONE_BY_ONE]
    return {ONE_BY_ONE: seconds}


def extract(name: str, manifest: Manifest, roots: Roots, bench: Bench) -> Mapping[str, float]:
    """All rows of a manifest into a new store; hashes are known before the clock starts."""
    shutil.rmtree(bench.store, ignore_errors=True)
    store = create_store(bench.store)
    rows = store.assign_rows(manifest.name, rows_of_samples(manifest.samples, roots, []))
    features = open_features(store, manifest.name, bench.extractors)
    runners = {
        one.name: BatchRunner(one, bench.device, largest_batch(bench.device))
        for one in bench.extractors
    }
    loader = Loader(roots, ImageSettings())
    began = time.perf_counter()
    slots = [row.slot for row in rows]
    report = extract_subset(store, manifest.name, slots, features, runners, loader)
    seconds = time.perf_counter() - began
    loader.close()
    assert report.rows == len(rows) and not report.failures
    return {name: seconds}


SCRIPT = Script(
    "deliveries", __doc__, parts, Sizes(), toy=Sizes(3, 48), full=Sizes(128), seconds=60
)

if __name__ == "__main__":
    main(SCRIPT)
