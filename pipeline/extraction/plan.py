"""What an extraction is about to do, what it costs, and what a caller may watch of it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from clare.advice import Notice
from clare.pipeline.manifests.roots import Roots
from clare.pipeline.manifests.sample import Manifest
from clare.store.feature_store import FeatureStore
from clare.store.spec import SHARD_ROWS, FeatureSpec, Fingerprint

THUMBNAIL_BYTES = 4096
"""About what a thumbnail takes."""

CHECKSUM_BYTES = 20
"""What a row of a field takes beside its values: its place in the shard, and its checksum."""

Todo = Mapping[str, Mapping[int, Mapping[str, list[int]]]]
"""Subset to shard to extractor to the offsets that it lacks."""

Selection = Sequence[tuple[Manifest, Roots]]
"""Subsets, each with the folders that its paths start at."""


@dataclass(frozen=True)
class Plan:
    """What an extraction is about to do; how long it takes is known once it goes.

    Args:
        rows: rows that the manifests ask for, all subsets together.
        pending: rows whose shards still lack a feature.
        disk: bytes that will be written.
        free: bytes free on the store's disk.
        subsets: subset to the rows that it lacks.
        images: extractor's label to the images that it lacks.
        micro_batches: extractor's label to images a batch.
        fingerprints: extractor's label to its folder in the store.
        backbone: ``real``, ``mini`` or ``tiny``.
    """

    rows: int
    pending: int
    disk: int
    free: int
    subsets: Mapping[str, int]
    images: Mapping[str, int]
    micro_batches: Mapping[str, int]
    fingerprints: Mapping[str, str]
    backbone: str


class Observer:
    """What a caller may watch; every method may be left as it is."""

    def indexing(self, done: int, total: int) -> None:
        """Headers of images were read, where a manifest is made."""

    def absent(self, protocol: str, reasons: Mapping[str, str]) -> None:
        """Subsets of a protocol can't be had, and why."""

    def noticed(self, notice: Notice) -> None:
        """Something may surprise or is not as it should be, and the work goes on."""

    def loading_models(self, features: Sequence[str]) -> None:
        """The models are about to be loaded."""

    def reading(self, subset: str, done: int, total: int) -> None:
        """Files of a subset were looked at, and hashed where they are new."""

    def planned(self, plan: Plan) -> None:
        """The extraction is about to start."""

    def extracting(self, subset: str, rows: int, failures: int) -> None:
        """Rows of a subset are on disk."""

    def time_left(self, least: float, most: float) -> None:
        """A micro-batch was computed; all that is left will take so many seconds."""

    def waiting(self, subset: str, shards: int) -> None:
        """Another run holds the last shards of a subset."""


class Declared(Protocol):
    """What is known of an extractor wherever it runs: its name here, and what it writes."""

    @property
    def label(self) -> str:
        """What tells it from the others of an extraction."""

    @property
    def name(self) -> str:
        """Its public name."""

    @property
    def fields(self) -> tuple[FeatureSpec, ...]:
        """What it writes."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Everything that decides its values."""


def row_disk(fields: Iterable[FeatureSpec], *, thumbnails: bool) -> int:
    """Bytes that a row takes on the disk.

    Args:
        fields: that are stored of it.
        thumbnails: whether a small JPEG is kept too.
    """
    values = sum(spec.row_bytes + CHECKSUM_BYTES for spec in fields)
    return values + (THUMBNAIL_BYTES if thumbnails else 0)


def count_images(todo: Todo) -> Counter[str]:
    """Images by the label of the extractor that lacks them."""
    images: Counter[str] = Counter()
    for shards in todo.values():
        for lacking in shards.values():
            images.update({name: len(offsets) for name, offsets in lacking.items()})
    return images


def make_plan(
    store: FeatureStore,
    slots: Mapping[str, Sequence[int]],
    todo: Todo,
    extractors: Iterable[Declared],
    micro_batches: Mapping[str, int],
    *,
    assets: int,
    thumbnails: bool,
    backbone: str,
) -> Plan:
    """Say what an extraction costs.

    Args:
        store: that it writes to.
        slots: of the rows that are asked for, by subset.
        todo: what is lacking.
        extractors: that run.
        micro_batches: extractor's label to images a batch.
        assets: bytes of files beside the arrays.
        thumbnails: whether a small JPEG is kept too.
        backbone: of the models.

    Raises:
        DiskSpaceError: the disk is too small.
    """
    known = {one.label: one for one in extractors}
    disk, subsets = assets, Counter[str]()
    for subset, shards in todo.items():
        for lacking in shards.values():
            rows = len({offset for offsets in lacking.values() for offset in offsets})
            subsets[subset] += rows
            disk += rows * row_disk((), thumbnails=thumbnails)
            for name in lacking:
                disk += SHARD_ROWS * row_disk(known[name].fields, thumbnails=False)
    store.check_free_space(disk)
    return Plan(
        rows=sum(map(len, slots.values())),
        pending=subsets.total(),
        disk=disk,
        free=shutil.disk_usage(store.layout.root).free,
        subsets=subsets,
        images=count_images(todo),
        micro_batches=micro_batches,
        fingerprints={label: one.fingerprint.key for label, one in known.items()},
        backbone=backbone,
    )
