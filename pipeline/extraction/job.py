"""A whole extraction: manifests in, a plan that says its cost, one store out."""

from __future__ import annotations

import io
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clare.errors import InputError
from clare.models.runtime import Runtime
from clare.pipeline.extraction.batching import BatchRunner
from clare.pipeline.extraction.claims import open_features, pending_shards
from clare.pipeline.extraction.loading import Loader, gather
from clare.pipeline.extraction.loop import ExtractReport, extract
from clare.pipeline.extraction.store_rows import rows_of_samples
from clare.pipeline.extractor import Extractor
from clare.pipeline.images.prepare import ImageSettings, PreparedImage, load_views
from clare.pipeline.manifests.csv_io import Manifest
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.models.backbones import backbone_overrides
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore, create_store
from clare.store.spec import SHARD_ROWS

TIMED = 8
"""Rows of a subset that are decoded for the estimate of the time."""

THUMBNAIL_BYTES = 4096
"""About what a thumbnail takes."""

CHECKSUM_BYTES = 20
"""What a row of a field takes beside its values: its place in the shard, and its checksum."""


@dataclass(frozen=True)
class ExtractJob:
    """Everything that a user asks of one extraction.

    Args:
        manifests: the subsets to extract, each with the roots of its paths.
        store: folder of the feature store; made if it is not there.
        features: names of the extractors.
        settings: extractor name to the settings that differ from its defaults.
        images: how images are prepared.
        runtime: device and precision.
        backbone: ``real``, ``mini`` for small models that were trained on drawn faces, or ``tiny``
            for random ones whose features mean nothing.
        views: views of each training sample; view 0 is the plain image.
        micro_batch: images a batch; None finds it.
        loaders: decoding threads; None takes the cores.
        strict: stop at the first row that fails.
        thumbnails: keep a small JPEG of each row for reports.
    """

    manifests: Sequence[tuple[Manifest, Roots]]
    store: Path
    runtime: Runtime
    features: tuple[str, ...] = ("lare", "clip")
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    images: ImageSettings = field(default_factory=ImageSettings)
    backbone: str = "real"
    views: int = 1
    micro_batch: int | None = None
    loaders: int | None = None
    strict: bool = False
    thumbnails: bool = True


@dataclass(frozen=True)
class Plan:
    """What an extraction is about to do.

    Args:
        rows: rows that the manifests ask for, all subsets together.
        pending: rows whose shards still lack a feature.
        disk: bytes that will be written.
        free: bytes free on the store's disk.
        seconds: estimated duration; None where nothing is left to do.
        micro_batches: extractor name to images a batch.
        fingerprints: extractor name to its folder in the store.
        backbone: ``real``, ``mini`` or ``tiny``.
    """

    rows: int
    pending: int
    disk: int
    free: int
    seconds: float | None
    micro_batches: Mapping[str, int]
    fingerprints: Mapping[str, str]
    backbone: str


class Observer:
    """What a caller may watch; every method may be left as it is."""

    def loading_models(self, features: Sequence[str]) -> None:
        """The models are about to be loaded."""

    def reading(self, subset: str, done: int, total: int) -> None:
        """Files of a subset were looked at, and hashed where they are new."""

    def planned(self, plan: Plan) -> None:
        """The extraction is about to start."""

    def extracting(self, subset: str, rows: int, failures: int) -> None:
        """Rows of a subset are on disk."""

    def waiting(self, subset: str, shards: int) -> None:
        """Another run holds the last shards of a subset."""


def run_job(job: ExtractJob, observer: Observer) -> ExtractReport:
    """Extract every subset of a job into its store; what is there already is left alone.

    Raises:
        InputError: the settings or the manifests are not usable.
        WeightsError: model weights are not on disk and can't be fetched.
        DiskSpaceError: the store's disk is too small; said before any model runs.
        StrictFailureError: ``strict`` was asked for and a row failed.
    """
    store = create_store(job.store)
    observer.loading_models(job.features)
    extractors = create_extractors(job)
    slots: dict[str, list[int]] = {}
    features: dict[str, dict[str, Feature]] = {}
    for manifest, roots in job.manifests:
        subset = manifest.name
        rows = rows_of_samples(
            manifest.samples,
            roots,
            store.index(subset).live,
            views=job.views,
            progress=partial(observer.reading, subset),
        )
        slots[subset] = [row.slot for row in store.assign_rows(subset, rows)]
        features[subset] = open_features(store, subset, extractors)
    runners = {e.name: BatchRunner(e, job.runtime.device, job.micro_batch) for e in extractors}
    assets = {e.fingerprint.key: _assets(store, e) for e in extractors}
    todo = {name: pending_shards(features[name], np.array(slots[name])) for name in features}
    _keep_micro_batches(job, runners, next(iter(features.values())))
    observer.planned(_plan(job, store, slots, todo, runners, assets))
    for key, files in assets.items():
        store.write_assets(key, files)
    del assets
    total = ExtractReport()
    for manifest, roots in job.manifests:
        subset = manifest.name
        _keep_micro_batches(job, runners, features[subset])
        loader = _loader(job, roots)
        try:
            report = extract(
                store,
                subset,
                slots[subset],
                features[subset],
                runners,
                loader,
                strict=job.strict,
                progress=partial(observer.extracting, subset),
                waiting=partial(observer.waiting, subset),
            )
        finally:
            loader.close()
        total.add(report)
    return total


def create_extractors(job: ExtractJob) -> list[Extractor]:
    """Load the extractors of a job; masks join where a manifest names them."""
    from clare.pipeline.extractors import create_extractor

    settings = {name: dict(values) for name, values in job.settings.items()}
    names = list(dict.fromkeys(job.features))
    if any(s.mask_path for manifest, _ in job.manifests for s in manifest.samples):
        names.append("mask")
        pixel_size = settings.get("pixels", {}).get("size")
        if pixel_size is not None:
            settings.setdefault("mask", {}).setdefault("size", pixel_size)
    unused = set(settings) - set(names)
    if unused:
        raise InputError(
            f"settings were given for {', '.join(sorted(unused))}, which --features does not name"
        )
    with backbone_overrides(job.backbone) as overrides:
        for name, values in overrides.items():
            if name in names:
                settings[name] = {**values, **settings.get(name, {})}
        return [create_extractor(n, settings.get(n, {}), job.images, job.runtime) for n in names]


def _loader(job: ExtractJob, roots: Roots) -> Loader:
    return Loader(roots, job.images, threads=job.loaders, thumbnails=job.thumbnails)


def _assets(store: FeatureStore, extractor: Extractor) -> Mapping[str, bytes]:
    """The asset files that are still to be written."""
    return {} if store.has_assets(extractor.fingerprint.key) else extractor.assets()


def _keep_micro_batches(
    job: ExtractJob, runners: Mapping[str, BatchRunner], features: Mapping[str, Feature]
) -> None:
    """The batch size that a subset was begun with is kept, so that equal images get equal bits."""
    for name, runner in runners.items():
        made = features[name].made_with()
        if job.micro_batch is None and made is not None and made["device"] == job.runtime.device:
            runner.micro_batch = made["micro_batch"]


def _plan(
    job: ExtractJob,
    store: FeatureStore,
    slots: Mapping[str, list[int]],
    todo: Mapping[str, Mapping[int, Mapping[str, list[int]]]],
    runners: Mapping[str, BatchRunner],
    assets: Mapping[str, Mapping[str, bytes]],
) -> Plan:
    images: Counter[str] = Counter()
    disk = sum(len(content) for files in assets.values() for content in files.values())
    pending = 0
    for shards in todo.values():
        for lacking in shards.values():
            rows = len({offset for offsets in lacking.values() for offset in offsets})
            pending += rows
            disk += rows * THUMBNAIL_BYTES if job.thumbnails else 0
            for name, offsets in lacking.items():
                images[name] += len(offsets)
                fields = runners[name].extractor.fields
                disk += sum(SHARD_ROWS * (spec.row_bytes + CHECKSUM_BYTES) for spec in fields)
    store.check_free_space(disk)
    return Plan(
        rows=sum(map(len, slots.values())),
        pending=pending,
        disk=disk,
        free=shutil.disk_usage(store.path).free,
        seconds=_seconds(job, store, todo, runners, images) if pending else None,
        micro_batches={n: r.micro_batch for n, r in runners.items()},
        fingerprints={n: r.extractor.fingerprint.key for n, r in runners.items()},
        backbone=job.backbone,
    )


def _seconds(
    job: ExtractJob,
    store: FeatureStore,
    todo: Mapping[str, Mapping[int, Mapping[str, list[int]]]],
    runners: Mapping[str, BatchRunner],
    images: Mapping[str, int],
) -> float:
    """How long it will take, from a few rows: cores share decoding and models, a GPU does not."""
    sample = _any_image(job.images)
    models = sum(
        count * runners[name].seconds_an_image(runners[name].extractor.prepare(sample))
        for name, count in images.items()
    )
    decoding = 0.0
    for manifest, roots in job.manifests:
        lacking = todo[manifest.name]
        rows = sum(len(set().union(*names.values())) for names in lacking.values())
        places = {
            (shard, o) for shard, names in lacking.items() for o in set().union(*names.values())
        }
        some = [r for r in store.rows(manifest.name) if divmod(r.slot, SHARD_ROWS) in places][
            :TIMED
        ]
        if some:
            loader = _loader(job, roots)
            try:
                began = time.perf_counter()
                gather(loader.start(dict(enumerate(some)), [r.extractor for r in runners.values()]))
                decoding += rows * (time.perf_counter() - began) / len(some)
            finally:
                loader.close()
    return max(models, decoding) if job.runtime.device.startswith("cuda") else models + decoding


def _any_image(images: ImageSettings) -> PreparedImage:
    """A grey picture: the models take as long over it as over any other."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(data, "PNG")
    plain = replace(images, crop="none")
    return load_views(data.getvalue(), plain, [0], content="0" * 64)[0]
