"""A whole extraction on a cluster: as `clare.pipeline.extraction.job`, the models elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from clare.advice import Notice
from clare.cluster.connect import connect
from clare.cluster.crew import Crew
from clare.pipeline.cluster.batches import Batch, Batches, BatchReport, Loaded, Order
from clare.pipeline.extraction.assigned import Assigned, assign_rows
from clare.pipeline.extraction.job import claim_as_asked, note_command
from clare.pipeline.extraction.loop import ExtractReport
from clare.pipeline.extraction.pace import doubt
from clare.pipeline.extraction.plan import Observer, Plan, Selection, Todo, make_plan
from clare.pipeline.extraction.refusals import has_masks, look_at
from clare.pipeline.extraction.settings import ExtractSettings
from clare.plugins import is_path
from clare.slurm import cores
from clare.store.bucket.places import place_of
from clare.store.feature_store import create_store
from clare.store.spec import SHARD_ROWS
from clare.version import __version__
from clare.wording import listed


def run_cluster_job(
    settings: ExtractSettings,
    selection: Selection,
    cluster: str,
    observer: Observer | None = None,
    command: Sequence[str] = (),
) -> ExtractReport:
    """Extract subsets into a store on the workers of a cluster; see `run_job`.

    Whoever calls it loads no model; a worker loads them once, and writes straight to the store,
    which lies on a disk that all machines share. What becomes of single workers changes nothing of
    what is stored.

    Args:
        settings: how.
        selection: the subsets.
        cluster: ``local:N``, the address of a scheduler, or a YAML file of `dask_jobqueue`.
        observer: is told how it goes.
        command: the words of the command that asked for it.

    Raises:
        InputError: as `run_job`, or the cluster can't be used.
        WorkersLostError: workers die over the same images again and again.
        StopAskedError: a scheduler asked for the end, and rows are left.
    """
    observer = observer or Observer()
    settings = _everywhere(settings)
    claim_as_asked(settings)
    store = create_store(settings.store)
    for notice in look_at(settings, selection, store):
        observer.noticed(notice)
    observer.loading_models(settings.features)
    with connect(cluster, cores()) as connected:
        from clare.pipeline.cluster.workshop import Workshop, extract_batch, load, write_assets

        order = Order(settings, has_masks(selection), connected.threads, __version__)
        name = f"clare-{uuid4().hex[:12]}"
        workshop = Workshop(order)
        workshop.name = name
        with Crew[Batch, BatchReport](connected, workshop, name, observer.noticed) as crew:
            loaded: Loaded = crew.ask(load)
            rows = assign_rows(settings, selection, store, loaded.extractors, observer)
            todo = rows.todo()
            plan = make_plan(
                store,
                rows.slots,
                todo,
                loaded.extractors,
                loaded.micro_batches,
                assets=loaded.assets,
                thumbnails=settings.thumbnails,
                backbone=settings.backbone,
            )
            observer.planned(plan)
            note_command(store, command, selection, plan, observer)
            if not all(map(store.has_assets, plan.fingerprints.values())):
                crew.ask(write_assets)
            job = _Job(settings, selection, rows, todo, plan, observer)
            began = time.perf_counter()
            try:
                crew.run(extract_batch, job.supply, job.take, heard=job.hear, progressed=job.moved)
            finally:
                job.report.seconds = time.perf_counter() - began
            if crew.deaths:
                job.recount()
    return job.report


def _everywhere(settings: ExtractSettings) -> ExtractSettings:
    """The settings with paths that mean the same in another working folder."""

    def full(name: str) -> str:
        return str(Path(name).expanduser().resolve()) if is_path(name) else name

    images = replace(settings.images, view_recipe=full(settings.images.view_recipe))
    return replace(
        settings,
        store=place_of(settings.store).resolve(),
        tuned=settings.tuned and settings.tuned.resolve(),
        features=tuple(map(full, settings.features)),
        images=images,
    )


class _Job:
    """What is known of an extraction while workers are at it."""

    def __init__(
        self,
        settings: ExtractSettings,
        selection: Selection,
        rows: Assigned,
        todo: Todo,
        plan: Plan,
        observer: Observer,
    ) -> None:
        self._rows, self._todo, self._plan, self._observer = rows, todo, plan, observer
        self._batches = Batches(selection, rows.slots, todo, rows.features, rows.reals)
        self.report = ExtractReport(
            settings.store,
            fingerprints=plan.fingerprints,
            max_failures=settings.allowed_failures,
        )
        self._devices: set[str] = set()
        self._subset_of: dict[int, str] = {}
        self._told: dict[int, tuple[int, int]] = {}
        self._left: dict[int, int] = {}
        self._began: tuple[float, int] | None = None

    def supply(self, lanes: int) -> Batch | None:
        """The next batch."""
        batch = self._batches.take(lanes)
        if batch is not None:
            self._subset_of[batch.number] = batch.subset
        return batch

    def take(self, batch: Batch, result: BatchReport) -> None:
        """Count what became of a batch; what a worker that ends left of it is for another."""
        self.report.add(result.report)
        self._tell(batch.number, result.report.rows, len(result.report.failures))
        if result.stopped:
            self._batches.put_back(batch)
        if result.device not in self._devices and self._devices:
            both = listed(sorted({*self._devices, result.device}))
            self._observer.noticed(
                Notice(
                    f"the workers' devices differ ({both}), and so do the last bits of what they "
                    "make: which made which rows is kept in the store"
                )
            )
        self._devices.add(result.device)

    def hear(self, told: Any) -> None:
        """Take a worker's word on how far a batch is."""
        self._tell(*told)

    def moved(self, batch: Batch) -> bool:
        """Whether some of a batch is in the journal since this was asked last."""
        before = self._left.get(batch.number, len(batch.slots) * len(self._plan.fingerprints))
        left = 0
        for feature in self._rows.features[batch.subset].values():
            feature.refresh()
            left += len(np.intersect1d(feature.pending_slots(), batch.slots))
        self._left[batch.number] = left
        return left < before

    def recount(self) -> None:
        """Take from the journal what workers had done that did not live to tell it."""
        left = sum(
            len({offset for offsets in lacking.values() for offset in offsets})
            for shards in self._rows.todo().values()
            for lacking in shards.values()
        )
        self.report.rows = self._plan.pending - left
        for subset, shards in self._todo.items():
            for feature in self._rows.features[subset].values():
                reasons = {
                    slot: reason
                    for slot, reason in feature.failures().items()
                    if slot // SHARD_ROWS in shards
                }
                for shard in {slot // SHARD_ROWS for slot in reasons}:
                    for row in feature.shard_rows(shard):
                        if row.slot in reasons:
                            key = subset, row.sample_id, row.view
                            self.report.failures.setdefault(key, reasons[row.slot])

    def _tell(self, number: int, rows: int, failures: int) -> None:
        """Show how far all is, and how long it will take."""
        now = time.monotonic()
        before = self._told.get(number, (0, 0))
        self._told[number] = max(before[0], rows), max(before[1], failures)
        subset = self._subset_of[number]
        own = [told for one, told in self._told.items() if self._subset_of[one] == subset]
        self._observer.extracting(subset, sum(n for n, _ in own), sum(n for _, n in own))
        done = sum(n for n, _ in self._told.values())
        if self._began is None:  # the first shard takes a part of the time that models load in
            self._began = now, done
        since, first = self._began
        if done > first:
            left = (now - since) * (self._plan.pending - done) / (done - first)
            off = doubt((done - first) / SHARD_ROWS)
            self._observer.time_left(left / off, left * off)
