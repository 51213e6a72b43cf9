"""A whole extraction: manifests in, a plan that says its cost, one store out."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clare.errors import InputError
from clare.pipeline.batching import BatchRunner
from clare.pipeline.extract import ExtractReport, extract, open_features, pending_shards
from clare.pipeline.extractor import Extractor, Runtime
from clare.pipeline.images import ImageSettings, PreparedImage, load_views
from clare.pipeline.loading import Loader
from clare.pipeline.manifest import Manifest
from clare.pipeline.roots import Roots
from clare.pipeline.rows import rows_of_samples
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore, create_store
from clare.store.spec import SHARD_ROWS

BACKBONES = ("real", "tiny")


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
        backbone: ``real``, or ``tiny`` for small random models whose features mean nothing.
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
        backbone: ``real`` or ``tiny``.
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
    assigned: dict[str, int] = {}
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
        assigned[subset] = len(store.assign_rows(subset, rows))
        features[subset] = open_features(store, subset, extractors)
    runners = {e.name: _runner(job, e, [f[e.name] for f in features.values()]) for e in extractors}
    observer.planned(_plan(job, store, assigned, features, runners))
    total = ExtractReport()
    for manifest, roots in job.manifests:
        subset = manifest.name
        loader = Loader(roots, job.images, threads=job.loaders, thumbnails=job.thumbnails)
        try:
            report = extract(
                store,
                subset,
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
    with ExitStack() as stack:
        if job.backbone == "tiny":
            from clare.pipeline.tiny import tiny_overrides

            folder = Path(stack.enter_context(TemporaryDirectory(prefix="clare-tiny-")))
            for name, values in tiny_overrides(folder).items():
                if name in names:
                    settings[name] = {**values, **settings.get(name, {})}
        elif job.backbone not in BACKBONES:
            raise InputError(f"--backbone {job.backbone} is not one of {', '.join(BACKBONES)}")
        return [create_extractor(n, settings.get(n, {}), job.images, job.runtime) for n in names]


def _runner(job: ExtractJob, extractor: Extractor, features: Sequence[Feature]) -> BatchRunner:
    """The batch size that the store was begun with is kept, so that equal images get equal bits."""
    device = job.runtime.device
    micro_batch = job.micro_batch
    for feature in features:
        made = feature.made_with()
        if micro_batch is None and made is not None and made["device"] == device:
            micro_batch = made["micro_batch"]
    return BatchRunner(extractor, device, micro_batch)


def _plan(
    job: ExtractJob,
    store: FeatureStore,
    assigned: Mapping[str, int],
    features: Mapping[str, Mapping[str, Feature]],
    runners: Mapping[str, BatchRunner],
) -> Plan:
    pending_rows = 0
    disk = 0
    images: dict[str, int] = dict.fromkeys(runners, 0)
    for subset, by_name in features.items():
        pending = pending_shards(by_name)
        slots = [0] * (1 + max(pending, default=0))
        for row in store.rows(subset):
            if row.slot // SHARD_ROWS < len(slots):
                slots[row.slot // SHARD_ROWS] += 1
        for shard, names in pending.items():
            pending_rows += slots[shard]
            for name in names:
                images[name] += slots[shard]
                disk += sum(
                    SHARD_ROWS * (spec.row_bytes + 20) for spec in by_name[name].fields.values()
                )
    store.check_free_space(disk)
    seconds = None
    if pending_rows:
        sample = _any_image(job.images)
        seconds = sum(
            count * runners[name].seconds_an_image(runners[name].extractor.prepare(sample))
            for name, count in images.items()
            if count
        )
    return Plan(
        rows=sum(assigned.values()),
        pending=pending_rows,
        disk=disk,
        free=shutil.disk_usage(store.path).free,
        seconds=seconds,
        micro_batches={n: r.micro_batch for n, r in runners.items()},
        fingerprints={n: r.extractor.fingerprint.key for n, r in runners.items()},
        backbone=job.backbone,
    )


def _any_image(images: ImageSettings) -> PreparedImage:
    """A grey picture: the models take as long over it as over any other."""
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (64, 64), "grey").save(data, "PNG")
    plain = replace(images, crop="none")
    return load_views(data.getvalue(), plain, [0], content="0" * 64)[0]
