"""A worker of a cluster: models that are loaded once, and batches that are extracted with them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import partial
from typing import Any

import torch
from distributed import Worker, WorkerPlugin

from clare.cluster.connect import LANES
from clare.cluster.crew import DismissedError, kit_here
from clare.errors import InputError, StoreError
from clare.models.runtime import Runtime, choose_runtime
from clare.pipeline.cluster.batches import Batch, BatchReport, Loaded, Order, RemoteExtractor
from clare.pipeline.extraction.batching import BatchRunner
from clare.pipeline.extraction.claims import declared_features
from clare.pipeline.extraction.job import (
    claim_as_asked,
    create_loader,
    fit_runners,
    keep_micro_batches,
    load_extractors,
    missing_assets,
)
from clare.pipeline.extraction.loop import ExtractReport, extract_subset
from clare.pipeline.extractor import Extractor
from clare.plugins import trust_named
from clare.stopping import StopAskedError
from clare.store.feature import Feature
from clare.store.feature_store import FeatureStore, open_store
from clare.version import __version__


class Workshop(WorkerPlugin):
    """What a worker has for one extraction; a worker that is started anew gets another.

    The models are loaded in a thread of their own: a worker that does not answer while it starts
    is taken for dead. They work on one shard at a time; meanwhile another batch is read.

    Args:
        order: what is to be extracted, and how.
    """

    def __init__(self, order: Order) -> None:
        self.order = order

    def setup(self, worker: Worker) -> None:
        """Begin, in a worker's process."""
        self._worker = worker
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._turn, self._lanes = threading.Lock(), threading.Semaphore(LANES)
        self._models: _Models | None = None
        # While the others begin, so that none is late; what goes wrong, its first item says.
        threading.Thread(target=self._preload, name="clare-models", daemon=True).start()

    def _preload(self) -> None:
        with suppress(Exception):
            self.models()

    def teardown(self, worker: Worker) -> None:
        """End what is in hand after its shard, and let the models go."""
        self._ending.set()
        self._models = None

    def __getstate__(self) -> dict[str, Any]:
        return {"order": self.order}

    def models(self) -> _Models:
        """What is loaded, once."""
        with self._lock:
            if self._models is None:
                if self._ending.is_set():
                    raise DismissedError("the work was to end before the models were loaded")
                self._models = _Models(self.order, self._worker)
            return self._models

    def extract(self, batch: Batch) -> BatchReport:
        """Bring the rows of a batch into the store, as far as the journal lacks them."""
        models, order = self.models(), self.order
        with self._lanes:
            features = models.features(batch)
            runners = models.runners(batch.subset, features)
            report, stopped = ExtractReport(order.settings.store), False
            loader = create_loader(order.settings, batch.roots, batch.reals, models.threads)
            with closing(loader):
                try:
                    extract_subset(
                        models.store,
                        batch.subset,
                        batch.slots.tolist(),
                        features,
                        runners,
                        loader,
                        strict=order.settings.strict,
                        progress=partial(self._tell, batch.number),
                        turn=self._turn,
                        ending=self._ending,
                        report=report,
                    )
                except StopAskedError:
                    stopped = True
        return BatchReport(report, models.card, stopped)

    def _tell(self, batch: int, rows: int, failures: int) -> None:
        with suppress(Exception):  # a scheduler that is lost
            self._worker.log_event(self.name, [batch, rows, failures])


class _Models:
    """The extractors of a worker, with the store that they write to."""

    def __init__(self, order: Order, worker: Worker) -> None:
        if order.version != __version__:
            raise InputError(
                f"the worker at {worker.address} has version {__version__} of CLaRE, and "
                f"{order.version} gives it work",
                "install the same version",
            )
        settings = order.settings
        trust_named([*settings.features, settings.images.view_recipe])
        threads = order.threads or max(worker.state.nthreads, 1)
        # Each of the batches that it has at a time decodes with its part of them.
        self.order, self.threads = order, max(1, threads // LANES)
        # Dask's own workers let the libraries below take one thread alone.
        torch.set_num_threads(threads)
        index = worker.name if isinstance(worker.name, int) else None
        self.runtime: Runtime = choose_runtime(
            settings.device, settings.dtype, compile=settings.compile, task=index
        )
        claim_as_asked(settings)
        try:
            self.store: FeatureStore = open_store(settings.store)
        except StoreError as error:
            raise StoreError(
                f"{error.what}, as the worker at {worker.address} sees it",
                "let the store lie on a disk that all machines share, under one path",
            ) from error
        self.extractors: list[Extractor] = load_extractors(
            settings, self.runtime, self.store, with_masks=order.with_masks
        )
        self._micro_batches: Mapping[str, int] = {}
        self._lock = threading.Lock()
        self._declared = False
        self._runners: dict[str, dict[str, BatchRunner]] = {}

    @property
    def card(self) -> str:
        """The device by its full name."""
        on_gpu = self.runtime.device.startswith("cuda")
        return torch.cuda.get_device_name(self.runtime.device) if on_gpu else self.runtime.device

    def loaded(self) -> Loaded:
        """What is loaded, as data."""
        assets = [missing_assets(self.store, one) for one in self.extractors]
        with self._lock:
            micro_batches = self._fitting()
        return Loaded(
            tuple(
                RemoteExtractor(one.label, one.name, one.fields, one.fingerprint)
                for one in self.extractors
            ),
            micro_batches,
            sum(len(content) for files in assets for content in files.values()),
        )

    def write_assets(self) -> None:
        """Write what stands beside the arrays."""
        for one in self.extractors:
            self.store.write_assets(one.fingerprint.key, missing_assets(self.store, one))

    def features(self, batch: Batch) -> dict[str, Feature]:
        """The arrays of a batch's shards, of which alone rows and records are read."""
        with self._lock:
            if not self._declared:
                for one in self.extractors:
                    self.store.declare(one.fingerprint, one.fields)
                self._declared = True
        return declared_features(self.store, batch.subset, self.extractors, batch.shards)

    def runners(self, subset: str, features: Mapping[str, Feature]) -> dict[str, BatchRunner]:
        """By extractor, with the micro-batches that a subset was begun with."""
        asked, device = self.order.settings.micro_batch, self.runtime.device
        with self._lock:
            if subset not in self._runners:
                fitting = self._fitting()
                found = {
                    one.label: BatchRunner(one, device, asked or fitting[one.label])
                    for one in self.extractors
                }
                if asked is None:
                    keep_micro_batches(found, features, self.runtime)
                self._runners[subset] = found
            return self._runners[subset]

    def _fitting(self) -> Mapping[str, int]:
        """Images a batch that fit the device."""
        if not self._micro_batches:
            settings = self.order.settings
            runners = {
                one.label: BatchRunner(one, self.runtime.device, settings.micro_batch)
                for one in self.extractors
            }
            fit_runners(settings, runners, list(runners))
            self._micro_batches = {label: one.micro_batch for label, one in runners.items()}
        return self._micro_batches


def _workshop(name: str) -> Workshop:
    found = kit_here(name)
    assert isinstance(found, Workshop)
    return found


def load(name: str, item: object) -> Loaded:
    """Done on a worker: load the models, and say what they are."""
    return _workshop(name).models().loaded()


def write_assets(name: str, item: object) -> None:
    """Done on a worker: write what stands beside the arrays."""
    _workshop(name).models().write_assets()


def extract_batch(name: str, batch: Batch) -> BatchReport:
    """Done on a worker: extract a batch."""
    return _workshop(name).extract(batch)
