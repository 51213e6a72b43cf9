"""What an extraction will cost on this machine: every stage alone, then the loop itself."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from clare.files import require_free_space
from clare.models.runtime import Runtime, choose_runtime
from clare.pipeline.extraction.batching import BatchRunner, largest_batch
from clare.pipeline.extraction.bottleneck import (
    Bottleneck,
    costs_of,
    find_bottleneck,
    torch_threads,
)
from clare.pipeline.extraction.call import Place, read_call
from clare.pipeline.extraction.claims import open_features
from clare.pipeline.extraction.creating import create_extractors
from clare.pipeline.extraction.job import create_loader
from clare.pipeline.extraction.loading import Inputs, Loader
from clare.pipeline.extraction.loop import extract_subset
from clare.pipeline.extraction.pace import (
    DECODE,
    FORWARD,
    Pace,
    Spent,
    doubt,
    extractor_of,
    kind_of,
    lanes,
)
from clare.pipeline.extraction.plan import THUMBNAIL_BYTES, Observer, Selection, row_disk
from clare.pipeline.extraction.rates import (
    EXTRACTION,
    WRITTEN,
    Rate,
    decode,
    endless,
    forward,
    look_at_files,
    write_and_read,
)
from clare.pipeline.extraction.scratch import draw_samples, nearest, scratch_folder
from clare.pipeline.extraction.settings import ExtractSettings
from clare.pipeline.extraction.source import Source
from clare.pipeline.extraction.trial import TrialSettings
from clare.pipeline.extractor import Extractor
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest, Sample
from clare.pipeline.synthetic.toys import draw_faces
from clare.slurm import cores
from clare.store.feature_store import create_store
from clare.store.row import Row
from clare.store.spec import SHARD_ROWS
from clare.wording import listed

SAMPLED, DRAWN = 256, 16
"""Images that are measured on, of the user's own or drawn."""

LOOP = 0.4
"""Share of the time that the loop gets; the stages have the rest."""

UNTOLD = 10_000
"""Images that the cost is said of, where neither they nor a subset are named."""

MOST_WRITTEN = 2 << 30
"""Bytes that the loop writes at most."""


class BenchObserver(Observer):
    """What a caller may watch of a trial."""

    def measuring(self, what: str) -> None:
        """Something else is measured from now on."""


@dataclass(frozen=True)
class Cost:
    """What an extraction costs.

    Args:
        pictures: what it was measured on.
        device: torch's name, and the card's.
        dtype: precision of the models.
        cores: that this process may use.
        threads: of torch.
        loaders: decoding threads.
        load: of the machine, in the minute before: processes that wanted a core.
        loading: seconds that torch and the models took to load.
        rates: of each stage alone, and of the loop.
        bottleneck: what decides how long it takes.
        host_memory: bytes at the peak, the libraries included.
        device_memory: bytes at the peak; None on a CPU.
        images: that the estimate is for.
        rows: that these are, with their augmented views.
        seconds: the least and the most that they will take.
        disk: bytes that they will take.
        free: bytes that are free on the store's disk.
    """

    pictures: str
    device: str
    dtype: str
    cores: int
    threads: int
    loaders: int
    load: float
    loading: float
    rates: tuple[Rate, ...]
    bottleneck: Bottleneck
    host_memory: int
    device_memory: int | None
    images: int
    rows: int
    seconds: tuple[float, float]
    disk: int
    free: int


def bench(
    store: Place = "features.zarr",
    *,
    images: int | None = None,
    size: int = 1024,
    seconds: float = 30.0,
    scratch: Place | None = None,
    observer: BenchObserver | None = None,
    **extraction: Any,
) -> Cost:
    """Measure what an extraction will cost on this machine; the store itself is left alone::

        cost = clare.bench(images=164_000, backbone="tiny")
        print(cost.seconds, cost.disk, cost.bottleneck.remark)

    Args:
        store: the feature store that it would go into.
        images: to say the cost of; by default those that are named, or 10,000.
        size: side of the pictures that are drawn where no images are named, in pixels.
        seconds: that it takes, about, beside loading the models; a slow model takes longer.
        scratch: folder for its files; by default that of the store. They are gone at the end.
        observer: is told how it goes.
        extraction: what `clare.extract` takes: images, as ``real`` or ``subset``, which are
            then measured on, and settings, as ``features`` or ``device``.

    Raises:
        InputError: a value is not usable, no image can be used, or a model does not fit.
        WeightsError: model weights are not on disk and can't be fetched.
        DiskSpaceError: there is no room for its files.
    """
    settings, source = read_call(store, **extraction)
    place = None if scratch is None else Path(scratch)
    return run_bench(settings, source, TrialSettings(images, size, seconds, place), observer)


def run_bench(
    settings: ExtractSettings,
    source: Source,
    trial: TrialSettings,
    observer: BenchObserver | None = None,
) -> Cost:
    """Measure an extraction, on a sample of the images that it is of.

    Args:
        settings: how it will go.
        source: its images; where none is named, it is measured on pictures that are drawn.
        trial: how it is measured.
        observer: is told how it goes.

    Raises:
        InputError: no image can be used, or a model does not fit.
        DiskSpaceError: there is no room for its files.
    """
    observer = observer or BenchObserver()
    selection = None if source.is_empty else source.select(observer)
    load = os.getloadavg()[0]
    began = time.perf_counter()
    runtime = choose_runtime(settings.device, settings.dtype, compile=settings.compile)
    loading = time.perf_counter() - began
    place = trial.scratch or settings.store.absolute().parent
    free = shutil.disk_usage(nearest(settings.store)).free
    with scratch_folder(place) as folder:
        if selection is None:
            observer.measuring("drawing pictures")
            selection = _draw(folder / "pictures", trial.size)
            size = f"{trial.size} x {trial.size} pixels"
            pictures = f"{DRAWN} drawn pictures of {size}, from memory once read"
            rows_an_image, count = float(settings.views), trial.images or UNTOLD
        else:
            samples = [sample for manifest, _ in selection for sample in manifest.samples]
            views = sum(settings.views if one.split == "train" else 1 for one in samples)
            rows_an_image, count = views / len(samples), trial.images or len(samples)
            names = listed(manifest.name for manifest, _ in selection)
            far = any(roots.is_remote(s) for m, roots in selection for s in m.samples[:1])
            read = "each read anew from its bucket" if far else "from memory once read"
            pictures = f"{min(SAMPLED, len(samples))} images of {names}, {read}"
        observer.loading_models(settings.features)
        began = time.perf_counter()
        with_masks = any(s.mask_path for m, _ in selection for s in m.samples)
        extractors = create_extractors(settings, runtime, with_masks=with_masks)
        loading += time.perf_counter() - began
        tried = _Trial(settings, selection, runtime, extractors, folder, trial.seconds, observer)
        rates = tried.stages()
        costs = costs_of(rates, min(tried.loaders, cores()), runtime)
        bottleneck = find_bottleneck(costs, cores(), tried.loaders, runtime, tried.batches(rates))
        rates.append(tried.loop(costs, rates))
    files, whole = rates[0], rates[-1]
    rows = round(count * rows_an_image)
    expected = loading + count * files.seconds + rows * whole.seconds
    unsure = doubt(whole.images / largest_batch("cpu"))
    fields = [spec for extractor in extractors for spec in extractor.fields]
    return Cost(
        pictures=pictures,
        device=_device(runtime),
        dtype=runtime.dtype,
        cores=cores(),
        threads=torch_threads(),
        loaders=tried.loaders,
        load=load,
        loading=loading,
        rates=tuple(rates),
        bottleneck=bottleneck,
        host_memory=_peak(),
        device_memory=_device_peak(runtime),
        images=count,
        rows=rows,
        seconds=(expected / unsure, expected * unsure),
        disk=rows * row_disk(fields, thumbnails=settings.thumbnails),
        free=free,
    )


class _Trial:
    """Stages and loop over a sample, in a store of their own."""

    def __init__(
        self,
        settings: ExtractSettings,
        selection: Selection,
        runtime: Runtime,
        extractors: Sequence[Extractor],
        folder: Path,
        seconds: float,
        observer: BenchObserver,
    ) -> None:
        self._settings, self._runtime, self._observer = settings, runtime, observer
        self._extractors, self._folder, self._seconds = extractors, folder, seconds
        self._samples, self._roots = draw_samples(selection, SAMPLED)
        self._runners = {
            one.label: BatchRunner(one, runtime.device, settings.micro_batch) for one in extractors
        }
        self._rows: list[Row] = []
        self._inputs: list[dict[str, Inputs]] = []
        fields = [spec for one in extractors for spec in one.fields]
        self._row_disk = row_disk(fields, thumbnails=settings.thumbnails)
        require_free_space(folder, WRITTEN * SHARD_ROWS * self._row_disk)
        self._store = create_store(folder / "store")
        self.loaders = settings.loaders or cores()

    def stages(self) -> list[Rate]:
        """Every stage alone."""
        tell, stages = self._observer.measuring, self._seconds * (1 - LOOP)
        tell("hashing files")
        files, self._rows = look_at_files(
            self._samples, self._roots, self._settings.views, 0.05 * stages
        )
        tell("decoding")
        decoded, self._inputs = decode(self._loader, self._rows, self._extractors, 0.2 * stages)
        rates = [files, decoded]
        for name, runner in self._runners.items():
            tell(f"computing {name}")
            inputs = [one[name] for one in self._inputs]
            rates.append(forward(runner, inputs, 0.5 * stages / len(self._runners)))
        tell("writing and reading")
        thumbnail = bytes(THUMBNAIL_BYTES if self._settings.thumbnails else 0)
        rates += write_and_read(self._store, self._rows, self._extractors, thumbnail, 0.1 * stages)
        return rates

    def batches(self, rates: Sequence[Rate]) -> list[Rate]:
        """The slowest model with its own micro-batch, and with half and twice as large ones."""
        models = [rate for rate in rates if kind_of(rate.stage) == FORWARD]
        own = max(models, key=lambda rate: rate.seconds)
        runner = self._runners[extractor_of(own.stage)]
        size = runner.micro_batch
        budget = self._seconds * (1 - LOOP) * 0.15 / 2
        if own.batch != size or own.seconds * size * 4 > 2 * budget:
            return [own]  # too slow to be tried
        found = [own]
        for other in {max(size // 2, 1), 2 * size} - {size}:
            self._observer.measuring(f"micro-batches of {other}")
            another = BatchRunner(runner.extractor, self._runtime.device, other)
            inputs = [one[runner.extractor.label] for one in self._inputs]
            rate = forward(another, inputs, budget)
            if rate.batch == other:  # and not one that fits time or memory better
                found.append(rate)
        return found

    def loop(self, costs: Mapping[str, Spent], rates: Sequence[Rate]) -> Rate:
        """The extraction itself; of its stages, where one shard takes longer than there is time."""
        alone = sum(one.seconds for one in rates if one.stage in costs)
        budget = LOOP * self._seconds
        rows = min(budget / alone, MOST_WRITTEN / self._row_disk)
        rows = int(rows // SHARD_ROWS) * SHARD_ROWS
        if rows < SHARD_ROWS:
            fewest = min(one.images for one in rates if kind_of(one.stage) == FORWARD)
            busy = max(alone / sum(one.seconds for one in costs.values()), 1.0)
            each = busy * max(lanes(costs, cores()).values())
            return Rate(EXTRACTION, fewest, each, each / busy, each * busy, is_computed=True)
        self._observer.measuring("the whole extraction")
        require_free_space(self._folder, rows * self._row_disk)
        assigned = self._store.assign_rows("loop", list(islice(endless(self._rows), rows)))
        features = open_features(self._store, "loop", self._extractors)
        pace = Pace(dict.fromkeys(features, rows), rows, cores())
        with closing(self._loader()) as loader:
            loader.decoded = partial(pace.add, DECODE)
            report = extract_subset(
                self._store,
                "loop",
                [row.slot for row in assigned],
                features,
                self._runners,
                loader,
                pace=pace,
            )
        return Rate(EXTRACTION, rows, *(pace.an_image() or (report.seconds / rows,) * 3))

    def _loader(self) -> Loader:
        return create_loader(self._settings, self._roots)


def _draw(folder: Path, size: int) -> Selection:
    """Pictures as a subset; all are for training, so that they are augmented if anything is."""
    files = draw_faces(folder, DRAWN, seed=0, size=size)
    samples = [Sample(path.stem, path.name, 0, "drawn", split="train") for path in files]
    return [(Manifest("drawn", tuple(samples)), Roots(folder, {}))]


def _device(runtime: Runtime) -> str:
    import torch

    if runtime.device.startswith("cuda"):
        return f"{runtime.device} ({torch.cuda.get_device_name(runtime.device)})"
    return runtime.device


def _device_peak(runtime: Runtime) -> int | None:
    import torch

    if runtime.device.startswith("cuda"):
        return torch.cuda.max_memory_reserved(runtime.device)
    return None


def _peak() -> int:
    """Bytes of the process at the peak; Linux counts kibibytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
